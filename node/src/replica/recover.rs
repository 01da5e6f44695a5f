//! From the data directory to a node that can go on: the newest snapshot that is whole, then the log behind it, proved and
//! applied; every stream goes on at its number.
//!
//! ```text
//!  snapshot --load--> | frames --prove, decode, apply--> | events of some commands | --translate--> streams, feed
//!                        the calling thread                a few batches on the way    a thread of its own
//! ```
//! What sessions and the public were told costs as much to build again as the state itself, and needs nothing of it but
//! the events. What was told before the snapshot is in the history.

use crate::replica::crash_guard::Applying;
use crate::replica::mass_cancels::Unfinished;
use crate::replica::public_feed::FeedState;
use crate::replica::session_streams::Streams;
use crate::replica::snapshots::{self, PassedOver};
use crate::replica::translate::{Outlet, Translator};
use crate::replica::{RecordError, Replica, apply_record};
use crate::rings::feed_items::FeedItem;
use crate::status::exit;
use book::engine::Engine;
use book::event::{Event, Sink};
use book::ids::SessionId;
use book::units::{Seq, Stamp};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};
use wal::directory::Directory;
use wal::error::WalError;
use wal::quarantine::Quarantine;
use wal::recover::{Inspection, Recovered};
use wal::snapshot::SnapshotHeader;
use wal::store::Store;
use wal::units::Tail;

/// Events of a batch, beyond which it is handed over, and batches on their way at once.
const BATCH_EVENTS: usize = 4_096;
const BATCHES: usize = 4;
/// How often a long replay says how far it is, and how many records it applies between two looks at the time.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
const PROGRESS_RECORDS: u64 = 1 << 14;

/// The state after the last command of the log.
pub struct Restored {
    pub engine: Engine,
    pub translator: Translator,
    pub streams: Streams,
    pub feed: FeedState,
    pub log: Recovered,
    /// The snapshot that the replay began with.
    pub snapshot: Option<SnapshotHeader>,
    /// What the log owes.
    pub unfinished: Unfinished,
}

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Log(#[from] WalError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the log begins behind sequence {begins}, and no snapshot there is whole: {tried}; restore from a backup")]
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

/// Where a replay begins: a state, what was told up to there, and the frame that the log goes on behind.
pub struct Beginning {
    pub replica: Replica,
    pub tail: Tail,
    pub snapshot: Option<SnapshotHeader>,
    /// Newer snapshots that are of no use, newest first.
    pub passed_over: Vec<PassedOver>,
}

/// The newest snapshot at or before `until`, or the beginning of the log. Newer ones that are damaged are passed over
/// and told. `base` is what the log's first record follows.
pub fn begin(
    directory: &Directory,
    base: Tail,
    until: wal::units::Lsn,
    engine: &mut impl FnMut() -> Engine,
) -> Result<Beginning, RestoreError> {
    let found = snapshots::newest(directory, until, engine)?;
    for PassedOver { path, why } in &found.passed_over {
        tracing::error!(path = %path.display(), %why, "a snapshot is of no use: the one before it is tried");
    }
    match found.newest {
        Some((replica, header)) if base.seq <= header.tail.seq => {
            tracing::info!(seq = header.tail.seq.0, time_ns = header.time, build = header.build, "from a snapshot");
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
            tried.extend(older.map(|(_, header)| format!("the one at {} is before that", header.tail.seq)));
            let tried = if tried.is_empty() { "there is none".to_owned() } else { tried.join("; ") };
            Err(RestoreError::NoBeginning { begins: base.seq.0, tried })
        }
    }
}

/// The events of consecutive commands, and where each command's end.
#[derive(Default)]
pub struct Batch {
    pub events: Vec<Event>,
    pub ends: Vec<(Stamp, usize)>,
}

impl Batch {
    #[inline]
    pub fn end_command(&mut self, stamp: Stamp) {
        self.ends.push((stamp, self.events.len()));
    }

    pub fn clear(&mut self) {
        self.events.clear();
        self.ends.clear();
    }
}

impl Sink for Batch {
    /// As the live engine: describing transfers is the shadow's work.
    const LEDGER: bool = false;

    #[inline]
    fn push(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// Applies the log's records, exactly as the live engine did, and hands their events on.
struct Replay<'q> {
    engine: Engine,
    quarantine: &'q Quarantine,
    progress: Progress,
    unfinished: Unfinished,
    batch: Batch,
    full: SyncSender<Batch>,
    empty: Receiver<Batch>,
}

impl Replay<'_> {
    fn apply(&mut self, seq: Seq, bytes: &[u8]) -> Result<(), RecordError> {
        let before = self.batch.events.len();
        let stamp = apply_record(&mut self.engine, self.quarantine, seq, bytes, &mut self.batch)?;
        self.unfinished.follow(bytes, &self.batch.events[before..]);
        self.batch.end_command(stamp);
        if BATCH_EVENTS <= self.batch.events.len() {
            self.hand_over();
        }
        if seq.0.is_multiple_of(PROGRESS_RECORDS) {
            self.progress.tell(seq);
        }
        // A state that differs is not gone on with, and nothing was written yet.
        self.engine.parted().map_or(Ok(()), |parted| Err(parted.into()))
    }

    fn hand_over(&mut self) {
        let full = std::mem::replace(&mut self.batch, self.empty.try_recv().unwrap_or_default());
        // Refused only when the other thread panicked, which shows when it is joined.
        let _ = self.full.send(full);
    }
}

/// Says from time to time how far a replay is.
struct Progress {
    from: Seq,
    until: Seq,
    started: Instant,
    told: Instant,
}

impl Progress {
    fn new(from: Seq, until: Seq) -> Self {
        let now = Instant::now();
        Self { from, until, started: now, told: now }
    }

    #[cold]
    fn tell(&mut self, seq: Seq) {
        if self.told.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.told = Instant::now();
        let (done, all) = (seq.0 - self.from.0, self.until.0 - self.from.0);
        let per_second = (done as f64 / self.started.elapsed().as_secs_f64()) as u64;
        tracing::info!(seq = seq.0, until = self.until.0, percent = done * 100 / all.max(1), per_second, "recovering");
    }
}

/// What was told to sessions and to the public.
struct Told {
    translator: Translator,
    streams: Streams,
    feed: FeedState,
}

impl Told {
    fn after(beginning: &Replica, resend_max: usize) -> Self {
        Self {
            translator: beginning.translator.clone(),
            streams: Streams::resume(beginning.numbers.sessions(), resend_max),
            feed: FeedState::resume(&beginning.engine, &beginning.numbers),
        }
    }

    /// Takes batches until there are no more; empty ones go back.
    fn rebuild(mut self, full: &Receiver<Batch>, empty: &Sender<Batch>) -> Self {
        let Self { translator, streams, feed } = &mut self;
        for mut batch in full {
            let mut start = 0;
            for &(stamp, end) in &batch.ends {
                let _applying = Applying::of(stamp.seq.0);
                translator.translate(stamp, &batch.events[start..end], &mut Rebuild { streams, feed });
                start = end;
            }
            batch.clear();
            // Nobody takes it back at the very end.
            let _ = empty.send(batch);
        }
        self
    }
}

/// Where a replay's events go: straight into the streams, because all of it was durable long ago.
struct Rebuild<'a> {
    streams: &'a mut Streams,
    feed: &'a mut FeedState,
}

