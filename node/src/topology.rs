//! Topology: starts every thread, and connects the loops by rings. The only place that knows all of them.
//!
//! ```text
//!              +------------------------- core (threads = "single") ---------------------------+
//!  sockets <-> | reactor <-> gateway --ingress--> engine loop --frames--> store writer -> RocksDB
//!              |    ^    ^--outbox, release times, control--+  \--feed--> market data <-> readers
//!              |    +---- journal files <-------------------+                                  |
//!              +-------------------------------------------------------------------------------+
//!              passwords, resend <-> gateway    ops --admin--> engine loop --answers--> ops
//!                                               gateway --stage times--> ops --empty sets--> gateway
//! ```
//! With `threads = "pipeline"` gateway and engine loop have a core and a reactor each; the rings are the same.
//!
//! A stop has this order: the gateway accepts no more commands; the engine loop makes the accepted ones durable; the
//! answers are sent; the store writer stores all frames; the shadow applies them and takes a snapshot; the process
//! ends.

pub mod error;
mod followers;
mod pinned;
pub mod wiring;

use crate::config::{Config, JournalSyncMode};
use crate::engine::engine_loop::{self, EngineLoop, Release};
use crate::engine::next_run::next_run;
use crate::engine::opening::Opening;
use crate::faults::fault::JournalFault;
use crate::gateway::market_data::MarketLimits;
use crate::gateway::order_entry::{GatewayLimits, GatewayState};
use crate::gateway::passwords::{PasswordChecker, checker_count, password_port};
use crate::gateway::resend::{ResendPort, resend_port};
use crate::gateway::verified::VerifiedKey;
use crate::host::clock::{Clock, WallTime};
use crate::host::clock_start::{self, WallPolicy, WallRefused, WallVerdict};
use crate::host::descriptors::Descriptors;
use crate::host::listen;
use crate::host::pages;
use crate::host::random::{drawn, hash_key, key_bytes};
use crate::host::threads::leave_cores;
use crate::ops::OpsHandles;
use crate::replica::public_feed::PublicFeed;
use crate::replica::questions::{ShadowPort, shadow_port};
use crate::replica::recover::{Restored, restore};
use crate::replica::session_streams::StreamLimits;
use crate::replica::{backup_mark, crash_guard};
use crate::rings::admin_port::AdminPort;
use crate::rings::stages::StageTotals;
use crate::status::Status;
use crate::status::exit;
use crate::status::lifecycle::Lifecycle;
use crate::status::recovery::Stage;
use crate::status::torn_ends;
use crate::status::version::{COMMIT, VERSION};
use crate::status::watermarks::{WatermarkWriters, watermarks};
use crate::store_writer::{StoreWriter, flush_bytes};
use api::binary::session::SessionLimits;
use book::engine::{Capacity, Engine};
use book::hash_key::HashKey;
use book::run::RunSpec;
use book::units::Seq;
use error::StartError;
use followers::{Common, Followers, Loops, shadow_wiring};
use pinned::{JournalParts, PinnedThreads};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use wal::directory::Directory;
use wal::error::WalError;
use wal::quarantine::Quarantine;
use wal::store::Store;
use wiring::{GatewayHelpers, RingSizes, make_rings};

/// A wrong password is answered so much later, so that a guess takes its time.
const LOGIN_FAILURE_DELAY_NS: u64 = 200_000_000;

/// A running node.
pub struct Node {
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
    pub admin: Arc<AdminPort>,
    pub stages: Arc<StageTotals>,
    pub addresses: Addresses,
    /// The log as it was recovered at the start.
    pub log: wal::recover::Recovered,
    pub state_hash: book::state_hash::StateHash,
    core: Vec<JoinHandle<()>>,
    followers: Followers,
    /// For figures only: the threads hold the store.
    store: Weak<Store>,
    /// Sends requests to the shadow.
    pub port: ShadowPort,
}

/// Where the node listens. If the configuration says port 0, this is the port that the system chose.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub orders: SocketAddr,
    pub market: SocketAddr,
}

/// What a node claims before it reads its log: exclusive use of its directory, descriptors, its listening sockets.
pub struct Claim {
    directory: Directory,
    orders: TcpListener,
    market: TcpListener,
    fault: JournalFault,
    wall: WallPolicy,
    lifecycle: Arc<Lifecycle>,
    status: Arc<Status>,
    watermarks: WatermarkWriters,
}

impl Claim {
    /// Lets the start go on whatever the wall clock shows.
    pub fn accept_clock(self) -> Self {
        Self { wall: WallPolicy::Accept, ..self }
    }

