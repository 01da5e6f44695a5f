//! The state of a data directory as of any sequence that its log still reaches, of a stopped node or beside a running one.
//!
//! ```text
//!   no longer there | snapshot ...... snapshot ......... end of the log
//!                   ^ base            `--load--> | records --prove, apply--> | the state as of here
//! ```
//! Invariants: nothing is written; what the operator quarantined is left out; a state that disagrees with a check in the
//! log is refused, because it is not the state that was live.

use crate::terminal::failure::Failure;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::progress::Progress;
use anyhow::Result;
use book::codec::{self, Record};
use book::engine::{Capacity, Engine};
use book::event::{Event, NoSink, Sink};
use book::units::{Seq, Stamp, TsNs};
use node::replica::recover::{self, Beginning};
use node::replica::snapshots::{self, PassedOver};
use node::replica::{RecordError, Replica, apply_record};
use node::status::exit;
use std::path::{Path, PathBuf};
use wal::directory::Directory;
use wal::error::WalError;
use wal::quarantine::Quarantine;
use wal::recover::{Inspection, Recovered};
use wal::snapshot::{SnapshotFile, SnapshotHeader, SnapshotReader};
use wal::units::Tail;
use wal::walk::{FrameSource, Start};

/// Times that a walk opens the log anew where a running node wrote over what it was about to read.
const OVERTAKEN_MAX: usize = 16;

/// Records between two looks at the operator and at the clock.
const PAUSE_RECORDS: u64 = 1 << 12;

/// A command, or why this build cannot read it.
pub type Readable = std::result::Result<Record, String>;

/// Hears of every record while a state is built, and takes its events.
pub trait Witness: Sink {
    /// The record has been applied: `replica` stands behind it.
    fn applied(&mut self, replica: &mut Replica, stamp: Stamp, bytes: &[u8]) -> Result<()>;
}

