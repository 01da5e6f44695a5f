//! SIGHUP: opens the log files again, and never ends the process.

use crate::status::logging;
use std::io;
use std::path::PathBuf;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGHUP, caught from the moment at which this value is made.
pub struct Hangup {
    runtime: Runtime,
    signal: Signal,
}

impl Hangup {
    pub fn catch() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signal = {
            let _entered = runtime.enter();
            signal(SignalKind::hangup())?
        };
        Ok(Self { runtime, signal })
    }

    /// Obeys the signal on a thread of its own, which ends with the process: a start and a stop may take long.
    pub fn spawn(mut self, log_dir: Option<PathBuf>) -> io::Result<()> {
        let obey = move || {
            self.runtime.block_on(async {
                while self.signal.recv().await.is_some() {
                    match &log_dir {
                        Some(dir) => tracing::info!(dir = %dir.display(), "asked by SIGHUP to open the log file again"),
                        None => tracing::info!("SIGHUP has no effect: there is no log file, as log.dir is not set"),
                    }
                    logging::reopen();
                }
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(obey).map(drop)
    }
}
