//! Order-entry connections: bytes to commands for the engine, released answers to bytes.
//!
//! ```text
//!  reactor --bytes--> session --messages--> decode --> ingress                (take_in)
//!  outbox --released answers--> streams --> send buffers --> reactor          (give_out)
//! ```
//!
//! Invariants: a connection's bytes are taken only when all commands in them fit the ingress, else they stay where they
//! are and the client's own socket fills up; an answer reaches a connection only through its session's stream, so what
//! a slow or lost client misses is there when it comes back; one live connection a session.

use crate::auth::{Attempt, Doorbell, Verdict};
use crate::engine_loop::Ingress;
use crate::filling::Filling;
use crate::historian::{Archive, Recall, Recalled};
use crate::outbox::{MESSAGE_BYTES_MAX, Message, OutboxOut};
use crate::reactor::{ConnId, Done, ListenerIdx, Reactor};
use crate::status::Status;
use crate::streams::Streams;
use api::decode::{Decoded, Sender, decode};
use api::encode::stage_times;
use api::instruments::Instruments;
use api::login::{LoginReject, LoginRequest, SessionName};
use api::orders::{Answer, StageTimes};
use api::session::{CloseReason, Flow, Session, SessionLimits, SessionOutput, State};
use api::soup::{PACKET_HEADER_BYTES, PacketKind, append_packet};
use api::stream::{SessionSeq, Stream, StreamError, first_to_send};
use book::command::{CodMode, Command, DownCause, SessionDown};
use book::engine::Engine;
use book::event::Event;
use book::ids::{AccountId, SessionId, UserName};
use book::units::{Seq, TsNs};
use rtrb::{Consumer, Producer};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Commands that one receive can bring at most: the smallest message with its packet takes this many bytes.
const COMMANDS_PER_RECEIVE_MAX: usize = crate::reactor::RECEIVE_BYTES / 24 + 1;
/// How often silent connections and grace windows are looked at.
const HOUSEKEEPING_NS: u64 = 50_000_000;
/// How long a connection that ends may take to read the last that is said to it.
const LAST_WORDS_NS: u64 = 1_000_000_000;
/// Unsequenced bytes (log-in answers, heartbeats, stage times) that one send carries; past it stage times are left out.
const SEND_CONTROL_BYTES_MAX: usize = crate::reactor::SEND_BYTES / 2;
/// Past this many of them the client does not read at all and is disconnected.
const CONTROL_BYTES_MAX: usize = 2 * SEND_CONTROL_BYTES_MAX;

/// What the engine tells the gateway about itself; in force once `seq` is released.
#[derive(Debug)]
pub struct Control {
    pub seq: Seq,
    pub change: Change,
}

#[derive(Debug)]
pub enum Change {
    /// Assets and markets, for the grid of prices and quantities.
    Instruments(Event),
    Session(Box<SessionFacts>),
}

/// What the door has to know of a session.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    pub session: SessionId,
    pub account: AccountId,
    pub user: UserName,
    pub password_hash: String,
    pub drop_copy: bool,
    pub cod_mode: CodMode,
    pub cod_window_ms: u32,
}

impl SessionFacts {
    pub fn of(engine: &Engine, id: SessionId) -> Option<Self> {
        let session = engine.sessions().get(id)?;
        Some(Self {
            session: id,
            account: session.account,
            user: session.user,
            password_hash: session.password_hash.clone(),
            drop_copy: session.drop_copy,
            cod_mode: session.cod_mode,
            cod_window_ms: session.cod_window_ms,
        })
    }
}

/// Bounds of the door.
#[derive(Clone, Copy, Debug)]
pub struct DoorLimits {
    pub connections_per_address_max: u32,
    /// Failed log-ins of one address within the window; beyond, it is turned away at once.
    pub login_failures_max: u32,
    pub login_failure_window_ns: u64,
    pub session: SessionLimits,
    /// A reader that leaves more than this many messages unread since it came is disconnected.
    pub queue_max: u64,
    /// Shortest grace window of sessions whose orders outlived the last run.
    pub restart_window_ms: u32,
}

