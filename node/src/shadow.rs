//! The shadow: a second engine that applies the durable log. It verifies the live engine, writes the history, takes
//! snapshots, truncates the log, and answers questions about the state. No order ever waits for it.
//!
//! ```text
//!  store writer --frames--> store --frames--> shadow --apply--> events --> history rows --> store
//!                             ^                 |- checks: the live engine's hash against its own
//!                             `-- truncation ---|- snapshots, at the end of a frame
//!                                               `- questions, once the sequence they name is applied
//! ```
//! The store is its only input, because the store writer puts every durable frame there first. A shadow without lag
//! reads frames from RocksDB's memory, one with a lag reads them from its files. Either way it delays no other loop,
//! and needs no memory for frames that it has not reached.
//!
//! Invariants: durable frames are applied in order, each once; history rows and snapshots are written only up to a
//! check that agreed with the live engine (except beyond `ROWS_HELD_MAX`); after a check that differs, nothing is
//! applied, written or answered any more; the store is flushed before a snapshot is taken, so log and history always
//! reach it.

pub mod pacer;
mod requests;
pub mod retention;
pub mod schedule;
pub mod scrubber;
mod snapshot_requests;
mod snapshots;
pub mod thread;

use crate::faults::fault::{ApplyFault, PanicFault};
use crate::history::HistoryWriter;
use crate::replica::crash_guard::{self, Applying};
use crate::replica::questions::{ShadowInlet, ShadowRequest, SnapshotOutcome};
use crate::replica::recover::{self, Beginning, RestoreError};
use crate::replica::{RecordError, Replica, apply_record};
use crate::shadow::pacer::Pacer;
use crate::shadow::retention::Retention;
use crate::shadow::schedule::Schedule;
use crate::shadow::scrubber::Scrubber;
use crate::status::Status;
use crate::status::exit;
use crate::status::lifecycle::Lifecycle;
use crate::status::watermarks::{ShadowWatermarks, watermarks};
use book::engine::{EVENTS_PER_COMMAND_MAX, Engine};
use book::event::Event;
use book::state_hash::StateHash;
use book::units::{Seq, Stamp, TsNs};
use snapshot_requests::SnapshotRequests;
use std::sync::Arc;
use std::time::Duration;
use wal::directory::Directory;
use wal::error::WalError;
use wal::frame::Frame;
use wal::quarantine::Quarantine;
use wal::store::Store;
use wal::units::Tail;

/// Frames applied in one round, before new requests are received again.
const FRAMES_PER_POLL: usize = 64;
/// Pause after a round without a frame.
/// The history is written at least this often while rows are gathered.
const HISTORY_EVERY_NS: u64 = 1_000_000_000;
/// Limit on the bytes of rows that wait for a check. Only the log of an older build, whose checks may be far apart,
/// reaches it; then rows are written without a check, to bound memory.
const ROWS_HELD_MAX: usize = 64 << 20;

/// Why the shadow, and with it the node, cannot continue.
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

/// What a shadow is given: its log, its inputs and outputs, and its configuration.
pub struct ShadowWiring {
    pub directory: Arc<Directory>,
    pub store: Arc<Store>,
    pub quarantine: Quarantine,
    pub inlet: ShadowInlet,
    pub watermarks: ShadowWatermarks,
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
    pub schedule: Schedule,
    pub retention: Retention,
    pub snapshot_on_stop: bool,
    /// Pace of the scrubber; zero turns it off.
    pub scrub_bytes_per_second: u64,
}

