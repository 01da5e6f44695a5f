//! The order entry gateway: received bytes to commands for the engine, released answers to bytes.
//!
//! ```text
//!  reactor --bytes--> session --messages--> decode --> ingress                  (poll_inbound)
//!  outbox --released answers--> streams --> send buffers --> reactor            (poll_outbound)
//! ```
//!
//! Invariants: requests are decoded only while the ingress has room for their commands; bytes for which it has none
//! stay in the reactor, which receives no more until they are decoded, so TCP slows the client down. Answers are sent
//! only when released, and only through their session's stream, so a client that reads slowly or disconnects receives
//! them by resend. A session has one live connection.

mod connections;
mod inbound;
mod login;
mod send;

use crate::gateway::awaited_logins::AwaitedLogins;
use crate::gateway::passwords::PasswordPort;
use crate::gateway::resend::{ResendBatch, ResendPort};
use crate::reactor::ports::{ConnId, Done, ListenerIdx, Sockets};
use crate::replica::session_streams::SessionStreams;
use crate::replica::translate::Translator;
use crate::rings::control::{Change, ControlOut, SessionFacts};
use crate::rings::ingress::Ingress;
use crate::rings::outbox::OutboxOut;
use crate::rings::release_times::ReleaseTimesOut;
use crate::rings::stages::StageRecorder;
use crate::status::Status;
use crate::status::listeners::Episodes;
use crate::status::watermarks::Watermark;
use api::binary::login::SessionName;
use api::binary::session::{Session, SessionLimits};
use api::binary::stream::SessionSeq;
use api::instruments::Instruments;
use book::command::DownCause;
use book::engine::Engine;
use book::ids::{SessionId, UserName};
use book::run::{Run, RunSpec};
use book::units::{Seq, TsNs};
use rtrb::Producer;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Commands that one receive can bring at most: the smallest request with its packet header has this many bytes.
const COMMANDS_PER_RECEIVE_MAX: usize = crate::reactor::uring::RECEIVE_BYTES / 24 + 1;
/// Interval at which timeouts and grace windows are checked.
const HOUSEKEEPING_NS: u64 = 50_000_000;
/// How long a connection that is being closed may take to read its last bytes.
const CLOSING_NS_MAX: u64 = 1_000_000_000;
/// Control bytes (login answers, heartbeats, stage times) in one send. Beyond this stage times are skipped.
const SEND_CONTROL_BYTES_MAX: usize = crate::reactor::uring::SEND_BYTES / 2;
/// Unsent control bytes beyond which the client does not read at all and is disconnected.
const CONTROL_BYTES_MAX: usize = 2 * SEND_CONTROL_BYTES_MAX;

/// Limits from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct GatewayLimits {
    pub connections_max: u32,
    /// An address that has as many loses its oldest connection without a login to a new one, or is refused.
    pub connections_per_address_max: u32,
    /// Connections of one address that have not sent a login; beyond, its oldest one is closed.
    pub logins_awaited_per_address_max: u32,
    /// Failed logins of one address within the window. At the limit its connections are closed when they are accepted.
    pub login_failures_max: u32,
    pub login_failure_window_ns: u64,
    pub session: SessionLimits,
    /// Unread messages, besides resends, beyond which a client is disconnected.
    pub queue_max: u64,
    /// Shortest grace window after a start, for sessions that have open orders.
    pub restart_window_ms: u32,
}

/// Connections and failed logins of one address.
#[derive(Clone, Copy, Debug, Default)]
struct AddressRecord {
    connections: u32,
    failures: u32,
    /// Start of the window in which `failures` were counted.
    failures_since_ns: u64,
}

/// Address records at once. At the limit those without connections are dropped.
const ADDRESSES_MAX: usize = 1 << 16;

pub struct GatewayWiring {
    pub ingress: Producer<Ingress>,
    pub outbox: OutboxOut,
    pub release_times: ReleaseTimesOut,
    pub stages: StageRecorder,
    pub control: ControlOut,
    pub passwords: PasswordPort,
    pub resends: ResendPort,
    /// Answers of commands at or below it may be sent.
    pub released: Watermark<Seq>,
    pub status: Arc<Status>,
}