/// What the door remembers of one address.
#[derive(Clone, Copy, Debug, Default)]
struct AddressRecord {
    connections: u32,
    failures: u32,
    /// Start of the window in which `failures` were counted.
    failures_since_ns: u64,
}

/// Addresses remembered at once; when there are more, those without connections are forgotten.
const ADDRESSES_MAX: usize = 1 << 16;

pub struct GatewayWiring {
    pub ingress: Producer<Ingress>,
    pub outbox: OutboxOut,
    pub control: Consumer<Control>,
    pub door: Doorbell,
    pub archive: Archive,
    pub status: Arc<Status>,
}

/// A session as the door sees it.
#[derive(Debug)]
struct Desk {
    facts: SessionFacts,
    conn: Option<ConnId>,
    /// Its connection is gone and its orders go too when it does not come back in time.
    down: Option<Down>,
}

#[derive(Clone, Copy, Debug)]
struct Down {
    cause: DownCause,
    /// When its grace window is over.
    ends: TsNs,
}

struct OrderConn {
    id: ConnId,
    address: Option<IpAddr>,
    protocol: Session,
    session: Option<SessionId>,
    /// Number of the next message to send.
    next: SessionSeq,
    /// What the client asked for at log-in, until it is let in.
    wanted: SessionSeq,
    wanted_name: SessionName,
    /// What was next to be said when it was let in.
    came_at: SessionSeq,
    past: Past,
    control: Vec<u8>,
    stage_times: bool,
    /// How many of the bytes received last are taken in.
    taken: usize,
    /// Bytes were received and not yet taken, because the ingress was full.
    stalled: bool,
    dirty: bool,
    /// Closes when all that is said has been sent, or when that takes too long.
    closing: Option<Closing>,
}

#[derive(Clone, Copy, Debug)]
struct Closing {
    cause: DownCause,
    ends: TsNs,
}

/// How a connection gets messages that memory no longer has.
enum Past {
    /// It reads from memory. If it falls out of it, it is too slow and is disconnected.
    Caught,
    /// It came back after a long time: the log is read for it.
    Wanted,
    Asked,
    Here(Box<Recalled>),
}

pub struct Gateway {
    /// By connection slot.
    conns: Vec<Option<Box<OrderConn>>>,
    /// By session.
    desks: Vec<Desk>,
    by_user: HashMap<UserName, SessionId>,
    by_address: HashMap<IpAddr, AddressRecord>,
    streams: Streams,
    instruments: Instruments,
    wiring: GatewayWiring,
    limits: DoorLimits,
    orders: ListenerIdx,
    dirty: Vec<ConnId>,
    stalled: Vec<ConnId>,
    housekeeping_at_ns: u64,
    closed_to_new: bool,
}

/// What the door starts with.
pub struct DoorState {
    pub streams: Streams,
    pub instruments: Instruments,
    pub sessions: Vec<SessionFacts>,
    /// Sessions with open orders at start: they have their grace window to come back.
    pub absent: Vec<SessionId>,
}

impl Gateway {
    pub fn new(state: DoorState, orders: ListenerIdx, wiring: GatewayWiring, limits: DoorLimits, now: TsNs) -> Self {
        let mut gateway = Self {
            conns: Vec::new(),
            desks: Vec::new(),
            by_user: HashMap::new(),
            by_address: HashMap::new(),
            streams: state.streams,
            instruments: state.instruments,
            wiring,
            limits,
            orders,
            dirty: Vec::with_capacity(1024),
            stalled: Vec::with_capacity(1024),
            housekeeping_at_ns: 0,
            closed_to_new: false,
        };
        for facts in state.sessions {
            gateway.learn(facts);
        }
        for session in state.absent {
            gateway.mark_down(session, DownCause::Disconnect, now, limits.restart_window_ms);
        }
        gateway
    }

