//! Reads what is kept, slowly, again and again. What rots unread is found out on the day that it is needed, and by then
//! the backup that could have mended it may be gone.
//!
//! ```text
//!  |--> log, from its base to where it ended when this round began --> each snapshot, oldest first --|
//!  '-------------------------------------------------------------------------------------------------'
//! ```
//! Invariants: one small portion at a time, so that it holds up nobody; a finding is told once and stops nothing, because
//! what the live engine knows it knows from memory.

use crate::replica::LoadError;
use crate::replica::snapshots;
use book::units::TsNs;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wal::directory::Directory;
use wal::error::{Damage, Result, WalError};
use wal::snapshot::{SnapshotFile, SnapshotReader};
use wal::store::Store;
use wal::units::Lsn;

/// Read at once, and then only after a pause that keeps the pace; a frame or a piece may go beyond it.
const PORTION_BYTES: u64 = 256 << 10;
const SECOND_NS: u64 = 1_000_000_000;

pub struct Scrubber {
    directory: Arc<Directory>,
    store: Arc<Store>,
    /// Between two portions; `None` where nobody wants a scrubber.
    pause_ns: Option<u64>,
    due: TsNs,
    beat: Beat,
    rounds: u64,
    /// Where the log was found damaged.
    log_damaged_at: BTreeSet<Lsn>,
    /// Of the snapshots that were read: whether a start may rely on them.
    snapshots: BTreeMap<Lsn, bool>,
    /// Damage that was found when somebody asked, at most one for each snapshot; `poll` tells it.
    untold: Vec<LoadError>,
}

/// Where it is.
enum Beat {
    Log { next: Lsn, until: Lsn },
    Snapshots { behind: Lsn, open: Option<SnapshotReader> },
}

impl Scrubber {
    /// Zero bytes a second: never.
    pub fn new(directory: Arc<Directory>, store: Arc<Store>, bytes_per_second: u64) -> Self {
        let pause_ns = (PORTION_BYTES * SECOND_NS).checked_div(bytes_per_second);
        let beat = Beat::Log { next: Lsn(1), until: store.tail().seq };
        let (log_damaged_at, snapshots, untold) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        Self { directory, store, pause_ns, due: TsNs(0), beat, rounds: 0, log_damaged_at, snapshots, untold }
    }

    /// Times that everything has been read.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// A snapshot that this process has just written.
    pub fn note_whole(&mut self, snapshot: Lsn) {
        self.snapshots.insert(snapshot, true);
    }

    /// Forgets what it knows of snapshots that are gone.
    pub fn forget_all_but(&mut self, files: &[SnapshotFile]) {
        self.snapshots.retain(|seq, _| files.iter().any(|file| file.seq == *seq));
    }

    /// Whether a start may rely on a snapshot. One that nobody has read yet is read now.
    pub fn is_whole(&mut self, file: &SnapshotFile, rest: &mut impl FnMut()) -> bool {
        if let Some(known) = self.snapshots.get(&file.seq) {
            return *known;
        }
        let Err(error) = prove(&self.directory, file, rest) else {
            self.judge(file.seq, None);
            return true;
        };
        if self.judge(file.seq, Some(&error)) {
            self.untold.push(error);
        }
        false
    }

    /// Reads a portion if it is time; gives a finding that was not told before.
    pub fn poll(&mut self, now: TsNs, rest: &mut impl FnMut()) -> Option<LoadError> {
        if let Some(finding) = self.untold.pop() {
            return Some(finding);
        }
        let pause_ns = self.pause_ns?;
        if now < self.due {
            return None;
        }
        self.due = TsNs(now.0.saturating_add(pause_ns));
        match &self.beat {
            Beat::Log { next, until } => self.read_log(*next, *until, rest).map(LoadError::from),
            Beat::Snapshots { .. } => self.read_snapshots(rest),
        }
    }

