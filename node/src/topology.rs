//! Every thread, ring and core, wired in one place.
//!
//! ```text
//!              +------------------------ core (threads = "single") -------------------------+
//!  sockets <-> | reactor <-> gateway --ingress--> engine loop --frames--> keeper -> RocksDB |
//!              |    ^    ^--outbox, marks, control--+     \--feed--> market gate <-> readers |
//!              |    +---- journal files <--------------+                                     |
//!              +----------------------------------------------------------------------------+
//!                  doorman, historian <-> gateway   edge --admin--> engine loop --answers--> edge
//!                                         gateway --stages--> edge --empty sets--> gateway
//! ```
//! With `threads = "pipeline"` gateway and engine loop have a core and a reactor each; the rings are the same.
//!
//! Order of an end: the gateway takes nothing in, the engine loop makes durable what it took, the answers leave, the
//! keeper stores all of it, the shadow follows to the end and keeps a snapshot, and only then the process goes.

use crate::config::{Config, Idle, JournalSyncMode, NodeConfig, Threads};
use crate::engine::engine_loop::{self, EngineLoop, Release, Wiring};
use crate::engine::run::{EngineSeat, GatewaySeat, Idler, Single};
use crate::faults::fault::JournalFault;
use crate::gateway::market_data::MarketGate;
use crate::gateway::order_entry::{DoorLimits, DoorState, Gateway, GatewayWiring};
use crate::gateway::passwords::door;
use crate::gateway::resend::archive;
use crate::host::clock::Clock;
use crate::host::listen;
use crate::host::pages;
use crate::host::pin::{KeptOff, pin_to};
use crate::ops::Ends;
use crate::reactor::ports::ListenerIdx;
use crate::reactor::uring::{Reactor, ReactorError};
use crate::replica::crash_guard::{self, CrashesAgain};
use crate::replica::questions::{ShadowPort, shadow_port};
use crate::replica::recover::{RestoreError, Restored, restore};
use crate::rings::admin_port::{AdminPort, admin_port};
use crate::rings::control::CONTROLS;
use crate::rings::feed_items::FEED_ITEMS;
use crate::rings::frames::frames;
use crate::rings::ingress::ingress;
use crate::rings::outbox::outbox;
use crate::rings::release_times::marks;
use crate::rings::stages::{StageTotals, stages};
use crate::shadow::retention::Retention;
use crate::shadow::schedule::Schedule;
use crate::shadow::{Shadow, ShadowWiring};
use crate::status::Status;
use crate::status::exit;
use crate::store_writer::{Keeper, flush_bytes};
use api::binary::session::SessionLimits;
use book::engine::Engine;
use rtrb::RingBuffer;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use wal::directory::Directory;
use wal::error::WalError;
use wal::head::{Head, HeadPosition};
use wal::quarantine::Quarantine;
use wal::segment::Access;

/// Readers of market data at once.
pub const MARKET_READERS_MAX: u16 = 256;
/// Longest wait of the feed in the kernel: what the engine hands over by ring is seen this late at most.
const FEED_IDLE: Duration = Duration::from_micros(200);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Log(#[from] WalError),
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    #[error("listening on {address} ({key}): {source}")]
    Listen { key: &'static str, address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    CrashesAgain(#[from] CrashesAgain),
    #[error("{0}")]
    Fault(String),
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
}

impl StartError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Restore(error) => error.exit_code(),
            Self::Log(error) => exit::code_of(error),
            Self::CrashesAgain(error) => error.exit_code(),
            Self::Fault(_) => exit::CONFIG,
            Self::Listen { .. } | Self::Reactor(_) | Self::Thread(_) => exit::FAILED,
        }
    }
}

/// A node that serves.
pub struct Node {
    pub status: Arc<Status>,
    pub admin: Arc<AdminPort>,
    pub stages: Arc<StageTotals>,
    pub addresses: Addresses,
    /// What the log said, for whoever shows it.
    pub log: wal::recover::Recovered,
    pub state_hash: book::state_hash::StateHash,
    core: Vec<JoinHandle<()>>,
    keeper: JoinHandle<()>,
    feed: JoinHandle<()>,
    doorman: JoinHandle<()>,
    historian: JoinHandle<()>,
    shadow: JoinHandle<()>,
    /// The way to the shadow.
    pub port: ShadowPort,
    engine_done: Arc<AtomicBool>,
    keeper_done: Arc<AtomicBool>,
}

