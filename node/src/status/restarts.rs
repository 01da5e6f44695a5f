//! Threads that go on after a panic: what `/health`, `/metrics` and the log say about it.
//!
//! A panic is always a fault of ours. Invariant: each one is counted, and three of a thread within a minute make the
//! node degraded until it is restarted, because a thread that panics so often is of no use although it runs.

use super::gauge::Gauge;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many panics of one thread within `WINDOW` degrade the node.
const PANICS_MAX: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);

/// A thread that is started again after a panic. The pinned threads are none: their panic ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    StoreWriter,
    StoreMerger,
    Shadow,
    Feed,
    Passwords,
    Resend,
    Ops,
    Clock,
    Disk,
}

impl Worker {
    pub const ALL: [Self; 9] = [
        Self::StoreWriter,
        Self::StoreMerger,
        Self::Shadow,
        Self::Feed,
        Self::Passwords,
        Self::Resend,
        Self::Ops,
        Self::Clock,
        Self::Disk,
    ];

    /// The name of its thread.
    pub fn name(self) -> &'static str {
        match self {
            Self::StoreWriter => "store_writer",
            Self::StoreMerger => "store_merger",
            Self::Shadow => "shadow",
            Self::Feed => "feed",
            Self::Passwords => "passwords",
            Self::Resend => "resend",
            Self::Ops => "ops",
            Self::Clock => "clock",
            Self::Disk => "disk",
        }
    }
}

/// The restarts of one thread.
#[derive(Debug, Default)]
pub struct WorkerRestarts {
    pub count: Gauge,
    panics: Mutex<Panics>,
}

#[derive(Debug, Default)]
struct Panics {
    /// When the newest ones happened, oldest first.
    at: [Option<Instant>; PANICS_MAX],
    message: Option<String>,
    is_degraded: bool,
}

impl WorkerRestarts {
    /// Counts a panic. Returns whether it is one of `PANICS_MAX` within the window.
    fn note(&self, now: Instant, message: &str) -> bool {
        let mut panics = self.lock();
        panics.at.rotate_left(1);
        panics.at[PANICS_MAX - 1] = Some(now);
        panics.message = Some(message.to_owned());
        let is_often = panics.at[0].is_some_and(|oldest| now.duration_since(oldest) <= WINDOW);
        panics.is_degraded |= is_often;
        self.count.add(1);
        is_often
    }

    /// What the newest panic said.
    pub fn message(&self) -> Option<String> {
        self.lock().message.clone()
    }

    fn is_degraded(&self) -> bool {
        self.lock().is_degraded
    }

    fn lock(&self) -> MutexGuard<'_, Panics> {
        self.panics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The restarts of every supervised thread of a process.
#[derive(Debug, Default)]
pub struct Restarts([WorkerRestarts; Worker::ALL.len()]);

impl Restarts {
    /// Records a panic that ended a thread's loop, and logs it. Returns whether the thread panics too often.
    pub fn note(&self, worker: Worker, message: &str) -> bool {
        tracing::error!(thread = worker.name(), "the thread panicked and is started again: {message}");
        self.note_at(Instant::now(), worker, message)
    }

    /// Records a panic that ended one request of a thread that serves many at once. The others go on.
    pub fn note_request(&self, worker: Worker, message: &str) {
        tracing::error!(thread = worker.name(), "a request panicked: {message}");
        self.note_at(Instant::now(), worker, message);
    }

    fn note_at(&self, now: Instant, worker: Worker, message: &str) -> bool {
        self.0[worker as usize].note(now, message)
    }

    pub fn all(&self) -> impl Iterator<Item = (Worker, &WorkerRestarts)> {
        Worker::ALL.into_iter().zip(&self.0)
    }

    /// A thread that panicked too often since the start, and a sentence about it.
    pub fn degraded_reason(&self) -> Option<(&'static str, String)> {
        let (worker, restarts) = self.all().find(|(_, restarts)| restarts.is_degraded())?;
        let (count, message) = (restarts.count.get(), restarts.message().unwrap_or_default());
        let window = WINDOW.as_secs();
        let detail = format!("panicked {PANICS_MAX} times within {window} s, {count} times since the start");
        Some((worker.name(), format!("{detail}, and is started again each time; the newest panic: {message}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_panics_of_one_thread_within_a_minute_degrade() {
        let restarts = Restarts::default();
        let start = Instant::now();
        let second = |seconds| start + Duration::from_secs(seconds);
        assert!(!restarts.note_at(second(0), Worker::Shadow, "first"));
        assert!(!restarts.note_at(second(50), Worker::Shadow, "second"));
        assert!(!restarts.note_at(second(51), Worker::Feed, "another thread's"));
        assert!(!restarts.note_at(second(61), Worker::Shadow, "third, a minute after the first"));
        assert!(restarts.degraded_reason().is_none());
        assert!(restarts.note_at(second(62), Worker::Shadow, "fourth"));
        let (thread, detail) = restarts.degraded_reason().expect("three within a minute");
        assert_eq!(thread, "shadow");
        assert!(detail.contains("4 times since the start") && detail.ends_with("fourth"), "{detail}");
        assert!(!restarts.note_at(second(200), Worker::Shadow, "fifth"));
        assert!(restarts.degraded_reason().is_some(), "until the node is restarted");
    }

    #[test]
    fn every_worker_has_its_own_place() {
        for (idx, worker) in Worker::ALL.into_iter().enumerate() {
            assert_eq!(worker as usize, idx, "{}", worker.name());
        }
    }
}
