//! One process of the node: the real loops, wired by the constructors that `node::topology` uses, over simulated
//! connections and a simulated disk. `World` steps them.

use crate::disk::Disk;
use crate::journal::{Journal, segment_path};
use crate::options::Options;
use crate::oracle::small;
use crate::sockets::Net;
use api::binary::session::SessionLimits;
use book::engine::Engine;
use book::hash_key::HashKey;
use book::run::RunSpec;
use book::units::TsNs;
use node::engine::engine_loop::{EngineLoop, Settings};
use node::engine::next_run::next_run;
use node::engine::opening::Opening;
use node::gateway::market_data::{MarketData, MarketLimits};
use node::gateway::order_entry::{Gateway, GatewayLimits, GatewayState};
use node::gateway::passwords::{Attempt, PasswordPort, Verdict};
use node::gateway::resend::{ResendBatch, ResendPort, ResendRequest, read_history};
use node::gateway::verified::VerifiedKey;
use node::reactor::ports::ListenerIdx;
use node::replica::questions::{ShadowPort, shadow_port};
use node::replica::recover::{Restored, restore};
use node::replica::snapshots;
use node::rings::admin_port::AdminPort;
use node::shadow::retention::Retention;
use node::shadow::schedule::Schedule;
use node::shadow::{Shadow, ShadowWiring};
use node::status::Status;
use node::status::lifecycle::Lifecycle;
use node::status::recovery::Recovery;
use node::status::watermarks::{Watermark, watermarks};
use node::store_writer::{StoreWriter, flush_bytes};
use node::topology::wiring::{GatewayHelpers, make_rings};
use rtrb::{Consumer, Producer, RingBuffer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use wal::block::BLOCK_BYTES;
use wal::directory::Directory;
use wal::head::{Head, HeadConfig};
use wal::identity::{FORMAT_NEWEST, Identity};
use wal::mark::{MARK_SLOT_STRIDE_BYTES, MARK_SLOTS, MarkSlot};
use wal::quarantine::Quarantine;
use wal::recover::Recovered;
use wal::segment::{Geometry, SegmentHeader};
use wal::snapshot::SnapshotHeader;
use wal::store::Store;
use wal::units::{Lsn, NodeId, SegmentIdx, Timeline};
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

pub(crate) const DATA_DIR: &str = "/simulated";
const TIMELINE: Timeline = Timeline(1);

const SESSION_LIMITS: SessionLimits = SessionLimits { login_ms: 5_000, silence_ms: 15_000, heartbeat_ms: 1_000 };
const GATEWAY_LIMITS: GatewayLimits = GatewayLimits {
    connections_max: 1_000,
    connections_per_address_max: 1_000,
    logins_awaited_per_address_max: 1_000,
    login_queue_max: 1_000,
    login_failures_max: 1_000,
    login_failure_window_ns: 1_000_000_000,
    // Some runs have steps of nanoseconds.
    login_failure_delay_ns: 1_000,
    session: SESSION_LIMITS,
    queue_max: 1 << 12,
    restart_window_ms: 50,
};

const MARKET_LIMITS: MarketLimits = MarketLimits {
    connections_max: 1_000,
    logins_awaited_per_address_max: 1_000,
    connections_per_block_max: 1_000,
    session: SESSION_LIMITS,
};

pub(crate) fn mark_path() -> PathBuf {
    Path::new(DATA_DIR).join("MARK")
}

/// A byte of one of the mark's slots.
pub(crate) fn mark_byte(at: usize) -> usize {
    let (slot, byte) = ((at >> 8) % MARK_SLOTS as usize, at % size_of::<MarkSlot>());
    slot * MARK_SLOT_STRIDE_BYTES as usize + byte
}

/// How many slots of the mark are intact: a cut in the middle of a write leaves one of them torn.
pub(crate) fn mark_slots_intact(disk: &Disk) -> usize {
    let at = |slot: u64| (slot * MARK_SLOT_STRIDE_BYTES) as usize;
    let is_intact = |slot: &u64| {
        let bytes = disk.file_bytes(&mark_path(), at(*slot), size_of::<MarkSlot>());
        MarkSlot::read_from_bytes(&bytes).is_ok_and(|found| {
            let (counter, seq) = (found.counter.get(), Lsn(found.seq.get()));
            MarkSlot::new(TIMELINE, counter, seq).as_bytes() == bytes && counter % MARK_SLOTS == *slot
        })
    };
    (0..MARK_SLOTS).filter(is_intact).count()
}

fn directory(disk: &Disk, options: &Options) -> Directory {
    Directory::on(Arc::new(disk.clone()), Path::new(DATA_DIR), identity(options))
}

/// The starting points of a recovery: the sequence after which the log begins, and the snapshots with theirs.
pub(crate) fn starting_points(disk: &Disk, options: &Options) -> (u64, Vec<(PathBuf, u64)>) {
    let directory = directory(disk, options);
    let store = directory.store_read_only().expect("the image is undamaged");
    let base = store.base().expect("the image is undamaged");
    let snapshots = snapshots::list(&directory).expect("a simulated disk lists its files");
    (base.seq.0, snapshots.into_iter().map(|file| (file.path, file.seq.0)).collect())
}

fn identity(options: &Options) -> Identity {
    let geometry = Geometry { segment_count: options.segment_count, segment_bytes: options.segment_bytes };
    Identity { format: FORMAT_NEWEST, node_id: NodeId([7; 16]), timeline: TIMELINE, seq_base: Lsn(0), geometry }
}

/// A disk with a new data directory.
pub(crate) fn format(options: &Options) -> Disk {
    let disk = Disk::default();
    let identity = identity(options);
    for ordinal in 0..options.segment_count {
        let mut bytes = vec![0; options.segment_bytes as usize];
        let header = SegmentHeader::new(identity.owner(), SegmentIdx(ordinal));
        bytes[..header.as_bytes().len()].copy_from_slice(header.as_bytes());
        disk.add_file(segment_path(SegmentIdx(ordinal)), bytes);
    }
    let mut bytes = vec![0; MARK_SLOTS as usize * BLOCK_BYTES];
    for counter in 0..MARK_SLOTS {
        let slot = MarkSlot::new(TIMELINE, counter, Lsn(0));
        let at = (counter % MARK_SLOTS * MARK_SLOT_STRIDE_BYTES) as usize;
        bytes[at..at + slot.as_bytes().len()].copy_from_slice(slot.as_bytes());
    }
    disk.add_file(mark_path(), bytes);
    disk
}

/// The running loops and the ring ends that the simulator serves itself.
pub(crate) struct Exchange {
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
    pub gateway: Gateway,
    pub engine: EngineLoop,
    pub store_writer: StoreWriter,
    pub market_data: MarketData,
    pub journal: Journal,
    pub orders: Net,
    pub market: Net,
    pub admin: AdminPort,
    pub attempts: Consumer<Attempt>,
    pub verdicts: Producer<Verdict>,
    pub shadow: Shadow,
    pub resender: Resender,
    /// The gateway accepts no more requests.
    pub closed: bool,
    /// The log as the start found it.
    pub log: Recovered,
    _stage_totals: node::rings::stages::StageTotals,
}

impl Exchange {
    /// Number of failures that the node has reported and survived.
    pub(crate) fn failures_reported(&self) -> u64 {
        self.status.snapshots_failed.get() + self.status.damage_found.get()
    }

    pub(crate) fn failure_text(&self) -> String {
        let (snapshots, damage) = (self.status.snapshots_failed.get(), self.status.damage());
        format!("without a fault, {snapshots} snapshots failed; damage found: {damage:?}")
    }
}

/// Why a process did not start.
pub(crate) type BootError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) fn boot(disk: &Disk, options: &Options, now: TsNs) -> Result<Exchange, BootError> {
    let directory = Arc::new(directory(disk, options));
    let quarantine = Quarantine::default();
    let new_engine = || Engine::keyed(small(), HashKey::new(options.seed, 1));
    let (Restored { engine, translator, streams, feed, log, snapshot, continuations }, store) =
        restore(&directory, &quarantine, new_engine, options.resend_max, &Recovery::default())?;
    let drawn = (options.seed as u32).wrapping_add(engine.stamp().seq.0 as u32);
    let run = next_run(&engine, &directory, &quarantine, false, drawn);
    let store = Arc::new(store);
    let config = head_config(options);
    let head = Head::new(config, log.position).expect("options are a valid configuration");
    let mark = directory.mark()?;

    let (writers, readers) = watermarks(engine.stamp().seq);
    let (lifecycle, status) = (Arc::new(Lifecycle::default()), Arc::new(Status::new(readers.clone())));
    let (attempts_in, attempts) = RingBuffer::new(64);
    let (verdicts, verdicts_out) = RingBuffer::new(128);
    let (resends_in, resends) = RingBuffer::new(16);
    let (batches, batches_out) = RingBuffer::new(16);
    let helpers = GatewayHelpers {
        passwords: vec![PasswordPort { attempts: attempts_in, verdicts: verdicts_out }],
        verified_key: VerifiedKey::new([7; 32]),
        resends: ResendPort { requests: resends_in, batches: batches_out },
    };
    let rings = make_rings(options.rings, writers.engine, helpers, &lifecycle, &status);
    let (stored, ends) = (writers.stored, (readers.durable.clone(), readers.applied.clone()));
    let store_writer = StoreWriter::new(rings.frames, Arc::clone(&store), mark, stored, ends, flush_bytes(&config));
    let (port, inlet) = shadow_port();
    let shadow = ShadowWiring {
        directory,
        store: Arc::clone(&store),
        quarantine,
        inlet,
        watermarks: writers.shadow,
        lifecycle: Arc::clone(&lifecycle),
        status: Arc::clone(&status),
        schedule: schedule(options, snapshot.as_ref()),
        retention: retention(options),
        snapshot_on_stop: options.snapshot_on_stop,
        scrub_bytes_per_second: options.patrol_bytes_per_second,
    };
    let shadow = Shadow::begin(shadow, || Engine::keyed(small(), HashKey::new(options.seed, 2)))?;
    let (history_ready, ready) = channel();
    let resender =
        Resender { resends, batches, store, shadow: port.clone(), history_ready, ready, durable: readers.durable };
    let mut market_data =
        MarketData::new(rings.market.items, feed, port, rings.market.released, Arc::clone(&status), MARKET_LIMITS);
    market_data.remember(&resender.store);
    let gateway_state = GatewayState::of(&engine, &translator, streams, run);
    Ok(Exchange {
        gateway: Gateway::new(gateway_state, ListenerIdx(0), rings.gateway, GATEWAY_LIMITS, now),
        engine: EngineLoop::new(engine, translator, rings.engine, settings(options, run, now), continuations),
        store_writer,
        market_data,
        journal: Journal::new(head, disk.clone()),
        orders: Net::new(options.client_window),
        market: Net::new(options.client_window),
        admin: rings.admin,
        attempts,
        verdicts,
        closed: false,
        log,
        shadow,
        resender,
        _stage_totals: rings.stages,
        lifecycle,
        status,
    })
}