    fn read_log(&mut self, mut next: Lsn, until: Lsn, rest: &mut impl FnMut()) -> Option<WalError> {
        let outcome = log_portion(&self.store, &mut next, until, rest);
        let goes_on_at = match outcome {
            Ok(true) => None,
            Ok(false) => Some(next),
            // What lies behind may be whole: the next place that is sure to be the beginning of a frame.
            Err(_) => self.first_snapshot(|seq| next <= seq).map(|file| file.seq.next()),
        };
        self.beat = match goes_on_at {
            Some(next) => Beat::Log { next, until },
            None => Beat::Snapshots { behind: Lsn::ZERO, open: None },
        };
        // Where a round finds the same again, it has been told.
        outcome.err().filter(|_| self.log_damaged_at.insert(next))
    }

    fn read_snapshots(&mut self, rest: &mut impl FnMut()) -> Option<LoadError> {
        let Beat::Snapshots { behind, open } = &mut self.beat else { unreachable!("asked for snapshots") };
        let (seq, Some(mut reader)) = (*behind, open.take()) else { return self.next_snapshot() };
        let error = match snapshot_portion(&mut reader, rest) {
            Ok(false) => {
                *open = Some(reader);
                return None;
            }
            Ok(true) => None,
            Err(error) => Some(LoadError::from(error)),
        };
        let is_news = self.judge(seq, error.as_ref());
        error.filter(|_| is_news)
    }

    /// Opens the first snapshot behind the last one, or ends the round.
    fn next_snapshot(&mut self) -> Option<LoadError> {
        let Beat::Snapshots { behind, .. } = self.beat else { unreachable!("asked for snapshots") };
        let Some(file) = self.first_snapshot(|seq| behind < seq) else {
            self.rounds += 1;
            self.beat = Beat::Log { next: Lsn(1), until: self.store.tail().seq };
            return None;
        };
        let (open, error) = match snapshots::open(&self.directory, &file) {
            Ok(reader) => (Some(reader), None),
            Err(error) => (None, Some(error)),
        };
        self.beat = Beat::Snapshots { behind: file.seq, open };
        error.filter(|error| self.judge(file.seq, Some(error)))
    }

    /// None, too, where the directory cannot be listed now: whoever needs it finds that out.
    fn first_snapshot(&self, wanted: impl Fn(Lsn) -> bool) -> Option<SnapshotFile> {
        snapshots::list(&self.directory).ok()?.into_iter().find(|file| wanted(file.seq))
    }

    /// Takes down what reading a snapshot came to; true where that is damage, and new. A read that failed says nothing
    /// about the file, and whoever takes one away by hand has done no damage.
    fn judge(&mut self, snapshot: Lsn, error: Option<&LoadError>) -> bool {
        let is_whole = match error {
            None => true,
            Some(LoadError::File(WalError::Damaged { damage: Damage::FileMissing, .. })) => return false,
            Some(LoadError::File(WalError::Damaged { .. }) | LoadError::Malformed { .. }) => false,
            Some(_) => return false,
        };
        self.snapshots.insert(snapshot, is_whole) != Some(is_whole) && !is_whole
    }
}

fn prove(directory: &Directory, file: &SnapshotFile, rest: &mut impl FnMut()) -> std::result::Result<(), LoadError> {
    let mut reader = snapshots::open(directory, file)?;
    while !snapshot_portion(&mut reader, rest)? {}
    Ok(())
}

/// A portion of the log, each frame proved and held against its predecessor; true at the end.
fn log_portion(store: &Store, next: &mut Lsn, until: Lsn, rest: &mut impl FnMut()) -> Result<bool> {
    *next = (*next).max(store.base()?.seq.next());
    if until < *next {
        return Ok(true);
    }
    let mut cursor = store.frames(*next)?;
    let mut bytes = 0;
    while bytes < PORTION_BYTES {
        let Some(frame) = cursor.next_frame()? else { return Ok(true) };
        bytes += frame.bytes().len() as u64;
        *next = frame.seq_last().next();
        rest();
    }
    Ok(until < *next)
}

/// A portion of a snapshot; true at the end of one that is whole.
fn snapshot_portion(reader: &mut SnapshotReader, rest: &mut impl FnMut()) -> Result<bool> {
    let mut bytes = 0;
    while bytes < PORTION_BYTES {
        let Some((_, piece)) = reader.next_piece()? else { return Ok(true) };
        bytes += piece.len() as u64;
        rest();
    }
    Ok(false)
}