/// Only the engine's state is wanted: numbers and instruments stay where the walk began.
impl Witness for NoSink {
    #[inline]
    fn applied(&mut self, _replica: &mut Replica, _stamp: Stamp, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// The state is wanted with all that follows from it: instruments, and how far every stream is numbered.
#[derive(Default)]
struct Telling(Vec<Event>);

impl Sink for Telling {
    const LEDGER: bool = false;

    #[inline]
    fn push(&mut self, event: Event) {
        self.0.push(event);
    }
}

impl Witness for Telling {
    #[inline]
    fn applied(&mut self, replica: &mut Replica, stamp: Stamp, _bytes: &[u8]) -> Result<()> {
        replica.translate(stamp, &self.0, &mut ());
        self.0.clear();
        Ok(())
    }
}

/// Shows each command's events to a closure.
pub struct Showing<F> {
    events: Vec<Event>,
    show: F,
}

impl<F: FnMut(Stamp, &[u8], &[Event]) -> Result<()>> Showing<F> {
    pub fn new(show: F) -> Self {
        Self { events: Vec::new(), show }
    }
}

impl<F> Sink for Showing<F> {
    const LEDGER: bool = true;

    fn push(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl<F: FnMut(Stamp, &[u8], &[Event]) -> Result<()>> Witness for Showing<F> {
    fn applied(&mut self, _replica: &mut Replica, stamp: Stamp, bytes: &[u8]) -> Result<()> {
        let shown = (self.show)(stamp, bytes, &self.events);
        self.events.clear();
        shown
    }
}

/// The sequences whose state can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// What the first retained record follows.
    pub base: Tail,
    /// The oldest state there is: the beginning, or the oldest snapshot from which the log goes on.
    pub first: Seq,
    /// The log's end.
    pub end: Tail,
}

/// A state that was, and how it was come by.
pub struct Moment {
    pub replica: Replica,
    /// What the walk began with; `None` where that was the empty exchange.
    pub from: Option<SnapshotHeader>,
    pub passed_over: Vec<PassedOver>,
    /// Records applied behind it.
    pub applied: u64,
    /// What the log said about itself.
    pub log: Recovered,
}

impl Moment {
    pub fn seq(&self) -> Seq {
        self.replica.engine.stamp().seq
    }
}

/// A data directory opened to look back in it.
pub struct Past {
    directory: Directory,
    quarantine: Quarantine,
    interrupt: Interrupt,
    /// How it is told to the operator.
    name: String,
}

impl Past {
    pub fn open(data_dir: &Path) -> Result<Self> {
        Self::of(Directory::open_read_only(data_dir)?)
    }

    /// Of a directory that may be open for writing already.
    pub fn of(directory: Directory) -> Result<Self> {
        let quarantine = Quarantine::read(directory.path())?;
        let name = directory.path().display().to_string();
        Ok(Self { directory, quarantine, interrupt: Interrupt::never(), name })
    }

    /// Walks end when the operator interrupts.
    pub fn until_interrupted(self, interrupt: Interrupt) -> Self {
        Self { interrupt, ..self }
    }

    /// Walks leave out what this says instead of what the directory says.
    pub fn leaving_out(self, quarantine: Quarantine) -> Self {
        Self { quarantine, ..self }
    }

    /// Told under another name than its path: that of the backup it was fetched from.
    pub fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    pub fn into_directory(self) -> Directory {
        self.directory
    }

    pub fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// A command of the log. Where the operator has left it out nothing depends on it, so that it cannot be read is no
    /// failure: that may be why it was left out.
    pub fn read(&self, seq: Seq, bytes: &[u8]) -> Result<Readable> {
        match codec::decode(bytes) {
            Ok(record) => Ok(Ok(record)),
            Err(why) if self.quarantine.contains(wal::units::Lsn(seq.0)) => Ok(Err(why.to_string())),
            Err(source) => Err(RecordError::Undecodable { seq: seq.0, source }.into()),
        }
    }

    /// Proves the log's head and says from where to where states can be built.
    pub fn look(&self) -> Result<Look<'_>> {
        let inspection = Inspection::open(&self.directory)?;
        let base = inspection.base()?;
        let end = inspection.tail();
        let first = self.first(base)?;
        Ok(Look { past: self, inspection, reach: Reach { base, first, end } })
    }

    fn first(&self, base: Tail) -> Result<Seq> {
        let origin = self.directory.identity().origin().tail();
        if base == origin && origin.seq.0 == 0 {
            return Ok(Seq(0));
        }
        let oldest = snapshots::list(&self.directory)?.into_iter().find(|file| base.seq <= file.seq);
        Ok(Seq(oldest.map_or(base.seq, |file| file.seq).0))
    }

    /// The state as of `at`, or of the log's end, with numbers and instruments.
    pub fn state(&self, at: Option<Seq>) -> Result<Moment> {
        let look = self.look()?;
        let at = look.resolve(at)?;
        look.walk(at, at, &mut Telling::default())
    }

    /// The same for whoever looks at the engine alone, in a third of the time.
    pub fn engine_state(&self, at: Option<Seq>) -> Result<Moment> {
        let look = self.look()?;
        let at = look.resolve(at)?;
        look.walk(at, at, &mut NoSink)
    }
}

/// A log whose ends are known.
pub struct Look<'p> {
    past: &'p Past,
    inspection: Inspection<'p>,
    pub reach: Reach,
}

impl<'p> Look<'p> {
    pub fn inspection(&self) -> &Inspection<'p> {
        &self.inspection
    }

    /// The sequence that is meant, if its state can be built.
    pub fn resolve(&self, at: Option<Seq>) -> Result<Seq> {
        let Reach { first, end, .. } = self.reach;
        let at = at.unwrap_or(Seq(end.seq.0));
        if first <= at && at.0 <= end.seq.0 {
            return Ok(at);
        }
        let (dir, end) = (&self.past.name, end.seq);
        let next = if at < first { "; a backup may reach further back" } else { "" };
        let message =
            format!("sequence {} is outside the log of {dir}, which reaches from {} to {end}{next}", at.0, first.0);
        Err(Failure::of(exit::OUTSIDE_LOG, message))
    }