fn head_config(options: &Options) -> HeadConfig {
    HeadConfig {
        timeline: TIMELINE,
        geometry: identity(options).geometry,
        frame_bytes_max: options.frame_bytes_max,
        frames_in_flight_max: options.frames_in_flight_max,
    }
}

fn settings(options: &Options, run: RunSpec, now: TsNs) -> Settings {
    let opening = Opening { format: identity(options).format, build: "simulator".to_owned(), wall: now, run };
    Settings { release: options.release, check_every: options.check_every, opening }
}

fn schedule(options: &Options, newest: Option<&SnapshotHeader>) -> Schedule {
    let newest = newest.map_or(Lsn(0), |header| header.tail.seq);
    Schedule::new(options.snapshot_every, Duration::from_secs(3_600), newest)
}

fn retention(options: &Options) -> Retention {
    Retention { keep: options.snapshots_kept, retain_for: Duration::ZERO, retain_bytes: options.retain_bytes }
}

/// The work of `node::gateway::resend` without its waiting: it continues when the shadow has written the history.
pub(crate) struct Resender {
    resends: Consumer<ResendRequest>,
    batches: Producer<ResendBatch>,
    store: Arc<Store>,
    shadow: ShadowPort,
    history_ready: Sender<ResendRequest>,
    ready: Receiver<ResendRequest>,
    durable: Watermark<book::units::Seq>,
}

impl Resender {
    pub(crate) fn poll(&mut self) {
        while let Ok(request) = self.resends.pop() {
            let history_ready = self.history_ready.clone();
            let seq = self.durable.get();
            // The receiver no longer exists once the process has ended.
            let answer = self.shadow.ask_history_later(seq, move |_| history_ready.send(request).is_ok());
            drop(answer.expect("the queue of questions is longer than that of resends"));
        }
        while let Ok(request) = self.ready.try_recv() {
            let mut batch = ResendBatch::new(request.conn, request.from);
            // Missing messages show in the batch.
            let _ = read_history(&self.store, &mut batch, request.session, request.until);
            self.batches.push(batch).expect("the rings of requests and of batches have the same length");
        }
    }
}
