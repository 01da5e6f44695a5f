//! The files of `snapshots/`, named by timeline and sequence so that names sort by age.

use crate::error::{Action, Result, WalError};
use crate::medium::{FileSystem, Medium};
use crate::mutation::{Mutation, Planted, planted};
use crate::units::{Lsn, Timeline};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const EXTENSION: &str = ".snap";
const TEMPORARY: &str = ".tmp";

/// A file with the name of a snapshot. Only reading it proves that it is intact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    pub path: PathBuf,
    pub timeline: Timeline,
    pub seq: Lsn,
    pub bytes: u64,
}

pub(super) fn name_of(timeline: Timeline, seq: Lsn) -> String {
    format!("{:010}-{:020}{EXTENSION}", timeline.0, seq.0)
}

pub(super) fn temporary_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    name.into()
}

fn parse(name: &str) -> Option<(Timeline, Lsn)> {
    let (timeline, seq) = name.strip_suffix(EXTENSION)?.split_once('-')?;
    let (timeline, seq) = (Timeline(timeline.parse().ok()?), Lsn(seq.parse().ok()?));
    // Only the canonical name counts, so that two files never stand for the same snapshot.
    (name_of(timeline, seq) == name).then_some((timeline, seq))
}

/// All snapshots of a directory, oldest first. Files with other names are ignored.
pub fn list(dir: &Path) -> Result<Vec<SnapshotFile>> {
    list_on(&FileSystem, dir)
}

/// All snapshots of a directory on `medium`.
pub fn list_on(medium: &dyn Medium, dir: &Path) -> Result<Vec<SnapshotFile>> {
    let mut found = Vec::new();
    for Entry { path, name, bytes } in entries(medium, dir)? {
        let Some((timeline, seq)) = parse(&name) else { continue };
        found.push(SnapshotFile { path, timeline, seq, bytes });
    }
    found.sort_unstable_by_key(|file| (file.timeline, file.seq));
    Ok(found)
}

/// Deletes a snapshot. Durable when this returns.
pub fn remove(file: &SnapshotFile) -> Result<()> {
    remove_on(&FileSystem, file)
}

/// Deletes a snapshot on `medium`. Durable when this returns.
pub fn remove_on(medium: &dyn Medium, file: &SnapshotFile) -> Result<()> {
    medium.remove(&file.path).map_err(|source| WalError::io(Action::Remove, &file.path, 0, source))?;
    planted!(RemovalUnsynced, return Ok(()));
    sync_entries(medium, &file.path)
}

/// Deletes temporary files of writers that did not finish and returns how many. Only for the owner of the directory's
/// lock.
pub fn sweep(dir: &Path) -> Result<usize> {
    sweep_on(&FileSystem, dir)
}

/// The same on `medium`.
pub fn sweep_on(medium: &dyn Medium, dir: &Path) -> Result<usize> {
    let mut count = 0;
    for Entry { path, name, .. } in entries(medium, dir)? {
        if name.strip_suffix(TEMPORARY).is_some_and(|name| parse(name).is_some()) {
            medium.remove(&path).map_err(|source| WalError::io(Action::Remove, &path, 0, source))?;
            count += 1;
        }
    }
    Ok(count)
}

/// Makes it durable that `path` exists, or does not.
pub(super) fn sync_entries(medium: &dyn Medium, path: &Path) -> Result<()> {
    let dir = path.parent().expect("a file in a directory");
    medium.sync_dir(dir).map_err(|source| WalError::io(Action::Sync, dir, 0, source))
}

struct Entry {
    path: PathBuf,
    name: String,
    bytes: u64,
}

/// The files in a folder; one that is missing has none.
fn entries(medium: &dyn Medium, dir: &Path) -> Result<Vec<Entry>> {
    let files = match medium.list(dir) {
        Err(error) if (error.kind() == ErrorKind::NotFound).planted(Mutation::SnapshotsFolderNeeded, |_| false) => {
            Vec::new()
        }
        found => found.map_err(|source| WalError::io(Action::Read, dir, 0, source))?,
    };
    // A name that is not UTF-8 is not a snapshot's.
    let entry = |(path, bytes): (PathBuf, u64)| {
        let name = path.file_name()?.to_str()?.to_owned();
        Some(Entry { path, name, bytes })
    };
    Ok(files.into_iter().filter_map(entry).collect())
}
