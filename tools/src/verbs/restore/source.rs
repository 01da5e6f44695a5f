//! The source of a restore: a data directory, or a backup, which is fetched to a data directory first.

use crate::archive::again::again_where_pruned;
use crate::archive::catalog::{StartPoint, ranges_text};
use crate::archive::destination::Destination;
use crate::archive::fetch::{Fetched, Past, Selection, fetch};
use crate::archive::key::CLAIM;
use crate::archive::store_address::{OpenMode, local_path};
use crate::archive::time_lookup::sequence_at_time;
use crate::offline::as_of::StateReader;
use crate::offline::new_directory::ScratchDirectory;
use crate::offline::new_place::{NewPlace, is_within};
use crate::terminal::failure::Failure;
use crate::terminal::interrupt::Interrupt;
use anyhow::Result;
use book::units::{Seq, TsNs};
use node::status::exit;
use std::path::Path;
use wal::segment::Geometry;
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

impl Wanted<'_> {
    fn selection(&self, until: Option<Lsn>) -> Selection {
        let start = if self.without_past { StartPoint::Nearest } else { StartPoint::Oldest };
        // A sequence or a time that is named is what the operator wants, with the past that there is.
        let is_named = self.without_past || until.is_some();
        Selection { until, start, past: if is_named { Past::Optional } else { Past::Required } }
    }
}

pub(super) struct Source {
    pub reader: StateReader,
    /// What was fetched, where the source is a backup.
    pub fetched: Option<Fetched>,
    /// Deleted when this value is dropped, after the directory in it is closed.
    _scratch: Option<ScratchDirectory>,
}

impl Source {
    /// `from` is a data directory or a backup. A backup is fetched to a directory beside `new`.
    pub(super) fn open(from: &str, wanted: Wanted<'_>, new: &Path, interrupt: &Interrupt) -> Result<Self> {
        check_apart(from, new)?;
        if is_backup(from) {
            return Self::fetch(from, wanted, new, interrupt);
        }
        if wanted.without_past || wanted.secrets_file.is_some() {
            let message =
                format!("{from} is not a backup, and --without-past and --secrets-file apply to backups only");
            return Err(Failure::of(exit::USAGE, message));
        }
        let reader = StateReader::open(Path::new(from))?.interruptible(interrupt.clone());
        Ok(Self { reader, fetched: None, _scratch: None })
    }

    fn fetch(from: &str, wanted: Wanted<'_>, new: &Path, interrupt: &Interrupt) -> Result<Self> {
        let destination = Destination::open(from, wanted.secrets_file, OpenMode::Existing, interrupt.clone())?;
        let until = match wanted.time {
            Some(time) => Some(again_where_pruned(&destination, || sequence_at_time(&destination, time.0))?),
            None => wanted.until.map(|seq| Lsn(seq.0)),
        };
        let scratch = scratch_beside(new)?;
        let into = scratch.path().join("data");
        let fetched = fetch(&destination, &into, wanted.selection(until))?;
        for damage in &fetched.damaged_snapshots {
            eprintln!("pinion: warning: a snapshot of the backup is damaged, another one was used: {damage}");
        }
        if !fetched.past_missing.is_empty() {
            let missing = ranges_text(&fetched.past_missing);
            eprintln!("pinion: warning: the history is incomplete: the backup lacks {missing} before that state");
        }
        let reader = StateReader::open(&into)?.interruptible(interrupt.clone()).with_name(from);
        Ok(Self { reader, fetched: Some(fetched), _scratch: Some(scratch) })
    }

    /// The number of the source's commands after `seq`, of which a backup may have more than was fetched. `log_end` is
    /// the end of the log that was read.
    pub(super) fn commands_after(&self, seq: Seq, log_end: Seq) -> u64 {
        let unfetched = self.fetched.as_ref().map_or(0, |fetched| fetched.commands_left);
        log_end.0.saturating_sub(seq.0) + unfetched
    }

    /// The journal of the node that had the state.
    pub(super) fn geometry(&self) -> Geometry {
        self.fetched.as_ref().map_or(self.reader.directory().identity().geometry, |fetched| fetched.geometry)
    }

    /// The sequence after which a history begins that is computed from the log; zero where that has every command.
    pub(super) fn past_begins(&self) -> Option<Seq> {
        let fetched = self.fetched.as_ref()?;
        Some(Seq(fetched.snapshot.as_ref().map_or(0, |header| header.tail.seq.0)))
    }
}

/// An address of a backup, or a directory that holds one.
fn is_backup(from: &str) -> bool {
    from.contains("://") || from.starts_with("s3:") || Path::new(from).join(CLAIM).exists()
}

/// On the file system of the new directory, which needs the space anyway. Its name is the same for each restore to that
/// path, so that the next one deletes what a killed one left.
fn scratch_beside(new: &Path) -> Result<ScratchDirectory> {
    ScratchDirectory::begin(&NewPlace::of(new)?.work_name(".fetched")?)
}

/// Refuses a new directory within its source, which would become part of it.
fn check_apart(from: &str, new: &Path) -> Result<()> {
    match local_path(from) {
        Some(source) if is_within(new, source) => {
            let new = new.display();
            let message = format!("--data-dir {new} is in --from {from}: give a path outside of it");
            Err(Failure::of(exit::USAGE, message))
        }
        _ => Ok(()),
    }
}
