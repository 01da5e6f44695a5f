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
//! Invariants: applies durable frames only, each once, in order; keeps nothing, row or snapshot, beyond a check that
//! agreed (but for `ROWS_HELD_MAX`), so what it keeps is what was live; from a check on that does not agree it keeps and answers nothing; the store
//! is flushed before a snapshot, so log and history are never behind it.

pub mod pacer;
mod requests;
pub mod retention;
pub mod schedule;
pub mod scrubber;
mod snapshots;

use crate::faults::fault::ApplyFault;
use crate::history::HistoryWriter;
use crate::host::clock::Clock;
use crate::replica::crash_guard::{self, Applying};
use crate::replica::questions::{ShadowInlet, Taken, Wish};
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
use snapshots::Snapshots;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wal::directory::Directory;
use wal::error::WalError;
use wal::frame::Frame;
use wal::quarantine::Quarantine;
use wal::store::Store;
use wal::units::Tail;

/// Frames applied before questions, snapshots and the history are looked at again.
const FRAMES_PER_POLL: usize = 64;
/// Pause when there is nothing to follow.
const IDLE: Duration = Duration::from_millis(1);
/// The history is written at least this often while there is something to write.
const HISTORY_EVERY_NS: u64 = 1_000_000_000;
/// Of rows that wait for a check. Only a log whose checks lie far apart makes so many; then memory goes first.
const ROWS_HELD_MAX: usize = 64 << 20;
/// Further behind than this it rests no more: the log waits in the store, but answers and checks wait with it.
const BEHIND_MAX: u64 = 1 << 21;
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
    pub watermarks: ShadowWatermarks,
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
    pub schedule: Schedule,
    pub retention: Retention,
    pub snapshot_on_stop: bool,
    /// Pace of the scrubber.
    pub patrol_bytes_per_second: u64,
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
            patrol_bytes_per_second: 0,
        }
    }
}

pub struct Shadow {
    replica: Replica,
    /// Behind the last frame that was applied.
    tail: Tail,
    /// What the log held when this began. As long as nothing comes behind it, nobody asks for a check by himself: a start
    /// that nothing follows leaves the log as it was.
    found: wal::units::Lsn,
    history: HistoryWriter,
    history_at_ns: u64,
    /// The history is to be written at the next check.
    history_due: bool,
    wiring: ShadowWiring,
    /// Questions about sequences that are still to come.
    questions: Vec<Wish>,
    snapshots: Snapshots,
    events: Vec<Event>,
    /// Where an earlier start crashed; forgotten when we are past it.
    crashed_at: Option<u64>,
    /// Gives way where the shadow has a thread of its own; whoever drives it by hand decides by themselves.
    pacer: Pacer,
    scrubber: Scrubber,
}

impl Shadow {
    /// Begins with a snapshot that the history has reached, so that it goes on without a gap; where there is none, with
    /// the newest.
    pub fn begin(mut wiring: ShadowWiring, mut engine: impl FnMut() -> Engine) -> Result<Self, ShadowError> {
        let mut history = HistoryWriter::open(Arc::clone(&wiring.store))?;
        let (base, watermark) = (wiring.store.base()?, history.watermark());
        let reached = wal::units::Lsn(watermark.0).max(base.seq);
        let begun = match recover::begin(&wiring.directory, base, reached, &mut engine) {
            Err(RestoreError::NoBeginning { .. }) => {
                recover::begin(&wiring.directory, base, wal::units::Lsn(u64::MAX), &mut engine)
            }
            begun => begun,
        };
        let Beginning { replica, tail, .. } = begun?;
        if watermark.0 < tail.seq.0 {
            let (from, until) = (watermark.0 + 1, tail.seq.0);
            tracing::warn!(from, until, "the history lacks these sequences: the log of them is gone");
            history.begin_behind(Seq(until))?;
        }
        let (at, begins_after) = (Seq(tail.seq.0), Seq(wiring.store.base()?.seq.0));
        let ShadowWatermarks { shadow, history: rows, snapshot, truncated, .. } = &mut wiring.watermarks;
        shadow.advance(at);
        rows.advance(history.watermark());
        // The state came from a snapshot, or from the beginning of the log, where none is needed.
        snapshot.advance(at);
        truncated.advance(begins_after);
        let (directory, store) = (Arc::clone(&wiring.directory), Arc::clone(&wiring.store));
        let scrubber = Scrubber::new(directory, store, wiring.patrol_bytes_per_second);
        let crashed_at = crash_guard::read(wiring.directory.path()).last().copied();
        Ok(Self {
            replica,
            tail,
            found: wiring.store.tail().seq,
            history,
            history_at_ns: 0,
            history_due: false,
            wiring,
            questions: Vec::new(),
            snapshots: Snapshots::default(),
            events: Vec::with_capacity(EVENTS_PER_COMMAND_MAX),
            crashed_at,
            pacer: Pacer::default(),
            scrubber,
        })
    }

    /// One round: follow, answer, keep. Returns the frames applied.
    pub fn poll(&mut self, now: TsNs) -> Result<usize, ShadowError> {
        self.take_wishes();
        let count = self.follow(now)?;
        self.tend(now)?;
        self.answer_questions();
        if let Some(finding) = self.scrubber.poll(now, &mut || self.pacer.rest()) {
            self.wiring.status.note_damage(finding.to_string());
        }
        self.publish(now);
        Ok(count)
    }