impl Outlet for Rebuild<'_> {
    fn answer(&mut self, session: SessionId, bytes: &[u8]) {
        self.streams.push(session, bytes);
    }

    fn public(&mut self, item: FeedItem) {
        self.feed.apply(&item);
    }
}

/// Proves the log of a directory that this process owns, applies what is behind the newest snapshot, and only then opens
/// its store for writing: opening a RocksDB writes, and a log that is refused must stay as it was found. `engine` makes
/// the memory that the state goes into.
pub fn restore(
    directory: &Directory,
    quarantine: &Quarantine,
    mut engine: impl FnMut() -> Engine,
    resend_max: usize,
) -> Result<(Restored, Store), RestoreError> {
    let inspection = Inspection::open(directory)?;
    let any = wal::units::Lsn(u64::MAX);
    let Beginning { replica, tail, snapshot, .. } = begin(directory, inspection.base()?, any, &mut engine)?;
    let (engine, told, seen, unfinished) = replay(&inspection, replica, tail, quarantine, resend_max)?;
    assert!(engine.stamp().seq.0 == seen.tail.seq.0, "every record was applied");
    drop(inspection);
    wal::snapshot::sweep_on(&**directory.medium(), &directory.snapshots_dir())?;
    let store = directory.store()?;
    let ready = wal::recover::recover(directory, &store, seen.tail, |seq, _| {
        Err(format!("sequence {seq} appeared behind the log's end while this process owned the log").into())
    })?;
    assert!(ready.tail == seen.tail, "what was applied is what goes on");
    let log = Recovered { position: ready.position, ..seen };
    let Told { translator, streams, feed } = told;
    Ok((Restored { engine, translator, streams, feed, log, snapshot, unfinished }, store))
}

/// Applies the log behind `tail`; writes nothing.
fn replay(
    inspection: &Inspection<'_>,
    beginning: Replica,
    tail: Tail,
    quarantine: &Quarantine,
    resend_max: usize,
) -> Result<(Engine, Told, Recovered, Unfinished), RestoreError> {
    let (full_in, full_out) = sync_channel(BATCHES);
    let (empty_in, empty_out) = channel();
    let told = Told::after(&beginning, resend_max);
    std::thread::scope(|scope| {
        let told = scope.spawn(move || told.rebuild(&full_out, &empty_in));
        let mut replay = Replay {
            engine: beginning.engine,
            quarantine,
            unfinished: beginning.unfinished,
            progress: Progress::new(Seq(tail.seq.0), Seq(inspection.tail().seq.0)),
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
        let Replay { engine, full, unfinished, .. } = replay;
        drop(full);
        let told = told.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // The log's own error would only wrap what stopped the replay.
        match failed {
            Some(error) => Err(error.into()),
            None => Ok((engine, told, outcome?, unfinished)),
        }
    })
}
