//! A second engine that follows the durable log: it proves the live one, keeps the history, takes the snapshots, answers
//! questions. Never on the ack path.
//!
//! ```text
//!  keeper --frames--> store --frames--> shadow --apply--> events --> history rows --> store
//!                       ^                 |- check: the live engine's hash against its own
//!                       `-- truncation ---|- snapshots, at the end of a frame
//!                                         `- questions, once the sequence they name is applied
//! ```
//! The store is the only way in, because the keeper puts every durable frame there first: a shadow that keeps up reads
//! from RocksDB's memory, one that fell behind from its files, and neither holds up anybody or needs memory for what it
//! has not reached.
//!
//! Invariants: applies durable frames only, each once, in order; a state that differs from the live one is reported and
//! never kept; the store is flushed before a snapshot, so log and history are never behind it.

use crate::attempts;
use crate::clock::Clock;
use crate::exit;
use crate::fault::ApplyFault;
use crate::history::HistoryWriter;
use crate::recover::{self, Beginning, RestoreError};
use crate::replica::{RecordError, Replica, apply_record};
use crate::retention::{self, Candidate, LogEnds, Retention};
use crate::schedule::Schedule;
use crate::shadow_port::{ShadowInlet, Taken, WISHES_MAX, Wish};
use crate::shelf;
use crate::status::Status;
use crate::unfinished::Unfinished;
use book::engine::{EVENTS_PER_COMMAND_MAX, Engine};
use book::event::Event;
use book::units::{Seq, Stamp, TsNs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wal::directory::Directory;
use wal::error::WalError;
use wal::frame::Frame;
use wal::quarantine::Quarantine;
use wal::snapshot::{SnapshotHeader, SnapshotReader};
use wal::store::Store;
use wal::units::Tail;

/// Frames applied before questions, snapshots and the history are looked at again.
const FRAMES_PER_POLL: usize = 64;
/// Pause when there is nothing to follow.
const IDLE: Duration = Duration::from_millis(1);
/// The history is written at least this often while commands come in.
const HISTORY_EVERY_NS: u64 = 1_000_000_000;
/// Work on a snapshot between two rests.
const WORK_AT_ONCE: Duration = Duration::from_millis(1);
/// Behind every loop that answers somebody.
const NICE: i32 = 10;

/// Why the shadow cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    #[error("shadow: {0}")]
    Log(#[from] WalError),
    #[error("shadow: {0}")]
    Record(#[from] RecordError),
    #[error("shadow: {0}")]
    Begin(#[from] RestoreError),
}

impl ShadowError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Log(error) => exit::code_of(error),
            Self::Record(error) => error.exit_code(),
            Self::Begin(error) => error.exit_code(),
        }
    }
}

/// What a shadow works on and how.
pub struct ShadowWiring {
    pub directory: Arc<Directory>,
    pub store: Arc<Store>,
    pub quarantine: Quarantine,
    pub inlet: ShadowInlet,
    pub status: Arc<Status>,
    pub schedule: Schedule,
    pub retention: Retention,
    pub snapshot_on_stop: bool,
}

pub struct Shadow {
    replica: Replica,
    /// A start from a snapshot knows nothing of a mass cancel before it: while the log owes one, none is taken.
    unfinished: Unfinished,
    /// Behind the last frame that was applied.
    tail: Tail,
    history: HistoryWriter,
    history_at_ns: u64,
    wiring: ShadowWiring,
    /// Questions about sequences that are still to come.
    waiting: Vec<Wish>,
    events: Vec<Event>,
    /// Where an earlier start crashed; forgotten when we are past it.
    crashed_at: Option<u64>,
}

impl Shadow {
    /// Begins with a snapshot that the history has reached, so that it goes on without a gap.
    pub fn begin(wiring: ShadowWiring, mut engine: impl FnMut() -> Engine) -> Result<Self, ShadowError> {
        let history = HistoryWriter::open(Arc::clone(&wiring.store))?;
        let (base, watermark) = (wiring.store.base()?, history.watermark());
        let until = wal::units::Seq(watermark.0).max(base.seq);
        let Beginning { replica, tail, .. } = recover::begin(&wiring.directory, base, until, &mut engine)?;
        if watermark.0 < tail.seq.0 {
            let (from, until) = (watermark.0 + 1, tail.seq.0);
            tracing::warn!(from, until, "the history lacks these sequences: the log of them is gone");
        }
        let status = &wiring.status;
        status.seq_shadow.set(tail.seq.0);
        status.seq_history.set(history.watermark().0);
        status.seq_truncated.set(wiring.store.base()?.seq.0);
        let crashed_at = attempts::read(wiring.directory.path()).last().copied();
        Ok(Self {
            replica,
            unfinished: Unfinished::default(),
            crashed_at,
            tail,
            history,
            history_at_ns: 0,
            wiring,
            waiting: Vec::new(),
            events: Vec::with_capacity(EVENTS_PER_COMMAND_MAX),
        })
    }

