//! A directory that is being made beside its final place, and gets its name only when everything in it is on disk.
//!
//! Invariant: the final name never names anything half done. What an interrupted making left is swept by the next one;
//! a lock on the unfinished directory keeps that one from sweeping what somebody still works on.

use crate::failure::Failure;
use anyhow::{Context, Result};
use node::exit;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use wal::segment::sync_dir;

/// Behind the final name while the work lasts.
const UNFINISHED: &str = ".unfinished";

/// Dropped before it is finished, it leaves nothing behind.
#[derive(Debug)]
pub struct NewPlace {
    unfinished: PathBuf,
    place: PathBuf,
    parent: PathBuf,
    /// Held on the unfinished directory itself.
    _lock: File,
    finished: bool,
}

/// Refuses a place where something is; says what would be swept on the way.
pub fn check(place: &Path) -> Result<Option<PathBuf>> {
    let place = std::path::absolute(place)?;
    match fs::read_dir(&place).map(|mut entries| entries.next().is_some()) {
        Ok(true) => {
            let place = place.display();
            let message =
                format!("{place} is not empty: give a place that is empty or not there, or move this one away");
            return Err(Failure::of(exit::NOT_EMPTY, message));
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(Failure::of(exit::NOT_EMPTY, format!("{} is a file", place.display())));
        }
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("looking at {}", place.display()));
        }
        Ok(false) | Err(_) => {}
    }
    let unfinished = unfinished_of(&place)?;
    Ok(unfinished.exists().then_some(unfinished))
}

impl NewPlace {
    /// Begins to make `place`, which must be empty or absent.
    pub fn begin(place: &Path) -> Result<Self> {
        let leftover = check(place)?;
        let place = std::path::absolute(place)?;
        let unfinished = unfinished_of(&place)?;
        let parent = place.parent().context("a data directory has a directory above it")?.to_owned();
        fs::create_dir_all(&parent).with_context(|| format!("making {}", parent.display()))?;
        if let Some(leftover) = leftover {
            let _lock = lock(&leftover)?;
            fs::remove_dir_all(&leftover).with_context(|| format!("sweeping {}", leftover.display()))?;
        }
        let made = DirBuilder::new().mode(0o700).create(&unfinished);
        made.with_context(|| format!("making {}", unfinished.display()))?;
        let lock = lock(&unfinished)?;
        Ok(Self { unfinished, place, parent, _lock: lock, finished: false })
    }

    /// Where to work.
    pub fn path(&self) -> &Path {
        &self.unfinished
    }

    /// Gives the directory its name, durably. Everything in it is synced by now.
    pub fn finish(mut self) -> Result<()> {
        sync_dir(&self.unfinished)?;
        // Takes the place of an empty directory, and of nothing else.
        fs::rename(&self.unfinished, &self.place).map_err(|error| {
            let (place, unfinished) = (self.place.display(), self.unfinished.display());
            match error.kind() {
                ErrorKind::DirectoryNotEmpty => {
                    Failure::of(exit::NOT_EMPTY, format!("{place} is not empty any more: somebody else was faster"))
                }
                _ => anyhow::Error::new(error).context(format!("renaming {unfinished} to {place}")),
            }
        })?;
        self.finished = true;
        Ok(sync_dir(&self.parent)?)
    }
}

impl Drop for NewPlace {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is swept by the next attempt.
            let _ = fs::remove_dir_all(&self.unfinished);
        }
    }
}

fn unfinished_of(place: &Path) -> Result<PathBuf> {
    let mut name = place.file_name().with_context(|| format!("{} has no name", place.display()))?.to_owned();
    name.push(UNFINISHED);
    Ok(place.with_file_name(name))
}

fn lock(unfinished: &Path) -> Result<File> {
    let directory = File::open(unfinished).with_context(|| format!("opening {}", unfinished.display()))?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(fs::TryLockError::WouldBlock) => {
            let message = format!("{}: another process works on it", unfinished.display());
            Err(Failure::of(exit::LOCKED, message))
        }
        Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", unfinished.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::code_of;

    #[test]
    fn the_name_comes_last_and_leftovers_go() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("data");
        let new = NewPlace::begin(&place).expect("absent");
        fs::write(new.path().join("file"), "1").expect("ours");
        assert!(!place.exists());
        assert_eq!(code_of(&NewPlace::begin(&place).expect_err("at work")), exit::LOCKED);
        drop(new);
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 0, "a making that failed leaves nothing");

        // As a process that was killed leaves it.
        fs::create_dir_all(dir.path().join("data.unfinished/db")).expect("ours");
        fs::create_dir(&place).expect("ours");
        assert!(check(&place).expect("empty").is_some());
        let new = NewPlace::begin(&place).expect("empty");
        assert!(!new.path().join("db").exists(), "swept");
        fs::write(new.path().join("file"), "2").expect("ours");
        new.finish().expect("renamed");
        assert_eq!(fs::read_to_string(place.join("file")).expect("there"), "2");
        assert_eq!(code_of(&NewPlace::begin(&place).expect_err("taken")), exit::NOT_EMPTY);
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1);
    }

    #[test]
    fn a_place_that_was_taken_meanwhile_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("data");
        let new = NewPlace::begin(&place).expect("absent");
        fs::create_dir(&place).expect("ours");
        fs::write(place.join("theirs"), "3").expect("ours");
        assert_eq!(code_of(&new.finish().expect_err("taken")), exit::NOT_EMPTY);
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1, "theirs stays, ours is gone");
    }
}