    /// Snapshots from which the log still goes on, oldest first.
    pub fn snapshots(&self) -> Result<Vec<SnapshotFile>> {
        let files = snapshots::list(&self.past.directory)?;
        Ok(files.into_iter().filter(|file| self.reach.base.seq <= file.seq).collect())
    }

    /// The last sequence that was given at or before `time`.
    pub fn resolve_time(&self, time: TsNs) -> Result<Seq> {
        let mut from = None;
        for file in self.snapshots()?.iter().rev() {
            let Ok(reader) = SnapshotReader::open(&file.path) else { continue };
            if reader.header().time <= time.0 && reader.header().tail.seq <= self.reach.end.seq {
                from = Some(reader.header().tail);
                break;
            }
        }
        // Where every snapshot is younger, only a log that is whole can have anything before it.
        let (from, mut at) = match from {
            Some(tail) => (tail, Some(Seq(tail.seq.0))),
            None if self.reach.first.0 == 0 => (self.reach.base, None),
            None => return Err(self.before_everything(time)),
        };
        self.records(Start::After(from), |seq, bytes| {
            // One that cannot be read has the time of the command before it.
            if self.past.read(seq, bytes)?.is_ok_and(|record| time < record.ts) {
                return Ok(false);
            }
            at = Some(seq);
            Ok(true)
        })?;
        at.ok_or_else(|| self.before_everything(time))
    }

    fn before_everything(&self, time: TsNs) -> anyhow::Error {
        let (dir, first) = (&self.past.name, self.reach.first.0);
        let time = crate::terminal::time_text::show(time.0);
        let message =
            format!("{time} is before what the log of {dir} reaches: its oldest state is that of sequence {first}");
        Failure::of(exit::OUTSIDE_LOG, message)
    }

    /// Loads the newest snapshot at or before `begin` and applies the log up to and including `until`.
    pub fn walk<W: Witness>(&self, begin: Seq, until: Seq, witness: &mut W) -> Result<Moment> {
        assert!(begin <= until && until.0 <= self.reach.end.seq.0, "the target was resolved");
        let mut engine = || Engine::new(Capacity::default());
        let Past { directory, quarantine, .. } = self.past;
        let Beginning { mut replica, tail, snapshot, passed_over } =
            recover::begin(directory, self.reach.base, wal::units::Lsn(begin.0), &mut engine)?;
        let began = tail.seq.0;
        let mut progress = Progress::new("applying", (until.0.saturating_sub(began)) as usize);
        let mut record = |seq: Seq, bytes: &[u8]| -> Result<bool> {
            if until < seq {
                return Ok(false);
            }
            if seq.0.is_multiple_of(PAUSE_RECORDS) {
                progress.at((seq.0 - began) as usize);
            }
            let stamp = apply_record(&mut replica.engine, quarantine, seq, bytes, witness)?;
            witness.applied(&mut replica, stamp, bytes)?;
            match replica.engine.divergence() {
                Some(parted) => Err(RecordError::HashDiffers(parted).into()),
                None => Ok(true),
            }
        };
        let log = self.records(Start::After(tail), &mut record)?;
        let applied = replica.engine.stamp().seq.0 - began;
        assert!(began + applied == until.0, "the log reaches what was resolved");
        Ok(Moment { replica, from: snapshot, passed_over, applied, log })
    }

    /// Asking for what is not there yet is no sign that anything was lost.
    fn check_begin(&self, start: Start) -> Result<()> {
        let Reach { base, end, .. } = self.reach;
        match start {
            Start::At(seq) if end.seq.next() < seq => {
                let (dir, first, end) = (&self.past.name, base.seq.next(), end.seq);
                let message = format!("sequence {seq} is outside the log of {dir}, which has {first} to {end}");
                Err(Failure::of(exit::OUTSIDE_LOG, message))
            }
            _ => Ok(()),
        }
    }

