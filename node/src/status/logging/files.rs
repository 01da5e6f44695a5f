//! The log files: `pinion.log` of bounded size, and a bounded number of older ones.
//!
//! Invariants: a line goes to a file that can be found under its name, or is reported as not written; a rotation that
//! failed moves no file when it is tried again.

use crate::config::LogConfig;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FILE_NAME: &str = "pinion.log";

/// What a look at the current file has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Same,
    /// The file was deleted, and is begun again.
    BegunAgain,
    /// The directory was removed, and is made again.
    DirMadeAgain,
}

/// The files in `log.dir`, or none while the directory is gone and cannot be made.
#[derive(Debug)]
pub struct LogFiles {
    dir: PathBuf,
    bytes_max: u64,
    files_max: u32,
    open: Option<RotatingFile>,
}

impl LogFiles {
    /// Makes the directory where it is absent, and goes on with the file in it.
    pub fn open(dir: &Path, config: &LogConfig) -> io::Result<Self> {
        let (bytes_max, files_max) = (config.file_bytes_max, config.files_max);
        let open = Some(RotatingFile::open(dir, bytes_max, files_max)?);
        Ok(Self { dir: dir.to_owned(), bytes_max, files_max, open })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Opens the current file by its name once more. Where that fails, a file that is open stays in use.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.open = Some(RotatingFile::open(&self.dir, self.bytes_max, self.files_max)?);
        Ok(())
    }

    /// Looks whether the current file can still be found. One that was deleted is begun again, and so is a directory
    /// that was removed. Those above it are not made again: what belongs there may be a file system that is not
    /// mounted. What fails is tried again at the next look.
    pub fn check(&mut self) -> io::Result<Found> {
        let has_dir = self.dir.is_dir();
        if has_dir && self.open.as_ref().is_some_and(|open| !open.is_deleted()) {
            return Ok(Found::Same);
        }
        self.open = None;
        if !has_dir {
            std::fs::create_dir(&self.dir).map_err(|error| removed(&error))?;
        }
        let again = RotatingFile::open_in(&self.dir, self.bytes_max, self.files_max);
        self.open = Some(again.map_err(|error| removed(&error))?);
        Ok(if has_dir { Found::BegunAgain } else { Found::DirMadeAgain })
    }

    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let gone = || removed(&io::ErrorKind::NotFound.into());
        self.open.as_mut().ok_or_else(gone)?.write_all(line)
    }
}

fn removed(error: &io::Error) -> io::Error {
    let what = format!("the log file was removed and cannot be begun again, which is tried every second: {error}");
    io::Error::new(error.kind(), what)
}

/// `pinion.log`, and older files `pinion.log.1` (the youngest), `pinion.log.2` and so on. No line is split across
/// files.
#[derive(Debug)]
pub struct RotatingFile {
    dir: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    /// The current file included; the oldest is deleted when there would be more.
    files_max: u32,
    /// Whether a failed write may have left a part of a line.
    is_torn: bool,
}