    /// Looks at what the reactor has done and turns received bytes into commands. Returns the work done.
    pub fn take_in(&mut self, now: TsNs, reactor: &mut Reactor) -> usize {
        let mut work = self.take_control();
        let mut idx = 0;
        while let Some(done) = reactor.done(idx) {
            idx += 1;
            match done {
                Done::Accepted { conn, listener } if listener == self.orders => self.accepted(now, conn, reactor),
                Done::Accepted { conn, .. } => reactor.close(conn),
                Done::Received { conn, .. } => self.received(now, conn, reactor),
                Done::Sent { conn } => self.mark_dirty(conn),
                Done::Lost { conn } => self.close(now, conn, DownCause::Disconnect, reactor),
            }
        }
        work += idx;
        work += self.retry_stalled(now, reactor);
        work += self.take_verdicts(now, reactor);
        work += self.take_recalled(now, reactor);
        if now.0 - self.housekeeping_at_ns >= HOUSEKEEPING_NS {
            self.housekeeping_at_ns = now.0;
            self.keep_house(now, reactor);
        }
        work
    }

    /// Moves released answers into their streams and as much as fits into the sockets. Returns the work done.
    pub fn give_out(&mut self, now: TsNs, reactor: &mut Reactor) -> usize {
        let released = Seq(self.wiring.status.seq_released.get());
        let mut work = 0;
        while let Some(message) = self.wiring.outbox.next(released) {
            work += 1;
            self.streams.push(message.session, message.bytes());
            let Some(conn) = self.desk(message.session).and_then(|desk| desk.conn) else { continue };
            let Some(state) = self.conn_mut(conn) else { continue };
            if state.stage_times && state.control.len() < SEND_CONTROL_BYTES_MAX {
                append_stage_times(&message, now, &mut state.control);
            }
            self.mark_dirty(conn);
        }
        self.flush(now, reactor);
        work
    }

    /// Whether every answer given so far has been handed to the sockets that can take it.
    pub fn is_drained(&self, reactor: &Reactor) -> bool {
        self.wiring.outbox.is_empty()
            && self.dirty.is_empty()
            && self.conns.iter().flatten().all(|conn| !reactor.is_sending(conn.id))
    }

    /// From now on nothing is taken in: the node is stopping. Answers still go out.
    pub fn close_to_new(&mut self) {
        self.closed_to_new = true;
    }

    fn take_control(&mut self) -> usize {
        let released = self.wiring.status.seq_released.get();
        let mut count = 0;
        while self.wiring.control.peek().is_ok_and(|control| control.seq.0 <= released) {
            let Ok(control) = self.wiring.control.pop() else { break };
            match control.change {
                Change::Instruments(event) => self.instruments.apply(&event),
                Change::Session(facts) => self.learn(*facts),
            }
            count += 1;
        }
        count
    }

    fn learn(&mut self, facts: SessionFacts) {
        let idx = facts.session.0 as usize - 1;
        if let Some(desk) = self.desks.get_mut(idx) {
            desk.facts = facts;
            return;
        }
        assert!(idx == self.desks.len(), "session ids are dense");
        self.by_user.insert(facts.user, facts.session);
        self.desks.push(Desk { facts, conn: None, down: None });
    }

    fn desk(&self, session: SessionId) -> Option<&Desk> {
        self.desks.get((session.0 as usize).wrapping_sub(1))
    }

    fn desk_mut(&mut self, session: SessionId) -> Option<&mut Desk> {
        self.desks.get_mut((session.0 as usize).wrapping_sub(1))
    }

    fn conn_mut(&mut self, id: ConnId) -> Option<&mut OrderConn> {
        self.conns.get_mut(id.slot())?.as_deref_mut().filter(|conn| conn.id == id)
    }

    fn mark_dirty(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(id);
        }
    }
}

// Connections: from accept to close.
impl Gateway {
    fn accepted(&mut self, now: TsNs, id: ConnId, reactor: &mut Reactor) {
        let address = reactor.peer(id).map(|peer| peer.ip());
        if self.closed_to_new || !self.admit_address(now, address) {
            self.wiring.status.logins_refused.add(1);
            reactor.close(id);
            return;
        }
        if id.slot() >= self.conns.len() {
            self.conns.resize_with(id.slot() + 1, || None);
        }
        let mut protocol = Session::new(now);
        protocol.set_limits(self.limits.session);
        self.conns[id.slot()] = Some(Box::new(OrderConn {
            id,
            address,
            protocol,
            session: None,
            next: SessionSeq::HEAD,
            wanted: SessionSeq::HEAD,
            wanted_name: SessionName::BLANK,
            came_at: SessionSeq::HEAD,
            past: Past::Caught,
            control: Vec::new(),
            stage_times: false,
            taken: 0,
            stalled: false,
            dirty: false,
            closing: None,
        }));
        self.wiring.status.connections.add(1);
    }

