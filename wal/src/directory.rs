//! A data directory: opened for writing by one process at a time, and complete or refused.
//!
//! ```text
//! IDENTITY   written last: without it this is not a data directory   LOCK      held by the process that may write
//! MARK       the high-water mark                                     BALLAST   may be deleted when the disk is full
//! head/      segments with the newest frames     db/  RocksDB        snapshots/  the caller's
//! ```
//!
//! Invariant: opening makes nothing, so a file that is missing after IDENTITY was written is damage. The folder of
//! snapshots is none: it may be empty, and copies of a directory can come without empty folders.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::durable_file::{append_zeros, create, sync, sync_dir_on};
use crate::error::{Action, Result, WalError};
use crate::identity::{FORMAT_NEWEST, Identity};
use crate::mark::Mark;
use crate::medium::{Access, Existing, FileSystem, Medium};
use crate::mutation::{Mutation, Planted, planted};
use crate::segment::Segments;
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

/// Free bytes that must remain, as a multiple of the ballast, after the ballast has been written again.
const BALLAST_ROOM_FACTOR: u64 = 4;

/// An open data directory. The lock is released when the value is dropped, and when the process ends in any way.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    identity: Identity,
    medium: Arc<dyn Medium>,
    owner: Owner,
    outside: Option<Attested>,
}

/// What shows that everything up to a sequence was acknowledged, and where that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    pub seq: Lsn,
    pub path: PathBuf,
}

/// Who may write through a `Directory`.
#[derive(Debug)]
enum Owner {
    /// This value, which holds the lock as long as the file is open.
    Locked(#[allow(dead_code, reason = "closing the file releases the lock")] File),
    /// This value: the medium belongs to this process alone.
    PrivateMedium,
    /// Not this value: it was opened to read.
    ReadOnly,
}

/// The state of the ballast file after [`Directory::restore_ballast`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballast {
    Present,
    Recreated,
    NoRoom,
}

impl Directory {
    /// Makes a data directory in an empty or absent place. Everything is durable when this returns, IDENTITY last.
    pub fn create(path: &Path, identity: &Identity, ballast_bytes: u64) -> Result<()> {
        Directory::create_on(&FileSystem, path, identity, ballast_bytes)
    }

    /// The same on `medium`, with the database and the lock on the file system.
    pub fn create_on(medium: &dyn Medium, path: &Path, identity: &Identity, ballast_bytes: u64) -> Result<()> {
        identity.geometry.validate()?;
        make_dir(medium, path)?;
        let mut entries = fs::read_dir(path).map_err(|source| WalError::io(Action::Open, path, 0, source))?;
        if entries.next().is_some() {
            return Err(WalError::NotEmpty { path: path.to_owned() });
        }
        for name in [HEAD, DB, SNAPSHOTS] {
            make_dir(medium, &path.join(name))?;
        }
        Segments::create_on(medium, &path.join(HEAD), identity.owner())?;
        Store::create(&path.join(DB))?;
        Mark::create_on(medium, &path.join(MARK), identity.timeline, identity.seq_base)?;
        write_ballast(medium, &path.join(BALLAST), ballast_bytes)?;
        open_lock(&path.join(LOCK))?;
        if true.planted(Mutation::EntriesUnsynced, |_| false) {
            sync_dir_on(medium, path)?;
        }
        identity.write(medium, path, IDENTITY)?;
        // The parent of a relative path with one component is the empty path, which stands for the current directory.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        planted!(DirectoryNameUnsynced, return Ok(()));
        sync_dir_on(medium, parent)
    }

