//! The state of a data directory at any sequence that its log still reaches, of a stopped node or beside a running one.
//!
//! ```text
//!   truncated | snapshot ...... snapshot ......... end of the log
//!             ^ base            `--load--> | records --prove, apply--> | the state at this sequence
//! ```
//! Invariants: nothing is written; quarantined commands are skipped; a state that disagrees with a hash recorded in the
//! log is refused, because it is not the state that was live.

use crate::offline::record_scan::{POLL_RECORDS, RecordScan};
use crate::offline::replay_observer::{ReplayObserver, TrackStreams};
use crate::terminal::failure::Failure;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::DecodedCommand;
use crate::terminal::progress::Progress;
use crate::terminal::time_text;
use anyhow::Result;
use book::codec;
use book::command::Command;
use book::engine::{Capacity, Engine};
use book::event::NoSink;
use book::units::{Seq, TsNs};
use node::replica::recover::{self, Beginning};
use node::replica::snapshots::{self, PassedOver};
use node::replica::{RecordError, Replica, apply_record};
use node::status::exit;
use std::path::Path;
use wal::directory::Directory;
use wal::quarantine::Quarantine;
use wal::recover::{Inspection, Recovered};
use wal::snapshot::{SnapshotFile, SnapshotHeader, SnapshotReader};
use wal::units::{Lsn, Tail};
use wal::walk::Start;

/// The sequences whose state can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRange {
    /// The end of the log that was truncated, or of nothing: the first retained record follows it.
    pub base: Tail,
    /// The oldest state that can be built: the empty exchange, or the oldest snapshot from which the log continues.
    pub first: Seq,
    /// The end of the log.
    pub end: Tail,
}

/// The state at a sequence, and how it was built.
pub struct StateAt {
    pub replica: Replica,
    /// The snapshot that the replay began with; `None` where it began with the empty exchange.
    pub snapshot: Option<SnapshotHeader>,
    /// Newer snapshots that were damaged.
    pub skipped_snapshots: Vec<PassedOver>,
    /// Commands applied after the snapshot.
    pub commands_applied: u64,
    pub checks_skipped: ChecksSkipped,
}

/// Hashes in the log that a replay cannot compare: the engine that recorded them had applied commands that are
/// quarantined now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChecksSkipped {
    pub count: u64,
    /// The sequences of the first and the last of them.
    pub range: Option<(Seq, Seq)>,
}

impl ChecksSkipped {
    fn note(&mut self, seq: Seq) {
        self.count += 1;
        self.range = Some((self.range.map_or(seq, |(first, _)| first), seq));
    }

    /// As text; empty where there is none.
    pub fn text(&self) -> String {
        match self.range {
            Some((first, last)) => format!(
                "{} recorded hashes, at sequences {} to {}, could not be compared: they are of a state with quarantined \
                 commands",
                self.count, first.0, last.0
            ),
            None => String::new(),
        }
    }

    pub fn as_json(&self) -> serde_json::Value {
        let range = self.range.map(|(first, last)| (first.0, last.0));
        serde_json::json!({
            "count": self.count, "seq_first": range.map(|range| range.0), "seq_last": range.map(|range| range.1),
        })
    }
}

impl StateAt {
    pub fn seq(&self) -> Seq {
        self.replica.engine.stamp().seq
    }

    /// Reports skipped snapshots on standard error: the state is right without them, and their files need attention.
    pub fn report_skipped_snapshots(&self) {
        for PassedOver { path, why } in &self.skipped_snapshots {
            eprintln!("pinion: warning: snapshot {} is damaged, the one before it was used: {why}", path.display());
        }
    }
}

/// Reports on standard error that the folder of snapshots is missing: everything is read as if it were empty.
pub fn report_missing_folder(directory: &Directory) {
    if directory.lacks_snapshots_dir() {
        let path = directory.snapshots_dir();
        eprintln!("pinion: warning: the folder {} is missing: no snapshots; a start makes it again", path.display());
    }
}

/// Reads the states of a data directory.
pub struct StateReader {
    directory: Directory,
    quarantine: Quarantine,
    interrupt: Interrupt,
    /// The name of the directory in messages.
    name: String,
}

impl StateReader {
    pub fn open(data_dir: &Path) -> Result<Self> {
        let directory = Directory::open_read_only(data_dir)?;
        report_missing_folder(&directory);
        Self::of(directory)
    }