/// What the gateway knows of a session.
#[derive(Debug)]
struct SessionRecord {
    facts: SessionFacts,
    conn: Option<ConnId>,
    /// Set while the session has no connection and its end is not reported to the engine.
    grace: Option<GraceWindow>,
}

/// The time in which a new login keeps the orders of a session that has lost its connection.
#[derive(Clone, Copy, Debug)]
struct GraceWindow {
    cause: DownCause,
    ends: TsNs,
}

struct Connection {
    id: ConnId,
    address: IpAddr,
    protocol: Session,
    session: Option<SessionId>,
    /// Number of the next message to send.
    next: SessionSeq,
    /// Number and session name that the login requested; in use until the login is accepted.
    requested: SessionSeq,
    requested_name: SessionName,
    /// The stream's next number at login. Messages before it are resends and do not count as unread.
    next_at_login: SessionSeq,
    resend: ResendState,
    /// Bytes to send before the next message.
    control: Vec<u8>,
    stage_times: bool,
    /// When the last send began.
    sending_since: TsNs,
    /// Length of the front of the received bytes that is decoded.
    decoded: usize,
    /// Received bytes wait for room in the ingress; the connection is in `Gateway::stalled`.
    stalled: bool,
    /// There may be bytes to send; the connection is in `Gateway::unsent`.
    unsent: bool,
    /// Set when the connection closes as soon as its last bytes are sent.
    closing: Option<Closing>,
}

#[derive(Clone, Copy, Debug)]
struct Closing {
    cause: DownCause,
    /// When the connection closes even if its last bytes are not sent.
    ends: TsNs,
}

/// Where a connection's next message comes from.
enum ResendState {
    /// From memory. A message that is no longer there means that the client is too slow; it is disconnected.
    Live,
    /// From the history, which is not requested yet.
    Needed,
    /// From the history, which is being read.
    Requested,
    /// From this batch, then from memory.
    Ready(Box<ResendBatch>),
}

pub struct Gateway {
    /// By connection slot.
    conns: Vec<Option<Box<Connection>>>,
    /// By session; the first element belongs to session 1.
    sessions: Vec<SessionRecord>,
    by_user: HashMap<UserName, SessionId>,
    by_address: HashMap<IpAddr, AddressRecord>,
    awaited_logins: AwaitedLogins,
    streams: SessionStreams,
    /// Its life names the streams.
    run: Run,
    instruments: Instruments,
    wiring: GatewayWiring,
    limits: GatewayLimits,
    orders: ListenerIdx,
    unsent: Vec<ConnId>,
    stalled: Vec<ConnId>,
    housekeeping_at_ns: u64,
    inbound_stopped: bool,
}

/// What the gateway starts with.
pub struct GatewayState {
    streams: SessionStreams,
    run: Run,
    instruments: Instruments,
    sessions: Vec<SessionFacts>,
    /// Sessions with open orders, which begin in a grace window.
    absent: Vec<SessionId>,
}

impl GatewayState {
    /// The state at the end of the log.
    /// `begins` is what this start records of its run before any other command: a new life is that of the streams.
    pub fn of(engine: &Engine, translator: &Translator, mut streams: SessionStreams, begins: RunSpec) -> Self {
        let (sessions, mut run) = (engine.sessions(), *engine.run());
        if let Some(tag) = begins.life {
            run.begin(&begins);
            streams.begin_life(tag.numbers_skipped());
        }
        Self {
            streams,
            run,
            instruments: translator.instruments().clone(),
            sessions: sessions.iter().filter_map(|(id, _)| SessionFacts::of(engine, id)).collect(),
            absent: sessions.iter().filter(|(_, session)| session.open_count > 0).map(|(id, _)| id).collect(),
        }
    }
}

