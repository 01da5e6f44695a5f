//! A file that has no name: nothing of it is left behind, however its process ends.

use super::destination::file_error;
use super::error::Result;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

pub struct UnnamedFile(File);

impl UnnamedFile {
    /// On the file system of the temporary directory.
    pub fn new() -> Result<Self> {
        let made = tempfile::tempfile();
        made.map(Self).map_err(|source| file_error("making a file in", &std::env::temp_dir(), source))
    }

    /// With this in it.
    pub fn holding(bytes: &[u8]) -> Result<Self> {
        let unnamed = Self::new()?;
        let written = unnamed.file().write_all(bytes);
        written.map_err(|source| file_error("writing", &std::env::temp_dir(), source))?;
        Ok(unnamed)
    }

    pub fn file(&self) -> &File {
        &self.0
    }

    /// For those that open files by path, as long as this lives: each opening reads from the beginning.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}