    /// Of a directory that is open already, possibly for writing.
    pub fn of(directory: Directory) -> Result<Self> {
        let quarantine = Quarantine::read(directory.path())?;
        let name = directory.path().display().to_string();
        Ok(Self { directory, quarantine, interrupt: Interrupt::never(), name })
    }

    /// Scans and replays fail once `interrupt` is set.
    pub fn interruptible(self, interrupt: Interrupt) -> Self {
        Self { interrupt, ..self }
    }

    /// Replays skip the commands of this list instead of the directory's own.
    pub fn with_quarantine(self, quarantine: Quarantine) -> Self {
        Self { quarantine, ..self }
    }

    /// Messages name the directory so, as for one that was fetched from a backup.
    pub fn with_name(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Decodes a command of the log. That a quarantined one cannot be decoded is no failure: nothing depends on it, and
    /// that may be why it was quarantined.
    pub fn decode(&self, seq: Seq, bytes: &[u8]) -> Result<DecodedCommand> {
        match codec::decode(bytes) {
            Ok(record) => Ok(Ok(record)),
            Err(why) if self.quarantine.contains(Lsn(seq.0)) => Ok(Err(why.to_string())),
            Err(source) => Err(RecordError::Undecodable { seq: seq.0, source }.into()),
        }
    }

    /// Proves the journal, and determines both ends of the log and of the states that can be built.
    pub fn scan(&self) -> Result<ScannedLog<'_>> {
        let inspection = Inspection::open(&self.directory)?;
        let base = inspection.base()?;
        let end = inspection.tail();
        let first = self.first(base)?;
        Ok(ScannedLog { reader: self, inspection, range: StateRange { base, first, end } })
    }

    fn first(&self, base: Tail) -> Result<Seq> {
        let origin = self.directory.identity().origin().tail();
        if base == origin && origin.seq.0 == 0 {
            return Ok(Seq(0));
        }
        let oldest = snapshots::list(&self.directory)?.into_iter().find(|file| base.seq <= file.seq);
        Ok(Seq(oldest.map_or(base.seq, |file| file.seq).0))
    }

    /// The state at `seq`, or at the end of the log, with streams and instruments.
    pub fn state(&self, seq: Option<Seq>) -> Result<StateAt> {
        let log = self.scan()?;
        let seq = log.resolve(seq)?;
        log.replay(seq, seq, &mut TrackStreams::default())
    }

    /// The same for callers that need the engine alone, in a third of the time.
    pub fn engine_state(&self, seq: Option<Seq>) -> Result<StateAt> {
        let log = self.scan()?;
        let seq = log.resolve(seq)?;
        log.replay(seq, seq, &mut NoSink)
    }
}

/// A log whose ends are known.
pub struct ScannedLog<'r> {
    reader: &'r StateReader,
    inspection: Inspection<'r>,
    pub range: StateRange,
}

