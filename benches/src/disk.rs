//! Where the files of a bench go, and how often its disk was flushed meanwhile, as the kernel counts it.

use anyhow::{Context, Result};
use std::fs::{metadata, read_to_string};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory of its own for one run, in `dir`, or beside the binary, hence on the disk that builds are on.
pub fn place(dir: Option<&Path>) -> Result<TempDir> {
    let base = match dir {
        Some(dir) => dir.to_owned(),
        None => beside_the_binary()?,
    };
    tempfile::Builder::new().prefix("bench-").tempdir_in(&base).with_context(|| format!("in {}", base.display()))
}

fn beside_the_binary() -> Result<PathBuf> {
    let binary = std::env::current_exe()?;
    Ok(binary.parent().context("a binary lies in a directory")?.to_owned())
}

/// The disk that a path is on, in the kernel's numbers.
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

    /// Flushes that this disk has completed since the machine started, for everybody on it; `None` where the kernel
    /// does not count them.
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

/// Bytes without a pattern that a disk or a store could make less of, the same in every run.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