    fn admit_address(&mut self, now: TsNs, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return false };
        if self.by_address.len() >= ADDRESSES_MAX {
            self.by_address.retain(|_, record| record.connections > 0);
        }
        let limits = self.limits;
        let record = self.by_address.entry(address).or_default();
        let in_window = now.0 - record.failures_since_ns < limits.login_failure_window_ns;
        let failed_too_often = in_window && limits.login_failures_max <= record.failures;
        if failed_too_often || limits.connections_per_address_max <= record.connections {
            return false;
        }
        record.connections += 1;
        true
    }

    fn note_failure(&mut self, now: TsNs, address: Option<IpAddr>) {
        let window_ns = self.limits.login_failure_window_ns;
        let Some(record) = address.and_then(|a| self.by_address.get_mut(&a)) else { return };
        if window_ns <= now.0 - record.failures_since_ns {
            (record.failures, record.failures_since_ns) = (0, now.0);
        }
        record.failures += 1;
    }

    /// Turns received bytes into commands, as far as the ingress has room; asks for more when all are taken.
    fn received(&mut self, now: TsNs, id: ConnId, reactor: &mut Reactor) {
        if self.closed_to_new {
            return;
        }
        if self.wiring.ingress.is_full() {
            return self.mark_stalled(id);
        }
        let Some(mut conn) = self.conns.get_mut(id.slot()).and_then(Option::take) else { return };
        if conn.id == id {
            let happened = self.take_bytes(now, &mut conn, reactor);
            let paused = conn.taken < reactor.received(id).len() && !happened.ends();
            self.conns[id.slot()] = Some(conn);
            if paused {
                self.mark_stalled(id);
            } else {
                self.finish_receive(now, id, happened, reactor);
            }
        } else {
            self.conns[id.slot()] = Some(conn);
        }
    }

    fn take_bytes(&mut self, now: TsNs, conn: &mut OrderConn, reactor: &Reactor) -> Happened {
        let sender = conn.session.and_then(|s| self.desk(s)).map(|desk| desk.facts.sender());
        let OrderConn { protocol, control, stage_times, .. } = conn;
        let mut taking = Taking {
            now,
            sender,
            instruments: &self.instruments,
            ingress: &mut self.wiring.ingress,
            control,
            stage_times,
            happened: Happened::default(),
        };
        let bytes = &reactor.received(conn.id)[conn.taken..];
        let taken = protocol.on_bytes(now, bytes, &mut taking);
        let mut happened = taking.happened;
        if happened.protocol_error {
            // What the client sends is no message of ours: nothing after it can be trusted.
            protocol.close(CloseReason::Protocol, &mut Aside { control, close: &mut happened.close });
        }
        conn.taken += taken;
        happened
    }

    fn finish_receive(&mut self, now: TsNs, id: ConnId, happened: Happened, reactor: &mut Reactor) {
        if let Some(conn) = self.conn_mut(id) {
            conn.taken = 0;
        }
        if let Some(login) = happened.login {
            self.ask_doorman(now, id, login);
        }
        if let Some(reason) = happened.close {
            let cause = if happened.logout { DownCause::Logout } else { DownCause::Disconnect };
            self.close_after_flush(now, id, reason, cause, reactor);
            return;
        }
        self.mark_dirty_if_waiting(id);
        reactor.receive(id);
    }

    fn mark_stalled(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        if !conn.stalled {
            conn.stalled = true;
            self.stalled.push(id);
        }
    }

    fn retry_stalled(&mut self, now: TsNs, reactor: &mut Reactor) -> usize {
        if self.stalled.is_empty() || self.wiring.ingress.slots() < COMMANDS_PER_RECEIVE_MAX {
            return 0;
        }
        let stalled = std::mem::take(&mut self.stalled);
        for &id in &stalled {
            if let Some(conn) = self.conn_mut(id) {
                conn.stalled = false;
                self.received(now, id, reactor);
            }
        }
        stalled.len()
    }

    fn mark_dirty_if_waiting(&mut self, id: ConnId) {
        if self.conn_mut(id).is_some_and(|conn| !conn.control.is_empty()) {
            self.mark_dirty(id);
        }
    }

    /// Sends what is still to be said, then closes; used for refusals, which the client shall see.
    fn close_after_flush(
        &mut self,
        now: TsNs,
        id: ConnId,
        reason: CloseReason,
        cause: DownCause,
        reactor: &mut Reactor,
    ) {
        tracing::debug!(%reason, "connection closed");
        self.flush_one(now, id, reactor);
        let Some(conn) = self.conn_mut(id) else { return };
        if reactor.is_sending(id) {
            conn.closing = Some(Closing::within(now, cause));
        } else {
            self.close(now, id, cause, reactor);
        }
    }

    /// Ends a connection. Its session, if it had one, is down from now on, unless another connection has taken over.
    fn close(&mut self, now: TsNs, id: ConnId, cause: DownCause, reactor: &mut Reactor) {
        let Some(slot) = self.conns.get_mut(id.slot()) else { return reactor.close(id) };
        if slot.as_ref().is_none_or(|conn| conn.id != id) {
            return reactor.close(id);
        }
        let Some(conn) = slot.take() else { return };
        if let Some(record) = conn.address.and_then(|address| self.by_address.get_mut(&address)) {
            record.connections -= 1;
        }
        if let Some(session) = conn.session
            && let Some(desk) = self.desk_mut(session)
            && desk.conn == Some(id)
        {
            desk.conn = None;
            let cause = conn.closing.map_or(cause, |closing| closing.cause);
            self.mark_down(session, cause, now, 0);
            self.wiring.status.sessions_open.set(self.wiring.status.sessions_open.get() - 1);
        }
        self.wiring.status.connections.set(self.wiring.status.connections.get() - 1);
        reactor.close(id);
    }

    /// The session has its own grace window to come back, or a longer one that the node grants after its own start.
    fn mark_down(&mut self, session: SessionId, cause: DownCause, now: TsNs, window_ms_min: u32) {
        if let Some(desk) = self.desk_mut(session) {
            let window_ms = desk.facts.cod_window_ms.max(window_ms_min);
            desk.down = Some(Down { cause, ends: TsNs(now.0 + u64::from(window_ms) * 1_000_000) });
        }
    }
}

