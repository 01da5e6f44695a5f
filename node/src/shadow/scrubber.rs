//! The scrubber: slowly reads and verifies the log and all snapshots, over and over, as in databases and file systems.
//! Otherwise a bit flip in a file that is rarely read is found only when the file is needed, and by then the backup
//! that could have repaired it may have expired.
//!
//! ```text
//!  |--> log, from its base to where it ended when this round began --> each snapshot, oldest first --|
//!  '-------------------------------------------------------------------------------------------------'
//! ```
//! Invariants: it reads one small portion at a time, so that it delays no other work; each damage is reported once, and
//! stops nothing, because the live engine works from memory.

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

/// Bytes read at once, before a pause that keeps the pace. The last frame or piece may exceed it.
const PORTION_BYTES: u64 = 256 << 10;
const SECOND_NS: u64 = 1_000_000_000;

pub struct Scrubber {
    directory: Arc<Directory>,
    store: Arc<Store>,
    /// Pause between two portions; `None` if the scrubber is turned off.
    pause_ns: Option<u64>,
    due: TsNs,
    position: Position,
    rounds: u64,
    /// Sequences at which the log was found damaged. Bounded by what one log can hold; usually empty.
    log_damaged_at: BTreeSet<Lsn>,
    /// By snapshot that was read: whether it is intact.
    snapshots: BTreeMap<Lsn, bool>,
    /// Damage that `is_intact` found and `poll` has not reported yet, at most one per snapshot.
    unreported: Vec<LoadError>,
}

/// Where the current round is.
enum Position {
    Log { next: Lsn, until: Lsn },
    Snapshots { after: Lsn, open: Option<SnapshotReader> },
}

impl Scrubber {
    /// `bytes_per_second` is the pace; zero turns the scrubber off.
    pub fn new(directory: Arc<Directory>, store: Arc<Store>, bytes_per_second: u64) -> Self {
        let pause_ns = (PORTION_BYTES * SECOND_NS).checked_div(bytes_per_second);
        let position = Position::Log { next: Lsn(1), until: store.tail().seq };
        let (log_damaged_at, snapshots, unreported) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        Self { directory, store, pause_ns, due: TsNs(0), position, rounds: 0, log_damaged_at, snapshots, unreported }
    }

    /// How many times everything has been read.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Records a snapshot that this process has just written.
    pub fn note_intact(&mut self, snapshot: Lsn) {
        self.snapshots.insert(snapshot, true);
    }

    /// Forgets snapshots that no longer exist.
    pub fn forget_all_but(&mut self, files: &[SnapshotFile]) {
        self.snapshots.retain(|seq, _| files.iter().any(|file| file.seq == *seq));
    }

    /// Whether a start may rely on a snapshot. One that was not verified before is verified now.
    pub fn is_intact(&mut self, file: &SnapshotFile, pause: &mut impl FnMut()) -> bool {
        if let Some(known) = self.snapshots.get(&file.seq) {
            return *known;
        }
        let Err(error) = verify(&self.directory, file, pause) else {
            self.record(file.seq, None);
            return true;
        };
        if self.record(file.seq, Some(&error)) {
            self.unreported.push(error);
        }
        false
    }

    /// Reads one portion if it is due. Returns damage that was not reported before.
    pub fn poll(&mut self, now: TsNs, pause: &mut impl FnMut()) -> Option<LoadError> {
        if let Some(finding) = self.unreported.pop() {
            return Some(finding);
        }
        let pause_ns = self.pause_ns?;
        if now < self.due {
            return None;
        }
        self.due = TsNs(now.0.saturating_add(pause_ns));
        match &self.position {
            Position::Log { next, until } => self.read_log(*next, *until, pause).map(LoadError::from),
            Position::Snapshots { .. } => self.read_snapshots(pause),
        }
    }

