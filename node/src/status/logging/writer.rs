//! The log writer: the one thread that waits for standard error or the disk of the log files.
//!
//! It says on standard error that lines cannot be written to the files, and in the log how many lines were dropped.

use super::files::{Found, LogFiles};
use super::queue::{LogQueue, own_lines};
use super::standard;
use crate::config::LogConfig;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often the writer looks whether its file can still be found.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Debug)]
pub(super) enum Sink {
    StandardError,
    Files(LogFiles),
}

impl Sink {
    pub(super) fn open(dir: &Path, config: &LogConfig) -> io::Result<Self> {
        LogFiles::open(dir, config).map(Self::Files)
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::StandardError => standard::write(standard::stderr(), line),
            Self::Files(files) => files.write(line),
        }
    }

    /// What a failure was on.
    fn place(&self) -> String {
        match self {
            Self::StandardError => "standard error".to_owned(),
            Self::Files(files) => format!("log.dir {}", files.dir().display()),
        }
    }
}

/// The log writer before it has its thread.
#[derive(Debug)]
pub struct LogWriter {
    lines: Receiver<Vec<u8>>,
    queue: Arc<LogQueue>,
    sink: Sink,
    checked: Instant,
}

impl LogWriter {
    pub(super) fn new(lines: Receiver<Vec<u8>>, queue: Arc<LogQueue>, sink: Sink) -> Self {
        Self { lines, queue, sink, checked: Instant::now() }
    }

    /// Gives the writer its thread, which ends with the process.
    pub fn spawn(self) -> io::Result<()> {
        std::thread::Builder::new().name("log_writer".to_owned()).spawn(move || self.run()).map(drop)
    }

    fn run(mut self) {
        loop {
            let line = match self.lines.recv_timeout(CHECK_EVERY) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.look_after_files();
            if !line.is_empty() {
                if !self.write(&line) {
                    self.queue.note_dropped();
                }
                self.queue.done(line.len());
            }
            self.report_dropped();
        }
    }

    /// Writes a line; false, and the failure is reported, if that fails.
    fn write(&mut self, line: &[u8]) -> bool {
        let outcome = self.sink.write(line);
        self.note(&outcome);
        outcome.is_ok()
    }

    fn look_after_files(&mut self) {
        let Sink::Files(files) = &mut self.sink else { return };
        if self.queue.take_reopen() {
            let outcome = files.reopen();
            self.note(&outcome);
            if outcome.is_ok() {
                self.write(&own_lines(|| tracing::info!("the log file is opened again")));
            }
        } else if CHECK_EVERY <= self.checked.elapsed() {
            self.checked = Instant::now();
            match files.check() {
                Ok(Found::Same) => {}
                Ok(found) => {
                    self.note(&Ok(()));
                    self.report_found(found);
                }
                Err(error) => self.note(&Err(error)),
            }
        }
    }

    /// Reports a file or a directory that is there again, in the new file and on standard error, if that has room at
    /// once, for those who look for the old one.
    fn report_found(&mut self, found: Found) {
        let what = match found {
            Found::DirMadeAgain => "the directory of the log file was removed, and is made again",
            Found::Same | Found::BegunAgain => "the log file was deleted, and is begun again",
        };
        if found == Found::DirMadeAgain {
            self.queue.note_dir_made();
        }
        let line = format!("pinion-node: {}: {what}; its lines from before are lost\n", self.sink.place());
        standard::write_within(standard::stderr(), line.as_bytes(), Duration::ZERO);
        self.write(&own_lines(|| tracing::warn!("{what}; its lines from before are lost")));
    }

    /// Keeps for `/health` why lines cannot be written. A failure that is new is reported on standard error as well,
    /// if that has room at once.
    fn note(&self, outcome: &io::Result<()>) {
        let trouble = outcome.as_ref().err().map(|error| format!("writing to {}: {error}", self.sink.place()));
        let line =
            trouble.as_ref().map(|trouble| format!("pinion-node: {trouble}; log lines are dropped, trading goes on\n"));
        if self.queue.note_trouble(trouble)
            && let Some(line) = line
        {
            standard::write_within(standard::stderr(), line.as_bytes(), Duration::ZERO);
        }
    }

    /// Says how many lines were dropped, once everything in the queue is written.
    fn report_dropped(&mut self) {
        let (lines, dropped) = self.queue.unreported();
        if lines == 0 || !self.queue.is_drained() {
            return;
        }
        let report = own_lines(|| tracing::warn!(lines, "log lines were dropped because they could not be written"));
        if self.write(&report) {
            self.queue.note_reported(dropped);
        }
    }
}