// Log-in.
impl Gateway {
    fn ask_doorman(&mut self, now: TsNs, id: ConnId, login: Login) {
        let known = UserName::new(&login.user).and_then(|user| self.by_user.get(&user)).copied();
        let facts = known.and_then(|session| self.desk(session)).map(|desk| &desk.facts);
        let attempt = Attempt {
            conn: id,
            session: known,
            password: login.password,
            password_hash: facts.map_or_else(String::new, |facts| facts.password_hash.clone()),
        };
        let Some(conn) = self.conn_mut(id) else { return };
        (conn.wanted, conn.wanted_name) = (login.sequence, login.name);
        if self.wiring.door.attempts.push(attempt).is_err() {
            // Not held against the address: nobody has looked at the password.
            self.refuse_login(now, id, LoginReject::NotAuthorised);
        }
    }

    fn refuse_login(&mut self, now: TsNs, id: ConnId, why: LoginReject) {
        self.wiring.status.logins_refused.add(1);
        let Some(conn) = self.conn_mut(id) else { return };
        let mut close = None;
        conn.protocol.reject(now, why, &mut Aside { control: &mut conn.control, close: &mut close });
        conn.closing = Some(Closing::within(now, DownCause::Disconnect));
        self.mark_dirty(id);
    }

    fn take_verdicts(&mut self, now: TsNs, reactor: &mut Reactor) -> usize {
        let mut count = 0;
        while let Ok(Verdict { conn, session }) = self.wiring.door.verdicts.pop() {
            count += 1;
            match session {
                Some(session) => self.let_in(now, conn, session, reactor),
                None => {
                    if let Some(address) = self.conn_mut(conn).map(|conn| conn.address) {
                        self.note_failure(now, address);
                    }
                    self.refuse_login(now, conn, LoginReject::NotAuthorised);
                }
            }
        }
        count
    }