/// Where the node listens; with port 0 in the configuration, the port that the system gave.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub orders: SocketAddr,
    pub market: SocketAddr,
}

/// What a node has before it reads its log: the directory for itself alone, and its listeners.
pub struct Claim {
    directory: Directory,
    orders: TcpListener,
    market: TcpListener,
    fault: JournalFault,
}

/// Takes the lock first: of two nodes on one directory the second shall say that, not that its ports are taken. Then the
/// listeners: an address in use is told before a long recovery, not after it.
pub fn claim(config: &Config) -> Result<Claim, StartError> {
    let fault = JournalFault::from_env().map_err(StartError::Fault)?;
    let directory = Directory::open(&config.node.data_dir)?;
    let orders = bind("listen.orders", config.listen.orders.address)?;
    let market = bind("listen.market", config.listen.market.address)?;
    Ok(Claim { directory, orders, market, fault })
}

/// `leave_cores`, `claim` and `start_claimed` in one.
pub fn start(config: &Config, observe: impl FnOnce(&Engine)) -> Result<Node, StartError> {
    let _kept_off = leave_cores(&config.node);
    start_claimed(config, claim(config)?, observe)
}

/// Proves and applies the log, then starts every thread. `observe` sees the recovered engine before it starts.
pub fn start_claimed(config: &Config, claim: Claim, observe: impl FnOnce(&Engine)) -> Result<Node, StartError> {
    let Claim { directory, orders, market, fault } = claim;
    let status = Arc::new(Status::default());
    let addresses = Addresses { orders: local(&orders)?, market: local(&market)? };
    let directory = Arc::new(directory);
    let quarantine = Quarantine::read(directory.path())?;
    crash_guard::check(directory.path(), &quarantine)?;
    crash_guard::watch(directory.path());
    let capacity = engine_loop::capacity(config.node.orders_capacity, config.node.markets_capacity);
    let mut laid = pages::Laid::default();
    let make_engine = || {
        let engine = Engine::new(capacity);
        laid = pages::lay(&engine, &config.node);
        engine
    };
    let (Restored { engine, translator, streams, feed, log, snapshot, unfinished }, store) =
        restore(&directory, &quarantine, make_engine, config.session.resend_max)?;
    let store = Arc::new(store);
    tracing::info!(
        state_bytes = laid.state_bytes,
        refused = laid.refused_count,
        huge_bytes = pages::huge_bytes(),
        "memory"
    );
    // Not before the log is proved: a refused directory stays as it was found.
    restore_ballast(config, &directory)?;
    let state_hash = engine.state_hash();
    observe(&engine);
    let journal = JournalParts::open(config, &directory, log.position, fault)?;
    let mark = directory.mark()?;

    let (frames_in, frames_out) = frames();
    let (outbox_in, outbox_out) = outbox();
    let (marks_in, marks_out) = marks();
    let (stage_recorder, stage_totals) = stages();
    let (ingress_in, ingress_out) = ingress();
    let (control_in, control_out) = RingBuffer::new(CONTROLS);
    let (feed_in, feed_out) = RingBuffer::new(FEED_ITEMS);
    let (bell, doorman) = door();
    let (port, shadow_inlet) = shadow_port();
    let (archive, historian) = archive(Arc::clone(&store), port.clone(), Arc::clone(&status));
    let (admin, inlet) = admin_port(Arc::clone(&status));
    let seq = engine.stamp().seq.0;
    for gauge in [&status.seq_applied, &status.seq_released, &status.seq_durable, &status.seq_stored] {
        gauge.set(seq);
    }
    let engine_done = Arc::new(AtomicBool::new(false));

    let clock = Clock::start(engine.stamp().ts);
    let head_config = config.journal.head(directory.identity().timeline, directory.identity().geometry);
    let flush_bytes = flush_bytes(&head_config);
    let keeper = Keeper::new(frames_out, Arc::clone(&store), mark, Arc::clone(&status), flush_bytes);
    let keeper_done = Arc::new(AtomicBool::new(false));
    let keeper = spawn(&status, "keeper", {
        let (done, mut clock) = (Arc::clone(&engine_done), clock.clone());
        // The lock goes with the directory, hence with the last thread that writes to it.
        let owned = Arc::clone(&directory);
        move || {
            keeper.run(&done, &mut clock);
            drop(owned);
        }
    })?;
    let newest = snapshot.as_ref().map_or(directory.identity().seq_base, |header| header.tail.seq);
    status.seq_snapshot.set(newest.0);
    let shadow = ShadowWiring {
        directory,
        store,
        quarantine,
        inlet: shadow_inlet,
        status: Arc::clone(&status),
        schedule: Schedule::new(config.snapshot.every_commands, config.snapshot.every, newest),
        retention: Retention {
            keep: config.snapshot.keep,
            retain_for: config.store.retain_for,
            retain_bytes: config.store.retain_bytes,
        },
        snapshot_on_stop: config.snapshot.on_stop,
        patrol_bytes_per_second: config.shadow.patrol_bytes_per_second,
    };
    let shadow = spawn(&status, "shadow", {
        let (status, mut clock, keeper_done) = (Arc::clone(&status), clock.clone(), Arc::clone(&keeper_done));
        // Loading takes its time, and nobody waits for it.
        move || match Shadow::begin(shadow, || Engine::new(capacity)) {
            Ok(shadow) => shadow.run(&keeper_done, &mut clock),
            Err(error) => status.fail(error.exit_code(), error.to_string()),
        }
    })?;
    let doorman = spawn(&status, "doorman", move || doorman.run())?;
    let historian = spawn(&status, "historian", move || historian.run())?;
    let gate = MarketGate::new(feed_out, feed, Arc::clone(&status), session_limits(config));
    let feed = spawn(&status, "feed", {
        let (status, done, clock) = (Arc::clone(&status), Arc::clone(&engine_done), clock.clone());
        move || match Reactor::new(MARKET_READERS_MAX) {
            Ok(mut reactor) => {
                reactor.listen(market);
                gate.run(reactor, clock, &done, FEED_IDLE);
            }
            Err(error) => status.fail(exit::FAILED, error.to_string()),
        }
    })?;

    let door_state = DoorState::of(&engine, &translator, streams);
    let release = match config.journal.sync {
        JournalSyncMode::Always if fault_acknowledges_early(&fault) => Release::Applied { write_every_ns: 0 },
        JournalSyncMode::Always => Release::Durable,
        JournalSyncMode::Interval => Release::Applied { write_every_ns: config.journal.interval.as_nanos() as u64 },
    };
    let wiring = Wiring {
        ingress: ingress_out,
        admin: inlet,
        outbox: outbox_in,
        marks: marks_in,
        feed: feed_in,
        frames: frames_in,
        control: control_in,
        status: Arc::clone(&status),
    };
    let check_every = config.shadow.check_every_commands;
    let engine_loop = EngineLoop::new(engine, translator, wiring, release, check_every, unfinished);
    let gateway_wiring = GatewayWiring {
        ingress: ingress_in,
        outbox: outbox_out,
        marks: marks_out,
        stages: stage_recorder,
        control: control_out,
        door: bell,
        archive,
        status: Arc::clone(&status),
    };
    let limits = DoorLimits {
        connections_per_address_max: config.limits.connections_per_address_max as u32,
        login_failures_max: config.limits.login_failures_max,
        login_failure_window_ns: config.limits.login_failure_window.as_nanos() as u64,
        session: session_limits(config),
        queue_max: config.session.queue_max as u64,
        restart_window_ms: millis(config.session.restart_window),
    };
    let seats = Seats {
        door_state,
        gateway_wiring,
        limits,
        orders,
        engine_loop,
        journal,
        connections_max: config.limits.connections_max as u16,
        clock,
        status: Arc::clone(&status),
        idle: config.node.idle,
        core: config.node.core,
        engine_done: Arc::clone(&engine_done),
    };
    let core = match config.node.threads {
        Threads::Single => seats.single()?,
        Threads::Pipeline => seats.pipeline()?,
    };
    status.ready.store(true, Ordering::Release);
    Ok(Node {
        status,
        admin: Arc::new(admin),
        stages: Arc::new(stage_totals),
        addresses,
        log,
        state_hash,
        core,
        keeper,
        feed,
        doorman,
        historian,
        shadow,
        port,
        engine_done,
        keeper_done,
    })
}

