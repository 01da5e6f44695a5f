//! Recovery: from a data directory to a state that can continue. The newest intact snapshot is loaded, then the log
//! after it is verified and applied; every stream continues at its number.
//!
//! ```text
//!  snapshot --load--> | frames --verify, decode, apply--> | batches of events | --translate--> streams, feed
//!                        the calling thread                 at most BATCHES     a thread of its own
//! ```
//! Building the streams and the feed costs as much as building the state, and needs only the events: hence two threads.
//! Messages from before the snapshot are in the history.
//!
//! Invariant: nothing is written, and the store is not opened, before the log is verified and applied: a log that is
//! refused stays as it was found.

use crate::replica::crash_guard::Applying;
use crate::replica::mass_cancels::Continuations;
use crate::replica::public_feed::PublicFeed;
use crate::replica::session_streams::{SessionStreams, StreamLimits};
use crate::replica::snapshots::{self, PassedOver};
use crate::replica::translate::{Outlet, Translator};
use crate::replica::{RecordError, Replica, apply_record};
use crate::rings::feed_items::FeedItem;
use crate::status::exit;
use crate::status::recovery::{Recovery, Stage};
use book::codec;
use book::engine::Engine;
use book::event::{Event, Sink};
use book::ids::SessionId;
use book::units::{Seq, Stamp, TsNs};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};
use wal::directory::Directory;
use wal::error::WalError;
use wal::quarantine::Quarantine;
use wal::recover::{Inspection, Recovered};
use wal::snapshot::SnapshotHeader;
use wal::store::Store;
use wal::units::Tail;

/// A batch is handed over once it holds this many events; this many batches may be in the channel at once.
const BATCH_EVENTS: usize = 4_096;
const BATCHES: usize = 4;
/// How often a long replay logs its progress, and how many records it applies between two looks at the time.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
const PROGRESS_RECORDS: u64 = 1 << 14;

/// The state after the last command of the log.
pub struct Restored {
    pub engine: Engine,
    pub translator: Translator,
    pub streams: SessionStreams,
    pub feed: PublicFeed,
    pub log: Recovered,
    /// The snapshot that the replay began with.
    pub snapshot: Option<SnapshotHeader>,
    /// Continuations of mass cancels that have to run first.
    pub continuations: Continuations,
}

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Log(#[from] WalError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(
        "the log begins after sequence {begins}, and no intact snapshot leads to it: {tried}; restore from a backup"
    )]
    NoBeginning { begins: u64, tried: String },
}

impl RestoreError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Log(error) => exit::code_of(error),
            Self::Record(error) => error.exit_code(),
            Self::NoBeginning { .. } => exit::DAMAGED,
        }
    }
}

/// Where a replay begins: a state, and the frame after which the log continues.
pub struct Beginning {
    pub replica: Replica,
    pub tail: Tail,
    pub snapshot: Option<SnapshotHeader>,
    /// Newer snapshots that cannot be used, newest first.
    pub passed_over: Vec<PassedOver>,
}

/// Loads the newest intact snapshot at or before `until`, or begins at the beginning of the log. Damaged snapshots are
/// passed over and logged. `base` is the position after which the log begins.
pub fn begin(
    directory: &Directory,
    base: Tail,
    until: wal::units::Lsn,
    engine: &mut impl FnMut() -> Engine,
) -> Result<Beginning, RestoreError> {
    let found = snapshots::newest(directory, until, engine)?;
    for PassedOver { path, why } in &found.passed_over {
        tracing::error!(path = %path.display(), %why, "a snapshot cannot be used; trying the one before it");
    }
    match found.newest {
        Some((replica, header)) if base.seq <= header.tail.seq => {
            let (seq, time_ns, build) = (header.tail.seq.0, header.time, &header.build);
            tracing::info!(seq, time_ns, build, "loaded a snapshot");
            let (tail, passed_over) = (header.tail, found.passed_over);
            Ok(Beginning { replica, tail, snapshot: Some(header), passed_over })
        }
        older => {
            let origin = directory.identity().origin().tail();
            if origin.seq.0 == 0 && base == origin {
                let (replica, passed_over) = (Replica::new(engine()), found.passed_over);
                return Ok(Beginning { replica, tail: origin, snapshot: None, passed_over });
            }
            let mut tried: Vec<String> = found.passed_over.iter().map(|passed| passed.why.to_string()).collect();
            tried.extend(older.map(|(_, header)| format!("the one at {} is older than that", header.tail.seq)));
            let tried = match tried.is_empty() {
                true if directory.lacks_snapshots_dir() => {
                    format!("the folder {} is missing", directory.snapshots_dir().display())
                }
                true => "there is none".to_owned(),
                false => tried.join("; "),
            };
            Err(RestoreError::NoBeginning { begins: base.seq.0, tried })
        }
    }
}

