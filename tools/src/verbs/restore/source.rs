//! The source of a restore: a data directory, or a backup, which is fetched to a data directory first.

use crate::archive::catalog::StartPoint;
use crate::archive::destination::Destination;
use crate::archive::fetch::fetch;
use crate::archive::key::CLAIM;
use crate::archive::store_address::OpenMode;
use crate::archive::time_lookup::sequence_at_time;
use crate::offline::as_of::StateReader;
use crate::offline::new_directory::ScratchDirectory;
use crate::terminal::failure::Failure;
use crate::terminal::interrupt::Interrupt;
use anyhow::{Context, Result};
use book::units::{Seq, TsNs};
use node::status::exit;
use std::path::Path;
use wal::units::Lsn;

/// The part of a backup that is fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'w> {
    /// Up to this sequence, or everything.
    pub until: Option<Seq>,
    /// Up to this time.
    pub time: Option<TsNs>,
    /// No more than the state needs.
    pub without_past: bool,
    pub secrets_file: Option<&'w Path>,
}

pub(super) struct Source {
    pub reader: StateReader,
    /// The last sequence of a backup, of which less may have been fetched.
    backup_end: Option<Seq>,
    /// Deleted when this value is dropped, after the directory in it is closed.
    _fetched: Option<ScratchDirectory>,
}

impl Source {
    /// `from` is a data directory or a backup. A backup is fetched to a directory beside `new`.
    pub(super) fn open(from: &str, wanted: Wanted<'_>, new: &Path, interrupt: &Interrupt) -> Result<Self> {
        if is_backup(from) {
            return Self::fetch(from, wanted, new, interrupt);
        }
        if wanted.without_past || wanted.secrets_file.is_some() {
            let message =
                format!("{from} is not a backup, and --without-past and --secrets-file apply to backups only");
            return Err(Failure::of(exit::USAGE, message));
        }
        let reader = StateReader::open(Path::new(from))?.interruptible(interrupt.clone());
        Ok(Self { reader, backup_end: None, _fetched: None })
    }

    fn fetch(from: &str, wanted: Wanted<'_>, new: &Path, interrupt: &Interrupt) -> Result<Self> {
        let destination = Destination::open(from, wanted.secrets_file, OpenMode::Existing, interrupt.clone())?;
        let scratch = scratch_beside(new)?;
        let into = scratch.path().join("data");
        let until = match wanted.time {
            Some(time) => Some(sequence_at_time(&destination, time.0)?),
            None => wanted.until.map(|seq| Lsn(seq.0)),
        };
        let start = if wanted.without_past { StartPoint::Nearest } else { StartPoint::Oldest };
        let fetched = fetch(&destination, &into, until, start)?;
        for damage in &fetched.damaged_snapshots {
            eprintln!("pinion: warning: a snapshot of the backup is damaged, the one before it was used: {damage}");
        }
        let reader = StateReader::open(&into)?.interruptible(interrupt.clone()).with_name(from);
        Ok(Self { reader, backup_end: Some(Seq(fetched.backup_end.0)), _fetched: Some(scratch) })
    }

    /// The number of the source's commands after `seq`. `log_end` is the end of the log that was read.
    pub(super) fn commands_after(&self, seq: Seq, log_end: Seq) -> u64 {
        self.backup_end.unwrap_or(log_end).0.saturating_sub(seq.0)
    }
}

/// An address of a backup, or a directory that holds one.
fn is_backup(from: &str) -> bool {
    from.contains("://") || from.starts_with("s3:") || Path::new(from).join(CLAIM).exists()
}

/// On the file system of the new directory, which needs the space anyway. Its name is the same for each restore to that
/// path, so that the next one deletes what a killed one left.
fn scratch_beside(new: &Path) -> Result<ScratchDirectory> {
    let new = std::path::absolute(new)?;
    let mut name = new.file_name().with_context(|| format!("{} has no last name", new.display()))?.to_owned();
    name.push(".fetched");
    ScratchDirectory::begin(&new.with_file_name(name))
}