    /// One round: follow, answer, keep. Returns the frames applied.
    pub fn poll(&mut self, now: TsNs) -> Result<usize, ShadowError> {
        let count = self.follow()?;
        self.take_wishes()?;
        self.answer_waiting()?;
        if self.history.is_full() || HISTORY_EVERY_NS <= now.0.saturating_sub(self.history_at_ns) {
            self.commit_history()?;
            self.history_at_ns = now.0;
        }
        let whole = self.replica.engine.parted().is_none() && self.unfinished.is_empty();
        if whole && self.wiring.schedule.is_due(self.tail.seq, now) {
            // A failure is told and tried again when it is due again: trading does not depend on it.
            let _ = self.take_snapshot(now)?;
        }
        self.publish(now);
        Ok(count)
    }

    /// Applies the frames that the store has beyond ours.
    fn follow(&mut self) -> Result<usize, ShadowError> {
        if self.wiring.store.tail().seq <= self.tail.seq {
            return Ok(0);
        }
        let store = Arc::clone(&self.wiring.store);
        let mut cursor = store.frames(self.tail.seq.next())?;
        let mut count = 0;
        while count < FRAMES_PER_POLL && !self.history.is_full() {
            let Some(frame) = cursor.next_frame()? else { break };
            self.apply(&frame)?;
            count += 1;
        }
        Ok(count)
    }

    fn apply(&mut self, frame: &Frame<'_>) -> Result<(), ShadowError> {
        assert!(frame.seq_first() == self.tail.seq.next() && frame.chain_prev() == self.tail.chain, "frames link");
        for (seq, bytes) in frame.records() {
            let Self { replica, events, history, wiring, unfinished, .. } = self;
            events.clear();
            if ApplyFault::is_left_out(Seq(seq.0)) {
                replica.engine.skip(Stamp { seq: Seq(seq.0), ts: replica.engine.stamp().ts });
                continue;
            }
            let stamp = apply_record(&mut replica.engine, &wiring.quarantine, Seq(seq.0), bytes, events)?;
            unfinished.follow(bytes, events);
            history.gather(stamp, events);
            replica.tell(stamp, events, &mut history.listening(stamp));
        }
        self.replica.numbers.frame(frame.bytes().len());
        self.tail = frame.tail();
        self.watch_for_difference();
        Ok(())
    }

    fn watch_for_difference(&self) {
        let Some(parted) = self.replica.engine.parted() else { return };
        let gauge = &self.wiring.status.seq_hash_differs;
        if gauge.get() == 0 {
            gauge.set(parted.seq.0);
            tracing::error!(%parted, "the shadow's state differs from the live engine's: no snapshot is taken any more");
        }
    }

    fn take_wishes(&mut self) -> Result<(), ShadowError> {
        // Those beyond stay in the port, which refuses more when it is full too.
        while self.waiting.len() < WISHES_MAX {
            let Ok(wish) = self.wiring.inlet.wishes.try_recv() else { break };
            match wish {
                Wish::Ask { .. } => self.waiting.push(wish),
                Wish::Snapshot { reply } => {
                    let taken = self.take_snapshot(TsNs(0))?;
                    let _ = reply.send(taken);
                }
            }
        }
        Ok(())
    }

    fn answer_waiting(&mut self) -> Result<(), ShadowError> {
        let applied = Seq(self.tail.seq.0);
        let ready = |wish: &mut Wish| matches!(wish, Wish::Ask { seq, .. } if *seq <= applied);
        if !self.waiting.iter_mut().any(&ready) {
            return Ok(());
        }
        let answerable: Vec<Wish> = self.waiting.extract_if(.., ready).collect();
        if answerable.iter().any(|wish| matches!(wish, Wish::Ask { history: true, .. })) {
            self.commit_history()?;
        }
        for wish in answerable {
            if let Wish::Ask { question, .. } = wish {
                question(&self.replica);
            }
        }
        Ok(())
    }

    fn commit_history(&mut self) -> Result<(), ShadowError> {
        self.history.commit()?;
        self.wiring.status.seq_history.set(self.history.watermark().0);
        Ok(())
    }