impl<'r> ScannedLog<'r> {
    pub fn inspection(&self) -> &Inspection<'r> {
        &self.inspection
    }

    /// Where a scan over all retained records begins.
    pub fn first_record(&self) -> Start {
        Start::After(self.range.base)
    }

    /// `seq`, or the end of the log where it is none. Fails where that state cannot be built.
    pub fn resolve(&self, seq: Option<Seq>) -> Result<Seq> {
        let StateRange { first, end, .. } = self.range;
        let seq = seq.unwrap_or(Seq(end.seq.0));
        if first <= seq && seq.0 <= end.seq.0 {
            return Ok(seq);
        }
        let (dir, end) = (&self.reader.name, end.seq);
        let next = if seq < first { "; a backup may reach further back" } else { "" };
        let message =
            format!("sequence {} is outside the log of {dir}, which has states from {} to {end}{next}", seq.0, first.0);
        Err(Failure::of(exit::OUTSIDE_LOG, message))
    }

    /// The snapshots from which the log continues, oldest first.
    pub fn snapshots(&self) -> Result<Vec<SnapshotFile>> {
        let files = snapshots::list(&self.reader.directory)?;
        Ok(files.into_iter().filter(|file| self.range.base.seq <= file.seq).collect())
    }

    /// The last sequence at or before `time`.
    pub fn resolve_time(&self, time: TsNs) -> Result<Seq> {
        let mut from = None;
        for file in self.snapshots()?.iter().rev() {
            let Ok(reader) = SnapshotReader::open(&file.path) else { continue };
            if reader.header().time <= time.0 && reader.header().tail.seq <= self.range.end.seq {
                from = Some(reader.header().tail);
                break;
            }
        }
        // Where every snapshot is later than `time`, only a log that begins with the first command has an earlier
        // state.
        let (from, mut found) = match from {
            Some(tail) => (tail, Some(Seq(tail.seq.0))),
            None if self.range.first.0 == 0 => (self.range.base, None),
            None => return Err(self.before_every_state(time)),
        };
        self.for_each_record(Start::After(from), |seq, bytes| {
            // A command that cannot be decoded has the time of the command before it.
            if self.reader.decode(seq, bytes)?.is_ok_and(|record| time < record.ts) {
                return Ok(false);
            }
            found = Some(seq);
            Ok(true)
        })?;
        found.ok_or_else(|| self.before_every_state(time))
    }

    fn before_every_state(&self, time: TsNs) -> anyhow::Error {
        let (dir, first) = (&self.reader.name, self.range.first.0);
        let time = time_text::show(time.0);
        let message = format!(
            "{time} is before every state of the log of {dir}, whose oldest state is that of sequence {first}; a backup \
             may reach further back"
        );
        Failure::of(exit::OUTSIDE_LOG, message)
    }

    /// Loads the newest snapshot at or before `begin`, and applies the log after it up to and including `until`.
    pub fn replay<O: ReplayObserver>(&self, begin: Seq, until: Seq, observer: &mut O) -> Result<StateAt> {
        assert!(begin <= until && until.0 <= self.range.end.seq.0, "the target was resolved");
        let mut engine = || Engine::new(Capacity::default());
        let StateReader { directory, quarantine, .. } = self.reader;
        let Beginning { mut replica, tail, snapshot, passed_over } =
            recover::begin(directory, self.range.base, Lsn(begin.0), &mut engine)?;
        let began = tail.seq.0;
        let mut checks_skipped = ChecksSkipped::default();
        let mut progress = Progress::new("applying the log", (until.0.saturating_sub(began)) as usize);
        let mut apply = |seq: Seq, bytes: &[u8]| -> Result<bool> {
            if until < seq {
                return Ok(false);
            }
            if seq.0.is_multiple_of(POLL_RECORDS) {
                progress.at((seq.0 - began) as usize);
            }
            let stamp = apply_record(&mut replica.engine, quarantine, seq, bytes, observer)?;
            observer.applied(&mut replica, stamp, bytes)?;
            if !quarantine.is_empty() && is_check_skipped(quarantine, seq, bytes) {
                checks_skipped.note(seq);
            }
            match replica.engine.divergence() {
                Some(divergence) => Err(RecordError::HashDiffers(divergence).into()),
                None => Ok(true),
            }
        };
        self.for_each_record(Start::After(tail), &mut apply)?;
        let commands_applied = replica.engine.stamp().seq.0 - began;
        assert!(began + commands_applied == until.0, "the log reaches the resolved target");
        Ok(StateAt { replica, snapshot, skipped_snapshots: passed_over, commands_applied, checks_skipped })
    }

    /// Visits records until `visit` returns false.
    pub fn for_each_record(&self, start: Start, visit: impl FnMut(Seq, &[u8]) -> Result<bool>) -> Result<Recovered> {
        self.check_start(start)?;
        let StateReader { directory, interrupt, .. } = self.reader;
        RecordScan::new(start, &self.inspection)?.run(directory, &self.inspection, interrupt, visit)
    }

    /// A start past the end is outside the log, which is no sign that anything was lost.
    fn check_start(&self, start: Start) -> Result<()> {
        let StateRange { base, end, .. } = self.range;
        match start {
            Start::At(seq) if end.seq.next() < seq => {
                let (dir, first, end) = (&self.reader.name, base.seq.next(), end.seq);
                let message = format!("sequence {seq} is outside the log of {dir}, which has {first} to {end}");
                Err(Failure::of(exit::OUTSIDE_LOG, message))
            }
            _ => Ok(()),
        }
    }
}

#[cold]
fn is_check_skipped(quarantine: &Quarantine, seq: Seq, bytes: &[u8]) -> bool {
    let is_check = || codec::decode(bytes).is_ok_and(|record| matches!(record.command, Command::Check(_)));
    quarantine.is_overtaken(Lsn(seq.0)) && is_check()
}
