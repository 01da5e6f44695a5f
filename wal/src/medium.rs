//! The storage under a data directory: files of fixed length, files that are written once, and a table of rows.
//!
//! The product has one medium: the file system with RocksDB. The simulator has another, which loses unsynced writes and
//! flips bits, so that promises about the log are tested on the code that runs in production. Nothing here is on the
//! acknowledgement path: the reactor writes frames to the files by itself.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::rocks::Rocks;
use crate::table::{OpenFor, Table, TableFault};
use crate::writeback::write_in_steps;

/// What a file of fixed length is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
    /// Read and write past the page cache (O_DIRECT): buffers, offsets and lengths must be multiples of a block.
    Direct,
}

/// What happens to a file that already has the name of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    Replaced,
    /// The call fails, and the file stays as it is.
    Refused,
}

pub trait Medium: Debug + Send + Sync {
    /// Opens an existing file of fixed length.
    fn open_file(&self, path: &Path, access: Access) -> io::Result<Box<dyn MediumFile>>;

    /// Opens an existing table.
    fn open_table(&self, path: &Path, purpose: OpenFor) -> Result<Box<dyn Table>, TableFault>;

    /// Makes a directory that only its owner may enter, because records may be confidential.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates an empty file that only its owner may read.
    fn create_file(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn NewFile>>;

    /// Opens an existing file to read it from its beginning.
    fn read_file(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;

    /// The files of a directory and their lengths.
    fn list(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>>;

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of `dir` durable: the names of its files, not their contents.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that is written once, from its beginning to its end.
pub trait NewFile: Send {
    /// Writes `bytes` at the end of the file.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the contents durable. The name needs [`Medium::sync_dir`].
    fn sync(&mut self) -> io::Result<()>;
}

/// A file of fixed length that is overwritten in place.
pub trait MediumFile: Debug + Send + Sync {
    fn bytes_len(&self) -> io::Result<u64>;

    /// Fills `bytes` from `offset`, or fails.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, or fails.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far durable.
    fn sync(&self) -> io::Result<()>;

    /// The operating system's file, for a driver that does its own I/O; `None` on a medium that has none.
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

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn create_file(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn NewFile>> {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        match existing {
            Existing::Replaced => options.create(true).truncate(true),
            Existing::Refused => options.create_new(true),
        };
        Ok(Box::new(AppendedFile { file: options.open(path)?, bytes: 0 }))
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

/// A file that is written from its beginning, and the bytes written so far.
struct AppendedFile {
    file: File,
    bytes: u64,
}

impl NewFile for AppendedFile {
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

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn into_file(self: Box<Self>) -> Option<File> {
        Some(*self)
    }
}
