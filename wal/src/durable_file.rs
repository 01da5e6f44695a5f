//! Small files of a data directory that a power cut leaves complete or absent, and the zeros of preallocated ones.
//!
//! Invariant: when a function here returns, what it did is durable, except [`append_zeros`], whose caller syncs.

use std::path::Path;

use zerocopy::IntoBytes;

use crate::block::blocks;
use crate::error::{Action, Result, WalError};
use crate::medium::{Existing, FileSystem, Medium, NewFile};
use crate::mutation::{Mutation, Planted, planted};

/// Creates or replaces the file `name`: the bytes are written to `name.tmp` and synced before the rename, so the name
/// never refers to a part of them.
pub(crate) fn replace_file(medium: &dyn Medium, dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}.tmp"));
    let mut file = create(medium, &temporary, Existing::Replaced)?;
    append(&mut *file, &temporary, bytes)?;
    if true.planted(Mutation::ReplacedUnsynced, |_| false) {
        sync(&mut *file, &temporary)?;
    }
    medium.rename(&temporary, &path).map_err(|source| WalError::io(Action::Rename, &path, 0, source))?;
    planted!(ReplacedNameUnsynced, return Ok(()));
    sync_dir_on(medium, dir)
}

/// Creates the file `name` in a directory that has none of that name, before the node opens it.
pub(crate) fn create_file(medium: &dyn Medium, dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = dir.join(name);
    let mut file = create(medium, &path, Existing::Refused)?;
    append(&mut *file, &path, bytes)?;
    if true.planted(Mutation::CreatedUnsynced, |_| false) {
        sync(&mut *file, &path)?;
    }
    planted!(CreatedNameUnsynced, return Ok(()));
    sync_dir_on(medium, dir)
}

/// Makes the entries of `dir` durable: the names of its files, not their contents.
pub fn sync_dir(dir: &Path) -> Result<()> {
    sync_dir_on(&FileSystem, dir)
}

/// The same on `medium`.
pub(crate) fn sync_dir_on(medium: &dyn Medium, dir: &Path) -> Result<()> {
    medium.sync_dir(dir).map_err(|source| WalError::io(Action::Sync, dir, 0, source))
}

/// Makes the contents of a new file durable.
pub(crate) fn sync(file: &mut dyn NewFile, path: &Path) -> Result<()> {
    file.sync().map_err(|source| WalError::io(Action::Sync, path, 0, source))
}

pub(crate) fn create(medium: &dyn Medium, path: &Path, existing: Existing) -> Result<Box<dyn NewFile>> {
    medium.create_file(path, existing).map_err(|source| WalError::io(Action::Create, path, 0, source))
}

pub(crate) fn append(file: &mut dyn NewFile, path: &Path, bytes: &[u8]) -> Result<()> {
    file.append(bytes).map_err(|source| WalError::io(Action::Write, path, 0, source))
}

/// Appends `bytes_total` zeros. Without them the first write to each block would have to allocate it, and a sync would
/// write metadata too.
pub(crate) fn append_zeros(file: &mut dyn NewFile, path: &Path, bytes_total: u64) -> Result<()> {
    const CHUNK_BYTES: usize = 1 << 20;
    let zeros = blocks(CHUNK_BYTES);
    let mut left = bytes_total;
    while left > 0 {
        let chunk = left.min(CHUNK_BYTES as u64);
        append(file, path, &zeros.as_bytes()[..chunk as usize])?;
        left -= chunk;
    }
    Ok(())
}