impl ShadowWiring {
    /// For a directory without a running node, whose log was recovered up to `end`: a snapshot is taken on demand only,
    /// and nothing is pruned or scrubbed.
    pub fn offline(
        directory: Arc<Directory>,
        store: Arc<Store>,
        quarantine: Quarantine,
        inlet: ShadowInlet,
        end: Seq,
    ) -> Self {
        let (writers, readers) = watermarks(end);
        Self {
            directory,
            store,
            quarantine,
            inlet,
            watermarks: writers.shadow,
            lifecycle: Arc::default(),
            status: Arc::new(Status::new(readers)),
            schedule: Schedule::new(u64::MAX, Duration::MAX, wal::units::Lsn(end.0)),
            retention: Retention { keep: u32::MAX, retain_for: Duration::ZERO, retain_bytes: 0 },
            snapshot_on_stop: false,
            scrub_bytes_per_second: 0,
        }
    }
}

/// The state with which a shadow begins.
struct Loaded {
    replica: Replica,
    /// The end of the log that is applied.
    tail: Tail,
    history: HistoryWriter,
}

impl ShadowWiring {
    /// Begins with the newest snapshot that the history reaches, so that the history continues without a gap; if there
    /// is none, with the newest snapshot, and the gap is recorded.
    fn load(&mut self, mut engine: impl FnMut() -> Engine) -> Result<Loaded, ShadowError> {
        let mut history = HistoryWriter::open(Arc::clone(&self.store))?;
        let (base, watermark) = (self.store.base()?, history.watermark());
        let reached = wal::units::Lsn(watermark.0).max(base.seq);
        let begun = match recover::begin(&self.directory, base, reached, &mut engine) {
            Err(RestoreError::NoBeginning { .. }) => {
                recover::begin(&self.directory, base, wal::units::Lsn(u64::MAX), &mut engine)
            }
            begun => begun,
        };
        let Beginning { replica, tail, .. } = begun?;
        if watermark.0 < tail.seq.0 {
            let (from, until) = (watermark.0 + 1, tail.seq.0);
            tracing::warn!(from, until, "the history lacks these sequences, because they were truncated from the log");
            history.begin_after(Seq(until))?;
        }
        let (at, begins_after) = (Seq(tail.seq.0), Seq(self.store.base()?.seq.0));
        let ShadowWatermarks { shadow, history: rows, snapshot, truncated, .. } = &mut self.watermarks;
        shadow.catch_up(at);
        rows.catch_up(history.watermark());
        // The state came from a snapshot, or from the beginning of the log, where no snapshot is needed.
        snapshot.catch_up(at);
        truncated.catch_up(begins_after);
        Ok(Loaded { replica, tail, history })
    }
}

pub struct Shadow {
    replica: Replica,
    /// Sequence and chain hash of the last frame that was applied.
    tail: Tail,
    /// The last sequence of the log at the start. Until the log grows past it, the shadow asks for no check of its own
    /// accord, so that a start without new commands writes nothing into the log.
    log_end_at_start: wal::units::Lsn,
    history: HistoryWriter,
    history_at_ns: u64,
    /// Whether the history is to be written at the next check.
    history_due: bool,
    wiring: ShadowWiring,
    /// Questions whose sequence is not applied yet.
    questions: Vec<ShadowRequest>,
    snapshots: SnapshotRequests,
    events: Vec<Event>,
    /// The sequence at which an earlier start crashed, until it has been applied.
    crashed_at: Option<u64>,
    /// Active only in `run`, where the shadow has its own thread: a test or a tool that calls `poll` is never put to
    /// sleep.
    pacer: Pacer,
    scrubber: Scrubber,
}

impl Shadow {
    /// Loads the state with which the shadow begins, and follows the log from there.
    pub fn begin(mut wiring: ShadowWiring, engine: impl FnMut() -> Engine) -> Result<Self, ShadowError> {
        let loaded = wiring.load(engine)?;
        Ok(Self::with(loaded, wiring))
    }

