//! Log lines, to standard error or to files of bounded size and number. A pinned loop logs nothing while it serves.

use crate::config::{LogConfig, LogFormat};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use thiserror::Error;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

const FILE_NAME: &str = "pinion.log";

#[derive(Debug, Error)]
pub enum LogError {
    #[error("opening the log file in log.dir {path}: {source}")]
    Dir { path: PathBuf, source: io::Error },
    #[error("logging has already been started in this process: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging as configured. To be called once per process.
pub fn start(config: &LogConfig) -> Result<(), LogError> {
    let writer = match &config.dir {
        None => BoxMakeWriter::new(io::stderr),
        Some(dir) => {
            let file = RotatingFile::open(dir, config.file_bytes_max, config.files_max)
                .map_err(|source| LogError::Dir { path: dir.clone(), source })?;
            BoxMakeWriter::new(Mutex::new(file))
        }
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Libraries log warnings and errors only: their debug lines would drown ours.
    let libraries = config.level.min(Level::WARN);
    let ours = ["node", "wal", "book", "api", "pinion_node"].map(|target| (target, config.level));
    let filter = Targets::new().with_default(libraries).with_targets(ours);
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    Ok(())
}

/// `pinion.log`, and older files `pinion.log.1` (the youngest), `pinion.log.2` and so on. No line is split across
/// files.
pub struct RotatingFile {
    dir: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    /// The current file included; the oldest is deleted when there would be more.
    files_max: u32,
}

impl RotatingFile {
    pub fn open(dir: &Path, bytes_max: u64, files_max: u32) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let file = append(&dir.join(FILE_NAME))?;
        let bytes = file.metadata()?.len();
        Ok(Self { dir: dir.to_owned(), file, bytes, bytes_max, files_max })
    }

    fn path(&self, age: u32) -> PathBuf {
        let name = if age == 0 { FILE_NAME.to_owned() } else { format!("{FILE_NAME}.{age}") };
        self.dir.join(name)
    }

    fn rotate(&mut self) -> io::Result<()> {
        if self.files_max == 1 {
            self.file.set_len(0)?;
        } else {
            for age in (0..self.files_max - 1).rev() {
                match std::fs::rename(self.path(age), self.path(age + 1)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            self.file = append(&self.path(0))?;
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
        self.file.write_all(line)?;
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
