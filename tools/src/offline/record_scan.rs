//! A scan over the records of a log beside a running node.
//!
//! Invariant: each record is visited once and in order, also where the node overwrites a part of the journal before the
//! scan has read it. The store has those records by then: the log is opened again, and the scan continues after the
//! last record that it visited.

use crate::terminal::interrupt::Interrupt;
use anyhow::Result;
use book::units::Seq;
use wal::directory::Directory;
use wal::error::WalError;
use wal::recover::{Inspection, Recovered};
use wal::walk::FrameSource;
use wal::walk::Start;

/// How often a scan opens the log again before it gives up.
const REOPEN_MAX: usize = 16;

/// Records between two polls of the interrupt.
pub(super) const POLL_RECORDS: u64 = 1 << 12;

pub(super) struct RecordScan {
    /// The place at which the scan continues.
    start: Start,
    /// The totals of the records visited so far.
    visited: Recovered,
}

/// Why a scan ended early.
enum ScanError {
    Log(WalError),
    Visitor(anyhow::Error),
}

impl From<WalError> for ScanError {
    fn from(error: WalError) -> Self {
        Self::Log(error)
    }
}

impl RecordScan {
    pub(super) fn new(start: Start, inspection: &Inspection<'_>) -> Result<Self> {
        Ok(Self { start, visited: inspection.found()? })
    }

    /// Visits records until `visit` returns false. Returns what the log reported about the visited part.
    pub(super) fn run(
        mut self,
        directory: &Directory,
        inspection: &Inspection<'_>,
        interrupt: &Interrupt,
        mut visit: impl FnMut(Seq, &[u8]) -> Result<bool>,
    ) -> Result<Recovered> {
        let (mut reopened, mut newer) = (0, None);
        loop {
            match self.visit_from(newer.as_ref().unwrap_or(inspection), interrupt, &mut visit) {
                Ok(()) => return Ok(self.visited),
                Err(ScanError::Log(WalError::Overtaken { .. })) if reopened < REOPEN_MAX => reopened += 1,
                Err(ScanError::Log(error)) => return Err(error.into()),
                Err(ScanError::Visitor(error)) => return Err(error),
            }
            newer = Some(self.reopen(directory)?);
        }
    }

    fn visit_from(
        &mut self,
        inspection: &Inspection<'_>,
        interrupt: &Interrupt,
        visit: &mut impl FnMut(Seq, &[u8]) -> Result<bool>,
    ) -> std::result::Result<(), ScanError> {
        let first = match self.start {
            Start::At(seq) => seq,
            Start::After(tail) => tail.seq.next(),
        };
        let mut walk = inspection.frames(self.start)?;
        while let Some((frame, home)) = walk.next_frame()? {
            let mut of_frame = 0;
            for (seq, bytes) in frame.records().filter(|(seq, _)| first <= *seq) {
                if seq.0.is_multiple_of(POLL_RECORDS) {
                    interrupt.check().map_err(ScanError::Visitor)?;
                }
                if !visit(Seq(seq.0), bytes).map_err(ScanError::Visitor)? {
                    self.count(home, of_frame);
                    return Ok(());
                }
                of_frame += 1;
                self.start = Start::At(seq.next());
            }
            self.count(home, of_frame);
        }
        Ok(())
    }

    fn count(&mut self, source: FrameSource, records: u64) {
        let frames = match source {
            FrameSource::Store => &mut self.visited.frames_from_store,
            FrameSource::Head => &mut self.visited.frames_from_head,
        };
        *frames += u64::from(0 < records);
        self.visited.records += records;
    }

    fn reopen<'d>(&mut self, directory: &'d Directory) -> Result<Inspection<'d>> {
        let newer = Inspection::open(directory)?;
        let Recovered { records, frames_from_store, frames_from_head, .. } = self.visited;
        self.visited = Recovered { records, frames_from_store, frames_from_head, ..newer.found()? };
        Ok(newer)
    }
}