impl Node {
    /// What the operators' door needs of this node.
    pub fn ends(&self) -> Ends {
        let (status, admin) = (Arc::clone(&self.status), Arc::clone(&self.admin));
        Ends { status, admin, stages: Arc::clone(&self.stages), shadow: self.port.clone() }
    }

    /// Waits until every thread is done; the exit code of the process.
    pub fn join(self) -> u8 {
        let mut whole = true;
        for thread in self.core {
            whole &= thread.join().is_ok();
        }
        // Also when the core ended by a failure: the keeper stores what was durable and goes.
        self.engine_done.store(true, Ordering::Release);
        for thread in [self.feed, self.keeper] {
            whole &= thread.join().is_ok();
        }
        self.keeper_done.store(true, Ordering::Release);
        for thread in [self.shadow, self.doorman, self.historian] {
            whole &= thread.join().is_ok();
        }
        match self.status.failure() {
            Some(failure) => failure.exit_code,
            None if whole => exit::OK,
            None => exit::FAILED,
        }
    }
}

/// All that the pinned threads are made of.
struct Seats {
    door_state: DoorState,
    gateway_wiring: GatewayWiring,
    limits: DoorLimits,
    orders: TcpListener,
    engine_loop: EngineLoop,
    journal: JournalParts,
    connections_max: u16,
    clock: Clock,
    status: Arc<Status>,
    idle: Idle,
    core: usize,
    engine_done: Arc<AtomicBool>,
}