    fn read_log(&mut self, mut next: Lsn, until: Lsn, pause: &mut impl FnMut()) -> Option<WalError> {
        let outcome = read_log_portion(&self.store, &mut next, until, pause);
        let continue_at = match outcome {
            Ok(true) => None,
            Ok(false) => Some(next),
            // The log after the damage may be intact. A frame is known to begin right after each snapshot.
            Err(_) => self.first_snapshot(|seq| next <= seq).map(|file| file.seq.next()),
        };
        self.position = match continue_at {
            Some(next) => Position::Log { next, until },
            None => Position::Snapshots { after: Lsn::ZERO, open: None },
        };
        // Damage that an earlier round found at the same place has been reported.
        outcome.err().filter(|_| self.log_damaged_at.insert(next))
    }

    fn read_snapshots(&mut self, pause: &mut impl FnMut()) -> Option<LoadError> {
        let Position::Snapshots { after, open } = &mut self.position else { unreachable!("called among snapshots") };
        let (seq, Some(mut reader)) = (*after, open.take()) else { return self.next_snapshot() };
        let error = match read_snapshot_portion(&mut reader, pause) {
            Ok(false) => {
                *open = Some(reader);
                return None;
            }
            Ok(true) => None,
            Err(error) => Some(LoadError::from(error)),
        };
        let is_new = self.record(seq, error.as_ref());
        error.filter(|_| is_new)
    }

    /// Opens the first snapshot after the last one, or ends the round.
    fn next_snapshot(&mut self) -> Option<LoadError> {
        let Position::Snapshots { after, .. } = self.position else { unreachable!("called among snapshots") };
        let Some(file) = self.first_snapshot(|seq| after < seq) else {
            self.rounds += 1;
            self.position = Position::Log { next: Lsn(1), until: self.store.tail().seq };
            return None;
        };
        let (open, error) = match snapshots::open(&self.directory, &file) {
            Ok(reader) => (Some(reader), None),
            Err(error) => (None, Some(error)),
        };
        self.position = Position::Snapshots { after: file.seq, open };
        error.filter(|error| self.record(file.seq, Some(error)))
    }

    /// Also `None` if the directory cannot be listed: taking the next snapshot will report that.
    fn first_snapshot(&self, wanted: impl Fn(Lsn) -> bool) -> Option<SnapshotFile> {
        snapshots::list(&self.directory).ok()?.into_iter().find(|file| wanted(file.seq))
    }

    /// Records the result of reading a snapshot; true if it is damaged and was not known to be. A failed read says
    /// nothing about the file, and a file that was removed by hand is not damage.
    fn record(&mut self, snapshot: Lsn, error: Option<&LoadError>) -> bool {
        let is_intact = match error {
            None => true,
            Some(LoadError::File(WalError::Damaged { damage: Damage::FileMissing, .. })) => return false,
            Some(LoadError::File(WalError::Damaged { .. }) | LoadError::Malformed { .. }) => false,
            Some(_) => return false,
        };
        self.snapshots.insert(snapshot, is_intact) != Some(is_intact) && !is_intact
    }
}

fn verify(directory: &Directory, file: &SnapshotFile, pause: &mut impl FnMut()) -> std::result::Result<(), LoadError> {
    let mut reader = snapshots::open(directory, file)?;
    while !read_snapshot_portion(&mut reader, pause)? {}
    Ok(())
}

/// Reads a portion of the log, and verifies each frame and its link to the one before; true at the end.
fn read_log_portion(store: &Store, next: &mut Lsn, until: Lsn, pause: &mut impl FnMut()) -> Result<bool> {
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
        pause();
    }
    Ok(until < *next)
}

/// Reads and verifies a portion of a snapshot; true at the end of an intact one.
fn read_snapshot_portion(reader: &mut SnapshotReader, pause: &mut impl FnMut()) -> Result<bool> {
    let mut bytes = 0;
    while bytes < PORTION_BYTES {
        let Some((_, piece)) = reader.next_piece()? else { return Ok(true) };
        bytes += piece.len() as u64;
        pause();
    }
    Ok(false)
}
