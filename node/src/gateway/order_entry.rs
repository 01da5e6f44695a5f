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

mod connections;
mod inbound;
mod login;
mod send;

use crate::gateway::passwords::Doorbell;
use crate::gateway::resend::{Archive, Recalled};
use crate::reactor::ports::{ConnId, Done, ListenerIdx, Sockets};
use crate::replica::session_streams::SessionStreams;
use crate::replica::translate::Translator;
use crate::rings::control::{Change, Control, SessionFacts};
use crate::rings::ingress::Ingress;
use crate::rings::outbox::OutboxOut;
use crate::rings::release_times::ReleaseTimesOut;
use crate::rings::stages::StageRecorder;
use crate::status::Status;
use crate::status::watermarks::Watermark;
use api::binary::login::SessionName;
use api::binary::session::{Session, SessionLimits};
use api::binary::stream::SessionSeq;
use api::instruments::Instruments;
use book::command::DownCause;
use book::engine::Engine;
use book::ids::{SessionId, UserName};
use book::units::{Seq, TsNs};
use rtrb::{Consumer, Producer};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Commands that one receive can bring at most: the smallest message with its packet takes this many bytes.
const COMMANDS_PER_RECEIVE_MAX: usize = crate::reactor::uring::RECEIVE_BYTES / 24 + 1;
/// How often silent connections and grace windows are looked at.
const HOUSEKEEPING_NS: u64 = 50_000_000;
/// How long a connection that ends may take to read the last that is said to it.
const LAST_WORDS_NS: u64 = 1_000_000_000;
/// Unsequenced bytes (log-in answers, heartbeats, stage times) that one send carries; past it stage times are left out.
const SEND_CONTROL_BYTES_MAX: usize = crate::reactor::uring::SEND_BYTES / 2;
/// Past this many of them the client does not read at all and is disconnected.
const CONTROL_BYTES_MAX: usize = 2 * SEND_CONTROL_BYTES_MAX;

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
    pub release_times: ReleaseTimesOut,
    pub stages: StageRecorder,
    pub control: Consumer<Control>,
    pub door: Doorbell,
    pub archive: Archive,
    /// What is at or below it may leave.
    pub released: Watermark<Seq>,
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
    /// When the last send began.
    sending_since: TsNs,
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
    streams: SessionStreams,
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
    streams: SessionStreams,
    instruments: Instruments,
    sessions: Vec<SessionFacts>,
    /// Sessions whose orders outlived the last run: they have their grace window to come back.
    absent: Vec<SessionId>,
}

impl DoorState {
    /// As the log left it.
    pub fn of(engine: &Engine, translator: &Translator, streams: SessionStreams) -> Self {
        let sessions = engine.sessions();
        Self {
            streams,
            instruments: translator.instruments().clone(),
            sessions: sessions.iter().filter_map(|(id, _)| SessionFacts::of(engine, id)).collect(),
            absent: sessions.iter().filter(|(_, session)| session.open_count > 0).map(|(id, _)| id).collect(),
        }
    }
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
    pub fn take_in(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
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

    /// From now on nothing is taken in: the node is stopping. Answers still go out.
    pub fn close_to_new(&mut self) {
        self.closed_to_new = true;
    }

    fn take_control(&mut self) -> usize {
        let released = self.wiring.released.get();
        let mut count = 0;
        while self.wiring.control.peek().is_ok_and(|control| control.seq <= released) {
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
impl Closing {
    fn within(now: TsNs, cause: DownCause) -> Self {
        Self { cause, ends: TsNs(now.0 + LAST_WORDS_NS) }
    }
}