    /// Opens the session on this connection. An older connection of it goes, without cancel-on-disconnect: a half-open
    /// socket must not lock a trader out, nor its end cancel what the trader has just come back to.
    fn let_in(&mut self, now: TsNs, id: ConnId, session: SessionId, reactor: &mut Reactor) {
        let stream = self.streams.stream_mut(session);
        let (oldest, next) = (stream.oldest_seq(), stream.next_seq());
        let Some((wanted, name)) = self.conn_mut(id).map(|conn| (conn.wanted, conn.wanted_name)) else { return };
        let named = name.is_blank() || name == SessionName::of_session(session);
        let Some(first) = first_to_send(wanted, next).filter(|_| named) else {
            return self.refuse_login(now, id, LoginReject::NoSession);
        };
        let Some(conn) = self.conn_mut(id) else { return };
        let mut close = None;
        let mut out = Aside { control: &mut conn.control, close: &mut close };
        if !conn.protocol.accept(now, SessionName::of_session(session), first, &mut out) {
            return;
        }
        conn.session = Some(session);
        conn.next = first;
        conn.came_at = next;
        conn.past = if first < oldest { Past::Wanted } else { Past::Caught };
        self.mark_dirty(id);
        let Some(desk) = self.desk_mut(session) else { return };
        desk.down = None;
        let before = desk.conn.replace(id);
        self.wiring.status.sessions_open.set(self.wiring.status.sessions_open.get() + 1);
        if let Some(before) = before {
            self.wiring.status.sessions_open.set(self.wiring.status.sessions_open.get() - 1);
            self.close(now, before, DownCause::Disconnect, reactor);
        }
    }
}

// Out: from streams to sockets, and the clock.
impl Gateway {
    fn flush(&mut self, now: TsNs, reactor: &mut Reactor) {
        let mut idx = 0;
        while idx < self.dirty.len() {
            let id = self.dirty[idx];
            if self.flush_one(now, id, reactor) {
                self.dirty.swap_remove(idx);
                if let Some(conn) = self.conn_mut(id) {
                    conn.dirty = false;
                }
            } else {
                idx += 1;
            }
        }
    }

    /// Fills the connection's send buffer from what waits for it. True when there is nothing more to do for it now.
    fn flush_one(&mut self, now: TsNs, id: ConnId, reactor: &mut Reactor) -> bool {
        let Some(conn) = self.conns.get_mut(id.slot()).and_then(Option::as_deref_mut).filter(|c| c.id == id) else {
            return true;
        };
        let Some(buffer) = reactor.send_buffer(id) else {
            // A send is under way: its end marks the connection again.
            return true;
        };
        let mut filling = Filling::new(buffer);
        filling.drain(&mut conn.control, SEND_CONTROL_BYTES_MAX);
        let mut fits = true;
        // A packet must not begin in the middle of another: what was cut off is sent first.
        let whole = conn.control.is_empty();
        if let (Some(session), State::Open, true) = (conn.session, conn.protocol.state(), whole) {
            let stream = self.streams.stream_mut(session);
            // What was said before it came is no sign of slowness.
            let lag = stream.next_seq().0 - conn.next.max(conn.came_at).0;
            let in_bounds = lag <= self.limits.queue_max || !matches!(conn.past, Past::Caught);
            fits = in_bounds && fill(now, conn, stream, &mut filling);
        }
        let len = filling.len();
        reactor.send(id, len);
        let closing = conn.closing;
        if !fits {
            // A reader this slow has lost its place in memory; it resumes by number.
            tracing::info!("a session reads too slowly and is disconnected");
            self.close(now, id, DownCause::Disconnect, reactor);
        } else if let (Some(closing), 0) = (closing, len) {
            self.close(now, id, closing.cause, reactor);
        } else {
            self.ask_archive(now, id, reactor);
        }
        true
    }