/// The events of consecutive commands, and the position at which each command's events end.
#[derive(Default)]
pub struct Batch {
    pub events: Vec<Event>,
    /// Of each command: its stamp, when its request reached the node, and the end of its events.
    pub ends: Vec<(Stamp, TsNs, usize)>,
}

impl Batch {
    #[inline]
    pub fn end_command(&mut self, stamp: Stamp, received: TsNs) {
        self.ends.push((stamp, received, self.events.len()));
    }

    pub fn clear(&mut self) {
        self.events.clear();
        self.ends.clear();
    }
}

impl Sink for Batch {
    /// As in the live engine: ledger events are made by the shadow.
    const LEDGER: bool = false;

    #[inline]
    fn push(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// Applies the log's records exactly as the live engine did, and hands over their events in batches.
struct Replay<'q> {
    engine: Engine,
    quarantine: &'q Quarantine,
    progress: Progress<'q>,
    continuations: Continuations,
    batch: Batch,
    full: SyncSender<Batch>,
    empty: Receiver<Batch>,
}

impl Replay<'_> {
    fn apply(&mut self, seq: Seq, bytes: &[u8]) -> Result<(), RecordError> {
        let before = self.batch.events.len();
        let stamp = apply_record(&mut self.engine, self.quarantine, seq, bytes, &mut self.batch)?;
        self.continuations.follow(bytes, &self.batch.events[before..]);
        self.batch.end_command(stamp, codec::received(bytes, stamp.ts));
        if BATCH_EVENTS <= self.batch.events.len() {
            self.hand_over();
        }
        if seq.0.is_multiple_of(PROGRESS_RECORDS) {
            self.progress.note(seq);
        }
        // A replay stops at the first check that differs; nothing has been written yet.
        self.engine.divergence().map_or(Ok(()), |divergence| Err(divergence.into()))
    }

    fn hand_over(&mut self) {
        let full = std::mem::replace(&mut self.batch, self.empty.try_recv().unwrap_or_default());
        // Fails only if the other thread panicked, which is reported when it is joined.
        let _ = self.full.send(full);
    }
}

/// Shows and logs the progress of a replay.
struct Progress<'r> {
    recovery: &'r Recovery,
    from: Seq,
    until: Seq,
    started: Instant,
    logged: Instant,
}

impl<'r> Progress<'r> {
    fn new(from: Seq, until: Seq, recovery: &'r Recovery) -> Self {
        let now = Instant::now();
        recovery.commands.set(until.0 - from.0);
        Self { recovery, from, until, started: now, logged: now }
    }

    #[cold]
    fn note(&mut self, seq: Seq) {
        self.recovery.commands_replayed.set(seq.0 - self.from.0);
        if self.logged.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.logged = Instant::now();
        let (done, all) = (seq.0 - self.from.0, self.until.0 - self.from.0);
        let per_second = (done as f64 / self.started.elapsed().as_secs_f64()) as u64;
        tracing::info!(seq = seq.0, until = self.until.0, percent = done * 100 / all.max(1), per_second, "recovering");
    }
}

/// The outputs of the log: messages to sessions, and the public feed.
struct Outputs {
    translator: Translator,
    streams: SessionStreams,
    feed: PublicFeed,
}

impl Outputs {
    fn after(beginning: &Replica, limits: StreamLimits) -> Self {
        Self {
            translator: beginning.translator.clone(),
            streams: SessionStreams::resume(&beginning.positions, limits),
            feed: PublicFeed::resume(&beginning.engine, &beginning.positions),
        }
    }

    /// Translates batches until the channel closes; emptied ones are returned for reuse.
    fn rebuild(mut self, full: &Receiver<Batch>, empty: &Sender<Batch>) -> Self {
        let Self { translator, streams, feed } = &mut self;
        for mut batch in full {
            let mut start = 0;
            for &(stamp, received, end) in &batch.ends {
                let _applying = Applying::of(stamp.seq.0);
                translator.translate(stamp, received, &batch.events[start..end], &mut Rebuild { streams, feed });
                start = end;
            }
            batch.clear();
            // At the very end the other thread no longer receives.
            let _ = empty.send(batch);
        }
        self
    }
}

