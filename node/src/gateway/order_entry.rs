//! The order entry gateway: received bytes to commands for the engine, released answers to bytes.
//!
//! ```text
//!  reactor --bytes--> session --messages--> decode --> ingress                  (poll_inbound)
//!  outbox --released answers--> streams --> send buffers --> reactor            (poll_outbound)
//! ```
//!
//! Invariants: requests are decoded only while few commands wait for the engine, and by turns; bytes whose turn has not
//! come stay in the reactor, which receives no more until they are decoded, so TCP slows the client down. Answers are
//! sent only when released, and only through their session's stream, so a client that reads slowly or disconnects
//! receives them by resend. A session has one live connection.

mod changes;
mod connections;
mod ends;
mod housekeeping;
mod inbound;
mod login;
mod logins;
mod send;

use crate::gateway::accept_ration::AcceptRation;
use crate::gateway::awaited_logins::AwaitedLogins;
use crate::gateway::login_locks::LoginLocks;
use crate::gateway::login_queue::{LoginQueue, Place};
use crate::gateway::passwords::PasswordPort;
use crate::gateway::refusal_log::RefusalLog;
use crate::gateway::resend::{ResendBatch, ResendPort};
use crate::gateway::returns::Returns;
use crate::gateway::verified::{Verified, VerifiedKey};
use crate::reactor::ports::{ConnId, Done, ListenerIdx, Sockets};
use crate::replica::session_streams::SessionStreams;
use crate::replica::translate::Translator;
use crate::rings::control::{ControlOut, SessionFacts};
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
use book::command::{ConnectionEnd, DownCause};
use book::engine::Engine;
use book::ids::{SessionId, UserName};
use book::rules::Rules;
use book::run::{Run, RunSpec};
use book::units::{Seq, TsNs};
use logins::Logins;
use rtrb::Producer;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// Commands that wait for the engine, beyond which no connection adds to them: what the engine runs in two cycles. It
/// is the longest queue that a session meets which has sent nothing yet; the rest wait by connections, which take
/// turns.
const COMMANDS_AHEAD_MAX: usize = 1024;
/// Connections that one cycle closes because their clients have left. Closing one takes as long as several orders.
const CLOSES_PER_CYCLE_MAX: usize = 32;
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
    /// Logins that wait for the check of their password. At the limit a block of addresses that has its share of them
    /// is accepted no further connection.
    pub login_queue_max: u32,
    /// Wrong passwords of one user at one block of addresses within the window. At the limit the user is locked there.
    pub login_failures_max: u32,
    pub login_failure_window_ns: u64,
    /// A wrong password is answered so much later. Its failure counts at once.
    pub login_failure_delay_ns: u64,
    pub session: SessionLimits,
    /// Unread messages, besides resends, beyond which a client is disconnected.
    pub queue_max: u64,
    /// Shortest grace window after a start, for sessions that have open orders.
    pub restart_window_ms: u32,
}

pub struct GatewayWiring {
    pub ingress: Producer<Ingress>,
    pub outbox: OutboxOut,
    pub release_times: ReleaseTimesOut,
    pub stages: StageRecorder,
    pub control: ControlOut,
    /// One for each checking thread.
    pub passwords: Vec<PasswordPort>,
    pub verified_key: VerifiedKey,
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
    /// The digest of its password, since that was last verified.
    verified: Option<Verified>,
    /// Counts the passwords that the session has had.
    password_number: u32,
    /// Counts the ends of its connections, and when the last one was.
    ends: u32,
    ended_at: TsNs,
    /// The numbers of its logins that wait, are being checked, or are about to be let in.
    logins: BTreeSet<u64>,
}