    /// Asks for the messages that memory no longer has, when the connection waits for them.
    fn ask_archive(&mut self, now: TsNs, id: ConnId, reactor: &mut Reactor) {
        let Some(conn) = self.conn_mut(id).filter(|conn| matches!(conn.past, Past::Wanted)) else { return };
        let (Some(session), from) = (conn.session, conn.next) else { return };
        let until = self.streams.stream_mut(session).oldest_seq();
        if self.wiring.archive.wanted.push(Recall { conn: id, session, from, until }).is_err() {
            return self.close(now, id, DownCause::Disconnect, reactor);
        }
        if let Some(conn) = self.conn_mut(id) {
            conn.past = Past::Asked;
        }
    }

    fn take_recalled(&mut self, now: TsNs, reactor: &mut Reactor) -> usize {
        let mut count = 0;
        while let Ok(recalled) = self.wiring.archive.found.pop() {
            count += 1;
            let id = recalled.conn;
            let Some(conn) = self.conn_mut(id) else { continue };
            if recalled.get(conn.next).is_none() {
                self.close(now, id, DownCause::Disconnect, reactor);
                continue;
            }
            conn.past = Past::Here(Box::new(recalled));
            self.mark_dirty(id);
        }
        count
    }

    /// Heartbeats, silences, grace windows.
    fn keep_house(&mut self, now: TsNs, reactor: &mut Reactor) {
        for slot in 0..self.conns.len() {
            let Some(conn) = self.conns[slot].as_deref_mut() else { continue };
            let id = conn.id;
            let mut close = None;
            conn.protocol.on_tick(now, &mut Aside { control: &mut conn.control, close: &mut close });
            // Who does not read what is still to be said does not get to hold the door.
            let over = conn.control.len() > CONTROL_BYTES_MAX || conn.closing.is_some_and(|c| c.ends <= now);
            match close {
                Some(reason) => self.close_after_flush(now, id, reason, DownCause::Disconnect, reactor),
                None if over => self.close(now, id, DownCause::Disconnect, reactor),
                None => self.mark_dirty_if_waiting(id),
            }
        }
        if self.closed_to_new {
            // The sessions have their window after the start: a planned restart keeps every resting order.
            return;
        }
        for idx in 0..self.desks.len() {
            let desk = &mut self.desks[idx];
            let Some(down) = desk.down else { continue };
            if now < down.ends || self.wiring.ingress.is_full() {
                continue;
            }
            desk.down = None;
            if desk.facts.cod_mode == CodMode::Off {
                continue;
            }
            let end = SessionDown { session: desk.facts.session, cause: down.cause, continued: false };
            let ingress = Ingress { received: now, command: Command::SessionDown(end) };
            self.wiring.ingress.push(ingress).expect("room was checked, and this loop alone fills it");
        }
    }
}

impl Closing {
    fn within(now: TsNs, cause: DownCause) -> Self {
        Self { cause, ends: TsNs(now.0 + LAST_WORDS_NS) }
    }
}

impl SessionFacts {
    fn sender(&self) -> Sender {
        Sender { session: self.session, account: self.account, drop_copy: self.drop_copy }
    }
}

/// A log-in, out of the buffer it came in.
struct Login {
    user: String,
    password: String,
    name: SessionName,
    sequence: SessionSeq,
}

/// What a connection's bytes led to, besides commands.
#[derive(Default)]
struct Happened {
    login: Option<Login>,
    logout: bool,
    protocol_error: bool,
    close: Option<CloseReason>,
}

impl Happened {
    fn ends(&self) -> bool {
        self.close.is_some()
    }
}

/// Hears a session while it takes bytes in: messages become commands at once.
struct Taking<'a> {
    now: TsNs,
    sender: Option<Sender>,
    instruments: &'a Instruments,
    ingress: &'a mut Producer<Ingress>,
    control: &'a mut Vec<u8>,
    stage_times: &'a mut bool,
    happened: Happened,
}