/// The output of a replay: straight into the streams, because everything in the log is durable already.
struct Rebuild<'a> {
    streams: &'a mut SessionStreams,
    feed: &'a mut PublicFeed,
}

impl Outlet for Rebuild<'_> {
    fn answer(&mut self, session: SessionId, bytes: &[u8]) {
        self.streams.push(session, bytes);
    }

    fn public(&mut self, item: FeedItem) {
        if let Event::RunBegan { skipped, .. } = item.event {
            self.streams.begin_life(skipped);
        }
        self.feed.apply(&item);
    }

    fn life_began(&mut self, session: SessionId, skipped: u64) {
        self.streams.begin_session_life(session, skipped);
    }
}

/// Verifies the log of a directory that this process owns, applies what comes after the newest snapshot, and only then
/// opens its store for writing: opening a RocksDB writes files, and a log that is refused must stay as it was found.
/// `engine` allocates the memory for the state.
pub fn restore(
    directory: &Directory,
    quarantine: &Quarantine,
    mut engine: impl FnMut() -> Engine,
    limits: impl Into<StreamLimits>,
    recovery: &Recovery,
) -> Result<(Restored, Store), RestoreError> {
    recovery.enter(Stage::Verifying);
    let inspection = Inspection::open(directory)?;
    recovery.enter(Stage::Loading);
    let any = wal::units::Lsn(u64::MAX);
    let Beginning { replica, tail, snapshot, .. } = begin(directory, inspection.base()?, any, &mut engine)?;
    recovery.seq_snapshot.set(snapshot.as_ref().map_or(0, |header| header.tail.seq.0));
    recovery.enter(Stage::Replaying);
    let replaying = Replaying { quarantine, limits: limits.into(), recovery };
    let (engine, outputs, seen, continuations) = replay(&inspection, replica, tail, replaying)?;
    recovery.enter(Stage::Starting);
    assert!(engine.stamp().seq.0 == seen.tail.seq.0, "every record was applied");
    drop(inspection);
    if directory.restore_snapshots_dir()? {
        let path = directory.snapshots_dir();
        tracing::warn!(path = %path.display(), "the folder of snapshots was missing and is made again; the log is intact");
    }
    wal::snapshot::sweep_on(&**directory.medium(), &directory.snapshots_dir())?;
    let store = directory.store()?;
    let ready = wal::recover::recover(directory, &store, seen.tail, |seq, _| {
        Err(format!("sequence {seq} appeared after the log's end although this process owns the log").into())
    })?;
    assert!(ready.tail == seen.tail, "the log ends where the replay ended");
    let log = Recovered { position: ready.position, ..seen };
    let Outputs { translator, streams, feed } = outputs;
    Ok((Restored { engine, translator, streams, feed, log, snapshot, continuations }, store))
}

/// What a replay goes by, and where it shows how far it has come.
#[derive(Clone, Copy)]
struct Replaying<'a> {
    quarantine: &'a Quarantine,
    limits: StreamLimits,
    recovery: &'a Recovery,
}

/// Applies the log after `tail`; writes nothing.
fn replay(
    inspection: &Inspection<'_>,
    beginning: Replica,
    tail: Tail,
    replaying: Replaying<'_>,
) -> Result<(Engine, Outputs, Recovered, Continuations), RestoreError> {
    let Replaying { quarantine, limits, recovery } = replaying;
    let (full_in, full_out) = sync_channel(BATCHES);
    let (empty_in, empty_out) = channel();
    let outputs = Outputs::after(&beginning, limits);
    std::thread::scope(|scope| {
        let outputs = scope.spawn(move || outputs.rebuild(&full_out, &empty_in));
        let mut replay = Replay {
            engine: beginning.engine,
            quarantine,
            continuations: beginning.continuations,
            progress: Progress::new(Seq(tail.seq.0), Seq(inspection.tail().seq.0), recovery),
            batch: Batch::default(),
            full: full_in,
            empty: empty_out,
        };
        let mut failed = None;
        let outcome = inspection.show(tail, |seq, bytes| {
            replay.apply(Seq(seq.0), bytes).map_err(|error| {
                let text = error.to_string();
                failed = Some(error);
                text.into()
            })
        });
        replay.hand_over();
        recovery.commands_replayed.set(replay.engine.stamp().seq.0 - tail.seq.0);
        let Replay { engine, full, continuations, .. } = replay;
        drop(full);
        let outputs = outputs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // The log's own error would only wrap the one that stopped the replay.
        match failed {
            Some(error) => Err(error.into()),
            None => Ok((engine, outputs, outcome?, continuations)),
        }
    })
}
