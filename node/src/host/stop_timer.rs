//! The bound of a stop: a process that has not ended `node.stop_timeout` after it was asked to is ended here, whatever
//! its threads wait for.
//!
//! Invariant: nothing that was acknowledged is lost by that: it is durable, and what is not was never acknowledged.
//!
//! `unsafe`: one call that ends the process.
#![allow(unsafe_code)]

use crate::config::human::show_duration;
use crate::status::Status;
use crate::status::exit;
use crate::status::lifecycle::Lifecycle;
use crate::status::logging;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ends the process after `timeout`, unless it has ended before. To be called when a stop begins.
pub fn start(timeout: Duration, lifecycle: Arc<Lifecycle>, status: Arc<Status>) -> io::Result<()> {
    let run = move || {
        let deadline = Instant::now() + timeout;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
        let (code, what) = overdue(&lifecycle, &status);
        let timeout = show_duration(timeout);
        tracing::error!(exit_code = code, "the stop takes longer than node.stop_timeout = {timeout}: {what}");
        logging::flush();
        end(code);
    };
    std::thread::Builder::new().name("stop_timer".to_owned()).spawn(run).map(drop)
}

/// The exit code of a stop that does not end, and what it waits for.
fn overdue(lifecycle: &Lifecycle, status: &Status) -> (u8, String) {
    let (watermarks, kept) = (&status.watermarks, "what was acknowledged is in the log");
    let (applied, durable) = (watermarks.applied.get().0, watermarks.durable.get().0);
    let stored = watermarks.stored.get().0;
    let (code, what) = if durable < applied {
        (exit::JOURNAL_FAILED, format!("the journal does not become durable after sequence {durable}"))
    } else if stored < durable {
        (exit::JOURNAL_FAILED, format!("the store does not become durable after sequence {stored}"))
    } else {
        (exit::FAILED, "a thread has not ended, and everything is stored".to_owned())
    };
    let code = lifecycle.failure().map_or(code, |failure| failure.exit_code);
    (code, format!("{what}; the process ends without it, and {kept}"))
}

/// Ends the process at once. Destructors and handlers of exit could wait for the same disk.
fn end(code: u8) -> ! {
    // SAFETY: the call takes a number and does not return; no state of this process is used after it.
    unsafe { libc::_exit(i32::from(code)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::watermarks::watermarks;
    use book::units::Seq;

    #[test]
    fn the_code_says_whether_the_disk_was_waited_for() {
        let (mut writers, readers) = watermarks(Seq(7));
        let (lifecycle, status) = (Lifecycle::default(), Status::new(readers));
        assert_eq!(overdue(&lifecycle, &status).0, exit::JOURNAL_FAILED, "nothing is stored yet");
        writers.stored.advance(Seq(7));
        let (code, what) = overdue(&lifecycle, &status);
        assert!(code == exit::FAILED && what.contains("a thread has not ended"), "{what}");
        writers.engine.applied.advance(Seq(8));
        let (code, what) = overdue(&lifecycle, &status);
        assert!(code == exit::JOURNAL_FAILED && what.contains("after sequence 7"), "{what}");
        lifecycle.fail(exit::NO_SPACE, "full");
        assert_eq!(overdue(&lifecycle, &status).0, exit::NO_SPACE, "the first failure decides");
    }
}
