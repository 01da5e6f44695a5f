//! The files of `snapshots/`: their names say whose timeline they are of and up to which sequence, and sort that way.

use crate::error::{Action, Result, WalError};
use crate::segment::sync_dir;
use crate::units::{Seq, Timeline};
use std::fs;
use std::path::{Path, PathBuf};

const EXTENSION: &str = ".snap";
const TEMPORARY: &str = ".tmp";

/// A file that bears a snapshot's name. Whether it is whole, reading it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    pub path: PathBuf,
    pub timeline: Timeline,
    pub seq: Seq,
    pub bytes: u64,
}

pub(super) fn name_of(timeline: Timeline, seq: Seq) -> String {
    format!("{:010}-{:020}{EXTENSION}", timeline.0, seq.0)
}

pub(super) fn temporary_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    name.into()
}

fn parse(name: &str) -> Option<(Timeline, Seq)> {
    let (timeline, seq) = name.strip_suffix(EXTENSION)?.split_once('-')?;
    let (timeline, seq) = (Timeline(timeline.parse().ok()?), Seq(seq.parse().ok()?));
    // One spelling only: two files never stand for the same snapshot.
    (name_of(timeline, seq) == name).then_some((timeline, seq))
}

/// All snapshots of a directory, oldest first. Files of other names are not ours to judge.
pub fn list(dir: &Path) -> Result<Vec<SnapshotFile>> {
    let mut found = Vec::new();
    for (path, name) in entries(dir)? {
        let Some((timeline, seq)) = parse(&name) else { continue };
        let bytes = fs::metadata(&path).map_err(|source| WalError::io(Action::Read, &path, 0, source))?.len();
        found.push(SnapshotFile { path, timeline, seq, bytes });
    }
    found.sort_unstable_by_key(|file| (file.timeline, file.seq));
    Ok(found)
}

/// Takes a snapshot away for good.
pub fn remove(file: &SnapshotFile) -> Result<()> {
    fs::remove_file(&file.path).map_err(|source| WalError::io(Action::Remove, &file.path, 0, source))?;
    sync_dir(file.path.parent().expect("a file in a directory"))
}

/// Takes away what writers left that never finished; says how many. For the owner of the directory's lock.
pub fn sweep(dir: &Path) -> Result<usize> {
    let mut count = 0;
    for (path, name) in entries(dir)? {
        if name.strip_suffix(TEMPORARY).is_some_and(|name| parse(name).is_some()) {
            fs::remove_file(&path).map_err(|source| WalError::io(Action::Remove, &path, 0, source))?;
            count += 1;
        }
    }
    Ok(count)
}

fn entries(dir: &Path) -> Result<Vec<(PathBuf, String)>> {
    let failed = |source| WalError::io(Action::Read, dir, 0, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A name that is no text is no name of ours.
        if let Ok(name) = entry.file_name().into_string() {
            found.push((entry.path(), name));
        }
    }
    Ok(found)
}
