//! The threads beside the pinned ones: store writer, store merger, shadow, market data, passwords, resend, clock. No
//! order waits for them, and each is started again after a panic.

use super::error::StartError;
use super::wiring::MarketWiring;
use crate::config::Config;
use crate::gateway::feed_thread::FeedThread;
use crate::gateway::market_data::{MarketData, MarketLimits};
use crate::gateway::passwords::PasswordChecker;
use crate::gateway::resend::ResendReader;
use crate::host::clock::Clock;
use crate::host::clock_watch::ClockWatch;
use crate::host::threads::{Life, spawn_supervised};
use crate::replica::public_feed::PublicFeed;
use crate::replica::questions::{ShadowInlet, ShadowPort};
use crate::shadow::ShadowWiring;
use crate::shadow::retention::Retention;
use crate::shadow::schedule::Schedule;
use crate::shadow::thread::ShadowThread;
use crate::status::Status;
use crate::status::lifecycle::Lifecycle;
use crate::status::restarts::Worker;
use crate::status::watermarks::ShadowWatermarks;
use crate::store_merger::StoreMerger;
use crate::store_writer::StoreWriter;
use book::engine::Capacity;
use book::hash_key::HashKey;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use wal::directory::Directory;
use wal::quarantine::Quarantine;
use wal::store::Store;
use wal::units::Lsn;

/// What every follower shares with the process.
#[derive(Clone)]
pub(super) struct Common {
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
    pub clock: Clock,
    /// The engine loop has ended: no further frames or items will come.
    pub engine_done: Arc<AtomicBool>,
    /// The store writer has ended: every durable frame is stored.
    pub store_writer_done: Arc<AtomicBool>,
}

impl Common {
    pub(super) fn new(lifecycle: Arc<Lifecycle>, status: Arc<Status>, clock: Clock) -> Self {
        Self { lifecycle, status, clock, engine_done: Arc::default(), store_writer_done: Arc::default() }
    }
}

/// The running threads, in the order in which they end.
pub(super) struct Followers {
    feed: JoinHandle<()>,
    store_writer: JoinHandle<()>,
    store_merger: JoinHandle<()>,
    shadow: JoinHandle<()>,
    passwords: Vec<JoinHandle<()>>,
    resend: JoinHandle<()>,
    clock: JoinHandle<()>,
    common: Common,
}

/// The loops, before each is given a thread.
pub(super) struct Loops {
    pub store_writer: StoreWriter,
    pub shadow: ShadowWiring,
    pub capacity: Capacity,
    pub shadow_key: HashKey,
    /// One for each thread.
    pub passwords: Vec<PasswordChecker>,
    pub resend: ResendReader,
    pub market: MarketWiring,
    pub feed: PublicFeed,
    pub market_listener: TcpListener,
    pub market_limits: MarketLimits,
    pub shadow_port: ShadowPort,
    pub clock_error_max: Duration,
}

impl Common {
    fn spawn(&self, worker: Worker, run: impl FnMut(Life) + Send + 'static) -> std::io::Result<JoinHandle<()>> {
        spawn_supervised(worker, &self.lifecycle, &self.status, run)
    }
}

impl Followers {
    pub(super) fn spawn(loops: Loops, common: Common) -> Result<Self, StartError> {
        let Loops { store_writer, shadow, capacity, shadow_key, passwords, mut resend, .. } = loops;
        let watch = ClockWatch::new(common.clock.clone(), Arc::clone(&common.status), loops.clock_error_max);
        let market = MarketData::new(
            loops.market.items,
            loops.feed,
            loops.shadow_port,
            loops.market.released,
            Arc::clone(&common.status),
            loops.market_limits,
        );
        let feed = FeedThread {
            market,
            store: Arc::clone(&shadow.store),
            listener: loops.market_listener,
            limits: loops.market_limits,
            clock: common.clock.clone(),
            engine_done: Arc::clone(&common.engine_done),
            lifecycle: Arc::clone(&common.lifecycle),
            status: Arc::clone(&common.status),
        };
        let threads = (|| {
            Ok(Self {
                store_writer: spawn_store_writer(store_writer, Arc::clone(&shadow.directory), &common)?,
                store_merger: spawn_store_merger(Arc::clone(&shadow.store), Arc::clone(&shadow.directory), &common)?,
                shadow: spawn_shadow(ShadowThread::new(shadow, capacity, shadow_key), &common)?,
                passwords: spawn_passwords(passwords, &common)?,
                resend: common.spawn(Worker::Resend, move |life| resend.run(life))?,
                feed: spawn_feed(feed, &common)?,
                clock: spawn_clock(watch, &common)?,
                common: common.clone(),
            })
        })();
        threads.map_err(StartError::Thread)
    }

