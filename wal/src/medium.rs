//! What a data directory lies on: files that keep their length, and a table of rows.
//!
//! The product knows one medium, the file system with RocksDB. A simulation has another, which loses what was not synced
//! and flips bits, so that what is proved about a log is proved over the very code that runs. Everything here is off the
//! path of an answer: the reactor writes frames to real files itself.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::rocks::Rocks;
use crate::segment::Access;
use crate::snapshot::steps::write_in_steps;
use crate::table::{OpenFor, Table, TableFault};

pub trait Medium: Debug + Send + Sync {
    /// Opens a file that was made before, with the length that it keeps.
    fn open_file(&self, path: &Path, access: Access) -> io::Result<Box<dyn MediumFile>>;

    /// Opens a table that was made before.
    fn open_table(&self, path: &Path, purpose: OpenFor) -> Result<Box<dyn Table>, TableFault>;

    /// An empty file for its owner alone, in the place of what bore the name.
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;

    /// A file's bytes from its beginning.
    fn read_file(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;

    /// The files of a directory and their lengths.
    fn list(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of `dir` survive a power cut.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that is written once, from its beginning to its end.
pub trait NewFile: Send {
    /// Adds bytes to its end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Its bytes, not its name, survive a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that was made with the length that it keeps.
pub trait MediumFile: Debug + Send + Sync {
    fn bytes_len(&self) -> io::Result<u64>;

    fn read_whole(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    fn write_whole(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Everything written so far survives a power cut.
    fn sync(&self) -> io::Result<()>;

    /// The file for a driver that writes to it itself; `None` where there is none behind it.
    fn into_file(self: Box<Self>) -> Option<File>;
}

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileSystem;

impl Medium for FileSystem {
    fn open_file(&self, path: &Path, access: Access) -> io::Result<Box<dyn MediumFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(access != Access::Read);
        if access == Access::Direct {
            options.custom_flags(libc::O_DIRECT);
        }
        Ok(Box::new(options.open(path)?))
    }

    fn open_table(&self, path: &Path, purpose: OpenFor) -> Result<Box<dyn Table>, TableFault> {
        Ok(Box::new(Rocks::open(path, purpose)?))
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        Ok(Box::new(Growing { file: options.open(path)?, bytes: 0 }))
    }

    fn read_file(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            found.push((entry.path(), entry.metadata()?.len()));
        }
        Ok(found)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// A file and how far it has come.
struct Growing {
    file: File,
    bytes: u64,
}

impl NewFile for Growing {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        write_in_steps(&mut self.file, self.bytes, bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl MediumFile for File {
    fn bytes_len(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn read_whole(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }

    fn write_whole(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn into_file(self: Box<Self>) -> Option<File> {
        Some(*self)
    }
}
