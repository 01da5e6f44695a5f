//! A directory that is made under a temporary name, and gets its own name when everything in it is on disk.
//!
//! ```text
//!  NewDirectory: D.unfinished --rename--> D        ScratchDirectory: NAME.unfinished, deleted at the end
//! ```
//! Invariant: the final name never names an incomplete directory. The next attempt deletes what an interrupted one
//! left; a lock on the unfinished directory keeps it from deleting what another process still works on.

use crate::offline::durable_directory::{self, SHARED};
use crate::terminal::failure::Failure;
use anyhow::{Context, Result};
use node::status::exit;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use wal::durable_file::sync_dir;

/// Appended to the name while the directory is incomplete.
const UNFINISHED: &str = ".unfinished";

/// A private directory to work in, deleted when this value is dropped. What a killed process left is deleted by the
/// next one that uses the name.
#[derive(Debug)]
pub struct ScratchDirectory {
    path: PathBuf,
    /// A lock on the directory itself.
    _lock: File,
    /// Whether it has been renamed, so that dropping must not delete it.
    renamed: bool,
}

impl ScratchDirectory {
    /// Makes the directory `NAME.unfinished`, where `name` is a path.
    pub fn begin(name: &Path) -> Result<Self> {
        let path = unfinished_of(&std::path::absolute(name)?)?;
        let parent = path.parent().context("the root directory cannot be made")?;
        durable_directory::make(parent, SHARED).with_context(|| format!("making {}", parent.display()))?;
        if path.exists() {
            let _lock = lock(&path)?;
            fs::remove_dir_all(&path).with_context(|| format!("deleting the leftover {}", path.display()))?;
        }
        let made = DirBuilder::new().mode(durable_directory::PRIVATE).create(&path);
        made.with_context(|| format!("making {}", path.display()))?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock, renamed: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        if !self.renamed {
            // What cannot be deleted now, the next attempt deletes.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A directory in the making. Dropped before `finish`, it leaves no file.
#[derive(Debug)]
pub struct NewDirectory {
    unfinished: ScratchDirectory,
    path_final: PathBuf,
}

/// Fails unless `path` is empty or absent. Returns the leftover of an earlier attempt, which the next one deletes.
pub fn check_free(path: &Path) -> Result<Option<PathBuf>> {
    let path = std::path::absolute(path)?;
    match fs::read_dir(&path).map(|mut entries| entries.next().is_some()) {
        Ok(true) => {
            let path = path.display();
            let message = format!("{path} is not empty: give a path that is empty or absent, or move this one away");
            return Err(Failure::of(exit::NOT_EMPTY, message));
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let message = format!("{} is a file: give the path of an empty or absent directory", path.display());
            return Err(Failure::of(exit::NOT_EMPTY, message));
        }
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("reading {}", path.display()));
        }
        Ok(false) | Err(_) => {}
    }
    let unfinished = unfinished_of(&path)?;
    Ok(unfinished.exists().then_some(unfinished))
}

impl NewDirectory {
    /// Begins to make `path`, which must be empty or absent.
    pub fn begin(path: &Path) -> Result<Self> {
        check_free(path)?;
        let path_final = std::path::absolute(path)?;
        Ok(Self { unfinished: ScratchDirectory::begin(&path_final)?, path_final })
    }

    /// The path to work in.
    pub fn path(&self) -> &Path {
        self.unfinished.path()
    }

    /// Gives the directory its name, durably. The caller has synced everything in it.
    pub fn finish(mut self) -> Result<()> {
        sync_dir(self.path())?;
        // A rename replaces an empty directory, and nothing else.
        fs::rename(self.path(), &self.path_final).map_err(|error| {
            let (path, unfinished) = (self.path_final.display(), self.path().display());
            match error.kind() {
                ErrorKind::DirectoryNotEmpty => {
                    let message = format!("{path} is no longer empty: another process wrote to it; give another path");
                    Failure::of(exit::NOT_EMPTY, message)
                }
                _ => anyhow::Error::new(error).context(format!("renaming {unfinished} to {path}")),
            }
        })?;
        self.unfinished.renamed = true;
        let parent = self.path_final.parent().context("the root directory cannot be made")?;
        Ok(sync_dir(parent)?)
    }
}

fn unfinished_of(path: &Path) -> Result<PathBuf> {
    let mut name = path.file_name().with_context(|| format!("{} has no last name", path.display()))?.to_owned();
    name.push(UNFINISHED);
    Ok(path.with_file_name(name))
}

fn lock(unfinished: &Path) -> Result<File> {
    let directory = File::open(unfinished).with_context(|| format!("opening {}", unfinished.display()))?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(fs::TryLockError::WouldBlock) => {
            let message =
                format!("{} is locked: another process works on it; wait for it or stop it", unfinished.display());
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
    fn the_name_comes_last_and_leftovers_are_deleted() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("data");
        let new = NewDirectory::begin(&place).expect("absent");
        fs::write(new.path().join("file"), "1").expect("ours");
        assert!(!place.exists());
        assert_eq!(code_of(&NewDirectory::begin(&place).expect_err("at work")), exit::LOCKED);
        drop(new);
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 0, "a failed attempt leaves nothing");

        // As a process that was killed leaves it.
        fs::create_dir_all(dir.path().join("data.unfinished/db")).expect("ours");
        fs::create_dir(&place).expect("ours");
        assert!(check_free(&place).expect("empty").is_some());
        let new = NewDirectory::begin(&place).expect("empty");
        assert!(!new.path().join("db").exists(), "deleted");
        fs::write(new.path().join("file"), "2").expect("ours");
        new.finish().expect("renamed");
        assert_eq!(fs::read_to_string(place.join("file")).expect("there"), "2");
        assert_eq!(code_of(&NewDirectory::begin(&place).expect_err("taken")), exit::NOT_EMPTY);
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1);
    }

    #[test]
    fn a_directory_that_another_process_made_meanwhile_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("data");
        let new = NewDirectory::begin(&place).expect("absent");
        fs::create_dir(&place).expect("ours");
        fs::write(place.join("theirs"), "3").expect("ours");
        assert_eq!(code_of(&new.finish().expect_err("taken")), exit::NOT_EMPTY);
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1, "theirs stays, ours is gone");
    }
}