    /// Lets all of them finish and waits for that; false if one of them panicked. To be called after the pinned threads
    /// have ended.
    pub(super) fn join(self) -> bool {
        let mut sound = true;
        // The pinned threads set this themselves, unless they panicked: then the store writer stores what is durable.
        self.common.engine_done.store(true, Ordering::Release);
        for thread in [self.feed, self.store_writer] {
            sound &= thread.join().is_ok();
        }
        self.common.store_writer_done.store(true, Ordering::Release);
        // It sleeps between two looks.
        self.clock.thread().unpark();
        let others = [self.store_merger, self.shadow, self.resend, self.clock];
        for thread in others.into_iter().chain(self.passwords) {
            sound &= thread.join().is_ok();
        }
        sound
    }
}

fn spawn_store_writer(
    mut writer: StoreWriter,
    directory: Arc<Directory>,
    common: &Common,
) -> std::io::Result<JoinHandle<()>> {
    let Common { lifecycle, status, mut clock, engine_done, .. } = common.clone();
    common.spawn(Worker::StoreWriter, move |life| {
        // The directory's lock is released with it, so this thread holds it until its last write.
        let _held = &directory;
        writer.run(life, &engine_done, &mut clock, &lifecycle, &status);
    })
}

fn spawn_store_merger(
    store: Arc<Store>,
    directory: Arc<Directory>,
    common: &Common,
) -> std::io::Result<JoinHandle<()>> {
    let Common { lifecycle, status, mut clock, .. } = common.clone();
    common.spawn(Worker::StoreMerger, move |_| {
        // As for the store writer: no other process opens the directory before the last merge has ended.
        let _held = &directory;
        StoreMerger::new(Arc::clone(&store), Arc::clone(&status)).run(&mut clock, &lifecycle);
    })
}

fn spawn_shadow(mut shadow: ShadowThread, common: &Common) -> std::io::Result<JoinHandle<()>> {
    let Common { mut clock, store_writer_done, .. } = common.clone();
    // The shadow loads the state a second time, on its own thread: the node serves meanwhile.
    common.spawn(Worker::Shadow, move |_| shadow.run(&store_writer_done, &mut clock))
}

fn spawn_feed(mut feed: FeedThread, common: &Common) -> std::io::Result<JoinHandle<()>> {
    common.spawn(Worker::Feed, move |life| feed.run(life))
}

fn spawn_clock(mut watch: ClockWatch, common: &Common) -> std::io::Result<JoinHandle<()>> {
    let lifecycle = Arc::clone(&common.lifecycle);
    common.spawn(Worker::Clock, move |_| watch.run(&lifecycle))
}

fn spawn_passwords(checkers: Vec<PasswordChecker>, common: &Common) -> std::io::Result<Vec<JoinHandle<()>>> {
    let spawn = |mut checker: PasswordChecker| common.spawn(Worker::Passwords, move |life| checker.run(life));
    checkers.into_iter().map(spawn).collect()
}

/// The shadow's wiring, from the configuration.
pub(super) fn shadow_wiring(
    config: &Config,
    (directory, store, quarantine): (Arc<Directory>, Arc<Store>, Quarantine),
    newest: Lsn,
    (inlet, watermarks): (ShadowInlet, ShadowWatermarks),
    common: &Common,
) -> ShadowWiring {
    ShadowWiring {
        directory,
        store,
        quarantine,
        inlet,
        watermarks,
        lifecycle: Arc::clone(&common.lifecycle),
        status: Arc::clone(&common.status),
        schedule: Schedule::new(config.snapshot.every_commands, config.snapshot.every, newest),
        retention: Retention {
            keep: config.snapshot.keep,
            retain_for: config.store.retain_for,
            retain_bytes: config.store.retain_bytes,
        },
        snapshot_on_stop: config.snapshot.on_stop,
        scrub_bytes_per_second: config.shadow.patrol_bytes_per_second,
    }
}
