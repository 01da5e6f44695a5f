//! What a data directory lies on: files that keep their length, and a table of rows.
//!
//! The product knows one medium, the file system with RocksDB. A simulation has another, which loses what was not synced
//! and flips bits, so that what is proved about a log is proved over the very code that runs. Everything here is off the
//! path of an answer: the reactor writes frames to real files itself.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::rocks::Rocks;
use crate::segment::Access;
use crate::table::{OpenFor, Table, TableFault};

/// Opens what was made before; makes nothing.
pub trait Medium: Debug + Send + Sync {
    fn open_file(&self, path: &Path, access: Access) -> io::Result<Box<dyn MediumFile>>;

    fn open_table(&self, path: &Path, purpose: OpenFor) -> Result<Box<dyn Table>, TableFault>;
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