impl RotatingFile {
    pub fn open(dir: &Path, bytes_max: u64, files_max: u32) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        Self::open_in(dir, bytes_max, files_max)
    }

    /// The same in a directory that is there.
    fn open_in(dir: &Path, bytes_max: u64, files_max: u32) -> io::Result<Self> {
        let file = append(&dir.join(FILE_NAME))?;
        let bytes = file.metadata()?.len();
        Ok(Self { dir: dir.to_owned(), file, bytes, bytes_max, files_max, is_torn: false })
    }

    /// Whether the open file has lost its last name.
    fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|found| found.nlink() == 0)
    }

    fn path(&self, age: u32) -> PathBuf {
        let name = if age == 0 { FILE_NAME.to_owned() } else { format!("{FILE_NAME}.{age}") };
        self.dir.join(name)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let current = self.path(0);
        if self.files_max == 1 {
            self.file.set_len(0)?;
        } else if current.try_exists()? {
            for age in (0..self.files_max - 1).rev() {
                match std::fs::rename(self.path(age), self.path(age + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            self.file = append(&current)?;
        } else {
            // An earlier attempt, or another program, has moved the file away already.
            self.file = append(&current)?;
        }
        self.bytes = 0;
        Ok(())
    }
}

impl Write for RotatingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.bytes_max {
            self.rotate()?;
        }
        if self.is_torn {
            self.file.write_all(b"\n")?;
        }
        self.is_torn = true;
        self.file.write_all(line)?;
        self.is_torn = false;
        self.bytes += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dir: &Path, name: &str) -> Option<String> {
        std::fs::read_to_string(dir.join(name)).ok()
    }

    #[test]
    fn files_stay_within_their_size_and_number() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut log = RotatingFile::open(dir.path(), 10, 2).expect("the directory is ours");
        for line in ["first\n", "second\n", "third\n"] {
            log.write_all(line.as_bytes()).expect("room");
        }
        assert_eq!(read(dir.path(), "pinion.log").as_deref(), Some("third\n"));
        assert_eq!(read(dir.path(), "pinion.log.1").as_deref(), Some("second\n"));
        assert_eq!(read(dir.path(), "pinion.log.2"), None);
    }

    #[test]
    fn a_rotation_that_failed_moves_no_older_file_again() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut log = RotatingFile::open(dir.path(), 10, 3).expect("the directory is ours");
        for line in ["first\n", "second\n"] {
            log.write_all(line.as_bytes()).expect("room");
        }
        // A directory where the file would be moved to: the rename is refused each time.
        std::fs::create_dir_all(dir.path().join("pinion.log.2").join("in the way")).expect("the directory is ours");
        for _ in 0..3 {
            assert!(log.write_all(b"third\n").is_err());
        }
        std::fs::remove_dir_all(dir.path().join("pinion.log.2")).expect("the directory is ours");
        log.write_all(b"third\n").expect("room");
        for (name, line) in [("pinion.log", "third\n"), ("pinion.log.1", "second\n"), ("pinion.log.2", "first\n")] {
            assert_eq!(read(dir.path(), name).as_deref(), Some(line), "{name}");
        }
        // Moved away from outside, as logrotate does.
        std::fs::rename(dir.path().join("pinion.log"), dir.path().join("moved")).expect("the directory is ours");
        log.write_all(b"fourth\n").expect("room");
        for (name, line) in [("pinion.log", "fourth\n"), ("pinion.log.1", "second\n"), ("moved", "third\n")] {
            assert_eq!(read(dir.path(), name).as_deref(), Some(line), "{name}");
        }
    }

    fn files(dir: &Path) -> LogFiles {
        let (bytes_max, files_max) = (1_000, 2);
        let open = RotatingFile::open(dir, bytes_max, files_max).expect("the directory is ours");
        LogFiles { dir: dir.to_owned(), bytes_max, files_max, open: Some(open) }
    }

    #[test]
    fn a_removed_directory_is_made_again_and_what_is_above_it_is_not() {
        let base = tempfile::tempdir().expect("a temporary directory");
        let (mount, dir) = (base.path().join("mount"), base.path().join("mount/logs"));
        let mut files = files(&dir);
        files.write(b"one\n").expect("room");
        assert_eq!(files.check().expect("all is there"), Found::Same);
        std::fs::remove_dir_all(&dir).expect("the directory is ours");
        assert_eq!(files.check().expect("it can be made"), Found::DirMadeAgain);
        files.write(b"two\n").expect("room");
        assert_eq!(read(&dir, "pinion.log").as_deref(), Some("two\n"));

        std::fs::remove_dir_all(&mount).expect("the directory is ours");
        let error = files.check().expect_err("what it was in is gone");
        assert!(error.to_string().contains("was removed"), "{error}");
        assert!(files.write(b"three\n").is_err() && !mount.exists(), "a place that is not mounted stays empty");
        std::fs::create_dir(&mount).expect("the directory is ours");
        assert_eq!(files.check().expect("it can be made"), Found::DirMadeAgain);
        files.write(b"four\n").expect("room");
        assert_eq!(read(&dir, "pinion.log").as_deref(), Some("four\n"));
    }

    #[test]
    fn a_deleted_file_is_begun_again_and_a_moved_one_is_followed_until_reopened() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut files = files(dir.path());
        std::fs::remove_file(dir.path().join("pinion.log")).expect("the file is ours");
        assert_eq!(files.check().expect("the directory is there"), Found::BegunAgain);
        files.write(b"one\n").expect("room");
        assert_eq!(read(dir.path(), "pinion.log").as_deref(), Some("one\n"));
        std::fs::rename(dir.path().join("pinion.log"), dir.path().join("moved")).expect("the file is ours");
        files.check().expect("the file has a name");
        files.write(b"two\n").expect("room");
        files.reopen().expect("the directory is there");
        files.write(b"three\n").expect("room");
        assert_eq!(read(dir.path(), "moved").as_deref(), Some("one\ntwo\n"));
        assert_eq!(read(dir.path(), "pinion.log").as_deref(), Some("three\n"));
    }

    #[test]
    fn a_restart_goes_on_with_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for line in ["one\n", "two\n"] {
            let mut log = RotatingFile::open(dir.path(), 1_000, 1).expect("the directory is ours");
            log.write_all(line.as_bytes()).expect("room");
        }
        assert_eq!(read(dir.path(), "pinion.log").as_deref(), Some("one\ntwo\n"));
    }

    #[test]
    fn a_single_file_is_emptied_when_full() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut log = RotatingFile::open(dir.path(), 10, 1).expect("the directory is ours");
        for line in ["12345678\n", "next\n"] {
            log.write_all(line.as_bytes()).expect("room");
        }
        assert_eq!(read(dir.path(), "pinion.log").as_deref(), Some("next\n"));
    }
}
