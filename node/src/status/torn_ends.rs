//! Torn ends that starts have cut off the log: shown by `/health` until an operator has acknowledged them.
//!
//! Invariant: what is shown is what the file `TORN_ENDS` of the data directory has, so a restart shows the same.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use wal::error::Result;
use wal::torn_ends::{TornEnd, TornEnds};
use wal::units::Lsn;

/// The notices of one node. Written by the start and by acknowledgements, read by any thread.
#[derive(Debug, Default)]
pub struct TornEndNotices(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    directory: PathBuf,
    waiting: TornEnds,
}

impl TornEndNotices {
    /// Shows from now on what the file of this directory has.
    pub fn show(&self, directory: &Path) -> Result<()> {
        let waiting = TornEnds::read(directory)?;
        *self.lock() = Known { directory: directory.to_owned(), waiting };
        Ok(())
    }

    pub fn waiting(&self) -> Vec<TornEnd> {
        self.lock().waiting.entries().to_vec()
    }

    /// Removes the notices of this sequence, from the file too; false where there is none. Blocks on the disk.
    pub fn acknowledge(&self, seq: Lsn) -> Result<bool> {
        let mut known = self.lock();
        let mut left = known.waiting.clone();
        if !left.acknowledge(seq) {
            return Ok(false);
        }
        left.write(&known.directory)?;
        known.waiting = left;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // A thread that panicked in here had changed nothing, or all of it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One torn end as a sentence for operators.
pub fn describe(end: &TornEnd) -> String {
    let TornEnd { seq, place, blocks, frames_intact, found } = end;
    let file = place.segment.file_name();
    format!(
        "a start cut a torn end off the log at sequence {seq} (head/{file}, offset {}: {found}; {frames_intact} intact \
         frames after it, {blocks} blocks wiped); it had not become durable; acknowledge it with \
         `pinion admin acknowledge-torn-end --seq {seq}`",
        place.offset
    )
}
