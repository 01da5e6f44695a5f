//! A directory that is being made beside its final place, and gets its name only when everything in it is on disk.
//!
//! ```text
//!  NewPlace: D.unfinished --rename--> D        Scratch: NAME.unfinished, gone at the end
//! ```
//! Invariant: the final name never names anything half done. What an interrupted making left is swept by the next one;
//! a lock on the unfinished directory keeps that one from sweeping what somebody still works on.

use crate::offline::durable_directory::{self, SHARED};
use crate::terminal::failure::Failure;
use anyhow::{Context, Result};
use node::status::exit;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use wal::durable_file::sync_dir;

/// Behind the name while the work lasts.
const UNFINISHED: &str = ".unfinished";

/// A directory to work in, for its owner only. Nothing of it is left when it is dropped, and what a process that was
/// killed left is swept by the next one that uses the name.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// Held on the directory itself.
    _lock: File,
    /// Whether it bears another name by now.
    kept: bool,
}

impl Scratch {
    /// In `NAME.unfinished`, where `name` is a path.
    pub fn begin(name: &Path) -> Result<Self> {
        let path = unfinished_of(&std::path::absolute(name)?)?;
        let parent = path.parent().context("a directory has one above it")?;
        durable_directory::make(parent, SHARED).with_context(|| format!("making {}", parent.display()))?;
        if path.exists() {
            let _lock = lock(&path)?;
            fs::remove_dir_all(&path).with_context(|| format!("sweeping {}", path.display()))?;
        }
        let made = DirBuilder::new().mode(durable_directory::PRIVATE).create(&path);
        made.with_context(|| format!("making {}", path.display()))?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock, kept: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is swept by the next attempt.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Dropped before it is finished, it leaves nothing behind.
#[derive(Debug)]
pub struct NewPlace {
    unfinished: Scratch,
    place: PathBuf,
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
        check(place)?;
        let place = std::path::absolute(place)?;
        Ok(Self { unfinished: Scratch::begin(&place)?, place })
    }

    /// Where to work.
    pub fn path(&self) -> &Path {
        self.unfinished.path()
    }

    /// Gives the directory its name, durably. Everything in it is synced by now.
    pub fn finish(mut self) -> Result<()> {
        sync_dir(self.path())?;
        // Takes the place of an empty directory, and of nothing else.
        fs::rename(self.path(), &self.place).map_err(|error| {
            let (place, unfinished) = (self.place.display(), self.path().display());
            match error.kind() {
                ErrorKind::DirectoryNotEmpty => {
                    Failure::of(exit::NOT_EMPTY, format!("{place} is not empty any more: somebody else was faster"))
                }
                _ => anyhow::Error::new(error).context(format!("renaming {unfinished} to {place}")),
            }
        })?;
        self.unfinished.kept = true;
        let parent = self.place.parent().context("a directory has one above it")?;
        Ok(sync_dir(parent)?)
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
    use crate::terminal::failure::code_of;

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
