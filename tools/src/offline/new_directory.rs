//! A directory that is made under a temporary name, and gets its own name when everything in it is on disk.
//!
//! ```text
//!  NewDirectory: D.unfinished --rename--> D        ScratchDirectory: NAME.unfinished, deleted at the end
//! ```
//! In a mount point the files move up one by one, IDENTITY last: without it the place is no data directory.
//!
//! Invariant: the final name never names an incomplete directory. The next attempt deletes what an interrupted one
//! left; a lock on the unfinished directory keeps it from deleting what another process still works on.

use crate::offline::durable_directory::{self, PRIVATE, SHARED};
use crate::offline::new_place::{NewPlace, UNFINISHED};
use crate::terminal::failure::Failure;
use anyhow::{Context, Result};
use node::status::exit;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use wal::durable_file::sync_dir;

/// Moved last into a mount point.
const IDENTITY: &str = "IDENTITY";

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
        let made = DirBuilder::new().mode(PRIVATE).create(&path);
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
    place: NewPlace,
}

/// Fails unless `path` is empty or absent. Returns the leftover of an earlier attempt, which the next one deletes.
pub fn check_free(path: &Path) -> Result<Option<PathBuf>> {
    let place = NewPlace::of(path)?;
    let unfinished = unfinished_of(&place.work_name("")?)?;
    let leftover = unfinished.exists().then_some(unfinished);
    let path = place.path.display();
    match fs::read_dir(&place.path).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>()) {
        Ok(entries) => {
            let names: Vec<String> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into()).collect();
            // An attempt that was killed while it moved its files up has left some, and not IDENTITY.
            let is_cut = place.is_mount_point && leftover.is_some() && !names.iter().any(|name| name == IDENTITY);
            if !is_cut && names.iter().any(|name| !place.may_stay(name)) {
                let message =
                    format!("{path} is not empty: give a path that is empty or absent, or move this one away");
                return Err(Failure::of(exit::NOT_EMPTY, message));
            }
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let message = format!("{path} is a file: give the path of an empty or absent directory");
            return Err(Failure::of(exit::NOT_EMPTY, message));
        }
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("reading {path}"));
        }
        Err(_) => {}
    }
    Ok(leftover)
}

impl NewDirectory {
    /// Begins to make `path`, which must be empty or absent.
    pub fn begin(path: &Path) -> Result<Self> {
        let leftover = check_free(path)?;
        let place = NewPlace::of(path)?;
        if place.is_mount_point {
            // Until IDENTITY is there, nothing in it is of any use.
            if let Some(leftover) = leftover {
                let _lock = lock(&leftover)?;
                clear(&place)?;
            }
            let closed = fs::set_permissions(&place.path, Permissions::from_mode(PRIVATE));
            closed.with_context(|| format!("closing {} to other users", place.path.display()))?;
        }
        Ok(Self { unfinished: ScratchDirectory::begin(&place.work_name("")?)?, place })
    }

    /// The path to work in.
    pub fn path(&self) -> &Path {
        self.unfinished.path()
    }

    /// Gives the directory its name, durably. The caller has synced everything in it.
    pub fn finish(mut self) -> Result<()> {
        sync_dir(self.path())?;
        if self.place.is_mount_point {
            return self.move_up();
        }
        let path_final = &self.place.path;
        // A rename replaces an empty directory, and nothing else.
        fs::rename(self.path(), path_final).map_err(|error| {
            let (path, unfinished) = (path_final.display(), self.path().display());
            match error.kind() {
                ErrorKind::DirectoryNotEmpty => {
                    let message = format!("{path} is no longer empty: another process wrote to it; give another path");
                    Failure::of(exit::NOT_EMPTY, message)
                }
                _ => anyhow::Error::new(error).context(format!("renaming {unfinished} to {path}")),
            }
        })?;
        self.unfinished.renamed = true;
        let parent = path_final.parent().context("the root directory cannot be made")?;
        Ok(sync_dir(parent)?)
    }

    /// Moves every file into the mount point.
    fn move_up(&mut self) -> Result<()> {
        let (from, into) = (self.unfinished.path.clone(), self.place.path.clone());
        // From here on the leftover shows the next attempt that the files beside it are of no use.
        self.unfinished.renamed = true;
        let entries = fs::read_dir(&from).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
        let entries = entries.with_context(|| format!("reading {}", from.display()))?;
        let names = entries.iter().map(fs::DirEntry::file_name).filter(|name| name != IDENTITY);
        for name in names {
            let (from, into) = (from.join(&name), into.join(&name));
            if into.try_exists()? {
                let message = format!("{} exists: another process wrote there; give another path", into.display());
                return Err(Failure::of(exit::NOT_EMPTY, message));
            }
            fs::rename(&from, &into).with_context(|| format!("renaming {} to {}", from.display(), into.display()))?;
        }
        sync_dir(&into)?;
        fs::rename(from.join(IDENTITY), into.join(IDENTITY))
            .with_context(|| format!("completing {}", into.display()))?;
        sync_dir(&into)?;
        fs::remove_dir(&from).with_context(|| format!("deleting {}", from.display()))
    }
}

/// Deletes what an attempt that was killed has moved into a mount point.
fn clear(place: &NewPlace) -> Result<()> {
    let failed = || format!("deleting the leftovers in {}", place.path.display());
    for entry in fs::read_dir(&place.path).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        if place.may_stay(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let is_directory = entry.file_type().with_context(failed)?.is_dir();
        let deleted = if is_directory { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        deleted.with_context(failed)?;
    }
    Ok(())
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