/// The time in which a new login keeps the orders of a session that has lost its connection.
#[derive(Clone, Copy, Debug)]
struct GraceWindow {
    cause: DownCause,
    ends: TsNs,
    /// It began with the node. It does not end before every login that the session had sent by `ends` had its turn.
    after_start: bool,
    /// The number of the last of these logins; set at `ends`.
    awaited: Option<u64>,
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
    /// Set while the login waits for its turn. No timeout counts meanwhile.
    waits: Option<Place>,
    /// The stream's next number at login. Messages before it are resends and do not count as unread.
    next_at_login: SessionSeq,
    resend: ResendState,
    /// Bytes to send before the next message.
    control: Vec<u8>,
    stage_times: bool,
    /// When the last send began.
    sending_since: TsNs,
    /// When the received bytes arrived.
    received_at: TsNs,
    /// Length of the front of the received bytes that is decoded.
    decoded: usize,
    /// Received bytes wait for their turn; the connection is in `Gateway::stalled`.
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

/// How far the present round over all connections and sessions has come.
#[derive(Debug, Default)]
struct Round {
    began_ns: u64,
    /// The next slot of a connection, and the next session.
    slot: usize,
    session: usize,
}

/// Where a connection's next message comes from.
enum ResendState {
    /// From memory. A client that leaves too many messages unread is disconnected.
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
    /// Connections of each address that has some.
    by_address: HashMap<IpAddr, u32>,
    accept_ration: AcceptRation,
    awaited_logins: AwaitedLogins,
    logins: Logins,
    returns: Returns,
    refusal_log: RefusalLog,
    streams: SessionStreams,
    /// Its life names the streams.
    run: Run,
    rules: Rules,
    /// Ends of sessions' lives that were seen.
    lives_seen: u32,
    /// Ends of connections that wait for room in the ingress. No session opens meanwhile, so there are no more than
    /// connections.
    ends: VecDeque<(TsNs, ConnectionEnd)>,
    instruments: Instruments,
    wiring: GatewayWiring,
    limits: GatewayLimits,
    orders: ListenerIdx,
    unsent: Vec<ConnId>,
    /// Connections that wait for their turn, in its order.
    stalled: VecDeque<ConnId>,
    /// Their clients have left; closed in this order, so many a cycle.
    lost: VecDeque<ConnId>,
    round: Round,
    inbound_stopped: bool,
}

/// What the gateway starts with.
pub struct GatewayState {
    streams: SessionStreams,
    run: Run,
    rules: Rules,
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
        let facts_of = |(id, session): (SessionId, &book::session::Session)| {
            SessionFacts::of(engine, id).map(|facts| SessionFacts { life: session.life_in(&run), ..facts })
        };
        Self {
            streams,
            run,
            rules: engine.rules(),
            instruments: translator.instruments().clone(),
            sessions: sessions.iter().filter_map(facts_of).collect(),
            absent: sessions.iter().filter(|(_, session)| session.open_count > 0).map(|(id, _)| id).collect(),
        }
    }
}

impl Gateway {
    pub fn new(
        state: GatewayState,
        orders: ListenerIdx,
        mut wiring: GatewayWiring,
        limits: GatewayLimits,
        now: TsNs,
    ) -> Self {
        let episodes = Episodes::new("orders", "limits.connections_max", limits.connections_max as usize);
        let locks = LoginLocks::new(limits.login_failures_max, limits.login_failure_window_ns);
        let (ports, key) = (std::mem::take(&mut wiring.passwords), wiring.verified_key.clone());
        let mut gateway = Self {
            conns: Vec::new(),
            sessions: Vec::new(),
            by_user: HashMap::new(),
            by_address: HashMap::new(),
            accept_ration: AcceptRation::default(),
            awaited_logins: AwaitedLogins::new(limits.logins_awaited_per_address_max, episodes),
            logins: Logins::new(ports, key, LoginQueue::new(limits.login_queue_max), locks),
            returns: Returns::new(now, state.absent.len()),
            refusal_log: RefusalLog::default(),
            streams: state.streams,
            run: state.run,
            rules: state.rules,
            lives_seen: 0,
            ends: VecDeque::with_capacity(limits.connections_max as usize),
            instruments: state.instruments,
            wiring,
            limits,
            orders,
            unsent: Vec::with_capacity(1024),
            stalled: VecDeque::with_capacity(1024),
            lost: VecDeque::with_capacity(1024),
            round: Round::default(),
            inbound_stopped: false,
        };
        for facts in state.sessions {
            gateway.add_session(facts);
        }
        for session in state.absent {
            gateway.start_grace_after_start(session, now, limits.restart_window_ms);
        }
        gateway
    }

    /// Handles what the reactor has completed and turns received bytes into commands. Returns the work done.
    pub fn poll_inbound(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let mut work = self.poll_control(now, reactor) + self.poll_ends();
        let mut idx = 0;
        while let Some(done) = reactor.done(idx) {
            idx += 1;
            match done {
                Done::Accepted { conn, listener } if listener == self.orders => self.accepted(now, conn, reactor),
                Done::Accepted { conn, .. } => reactor.close(conn),
                Done::AcceptPaused { cause, .. } => self.make_room(now, cause, reactor),
                Done::Received { conn, .. } => {
                    if let Some(conn) = self.conn_mut(conn) {
                        conn.received_at = now;
                    }
                    self.received(now, conn, reactor);
                }
                Done::Sent { conn } => self.mark_unsent(conn),
                Done::Lost { conn } => self.lost.push_back(conn),
            }
        }
        reactor.hold_accepts(self.accept_ration.is_used(now));
        work += idx;
        work += self.close_lost(now, reactor);
        work += self.retry_stalled(now, reactor);
        work += self.poll_logins(now, reactor);
        work += self.poll_resends(now, reactor);
        work += self.housekeeping(now, reactor);
        work
    }

    /// Stops accepting connections and decoding requests, because the node stops. Answers are still sent.
    pub fn stop_inbound(&mut self) {
        self.inbound_stopped = true;
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

impl SessionRecord {
    fn new(facts: SessionFacts) -> Self {
        Self {
            facts,
            conn: None,
            grace: None,
            verified: None,
            password_number: 0,
            ends: 0,
            ended_at: TsNs(0),
            logins: BTreeSet::new(),
        }
    }
}

impl Closing {
    fn new(now: TsNs, cause: DownCause) -> Self {
        Self { cause, ends: TsNs(now.0 + CLOSING_NS_MAX) }
    }
}
