//! The directory of a bench's files, and the kernel's count of the flushes of its disk.

use anyhow::{Context, Result};
use std::fs::{metadata, read_to_string};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A new directory for one run, in `dir` or beside the binary, which is on the disk of the builds. Removed when
/// dropped.
pub fn run_directory(dir: Option<&Path>) -> Result<TempDir> {
    let base = match dir {
        Some(dir) => dir.to_owned(),
        None => beside_the_binary()?,
    };
    tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&base)
        .with_context(|| format!("making a directory in {}", base.display()))
}

fn beside_the_binary() -> Result<PathBuf> {
    let binary = std::env::current_exe()?;
    Ok(binary.parent().context("the path of this binary has no directory")?.to_owned())
}

/// The disk that holds a path, by the kernel's device numbers.
#[derive(Clone, Copy, Debug)]
pub struct Disk {
    major: u32,
    minor: u32,
}

impl Disk {
    pub fn of(path: &Path) -> Result<Self> {
        let device = metadata(path)?.dev();
        Ok(Self { major: libc::major(device), minor: libc::minor(device) })
    }

    /// Flushes that this disk has completed since the machine started, for all programs; `None` where the kernel does
    /// not count them.
    pub fn flushes(&self) -> Option<u64> {
        const FLUSHES_IDX: usize = 18;
        let text = read_to_string("/proc/diskstats").ok()?;
        let mut rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let ours = |row: &Vec<&str>| {
            row.first().and_then(|v| v.parse().ok()) == Some(self.major)
                && row.get(1).and_then(|v| v.parse().ok()) == Some(self.minor)
        };
        rows.find(ours)?.get(FLUSHES_IDX)?.parse().ok()
    }
}

/// Bytes that neither a disk nor a store can compress, the same in every run.
pub fn incompressible(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