    fn with(loaded: Loaded, wiring: ShadowWiring) -> Self {
        let Loaded { replica, tail, history } = loaded;
        let (directory, store) = (Arc::clone(&wiring.directory), Arc::clone(&wiring.store));
        let scrubber = Scrubber::new(directory, store, wiring.scrub_bytes_per_second);
        let crashed_at = crash_guard::read(wiring.directory.path()).last().copied();
        Self {
            replica,
            tail,
            log_end_at_start: wiring.store.tail().seq,
            history,
            history_at_ns: 0,
            history_due: false,
            wiring,
            questions: Vec::new(),
            snapshots: SnapshotRequests::default(),
            events: Vec::with_capacity(EVENTS_PER_COMMAND_MAX),
            crashed_at,
            pacer: Pacer::default(),
            scrubber,
        }
    }

    /// One round: applies frames, writes what is due, answers requests, scrubs one portion. Returns the frames applied.
    pub fn poll(&mut self, now: TsNs) -> Result<usize, ShadowError> {
        self.take_requests();
        let count = self.follow(now)?;
        self.tend(now)?;
        self.answer_questions();
        if let Some(finding) = self.scrubber.poll(now, &mut || self.pacer.pause()) {
            self.wiring.status.note_damage(finding.to_string());
        }
        self.publish(now);
        Ok(count)
    }

    /// Commands in the store that are not applied yet.
    fn lag(&self) -> u64 {
        self.wiring.store.tail().seq.0.saturating_sub(self.tail.seq.0)
    }

    /// Applies frames of the store, at most `FRAMES_PER_POLL`, and stops at a check that differs.
    fn follow(&mut self, now: TsNs) -> Result<usize, ShadowError> {
        if self.lag() == 0 {
            return Ok(0);
        }
        let store = Arc::clone(&self.wiring.store);
        let mut cursor = store.frames(self.tail.seq.next())?;
        let mut count = 0;
        while count < FRAMES_PER_POLL && self.replica.engine.divergence().is_none() {
            let Some(frame) = cursor.next_frame()? else { break };
            self.apply(&frame)?;
            self.tail = cursor.tail();
            self.wiring.watermarks.shadow.catch_up(Seq(self.tail.seq.0));
            self.tend(now)?;
            self.pacer.pause();
            count += 1;
        }
        Ok(count)
    }

    fn apply(&mut self, frame: &Frame<'_>) -> Result<(), ShadowError> {
        assert!(frame.seq_first() == self.tail.seq.next() && frame.chain_prev() == self.tail.chain, "frames link");
        for (seq, bytes) in frame.records() {
            let Self { replica, events, history, wiring, .. } = self;
            let _applying = Applying::of(seq.0);
            events.clear();
            if ApplyFault::is_skipped(Seq(seq.0)) {
                replica.engine.skip(Stamp { seq: Seq(seq.0), ts: replica.engine.stamp().ts });
                continue;
            }
            let stamp = apply_record(&mut replica.engine, &wiring.quarantine, Seq(seq.0), bytes, events)?;
            PanicFault::strike("shadow");
            replica.continuations.follow(bytes, events);
            history.gather(stamp, events);
            replica.translate(stamp, bytes, events, &mut history.stream_rows(stamp));
        }
        self.replica.positions.count_frame(frame.bytes().len());
        Ok(())
    }

    /// Whether the state is confirmed: the last frame ended with a check that agreed with the live engine.
    fn is_checked(&self) -> bool {
        self.replica.engine.seq_checked().0 == self.tail.seq.0
    }

    /// Asks the live engine for a check if history or a snapshot is due. It records one at the end of its next frame.
    fn request_check(&mut self, now: TsNs) {
        let is_asked_for_history = self.is_asked_for_history();
        let Self { history, wiring, snapshots, tail, .. } = self;
        let is_time = HISTORY_EVERY_NS <= now.0.saturating_sub(self.history_at_ns);
        self.history_due |= history.is_full() || is_time && history.has_rows() || is_asked_for_history;
        snapshots.due |= wiring.schedule.is_due(tail.seq, now);
        let is_asked = snapshots.is_asked_at(tail.seq) || is_asked_for_history;
        let is_due = (self.history_due || snapshots.due) && self.log_end_at_start < self.tail.seq;
        if (is_asked || is_due) && !self.is_checked() {
            self.wiring.watermarks.check_wanted.catch_up(Seq(self.tail.seq.0));
        }
    }

