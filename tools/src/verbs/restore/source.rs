//! Where a restore takes its state from: a data directory as it lies, or one that is fetched from a backup first.

use crate::archive::destination::{Destination, Open};
use crate::archive::fetch::{fetch, fetch_with_past};
use crate::archive::key::CLAIM;
use crate::archive::moment::reach_at;
use crate::offline::as_of::Past;
use crate::offline::new_directory::Scratch;
use crate::terminal::failure::Failure;
use crate::terminal::interrupt::Interrupt;
use anyhow::{Context, Result};
use book::units::{Seq, TsNs};
use node::status::exit;
use std::path::Path;

/// What of a backup is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// Up to here, or all there is.
    pub until: Option<Seq>,
    /// As much as the state of this time needs.
    pub time: Option<TsNs>,
    /// No more than the state needs.
    pub without_past: bool,
    pub secrets_file: Option<&'w Path>,
}

pub struct Source {
    pub past: Past,
    /// The last sequence that the source has, also where less of it was fetched.
    end: Option<Seq>,
    /// Gone with this; the directory in it is closed before.
    _fetched: Option<Scratch>,
}

impl Source {
    /// `from` is a data directory or a backup; the latter is fetched to a directory beside `place`.
    pub fn open(from: &str, wanted: Wanted<'_>, place: &Path, interrupt: &Interrupt) -> Result<Self> {
        if is_backup(from) {
            return Self::fetch(from, wanted, place, interrupt);
        }
        if wanted.without_past || wanted.secrets_file.is_some() {
            let message = format!("{from} is no backup: --without-past and --secrets-file are for those");
            return Err(Failure::of(exit::USAGE, message));
        }
        let past = Past::open(Path::new(from))?.until_interrupted(interrupt.clone());
        Ok(Self { past, end: None, _fetched: None })
    }

    fn fetch(from: &str, wanted: Wanted<'_>, place: &Path, interrupt: &Interrupt) -> Result<Self> {
        let destination = Destination::open(from, wanted.secrets_file, Open::Existing, interrupt.clone())?;
        let scratch = scratch_beside(place)?;
        let into = scratch.path().join("data");
        let until = match wanted.time {
            Some(time) => Some(reach_at(&destination, time.0)?),
            None => wanted.until.map(|seq| wal::units::Lsn(seq.0)),
        };
        let fetch = if wanted.without_past { fetch } else { fetch_with_past };
        let fetched = fetch(&destination, &into, until)?;
        for damage in &fetched.passed_over {
            eprintln!("pinion: a snapshot of the backup is of no use, the one before it was taken: {damage}");
        }
        let past = Past::open(&into)?.until_interrupted(interrupt.clone()).named(from);
        Ok(Self { past, end: Some(Seq(fetched.reach.0)), _fetched: Some(scratch) })
    }

    /// Commands behind `seq`, given the end of the log that was looked at.
    pub fn left_behind(&self, seq: Seq, looked_at: Seq) -> u64 {
        self.end.unwrap_or(looked_at).0.saturating_sub(seq.0)
    }
}

/// An address, or a directory that says so itself.
fn is_backup(from: &str) -> bool {
    from.contains("://") || from.starts_with("s3:") || Path::new(from).join(CLAIM).exists()
}

/// On the file system that the result goes to, since it has the room; under a name that the next restore to the same
/// place sweeps.
fn scratch_beside(place: &Path) -> Result<Scratch> {
    let place = std::path::absolute(place)?;
    let mut name = place.file_name().with_context(|| format!("{} has no name", place.display()))?.to_owned();
    name.push(".fetched");
    Scratch::begin(&place.with_file_name(name))
}