    /// Shows records until `show` says that it has enough. Where a running node has written over what was about to be
    /// read, the store has it by now: the log is opened anew and the walk goes on behind what was shown.
    pub fn records(&self, start: Start, mut show: impl FnMut(Seq, &[u8]) -> Result<bool>) -> Result<Recovered> {
        self.check_begin(start)?;
        let mut shown = Shown { start, log: self.inspection.found()? };
        let (mut overtaken, mut newer) = (0, None);
        loop {
            let inspection = newer.as_ref().unwrap_or(&self.inspection);
            match shown.go_on(inspection, &self.past.interrupt, &mut show) {
                Ok(()) => return Ok(shown.log),
                Err(End::Log(WalError::Overtaken { .. })) if overtaken < OVERTAKEN_MAX => overtaken += 1,
                Err(End::Log(error)) => return Err(error.into()),
                Err(End::Show(error)) => return Err(error),
            }
            newer = Some(shown.look_again(&self.past.directory)?);
        }
    }
}

/// How far a walk over records has come.
struct Shown {
    /// Where it goes on.
    start: Start,
    /// Counts what was shown.
    log: Recovered,
}

/// Why a walk over records ended early.
enum End {
    Log(WalError),
    Show(anyhow::Error),
}

impl From<WalError> for End {
    fn from(error: WalError) -> Self {
        Self::Log(error)
    }
}

impl Shown {
    fn go_on(
        &mut self,
        inspection: &Inspection<'_>,
        interrupt: &Interrupt,
        show: &mut impl FnMut(Seq, &[u8]) -> Result<bool>,
    ) -> std::result::Result<(), End> {
        let first = match self.start {
            Start::At(seq) => seq,
            Start::After(tail) => tail.seq.next(),
        };
        let mut walk = inspection.frames(self.start)?;
        while let Some((frame, source)) = walk.next_frame()? {
            let mut of_frame = 0;
            for (seq, bytes) in frame.records().filter(|(seq, _)| first <= *seq) {
                if seq.0.is_multiple_of(PAUSE_RECORDS) {
                    interrupt.check().map_err(End::Show)?;
                }
                if !show(Seq(seq.0), bytes).map_err(End::Show)? {
                    self.count(source, of_frame);
                    return Ok(());
                }
                of_frame += 1;
                self.start = Start::At(seq.next());
            }
            self.count(source, of_frame);
        }
        Ok(())
    }

    fn count(&mut self, source: FrameSource, records: u64) {
        let frames = match source {
            FrameSource::Store => &mut self.log.frames_from_store,
            FrameSource::Head => &mut self.log.frames_from_head,
        };
        *frames += u64::from(0 < records);
        self.log.records += records;
    }

    fn look_again<'d>(&mut self, directory: &'d Directory) -> Result<Inspection<'d>> {
        let newer = Inspection::open(directory)?;
        let Recovered { records, frames_from_store, frames_from_head, .. } = self.log;
        self.log = Recovered { records, frames_from_store, frames_from_head, ..newer.found()? };
        Ok(newer)
    }
}

/// Says which snapshots were passed over, on standard error: the result is sound without them, but somebody should know.
pub fn tell_passed_over(passed_over: &[PassedOver]) {
    for PassedOver { path, why } in passed_over {
        eprintln!("pinion: {} is of no use, the one before it was taken: {why}", path.display());
    }
}

/// Every verb that looks into a data directory has this.
#[derive(clap::Args, Clone, Debug)]
pub struct DataDir {
    /// The data directory, of a stopped or a running node
    #[arg(long, value_name = "D")]
    pub data_dir: PathBuf,
}

impl DataDir {
    pub fn past(&self) -> Result<Past> {
        Ok(Past::open(&self.data_dir)?.until_interrupted(Interrupt::listen()?))
    }
}
