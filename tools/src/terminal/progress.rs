//! The progress of long work: a bar on a terminal, and a line every few seconds elsewhere. It goes to standard error,
//! so that standard output has the result alone.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

const BAR_EVERY: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(10);
const BAR_CELLS: usize = 30;

#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: usize,
    on_terminal: bool,
    shown_at: Instant,
}

impl Progress {
    pub fn new(what: &'static str, total: usize) -> Self {
        Self { what, total, on_terminal: stderr().is_terminal(), shown_at: Instant::now() }
    }

    /// Shows how much is done. It is cheap enough to call often, because it prints only from time to time.
    pub fn at(&mut self, done: usize) {
        let every = if self.on_terminal { BAR_EVERY } else { LINE_EVERY };
        if self.shown_at.elapsed() < every {
            return;
        }
        self.shown_at = Instant::now();
        let (percent, cells) = (done * 100 / self.total.max(1), done * BAR_CELLS / self.total.max(1));
        let line = if self.on_terminal {
            format!("\r{} [{:<BAR_CELLS$}] {percent:3} %", self.what, "#".repeat(cells.min(BAR_CELLS)))
        } else {
            format!("{}: {done} of {} ({percent} %)\n", self.what, self.total)
        };
        // A failure to show progress does not end the work.
        let _ = write!(stderr(), "{line}").and_then(|()| stderr().flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.on_terminal {
            // Erases the bar; a failure is ignored as in `at`.
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
