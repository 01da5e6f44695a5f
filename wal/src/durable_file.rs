//! Small files of a data directory that a power cut leaves complete or absent, and the zeros of preallocated ones.
//!
//! Invariant: when a function here returns, what it did is durable, except [`write_zeros`], whose caller syncs.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use zerocopy::IntoBytes;

use crate::block::blocks;
use crate::error::{Action, Result, WalError};

/// Creates or replaces the file `name`: the bytes are written to `name.tmp` and synced before the rename, so the name
/// never refers to a part of them.
pub(crate) fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}.tmp"));
    let file = File::create(&temporary).map_err(|source| WalError::io(Action::Create, &temporary, 0, source))?;
    write_synced(file, &temporary, bytes)?;
    fs::rename(&temporary, &path).map_err(|source| WalError::io(Action::Rename, &path, 0, source))?;
    sync_dir(dir)
}

/// Creates the file `name` in a directory that has none of that name, before the node opens it.
pub(crate) fn create_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = dir.join(name);
    let file = File::create_new(&path).map_err(|source| WalError::io(Action::Create, &path, 0, source))?;
    write_synced(file, &path, bytes)?;
    sync_dir(dir)
}

/// Makes the entries of `dir` durable: the names of its files, not their contents.
pub fn sync_dir(dir: &Path) -> Result<()> {
    let opened = File::open(dir).map_err(|source| WalError::io(Action::Open, dir, 0, source))?;
    opened.sync_all().map_err(|source| WalError::io(Action::Sync, dir, 0, source))
}

/// Writes `bytes_total` zeros from the start of `file`. Without them the first write to each block would have to
/// allocate it, and a sync would write metadata too.
pub(crate) fn write_zeros(file: &File, path: &Path, bytes_total: u64) -> Result<()> {
    const CHUNK_BYTES: usize = 1 << 20;
    let zeros = blocks(CHUNK_BYTES);
    let mut offset = 0;
    while offset < bytes_total {
        let chunk = (bytes_total - offset).min(CHUNK_BYTES as u64);
        file.write_all_at(&zeros.as_bytes()[..chunk as usize], offset)
            .map_err(|source| WalError::io(Action::Write, path, offset, source))?;
        offset += chunk;
    }
    Ok(())
}

fn write_synced(mut file: File, path: &Path, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes).map_err(|source| WalError::io(Action::Write, path, 0, source))?;
    file.sync_all().map_err(|source| WalError::io(Action::Sync, path, 0, source))
}