impl Seats {
    /// One thread, one ring, one core.
    fn single(self) -> Result<Vec<JoinHandle<()>>, StartError> {
        let watched = Arc::clone(&self.status);
        let thread = spawn(&watched, "core", move || {
            pin_or_say(self.core);
            let mut clock = self.clock;
            let reactor = match Reactor::new(self.connections_max) {
                Ok(reactor) => reactor,
                Err(error) => return self.status.fail(exit::FAILED, error.to_string()),
            };
            let mut reactor = self.journal.drive(reactor);
            let listener = reactor.listen(self.orders);
            let gateway = Gateway::new(self.door_state, listener, self.gateway_wiring, self.limits, clock.now());
            let idler = Idler::new(self.idle);
            Single { reactor, gateway, engine: self.engine_loop, clock, status: self.status, idler }.run();
            self.engine_done.store(true, Ordering::Release);
        })?;
        Ok(vec![thread])
    }

    /// Gateway and engine on a core each, joined by the same rings.
    fn pipeline(self) -> Result<Vec<JoinHandle<()>>, StartError> {
        let engine_stopped = Arc::new(AtomicBool::new(false));
        let gateway_closed = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&self.status);
        let engine = spawn(&watched, "engine", {
            let (status, mut clock, idle) = (Arc::clone(&self.status), self.clock.clone(), self.idle);
            let (journal, engine, core) = (self.journal, self.engine_loop, self.core);
            let (stopped, closed) = (Arc::clone(&engine_stopped), Arc::clone(&gateway_closed));
            let done = Arc::clone(&self.engine_done);
            move || {
                pin_or_say(core);
                match Reactor::new(0) {
                    Ok(reactor) => {
                        let reactor = journal.drive(reactor);
                        clock.now();
                        EngineSeat { reactor, engine, clock, status, idler: Idler::new(idle), closed }.run();
                    }
                    Err(error) => status.fail(exit::FAILED, error.to_string()),
                }
                stopped.store(true, Ordering::Release);
                done.store(true, Ordering::Release);
            }
        })?;
        let gateway = spawn(&watched, "gateway", move || {
            pin_or_say(self.core + 1);
            let mut clock = self.clock;
            let mut reactor = match Reactor::new(self.connections_max) {
                Ok(reactor) => reactor,
                Err(error) => return self.status.fail(exit::FAILED, error.to_string()),
            };
            let listener: ListenerIdx = reactor.listen(self.orders);
            let gateway = Gateway::new(self.door_state, listener, self.gateway_wiring, self.limits, clock.now());
            let idler = Idler::new(self.idle);
            let status = self.status;
            GatewaySeat { reactor, gateway, clock, status, idler, engine_stopped, closed: gateway_closed }.run();
        })?;
        Ok(vec![engine, gateway])
    }
}