    /// Keeps the state as it is now. The inner error is one that the node lives with.
    fn take_snapshot(&mut self, now: TsNs) -> Result<Taken, ShadowError> {
        self.wiring.schedule.tried(self.tail.seq, now);
        if let Some(parted) = self.replica.engine.parted() {
            return Ok(Err(format!("no snapshot of a state that differs from the live engine's: {parted}")));
        }
        if !self.unfinished.is_empty() {
            return Ok(Err("a mass cancel is under way; try again".to_owned()));
        }
        self.commit_history()?;
        self.wiring.store.flush()?;
        let started = Instant::now();
        let status = Arc::clone(&self.wiring.status);
        let mut breather = Breather::new(status.is_stopping());
        match shelf::take(&self.wiring.directory, &self.replica, self.tail, &mut || breather.rest()) {
            Ok((file, header)) => {
                let took = started.elapsed();
                status.seq_snapshot.set(header.tail.seq.0);
                status.snapshots.add(1);
                status.snapshot_ns.set(took.as_nanos() as u64);
                status.snapshot_bytes.set(file.bytes);
                tracing::info!(seq = header.tail.seq.0, bytes = file.bytes, ms = took.as_millis() as u64, "snapshot");
                self.prune()?;
                Ok(Ok((header, file.bytes)))
            }
            Err(error) => {
                status.snapshots_failed.add(1);
                tracing::error!(%error, "no snapshot could be taken");
                Ok(Err(error.to_string()))
            }
        }
    }

    /// Takes away what is kept no longer: first the log, whose new beginning is durable before an older snapshot goes.
    fn prune(&mut self) -> Result<(), ShadowError> {
        let ShadowWiring { directory, store, retention, status, .. } = &self.wiring;
        let files = shelf::list(directory)?;
        let candidates: Vec<Candidate> = files
            .iter()
            .filter_map(|file| SnapshotReader::open_on(&**directory.medium(), &file.path).ok())
            .map(|reader| candidate(reader.header()))
            .collect();
        let stamp = self.replica.engine.stamp();
        let end = Candidate { seq: self.tail.seq, time_ns: stamp.ts.0, log_bytes: self.replica.numbers.log_bytes() };
        let log = LogEnds { base: store.base()?.seq, releasable: store.seq_stored(), end };
        let plan = retention::plan(&candidates, &log, retention);
        if let Some(seq) = plan.cut_at.filter(|seq| log.base < *seq) {
            let base = store.truncate_before(seq.next())?;
            store.flush()?;
            store.reclaim()?;
            status.seq_truncated.set(base.seq.0);
            tracing::info!(begins = base.seq.0 + 1, "the log behind the oldest kept snapshot is gone");
        }
        for file in files.iter().filter(|file| plan.drop.contains(&file.seq)) {
            wal::snapshot::remove_on(&**directory.medium(), file)?;
        }
        Ok(())
    }

    fn publish(&mut self, now: TsNs) {
        if self.crashed_at.is_some_and(|seq| seq <= self.tail.seq.0) {
            attempts::clear(self.wiring.directory.path());
            self.crashed_at = None;
        }
        let status = &self.wiring.status;
        status.seq_shadow.set(self.tail.seq.0);
        status.shadow.at_ns.set(now.0);
        status.shadow.cycles.add(1);
    }

    /// The last round of a clean stop.
    pub fn finish(&mut self, now: TsNs) -> Result<(), ShadowError> {
        self.commit_history()?;
        while self.follow()? > 0 {
            self.commit_history()?;
        }
        let wanted = self.wiring.snapshot_on_stop && self.wiring.status.failure().is_none();
        if wanted && self.wiring.schedule.has_news(self.tail.seq) {
            let _ = self.take_snapshot(now)?;
        }
        self.wiring.store.flush()?;
        self.publish(now);
        Ok(())
    }

    /// Runs until the keeper has stored the last frame, or the process must end.
    pub fn run(mut self, keeper_done: &AtomicBool, clock: &mut Clock) {
        // Refused at worst, and then it competes like any other thread.
        let _ = rustix::process::setpriority_process(None, NICE);
        loop {
            let now = clock.now();
            let done = keeper_done.load(Ordering::Acquire);
            let outcome = if done { self.finish(now).map(|()| 0) } else { self.poll(now) };
            match outcome {
                Err(error) => return self.wiring.status.fail(error.exit_code(), error.to_string()),
                Ok(_) if done => return,
                Ok(0) => std::thread::sleep(IDLE),
                Ok(_) => {}
            }
        }
    }
}

/// Gives way in the middle of long work: as long as it worked, it rests.
///
/// A low priority is not enough. Where the machine is a virtual one, its disk is served by the host on the same share of
/// processors, and a core kept busy for half a second holds up every sync for as long.
struct Breather {
    worked_since: Instant,
    in_haste: bool,
}

impl Breather {
    /// In haste it never rests: a node that stops serves nobody.
    fn new(in_haste: bool) -> Self {
        Self { worked_since: Instant::now(), in_haste }
    }

    fn rest(&mut self) {
        let worked = self.worked_since.elapsed();
        if self.in_haste || worked < WORK_AT_ONCE {
            return;
        }
        std::thread::sleep(worked);
        self.worked_since = Instant::now();
    }
}

fn candidate(header: &SnapshotHeader) -> Candidate {
    Candidate { seq: header.tail.seq, time_ns: header.time, log_bytes: header.log_bytes }
}
