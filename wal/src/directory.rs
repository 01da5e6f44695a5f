//! A data directory: one owner at a time, whole or not there.
//!
//! ```text
//! IDENTITY   written last: without it the directory is not one       LOCK      held while a process writes here
//! MARK       the highest acknowledged sequence                       BALLAST   bytes to give away on a full disk
//! head/      segments of the newest frames       db/  RocksDB        snapshots/  the caller's
//! ```
//!
//! Invariant: nothing here is made by opening; what IDENTITY promises and is not there is damage.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Action, Result, WalError};
use crate::identity::Identity;
use crate::mark::Mark;
use crate::medium::{FileSystem, Medium};
use crate::segment::{Access, Segments, sync_dir, write_zeros};
use crate::store::Store;
use crate::table::OpenFor;
use crate::units::Lsn;

const IDENTITY: &str = "IDENTITY";
const LOCK: &str = "LOCK";
const MARK: &str = "MARK";
const BALLAST: &str = "BALLAST";
const HEAD: &str = "head";
const DB: &str = "db";
const SNAPSHOTS: &str = "snapshots";

/// Free bytes that must remain, as a multiple of the ballast, after it has been written anew.
const BALLAST_ROOM_FACTOR: u64 = 4;

/// An open data directory. The lock goes with the value, and with the process however it ends.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    identity: Identity,
    medium: Arc<dyn Medium>,
    owner: Owner,
}

/// Who may write through a `Directory`.
#[derive(Debug)]
enum Owner {
    /// Holds the lock, which goes with the file.
    Lock(#[allow(dead_code, reason = "kept for its end")] File),
    /// A medium that nobody else has.
    Alone,
    /// Opened for reading only.
    Nobody,
}

/// Whether there are bytes to give away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballast {
    Present,
    Recreated,
    NoRoom,
}

impl Directory {
    /// Makes a data directory in an empty or absent place. Everything is on disk when this returns, IDENTITY last.
    pub fn create(path: &Path, identity: &Identity, ballast_bytes: u64) -> Result<()> {
        identity.geometry.validate()?;
        make_dir(path)?;
        let mut entries = fs::read_dir(path).map_err(|source| WalError::io(Action::Open, path, 0, source))?;
        if entries.next().is_some() {
            return Err(WalError::NotEmpty { path: path.to_owned() });
        }
        for name in [HEAD, DB, SNAPSHOTS] {
            make_dir(&path.join(name))?;
        }
        Segments::create(&path.join(HEAD), identity.owner())?;
        Store::create(&path.join(DB))?;
        Mark::create(&path.join(MARK), identity.timeline, identity.seq_base)?;
        write_ballast(&path.join(BALLAST), ballast_bytes)?;
        open_lock(&path.join(LOCK))?;
        sync_dir(path)?;
        identity.write(path, IDENTITY)?;
        // A relative path of one part has the empty path for a parent: that is the current directory.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_dir(parent)
    }

    /// Opens a data directory to write in it, which one process at a time may.
    pub fn open(path: &Path) -> Result<Directory> {
        // Looked for before the lock: opening must not leave files in a place that is no data directory.
        read_identity(path)?;
        let lock_path = path.join(LOCK);
        let lock = open_lock(&lock_path)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => WalError::Locked { path: path.to_owned() },
            TryLockError::Error(source) => WalError::io(Action::Lock, &lock_path, 0, source),
        })?;
        let identity = read_identity(path)?;
        Ok(Directory { path: path.to_owned(), identity, medium: Arc::new(FileSystem), owner: Owner::Lock(lock) })
    }

    /// Opens a data directory to look at it, beside a running node or without one.
    pub fn open_read_only(path: &Path) -> Result<Directory> {
        let identity = read_identity(path)?;
        Ok(Directory { path: path.to_owned(), identity, medium: Arc::new(FileSystem), owner: Owner::Nobody })
    }

    /// A directory on a medium that this process alone has: there is nobody to lock out.
    pub fn on(medium: Arc<dyn Medium>, path: &Path, identity: Identity) -> Directory {
        Directory { path: path.to_owned(), identity, medium, owner: Owner::Alone }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// True where this value holds the lock and may write.
    pub fn writable(&self) -> bool {
        !matches!(self.owner, Owner::Nobody)
    }

    /// What it lies on.
    pub fn medium(&self) -> &Arc<dyn Medium> {
        &self.medium
    }

    pub fn snapshots_dir(&self) -> PathBuf {
        self.path.join(SNAPSHOTS)
    }

    pub fn head_dir(&self) -> PathBuf {
        self.path.join(HEAD)
    }

    pub fn db_dir(&self) -> PathBuf {
        self.path.join(DB)
    }

    pub fn mark_path(&self) -> PathBuf {
        self.path.join(MARK)
    }

    /// The head's files.
    pub fn segments(&self, access: Access) -> Result<Segments> {
        assert!(access == Access::Read || self.writable(), "only the owner of the lock writes");
        Segments::open_on(&*self.medium, &self.head_dir(), self.identity.owner(), access)
    }

    /// The store, to write where this value may, else what has been flushed of it.
    pub fn store(&self) -> Result<Store> {
        let purpose = if self.writable() { OpenFor::Writing } else { OpenFor::Reading };
        Store::open_on(&*self.medium, &self.db_dir(), self.identity.origin(), purpose)
    }

    /// What has been flushed of the store.
    pub fn store_read_only(&self) -> Result<Store> {
        Store::open_on(&*self.medium, &self.db_dir(), self.identity.origin(), OpenFor::Reading)
    }

    /// The mark, to note in it.
    pub fn mark(&self) -> Result<Mark> {
        assert!(self.writable(), "only the owner of the lock writes");
        Mark::open_on(&*self.medium, &self.mark_path(), self.identity.timeline)
    }

    /// The highest acknowledged sequence that was noted.
    pub fn mark_seq(&self) -> Result<Lsn> {
        Mark::read_on(&*self.medium, &self.mark_path(), self.identity.timeline)
    }

    /// Puts the ballast back where it was given away and `free_bytes` (of this file system) leave ample room for it.
    pub fn restore_ballast(&self, ballast_bytes: u64, free_bytes: u64) -> Result<Ballast> {
        assert!(self.writable(), "only the owner of the lock writes");
        let path = self.path.join(BALLAST);
        if fs::metadata(&path).is_ok_and(|found| found.len() >= ballast_bytes) {
            return Ok(Ballast::Present);
        }
        if free_bytes / (BALLAST_ROOM_FACTOR + 1) < ballast_bytes {
            return Ok(Ballast::NoRoom);
        }
        write_ballast(&path, ballast_bytes)?;
        sync_dir(&self.path)?;
        Ok(Ballast::Recreated)
    }
}

fn read_identity(path: &Path) -> Result<Identity> {
    Identity::read(&path.join(IDENTITY))?.ok_or_else(|| WalError::NotInitialised { path: path.to_owned() })
}

/// For its owner only: what lies here is money and keys.
fn make_dir(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => Err(WalError::io(Action::Create, path, 0, source)),
        _ => Ok(()),
    }
}

fn open_lock(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(|source| WalError::io(Action::Open, path, 0, source))
}

fn write_ballast(path: &Path, ballast_bytes: u64) -> Result<()> {
    let file = File::create(path).map_err(|source| WalError::io(Action::Create, path, 0, source))?;
    write_zeros(&file, path, ballast_bytes)?;
    file.sync_all().map_err(|source| WalError::io(Action::Sync, path, 0, source))
}