    /// What shows how far the start has come, and then how the node does.
    pub fn shown(&self) -> (Arc<Lifecycle>, Arc<Status>) {
        (Arc::clone(&self.lifecycle), Arc::clone(&self.status))
    }
}

/// Locks the directory first, so that a second node on the same directory reports that, and not that its ports are in
/// use. Then makes sure of its descriptors, and binds the listeners, so that too low a limit and an address in use are
/// reported before a long recovery and not after it.
pub fn claim(config: &Config) -> Result<Claim, StartError> {
    let fault = JournalFault::from_env().map_err(StartError::Fault)?;
    let directory = lock(&config.node.data_dir)?;
    Descriptors::of(config, directory.identity().geometry.segment_count).claim()?;
    let orders = bind("listen.orders", config.listen.orders)?;
    let market = bind("listen.market", config.listen.market)?;
    let (watermarks, readers) = watermarks(Seq(0));
    let status = Arc::new(Status::new(readers));
    status.format.set(u64::from(directory.identity().format));
    let (wall, lifecycle) = (WallPolicy::Refuse, Arc::default());
    Ok(Claim { directory, orders, market, fault, wall, lifecycle, status, watermarks })
}

/// Opens the directory, and retries for two seconds while another process has its lock: a node that is stopping needs a
/// moment to store what is durable, and the next one can be started meanwhile.
#[expect(clippy::disallowed_methods, reason = "waits for a node that is about to end")]
fn lock(data_dir: &Path) -> Result<Directory, WalError> {
    const PAUSE: Duration = Duration::from_millis(20);
    const ATTEMPTS: u32 = 100;
    for _ in 1..ATTEMPTS {
        match Directory::open(data_dir) {
            Err(WalError::Locked { .. }) => std::thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
    Directory::open(data_dir)
}

/// Starts a node: `leave_cores`, `claim` and `start_claimed` in one call.
pub fn start(config: &Config, observe: impl FnOnce(&Engine)) -> Result<Node, StartError> {
    let _kept_off = leave_cores(&config.node);
    start_claimed(config, claim(config)?, observe)
}

/// Verifies and applies the log, then starts every thread. `observe` sees the recovered engine before its thread
/// starts.
pub fn start_claimed(config: &Config, claim: Claim, observe: impl FnOnce(&Engine)) -> Result<Node, StartError> {
    let addresses = Addresses { orders: local(&claim.orders)?, market: local(&claim.market)? };
    let Opened { directory, store, quarantine, capacity, shadow_key, restored } =
        open_state(config, claim.directory, &claim.status)?;
    let Restored { engine, translator, streams, mut feed, log, snapshot, continuations } = restored;
    let run = run_of_start(config, &engine, &directory, &quarantine, &mut feed)?;
    let opening = judge_clock(config, claim.wall, &engine, (directory.identity().format, run))?;
    let state_hash = engine.state_hash();
    observe(&engine);
    let journal = JournalParts::open(config, &directory, log.position, claim.fault)?;
    let mut writers = claim.watermarks;
    writers.begin_at(engine.stamp().seq);
    let readers = claim.status.watermarks.clone();
    let common = Common::new(claim.lifecycle, claim.status, Clock::start(engine.stamp().ts));
    let (port, inlet) = shadow_port();
    let (resend_port, resend) = resend_port(Arc::clone(&store), port.clone(), readers.durable.clone());
    let (helpers, passwords) = gateway_helpers(config, resend_port)?;
    let rings = make_rings(RingSizes::default(), writers.engine, helpers, &common.lifecycle, &common.status);
    let head_config = config.journal.head(directory.identity().timeline, directory.identity().geometry);
    let (mark, ends) = (directory.mark()?, (readers.durable.clone(), readers.applied.clone()));
    let settings = settings(config, &claim.fault, opening);
    let (flush_bytes, figures_of) = (flush_bytes(&head_config), Arc::downgrade(&store));
    let newest = snapshot.as_ref().map_or(directory.identity().seq_base, |header| header.tail.seq);
    let loops = Loops {
        store_writer: StoreWriter::new(rings.frames, Arc::clone(&store), mark, writers.stored, ends, flush_bytes),
        shadow: shadow_wiring(config, (directory, store, quarantine), newest, (inlet, writers.shadow), &common),
        capacity,
        shadow_key,
        passwords,
        resend,
        market: rings.market,
        feed,
        market_listener: claim.market,
        market_limits: market_limits(config),
        shadow_port: port.clone(),
        clock_error_max: config.node.clock_error_max,
    };
    let followers = Followers::spawn(loops, common.clone())?;
    let pinned = PinnedThreads {
        gateway_state: GatewayState::of(&engine, &translator, streams, run),
        gateway_wiring: rings.gateway,
        limits: gateway_limits(config),
        orders: claim.orders,
        engine_loop: EngineLoop::new(engine, translator, rings.engine, settings, continuations),
        journal,
        connections_max: config.limits.connections_max as u16,
        clock: common.clock.clone(),
        lifecycle: Arc::clone(&common.lifecycle),
        status: Arc::clone(&common.status),
        idle: config.node.idle,
        core: config.node.core,
        engine_done: Arc::clone(&common.engine_done),
    };
    let core = pinned.spawn(config.node.threads)?;
    common.status.recovery.enter(Stage::Done);
    common.lifecycle.serve();
    Ok(Node {
        lifecycle: common.lifecycle,
        status: common.status,
        admin: Arc::new(rings.admin),
        stages: Arc::new(rings.stages),
        addresses,
        log,
        state_hash,
        core,
        followers,
        store: figures_of,
        port,
    })
}

/// A data directory whose log is verified, and the state computed from it.
struct Opened {
    directory: Arc<Directory>,
    store: Arc<Store>,
    quarantine: Quarantine,
    capacity: Capacity,
    shadow_key: HashKey,
    restored: Restored,
}

fn open_state(config: &Config, mut directory: Directory, status: &Status) -> Result<Opened, StartError> {
    if let Some(place) = &config.store.backup_to {
        attest(&mut directory, place)?;
    }
    let directory = Arc::new(directory);
    let quarantine = Quarantine::read(directory.path())?;
    crash_guard::check(directory.path(), &quarantine)?;
    crash_guard::watch(directory.path());
    // The shadow has another key than the live engine: their checks agree all the same.
    let (engine_key, shadow_key) = (hash_key()?, hash_key()?);
    let capacity = engine_loop::capacity(config.node.orders_capacity, config.node.markets_capacity);
    let mut advice = pages::PageAdvice::default();
    let make_engine = || {
        let engine = Engine::keyed(capacity, engine_key);
        advice = pages::advise_pages(&engine, &config.node);
        engine
    };
    let limits = stream_limits(config);
    let (restored, store) = restore(&directory, &quarantine, make_engine, limits, &status.recovery)?;
    status.torn_ends.show(directory.path())?;
    for end in status.torn_ends.waiting() {
        tracing::warn!("{}", torn_ends::describe(&end));
    }
    tracing::info!(
        state_bytes = advice.state_bytes,
        refused = advice.refused_count,
        huge_bytes = pages::huge_bytes(),
        "memory of the state"
    );
    // Only after the log is verified: a refused directory stays as it was found.
    restore_ballast(config, &directory)?;
    Ok(Opened { directory, store: Arc::new(store), quarantine, capacity, shadow_key, restored })
}

/// Has the start compare its log with what was shipped to `place`.
fn attest(directory: &mut Directory, place: &Path) -> Result<(), StartError> {
    match backup_mark::read(directory, place)? {
        Some(attested) => directory.attest(attested),
        None => tracing::warn!(
            place = %place.display(),
            "store.backup_to has no backup of this node yet: the log is not compared with one"
        ),
    }
    Ok(())
}

impl Node {
    /// What the ops listener shares with this node.
    pub fn ops_handles(&self) -> OpsHandles {
        OpsHandles {
            lifecycle: Arc::clone(&self.lifecycle),
            status: Arc::clone(&self.status),
            admin: Arc::clone(&self.admin),
            stages: Arc::clone(&self.stages),
            shadow: self.port.clone(),
            store: self.store.clone(),
        }
    }

    /// Waits until every thread has ended. Returns the exit code of the process.
    pub fn join(self) -> u8 {
        let mut sound = true;
        for thread in self.core {
            sound &= thread.join().is_ok();
        }
        sound &= self.followers.join();
        match self.lifecycle.failure() {
            Some(failure) => failure.exit_code,
            None if sound => exit::OK,
            None => exit::FAILED,
        }
    }
}

/// What the gateway hands to other threads, and the threads' ends of the password checks.
fn gateway_helpers(config: &Config, resends: ResendPort) -> Result<(GatewayHelpers, Vec<PasswordChecker>), StartError> {
    let (passwords, checkers) = (0..checker_count(&config.node)).map(|_| password_port()).unzip();
    let verified_key = VerifiedKey::new(key_bytes()?);
    Ok((GatewayHelpers { passwords, verified_key, resends }, checkers))
}

/// The run that this start begins. A new life of the streams is worth a warning: clients have to log in to it.
fn run_of_start(
    config: &Config,
    engine: &Engine,
    directory: &Directory,
    quarantine: &Quarantine,
    feed: &mut PublicFeed,
) -> Result<RunSpec, StartError> {
    let may_lose = config.journal.sync == JournalSyncMode::Interval;
    if may_lose {
        let interval_us = config.journal.interval.as_micros() as u64;
        tracing::warn!(interval_us, "answers leave before they are durable: a crash can lose those of one interval");
    }
    let run = next_run(engine, directory, quarantine, may_lose, drawn()?);
    if let Some(tag) = run.life {
        let life = engine.run().life + 1;
        feed.begin_life(life, tag.numbers_skipped());
        tracing::warn!(
            life,
            tag = tag.0,
            "clients may have seen numbers that this log does not have: new life of all streams"
        );
    }
    Ok(run)
}

fn settings(config: &Config, fault: &JournalFault, opening: Opening) -> engine_loop::Settings {
    engine_loop::Settings {
        release: release(config.journal.sync, config.journal.interval, fault),
        check_every: config.shadow.check_every_commands,
        opening,
    }
}

/// Compares the wall clock with the log. Returns what the log will say of this start: an operator who has accepted a
/// clock is found there.
fn judge_clock(
    config: &Config,
    policy: WallPolicy,
    engine: &Engine,
    (format, run): (u32, RunSpec),
) -> Result<Opening, WallRefused> {
    let wall = WallTime::read();
    let verdict = clock_start::check(wall, engine.stamp().ts, config.node.clock_ahead_max, policy)?;
    let (build, wall) = (format!("pinion {VERSION} {COMMIT}"), wall.0);
    match verdict {
        WallVerdict::Near => Ok(Opening { format, build, wall, run }),
        WallVerdict::Accepted => {
            tracing::warn!(wall_ns = wall.0, "the wall clock lies far from the log, and is accepted: --accept-clock");
            Ok(Opening { format, build: format!("{build}, clock accepted"), wall, run })
        }
    }
}

fn release(sync: JournalSyncMode, interval: Duration, fault: &JournalFault) -> Release {
    match sync {
        JournalSyncMode::Always if fault_acknowledges_early(fault) => Release::Applied { write_every_ns: 0 },
        JournalSyncMode::Always => Release::Durable,
        JournalSyncMode::Interval => Release::Applied { write_every_ns: interval.as_nanos() as u64 },
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

fn gateway_limits(config: &Config) -> GatewayLimits {
    GatewayLimits {
        connections_max: config.limits.connections_max as u32,
        connections_per_address_max: config.limits.connections_per_address_max as u32,
        logins_awaited_per_address_max: config.limits.logins_awaited_per_address_max as u32,
        login_queue_max: config.session.login_queue_max,
        login_failures_max: config.limits.login_failures_max,
        login_failure_window_ns: config.limits.login_failure_window.as_nanos() as u64,
        login_failure_delay_ns: LOGIN_FAILURE_DELAY_NS,
        session: session_limits(config),
        queue_max: config.session.queue_max as u64,
        restart_window_ms: millis(config.session.restart_window),
    }
}

fn market_limits(config: &Config) -> MarketLimits {
    MarketLimits {
        connections_max: config.limits.market_connections_max as u32,
        connections_per_block_max: config.limits.market_connections_per_block_max,
        logins_awaited_per_address_max: config.limits.logins_awaited_per_address_max as u32,
        session: session_limits(config),
    }
}

fn stream_limits(config: &Config) -> StreamLimits {
    StreamLimits { messages_max: config.session.resend_max, bytes_max: config.session.resend_bytes_max }
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

/// Recreates the ballast file, which an operator may have deleted on a full disk, if there is enough free space again.
fn restore_ballast(config: &Config, directory: &Directory) -> Result<(), StartError> {
    // If the free space cannot be determined, assume that there is none: the ballast then stays as it is.
    let free_bytes = rustix::fs::statvfs(directory.path()).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    let ballast = directory.restore_ballast(config.store.ballast_bytes, free_bytes)?;
    tracing::info!(?ballast, free_bytes, "ballast file");
    Ok(())
}

fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    listen::patiently(address).map_err(|source| StartError::Listen { key, address, source })
}

fn local(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let address = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| StartError::Listen { key: "listen", address, source })
}
