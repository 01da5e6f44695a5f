//! How far long work is: a bar where a person watches, now and then a plain line where nobody does. Always on standard
//! error, so that what is printed as the result stays clean.

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

    /// Cheap enough to call often: it mostly does nothing.
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
        // Progress that nobody can see is no reason to stop.
        let _ = write!(stderr(), "{line}").and_then(|()| stderr().flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.on_terminal {
            // Wipes the bar; see `at` for a failure.
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
