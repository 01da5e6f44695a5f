//! A temporary file without a name: nothing of it remains, however its process ends.

use super::error::{DESCRIPTOR, Result, file_error};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

pub struct AnonymousFile(File);

impl AnonymousFile {
    /// An empty file on the file system of the temporary directory.
    pub fn new() -> Result<Self> {
        let made = tempfile::tempfile();
        made.map(Self).map_err(|source| file_error("making a temporary file in", &std::env::temp_dir(), source))
    }

    /// A file with these bytes.
    pub fn holding(bytes: &[u8]) -> Result<Self> {
        let file = Self::new()?;
        let written = file.file().write_all(bytes);
        written.map_err(|source| file_error("writing a temporary file in", &std::env::temp_dir(), source))?;
        Ok(file)
    }

    pub fn file(&self) -> &File {
        &self.0
    }

    /// A path for readers that open files by path. It is valid as long as this value; each opening reads from the
    /// start.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("{DESCRIPTOR}{}", self.0.as_raw_fd()))
    }
}