impl SessionOutput for Taking<'_> {
    fn send(&mut self, bytes: &[u8]) {
        self.control.extend_from_slice(bytes);
    }

    fn login_requested(&mut self, login: &LoginRequest<'_>) {
        self.happened.login = Some(Login {
            user: login.user.to_owned(),
            password: String::from_utf8_lossy(login.password).into_owned(),
            name: login.session,
            sequence: login.sequence,
        });
    }

    #[inline]
    fn message(&mut self, bytes: &[u8]) -> Flow {
        let sender = self.sender.expect("an open connection has a session");
        let command = match decode(bytes, &sender, self.instruments) {
            Ok(Decoded::Command(command)) => command,
            Ok(Decoded::SetSession { command, stage_times }) => {
                *self.stage_times = stage_times;
                command
            }
            Err(error) => {
                tracing::info!(session = sender.session.0, %error, "a session sent what is no message");
                self.happened.protocol_error = true;
                return Flow::Pause;
            }
        };
        let ingress = Ingress { received: self.now, command };
        self.ingress.push(ingress).expect("the last push left room for one more");
        if self.ingress.is_full() { Flow::Pause } else { Flow::Continue }
    }

    fn logout_requested(&mut self) {
        self.happened.logout = true;
    }

    fn close(&mut self, reason: CloseReason) {
        self.happened.close = Some(reason);
    }
}

/// Hears a session outside of receiving: what it says goes to the connection's control bytes.
struct Aside<'a> {
    control: &'a mut Vec<u8>,
    close: &'a mut Option<CloseReason>,
}

impl SessionOutput for Aside<'_> {
    fn send(&mut self, bytes: &[u8]) {
        self.control.extend_from_slice(bytes);
    }

    fn login_requested(&mut self, _login: &LoginRequest<'_>) {}

    fn message(&mut self, _bytes: &[u8]) -> Flow {
        Flow::Continue
    }

    fn logout_requested(&mut self) {}

    fn close(&mut self, reason: CloseReason) {
        *self.close = Some(reason);
    }
}

/// Fills a send with the session's next messages, from the past where it was brought, else from memory. False when the
/// connection has fallen behind what memory holds.
fn fill(now: TsNs, conn: &mut OrderConn, stream: &Stream, filling: &mut Filling<'_>) -> bool {
    while filling.room() >= MESSAGE_BYTES_MAX + PACKET_HEADER_BYTES {
        let recalled = match &conn.past {
            Past::Here(recalled) => recalled.get(conn.next),
            _ => None,
        };
        let message = match (recalled, stream.get(conn.next), &conn.past) {
            (Some(message), _, _) | (None, Ok(message), _) => message,
            (None, Err(StreamError::Beyond { .. }), _) => return true,
            (None, Err(StreamError::Older { .. }), Past::Caught) => return false,
            (None, Err(StreamError::Older { .. }), Past::Asked) => return true,
            (None, Err(StreamError::Older { .. }), Past::Wanted | Past::Here(_)) => {
                conn.past = Past::Wanted;
                return true;
            }
        };
        conn.protocol.send_sequenced(now, message, filling);
        if recalled.is_none() && !matches!(conn.past, Past::Caught) {
            conn.past = Past::Caught;
        }
        conn.next = conn.next.next();
    }
    true
}

/// Appends the stage times of an answer, when it is one that has a client order id and an execution id.
fn append_stage_times(message: &Message, now: TsNs, control: &mut Vec<u8>) {
    let Ok(answer) = Answer::read(message.bytes()) else { return };
    let (cl_ord_id, exec_id) = match &answer {
        Answer::OrderAccepted(m) => (m.cl_ord_id, m.exec_id),
        Answer::OrderRejected(m) => (m.cl_ord_id, m.exec_id),
        Answer::OrderCanceled(m) => (m.req_cl_ord_id, m.exec_id),
        Answer::OrderReplaced(m) => (m.cl_ord_id, m.exec_id),
        _ => return,
    };
    let times = StageTimes {
        cl_ord_id,
        exec_id,
        received_time_ns: message.received.0.into(),
        sequenced_time_ns: message.sequenced.0.into(),
        durable_time_ns: now.0.into(),
        released_time_ns: now.0.into(),
    };
    stage_times(times, &mut |bytes| append_packet(PacketKind::Unsequenced, bytes, control));
}