    /// Opens a data directory for writing and takes its lock. Refused while another process holds the lock.
    pub fn open(path: &Path) -> Result<Directory> {
        // Read before the lock file is made: opening must not leave files in a place that is not a data directory.
        read_identity(path)?;
        let lock_path = path.join(LOCK);
        let lock = open_lock(&lock_path)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => WalError::Locked { path: path.to_owned() },
            TryLockError::Error(source) => WalError::io(Action::Lock, &lock_path, 0, source),
        })?;
        let identity = read_identity(path)?;
        Ok(Directory::of(path, identity, Arc::new(FileSystem), Owner::Locked(lock)))
    }

    /// Opens a data directory for reading; a node may run on it at the same time.
    pub fn open_read_only(path: &Path) -> Result<Directory> {
        let identity = read_identity(path)?;
        Ok(Directory::of(path, identity, Arc::new(FileSystem), Owner::ReadOnly))
    }

    /// Opens a directory for writing on a medium that only this process has, so it needs no lock.
    pub fn on(medium: Arc<dyn Medium>, path: &Path, identity: Identity) -> Directory {
        Directory::of(path, identity, medium, Owner::PrivateMedium)
    }

    fn of(path: &Path, identity: Identity, medium: Arc<dyn Medium>, owner: Owner) -> Directory {
        Directory { path: path.to_owned(), identity, medium, owner, outside: None }
    }

    /// Also goes by what a place outside of this directory has of its log, as a backup has. An older copy of a
    /// directory has an older mark too: only what was not copied with it can show that it is old.
    pub fn attest(&mut self, outside: Attested) {
        self.outside = Some(outside);
    }

    /// Raises the format of a directory that this process has locked, by one rename of IDENTITY. Durable when this
    /// returns.
    pub fn raise_format(&mut self, format: u32) -> Result<()> {
        assert!(self.writable(), "only the owner of the lock writes");
        assert!(self.identity.format < format && format <= FORMAT_NEWEST, "a format is only ever raised");
        let identity = Identity { format, ..self.identity };
        identity.write(&*self.medium, &self.path, IDENTITY)?;
        self.identity = identity;
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether this value may write to the directory.
    pub fn writable(&self) -> bool {
        !matches!(self.owner, Owner::ReadOnly)
    }

    /// The storage under the directory.
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

    /// The store: for writing where this value may write, else what has been flushed.
    pub fn store(&self) -> Result<Store> {
        let purpose = if self.writable() { OpenFor::Writing } else { OpenFor::Reading };
        Store::open_on(&*self.medium, &self.db_dir(), self.identity.origin(), purpose)
    }

    /// The store as of its last flush, for reading.
    pub fn store_read_only(&self) -> Result<Store> {
        Store::open_on(&*self.medium, &self.db_dir(), self.identity.origin(), OpenFor::Reading)
    }

    /// The high-water mark, to advance it.
    pub fn mark(&self) -> Result<Mark> {
        assert!(self.writable(), "only the owner of the lock writes");
        Mark::open_on(&*self.medium, &self.mark_path(), self.identity.timeline)
    }

    /// The highest sequence known to have been acknowledged.
    pub fn mark_seq(&self) -> Result<Lsn> {
        Mark::read_on(&*self.medium, &self.mark_path(), self.identity.timeline)
    }

    /// The highest sequence known to have been acknowledged: by the mark, or by a place outside of this directory.
    pub fn attested(&self) -> Result<Attested> {
        let mark = Attested { seq: self.mark_seq()?, path: self.mark_path() };
        let outside = self.outside.clone().planted(Mutation::OutsideIgnored, |_| None);
        Ok(outside.filter(|outside| mark.seq < outside.seq).unwrap_or(mark))
    }

    /// Whether the folder of snapshots is missing, which says the same as an empty one.
    pub fn lacks_snapshots_dir(&self) -> bool {
        matches!(self.medium.list(&self.snapshots_dir()), Err(error) if error.kind() == ErrorKind::NotFound)
    }

    /// Makes the folder of snapshots again where it is missing; says whether it was. Durable when this returns.
    pub fn restore_snapshots_dir(&self) -> Result<bool> {
        assert!(self.writable(), "only the owner of the lock writes");
        if !self.lacks_snapshots_dir() {
            return Ok(false);
        }
        // Not `make_dir`: a name that is there and leads nowhere, as a link to a missing disk, is reported.
        let path = self.snapshots_dir();
        self.medium.create_dir(&path).map_err(|source| WalError::io(Action::Create, &path, 0, source))?;
        sync_dir_on(&*self.medium, &self.path)?;
        Ok(true)
    }

    /// Writes the ballast again where it was deleted, if `free_bytes` of the file system leave ample room for it.
    pub fn restore_ballast(&self, ballast_bytes: u64, free_bytes: u64) -> Result<Ballast> {
        assert!(self.writable(), "only the owner of the lock writes");
        let path = self.path.join(BALLAST);
        if fs::metadata(&path).is_ok_and(|found| found.len() >= ballast_bytes) {
            return Ok(Ballast::Present);
        }
        if free_bytes / (BALLAST_ROOM_FACTOR + 1) < ballast_bytes {
            return Ok(Ballast::NoRoom);
        }
        write_ballast(&*self.medium, &path, ballast_bytes)?;
        if true.planted(Mutation::BallastNameUnsynced, |_| false) {
            sync_dir_on(&*self.medium, &self.path)?;
        }
        Ok(Ballast::Recreated)
    }
}

/// Where the ballast of a data directory is, or was: an operator may delete it at any time.
pub fn ballast_path(path: &Path) -> PathBuf {
    path.join(BALLAST)
}

fn read_identity(path: &Path) -> Result<Identity> {
    Identity::read(&path.join(IDENTITY))?.ok_or_else(|| WalError::NotInitialised { path: path.to_owned() })
}

/// Makes a directory, unless it is there already.
fn make_dir(medium: &dyn Medium, path: &Path) -> Result<()> {
    match medium.create_dir(path) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => Err(WalError::io(Action::Create, path, 0, source)),
        _ => Ok(()),
    }
}

fn open_lock(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(|source| WalError::io(Action::Open, path, 0, source))
}

fn write_ballast(medium: &dyn Medium, path: &Path, ballast_bytes: u64) -> Result<()> {
    let mut file = create(medium, path, Existing::Replaced)?;
    append_zeros(&mut *file, path, ballast_bytes)?;
    sync(&mut *file, path)
}