/// The journal, ready to be driven by the reactor of whichever thread runs the engine.
struct JournalParts {
    head: Head,
    files: Vec<File>,
    fault: JournalFault,
}

impl JournalParts {
    fn open(
        config: &Config,
        directory: &Directory,
        position: HeadPosition,
        fault: JournalFault,
    ) -> Result<Self, StartError> {
        let identity = directory.identity();
        let head =
            Head::new(config.journal.head(identity.timeline, identity.geometry), position).map_err(WalError::Config)?;
        let files = directory.segments(Access::Direct)?.into_files();
        Ok(Self { head, files, fault })
    }

    fn drive(self, reactor: Reactor) -> Reactor {
        reactor.with_journal(self.head, self.files, self.fault)
    }
}

#[cfg(feature = "fault-injection")]
fn fault_acknowledges_early(fault: &JournalFault) -> bool {
    fault.acknowledge_before_sync
}

#[cfg(not(feature = "fault-injection"))]
fn fault_acknowledges_early(_fault: &JournalFault) -> bool {
    false
}

fn session_limits(config: &Config) -> SessionLimits {
    SessionLimits {
        login_ms: millis(config.session.login_timeout),
        silence_ms: millis(config.session.idle_timeout),
        heartbeat_ms: millis(config.session.heartbeat),
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Puts the ballast back that an operator may have deleted on a full disk, when there is room for it again.
fn restore_ballast(config: &Config, directory: &Directory) -> Result<(), StartError> {
    // Without the figure there is no room that we know of, and the ballast stays as it is.
    let free_bytes = rustix::fs::statvfs(directory.path()).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    let ballast = directory.restore_ballast(config.store.ballast_bytes, free_bytes)?;
    tracing::info!(?ballast, free_bytes, "ballast");
    Ok(())
}

fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    listen::patiently(address).map_err(|source| StartError::Listen { key, address, source })
}

fn local(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let address = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StartError::Listen { key: "listen", address, source })
}

/// A core that spins belongs to its thread alone: RocksDB, the keeper, the feed and log-ins stay off it, because threads
/// inherit where they may run from the one that starts them. A core that backs off is shared.
pub fn leave_cores(node: &NodeConfig) -> Option<KeptOff> {
    if node.idle != Idle::Spin {
        return None;
    }
    let cores = node.pinned_cores();
    let kept_off = KeptOff::from(&cores);
    if kept_off.is_none() {
        tracing::warn!(?cores, "no other core is there for everything that is not pinned: it shares the pinned ones");
    }
    kept_off
}

fn pin_or_say(core: usize) {
    if pin_to(core) {
        tracing::info!(core, "pinned");
    } else {
        tracing::warn!(core, "this core is not there to pin to; running unpinned");
    }
}

/// A thread whose panic ends the process like any other failure: a node without one of its loops serves nobody.
fn spawn(
    status: &Arc<Status>,
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let watch = Watch { status: Arc::clone(status), name };
    let run = move || {
        let _watch = watch;
        run();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(StartError::Thread)
}

/// Dropped at a thread's end; notices whether that was a panic.
struct Watch {
    status: Arc<Status>,
    name: &'static str,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.status.fail(exit::FAILED, format!("the thread {:?} panicked", self.name));
        }
    }
}