impl Gateway {
    pub fn new(
        state: GatewayState,
        orders: ListenerIdx,
        wiring: GatewayWiring,
        limits: GatewayLimits,
        now: TsNs,
    ) -> Self {
        let episodes = Episodes::new("orders", "limits.connections_max", limits.connections_max as usize);
        let mut gateway = Self {
            conns: Vec::new(),
            sessions: Vec::new(),
            by_user: HashMap::new(),
            by_address: HashMap::new(),
            awaited_logins: AwaitedLogins::new(limits.logins_awaited_per_address_max, episodes),
            streams: state.streams,
            run: state.run,
            instruments: state.instruments,
            wiring,
            limits,
            orders,
            unsent: Vec::with_capacity(1024),
            stalled: Vec::with_capacity(1024),
            housekeeping_at_ns: 0,
            inbound_stopped: false,
        };
        for facts in state.sessions {
            gateway.set_facts(facts);
        }
        for session in state.absent {
            gateway.start_grace(session, DownCause::Disconnect, now, limits.restart_window_ms);
        }
        gateway
    }

    /// Handles what the reactor has completed and turns received bytes into commands. Returns the work done.
    pub fn poll_inbound(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let mut work = self.poll_control();
        let mut idx = 0;
        while let Some(done) = reactor.done(idx) {
            idx += 1;
            match done {
                Done::Accepted { conn, listener } if listener == self.orders => self.accepted(now, conn, reactor),
                Done::Accepted { conn, .. } => reactor.close(conn),
                Done::AcceptPaused { cause, .. } => self.make_room(now, cause, reactor),
                Done::Received { conn, .. } => self.received(now, conn, reactor),
                Done::Sent { conn } => self.mark_unsent(conn),
                Done::Lost { conn } => self.close(now, conn, DownCause::Disconnect, reactor),
            }
        }
        work += idx;
        work += self.retry_stalled(now, reactor);
        work += self.poll_verdicts(now, reactor);
        work += self.poll_resends(now, reactor);
        if now.0 - self.housekeeping_at_ns >= HOUSEKEEPING_NS {
            self.housekeeping_at_ns = now.0;
            self.housekeeping(now, reactor);
        }
        work
    }

    /// Stops accepting connections and decoding requests, because the node stops. Answers are still sent.
    pub fn stop_inbound(&mut self) {
        self.inbound_stopped = true;
    }

    fn poll_control(&mut self) -> usize {
        let released = self.wiring.released.get();
        let mut count = 0;
        while let Some(change) = self.wiring.control.next(released) {
            match change {
                Change::Instruments(event) => self.instruments.apply(&event),
                Change::Session(facts) => self.set_facts(*facts),
            }
            count += 1;
        }
        count
    }

    /// Adds a session, in the order of ids, or replaces the facts of a known one.
    fn set_facts(&mut self, facts: SessionFacts) {
        let idx = facts.session.0 as usize - 1;
        if let Some(session) = self.sessions.get_mut(idx) {
            session.facts = facts;
            return;
        }
        assert!(idx == self.sessions.len(), "session ids are dense");
        self.by_user.insert(facts.user, facts.session);
        self.sessions.push(SessionRecord { facts, conn: None, grace: None });
    }

    fn session(&self, id: SessionId) -> Option<&SessionRecord> {
        self.sessions.get((id.0 as usize).wrapping_sub(1))
    }

    fn session_mut(&mut self, id: SessionId) -> Option<&mut SessionRecord> {
        self.sessions.get_mut((id.0 as usize).wrapping_sub(1))
    }

    fn conn_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.conns.get_mut(id.slot())?.as_deref_mut().filter(|conn| conn.id == id)
    }

    fn mark_unsent(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        if !conn.unsent {
            conn.unsent = true;
            self.unsent.push(id);
        }
    }
}

impl Closing {
    fn new(now: TsNs, cause: DownCause) -> Self {
        Self { cause, ends: TsNs(now.0 + CLOSING_NS_MAX) }
    }
}
