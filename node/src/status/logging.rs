//! Log lines, to standard error or to files of bounded size and number.
//!
//! ```text
//!  thread that logs -> queue (bounded; what does not fit is dropped) -> log writer -> standard error, files
//! ```
//! Invariants: no thread that logs waits for a disk, a pipe or another thread's write; every line is written, or
//! counted as dropped. A pinned loop logs nothing while it serves, but what is rare.

pub mod files;
pub mod queue;
pub mod standard;
mod writer;

use crate::config::{LogConfig, LogFormat};
use queue::{LogQueue, QueueEnd};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io;
use std::panic::PanicHookInfo;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use thiserror::Error;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};
use writer::{LogWriter, Sink};

/// Longest wait for the lines in the queue at the end of the process.
pub const END_MAX: Duration = Duration::from_secs(1);

/// The queue of this process, once logging has started.
static LOG: OnceLock<Arc<LogQueue>> = OnceLock::new();

#[derive(Debug, Error)]
pub enum LogError {
    #[error("opening the log file in log.dir {path}: {source}")]
    Dir { path: PathBuf, source: io::Error },
    #[error("logging has already been started in this process: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// What became of log lines since the start.
#[derive(Debug, Default)]
pub struct LogFigures {
    pub lines_dropped: u64,
    /// How often `log.dir` was removed, and made again.
    pub dirs_made: u64,
    /// Why lines are not written at present, if they are not.
    pub trouble: Option<String>,
}

/// Starts logging as configured, panics included. To be called once per process. Lines wait in the queue until the
/// writer that is returned has its thread.
pub fn start(config: &LogConfig) -> Result<LogWriter, LogError> {
    let sink = match &config.dir {
        None => Sink::StandardError,
        Some(dir) => Sink::open(dir, config).map_err(|source| LogError::Dir { path: dir.clone(), source })?,
    };
    let (queue, lines) = LogQueue::new(queue::LINES_MAX, queue::BYTES_MAX);
    let end = Arc::clone(&queue);
    let layer = tracing_subscriber::fmt::layer().with_writer(move || QueueEnd(Arc::clone(&end))).with_ansi(false);
    // The library would print such an error on standard error, and wait for that.
    let layer = layer.log_internal_errors(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match config.format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    // Libraries log warnings and errors only: their debug lines would drown ours.
    let libraries = config.level.min(Level::WARN);
    let ours = ["node", "wal", "book", "api", "pinion_node"].map(|target| (target, config.level));
    let filter = Targets::new().with_default(libraries).with_targets(ours);
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    // Set once, because a second subscriber was refused above.
    let _ = LOG.set(Arc::clone(&queue));
    std::panic::set_hook(Box::new(log_panic));
    Ok(LogWriter::new(lines, queue, sink))
}

/// Waits until every line in the queue is written, for `END_MAX` at the most. To be called where the process ends.
pub fn flush() {
    if let Some(queue) = LOG.get() {
        queue.flush(END_MAX);
    }
}

/// Has the log files opened by their names once more. Does not wait for it, and does nothing without `log.dir`.
pub fn reopen() {
    if let Some(queue) = LOG.get() {
        queue.reopen();
    }
}

pub fn figures() -> LogFigures {
    let figures = |queue: &Arc<LogQueue>| LogFigures {
        lines_dropped: queue.dropped(),
        dirs_made: queue.dirs_made(),
        trouble: queue.trouble(),
    };
    LOG.get().map(figures).unwrap_or_default()
}

/// Reports a panic in the log. The hook of the standard library would wait for standard error, and a panicking pinned
/// thread with it instead of ending the process.
fn log_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    let message = info.payload_as_str().unwrap_or("a panic without a message");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(thread = name, "panicked at {place}: {message}\n{backtrace}");
    } else {
        tracing::error!(thread = name, "panicked at {place}: {message}");
    }
}