    /// Asks for a check if one is needed, and writes what is due.
    fn tend(&mut self, now: TsNs) -> Result<(), ShadowError> {
        if self.replica.engine.divergence().is_none() {
            self.request_check(now);
        }
        self.keep(now)
    }

    /// Writes history and snapshot if they are due and the state is confirmed. After a check that differs it writes
    /// nothing more.
    fn keep(&mut self, now: TsNs) -> Result<(), ShadowError> {
        if self.replica.engine.divergence().is_some() {
            self.stop_on_divergence();
        } else if self.is_checked() {
            if self.history_due {
                self.commit_history(now)?;
            }
            if self.snapshots.is_wanted_at(self.tail.seq) {
                self.take_snapshot(now)?;
            }
        } else if ROWS_HELD_MAX <= self.history.bytes_held() {
            self.commit_history(now)?;
        }
        Ok(())
    }

    fn commit_history(&mut self, now: TsNs) -> Result<(), ShadowError> {
        self.history.commit()?;
        (self.history_due, self.history_at_ns) = (false, self.history_at_ns.max(now.0));
        self.wiring.watermarks.history.advance(self.history.watermark());
        Ok(())
    }

    /// After a check that differs: drops the gathered rows, and refuses all questions and snapshots from now on.
    #[cold]
    fn stop_on_divergence(&mut self) {
        let Some(divergence) = self.replica.engine.divergence() else { return };
        let gauge = &self.wiring.status.seq_hash_differs;
        if gauge.get() == 0 {
            gauge.set(divergence.seq.0);
            self.history.discard();
            tracing::error!(
                %divergence,
                "the shadow's state differs from the live engine's: it writes and answers nothing more"
            );
        }
        // Dropping the questions answers each with `ShadowPortError::Gone`.
        self.questions.clear();
        self.snapshots.refuse_all(&format!("no snapshot of a state that differs from the live engine's: {divergence}"));
    }

    fn publish(&mut self, now: TsNs) {
        if self.crashed_at.is_some_and(|seq| seq <= self.tail.seq.0) {
            crash_guard::clear(self.wiring.directory.path());
            self.crashed_at = None;
        }
        let status = &self.wiring.status;
        status.scrub_rounds.set(self.scrubber.rounds());
        status.shadow.at_ns.set(now.0);
        status.shadow.cycles.add(1);
    }

    /// The last round of a clean stop, at which the log ends with a check: applies the rest, writes the history, and
    /// takes a snapshot if the configuration says so.
    pub fn finish(&mut self, now: TsNs) -> Result<(), ShadowError> {
        while self.follow(now)? > 0 {}
        let wanted = self.wiring.snapshot_on_stop && !self.wiring.lifecycle.has_failed();
        self.history_due = true;
        self.snapshots.due |= wanted && self.wiring.schedule.has_news(self.tail.seq);
        self.keep(now)?;
        self.wiring.store.flush()?;
        self.publish(now);
        Ok(())
    }

    /// Applies the log to its end and takes a snapshot there, if the state has the hash `live`, which the caller has
    /// computed by a replay of its own. For tools, which have no live engine to compare with.
    pub fn snapshot_at_end(&mut self, live: StateHash) -> Result<SnapshotOutcome, ShadowError> {
        while self.follow(TsNs(0))? > 0 {}
        if let Some(divergence) = self.replica.engine.divergence() {
            return Ok(Err(divergence.to_string()));
        }
        let found = self.replica.engine.state_hash();
        if found != live {
            return Ok(Err(format!(
                "two replays of one log gave the states {live} and {found}: suspect this machine's memory or CPU"
            )));
        }
        self.commit_history(TsNs(0))?;
        self.try_snapshot()
    }
}