    /// Commands that the store has beyond ours.
    fn behind(&self) -> u64 {
        self.wiring.store.tail().seq.0.saturating_sub(self.tail.seq.0)
    }

    /// Applies the frames that the store has beyond ours.
    fn follow(&mut self, now: TsNs) -> Result<usize, ShadowError> {
        if self.behind() == 0 {
            return Ok(0);
        }
        let store = Arc::clone(&self.wiring.store);
        let mut cursor = store.frames(self.tail.seq.next())?;
        let mut count = 0;
        while count < FRAMES_PER_POLL && self.replica.engine.parted().is_none() {
            let Some(frame) = cursor.next_frame()? else { break };
            self.apply(&frame)?;
            self.tail = cursor.tail();
            self.wiring.watermarks.shadow.advance(Seq(self.tail.seq.0));
            self.tend(now)?;
            self.pacer.rest();
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
            if ApplyFault::is_left_out(Seq(seq.0)) {
                replica.engine.skip(Stamp { seq: Seq(seq.0), ts: replica.engine.stamp().ts });
                continue;
            }
            let stamp = apply_record(&mut replica.engine, &wiring.quarantine, Seq(seq.0), bytes, events)?;
            replica.unfinished.follow(bytes, events);
            history.gather(stamp, events);
            replica.tell(stamp, events, &mut history.listening(stamp));
        }
        self.replica.numbers.frame(frame.bytes().len());
        Ok(())
    }

    /// Whether all that was applied is known to be what the live engine had: the frame ended with a check that agreed.
    fn is_vouched_for(&self) -> bool {
        self.replica.engine.checked().0 == self.tail.seq.0
    }

    /// Asks for a check where something is to be kept. The engine records one at the end of its next frame.
    fn want_check(&mut self, now: TsNs) {
        let is_asked_for_history = self.is_asked_for_history();
        let Self { history, wiring, snapshots, tail, .. } = self;
        let is_time = HISTORY_EVERY_NS <= now.0.saturating_sub(self.history_at_ns);
        self.history_due |= history.is_full() || is_time && history.has_rows() || is_asked_for_history;
        snapshots.due |= wiring.schedule.is_due(tail.seq, now);
        let is_asked = snapshots.wished_for() > 0 || is_asked_for_history;
        let is_due = (self.history_due || snapshots.due) && self.found < self.tail.seq;
        if (is_asked || is_due) && !self.is_vouched_for() {
            self.wiring.watermarks.check_wanted.advance(Seq(self.tail.seq.0));
        }
    }

    /// Asks for what is missing and keeps what is due.
    fn tend(&mut self, now: TsNs) -> Result<(), ShadowError> {
        if self.replica.engine.parted().is_none() {
            self.want_check(now);
        }
        self.keep(now)
    }

    /// Keeps what is due, as far as the live engine vouches for it; nothing any more where it contradicts.
    fn keep(&mut self, now: TsNs) -> Result<(), ShadowError> {
        if self.replica.engine.parted().is_some() {
            self.stand_aside();
        } else if self.is_vouched_for() {
            if self.history_due {
                self.commit_history(now)?;
            }
            if self.snapshots.is_wanted() {
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

    /// This state is not the live one: nothing more of it is applied, kept or told.
    #[cold]
    fn stand_aside(&mut self) {
        let Some(parted) = self.replica.engine.parted() else { return };
        let gauge = &self.wiring.status.seq_hash_differs;
        if gauge.get() == 0 {
            gauge.set(parted.seq.0);
            self.history.discard();
            tracing::error!(%parted, "the shadow's state differs from the live engine's: it keeps and answers nothing more");
        }
        // Whoever asked hears that nobody answers.
        self.questions.clear();
        self.snapshots.refuse(&format!("no snapshot of a state that differs from the live engine's: {parted}"));
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

    /// The last round of a clean stop, whose log ends with a check.
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

    /// Follows to the log's end and takes a snapshot there, if the state is the one that the caller made of the same log.
    /// For whoever has no live engine at hand.
    pub fn snapshot_at_end(&mut self, live: StateHash) -> Result<Taken, ShadowError> {
        while self.follow(TsNs(0))? > 0 {}
        if let Some(parted) = self.replica.engine.parted() {
            return Ok(Err(parted.to_string()));
        }
        let found = self.replica.engine.state_hash();
        if found != live {
            return Ok(Err(format!(
                "applied twice, the log gave the states {live} and {found}: this machine is not sound"
            )));
        }
        self.commit_history(TsNs(0))?;
        self.try_snapshot()
    }

    /// Runs until the keeper has stored the last frame, or the process must end.
    pub fn run(mut self, keeper_done: &AtomicBool, clock: &mut Clock) {
        // Refused at worst, and then it competes like any other thread.
        let _ = rustix::process::setpriority_process(None, NICE);
        loop {
            let now = clock.now();
            self.pacer.give_way(self.behind() < BEHIND_MAX && !self.wiring.lifecycle.is_stopping());
            let done = keeper_done.load(Ordering::Acquire);
            let outcome = if done { self.finish(now).map(|()| 0) } else { self.poll(now) };
            match outcome {
                Err(error) => return self.wiring.lifecycle.fail(error.exit_code(), error.to_string()),
                Ok(_) if done => return,
                Ok(0) => std::thread::sleep(IDLE),
                Ok(_) => {}
            }
        }
    }
}
