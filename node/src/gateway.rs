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
use crate::outbox::OutboxOut;
use crate::reactor::{ConnId, Done, ListenerIdx, Reactor};
use crate::status::Status;
use crate::streams::Streams;
use api::decode::{Sender, decode};
use api::encode::{StageTimes, stage_times};
use api::instruments::Instruments;
use api::login::{LoginReject, LoginRequest, SessionName};
use api::session::{CloseReason, Session, SessionOutput, SessionTimes};
use api::soup::{PacketKind, write_packet};
use api::stream::{SessionSeq, first_to_send};
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
/// Unsequenced bytes (log-in answers, heartbeats, stage times) kept for one connection; past it stage times are left out.
const CONTROL_BYTES_MAX: usize = 16 * 1024;

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
    pub times: SessionTimes,
}

pub struct GatewayWiring {
    pub ingress: Producer<Ingress>,
    pub outbox: OutboxOut,
    pub control: Consumer<Control>,
    pub door: Doorbell,
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
    at: TsNs,
    cause: DownCause,
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
    control: Vec<u8>,
    stage_times: bool,
    /// Bytes were received and not yet taken, because the ingress was full.
    stalled: bool,
    dirty: bool,
    closing: Option<CloseReason>,
}

pub struct Gateway {
    /// By connection slot.
    conns: Vec<Option<Box<OrderConn>>>,
    /// By session.
    desks: Vec<Desk>,
    by_user: HashMap<UserName, SessionId>,
    by_address: HashMap<IpAddr, u32>,
    streams: Streams,
    instruments: Instruments,
    wiring: GatewayWiring,
    limits: DoorLimits,
    orders: ListenerIdx,
    dirty: Vec<ConnId>,
    stalled: Vec<ConnId>,
    /// Ends of sessions that found the ingress full.
    downs: Vec<SessionDown>,
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
            downs: Vec::new(),
            housekeeping_at_ns: 0,
            closed_to_new: false,
        };
        for facts in state.sessions {
            gateway.learn(facts);
        }
        for session in state.absent {
            gateway.mark_down(session, DownCause::Disconnect, now);
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
            if state.stage_times && state.control.len() < CONTROL_BYTES_MAX {
                let times = StageTimes {
                    received: message.received,
                    sequenced: message.sequenced,
                    durable: now,
                    released: now,
                };
                append_stage_times(message.bytes(), &times, &mut state.control);
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
        if self.closed_to_new || !self.admit_address(address) {
            self.wiring.status.logins_refused.add(1);
            reactor.close(id);
            return;
        }
        if id.slot() >= self.conns.len() {
            self.conns.resize_with(id.slot() + 1, || None);
        }
        self.conns[id.slot()] = Some(Box::new(OrderConn {
            id,
            address,
            protocol: Session::new(now, self.limits.times),
            session: None,
            next: SessionSeq::HEAD,
            wanted: SessionSeq::HEAD,
            control: Vec::new(),
            stage_times: false,
            stalled: false,
            dirty: false,
            closing: None,
        }));
        self.wiring.status.connections.add(1);
    }

    fn admit_address(&mut self, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return false };
        let count = self.by_address.entry(address).or_insert(0);
        if *count >= self.limits.connections_per_address_max {
            return false;
        }
        *count += 1;
        true
    }

    fn received(&mut self, now: TsNs, id: ConnId, reactor: &mut Reactor) {
        if self.closed_to_new {
            return;
        }
        if self.wiring.ingress.slots() < COMMANDS_PER_RECEIVE_MAX {
            if let Some(conn) = self.conn_mut(id)
                && !conn.stalled
            {
                conn.stalled = true;
                self.stalled.push(id);
            }
            return;
        }
        let Some(mut conn) = self.conns.get_mut(id.slot()).and_then(Option::take) else { return };
        if conn.id == id {
            let OrderConn { protocol, session, control, wanted, stage_times, .. } = &mut *conn;
            let mut taking = Taking {
                now,
                sender: session.and_then(|s| self.desk(s)).map(|desk| desk.sender()),
                instruments: &self.instruments,
                ingress: &mut self.wiring.ingress,
                control,
                stage_times,
                login: None,
                logout: false,
                close: None,
            };
            protocol.on_bytes(now, reactor.received(id), &mut taking);
            let Taking { login, logout, close, .. } = taking;
            let attempt = login.map(|login| {
                *wanted = login.sequence;
                login
            });
            self.conns[id.slot()] = Some(conn);
            self.after_bytes(now, id, attempt, logout, close, reactor);
            reactor.receive(id);
        } else {
            self.conns[id.slot()] = Some(conn);
        }
    }
}
