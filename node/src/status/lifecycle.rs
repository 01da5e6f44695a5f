//! The lifecycle of the process: whether it serves, whether it was asked to stop, and why it failed.
//!
//! Loops decide by it when to stop. Invariants: a process that was asked to stop never serves again, and the first
//! failure determines the exit code.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// One per process, shared by all loops.
#[derive(Debug, Default)]
pub struct Lifecycle {
    ready: AtomicBool,
    stopping: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

/// Why the process must end, and with which exit code.
#[derive(Debug, Clone)]
pub struct Failure {
    pub exit_code: u8,
    pub message: String,
}

impl Lifecycle {
    /// Marks the node as ready: the log is recovered and every loop runs.
    pub fn serve(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Asks every loop to finish what it has accepted and to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Records a failure that ends the process, and asks every loop to stop.
    pub fn fail(&self, exit_code: u8, message: impl Into<String>) {
        let message = message.into();
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.is_none() {
            tracing::error!(exit_code, "{message}");
            *failure = Some(Failure { exit_code, message });
        }
        self.stop();
    }

    pub fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn has_failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}
