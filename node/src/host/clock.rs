//! The node's clock: UTC in nanoseconds, never running backwards.
//!
//! The wall clock is read once at start; after that the processor's time-stamp counter is added to it (crate `quanta`).
//! So a step of the wall clock cannot reorder the log, and a reading costs nanoseconds instead of a system call.

use book::units::TsNs;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Clone)]
pub struct Clock {
    counter: quanta::Clock,
    start: u64,
    start_ts: TsNs,
    wall: TsNs,
    last: TsNs,
}

impl Clock {
    /// Starts at the wall clock's time, or at `not_before` if the log is ahead of the wall clock.
    #[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock in a node")]
    pub fn start(not_before: TsNs) -> Self {
        let counter = quanta::Clock::new();
        let wall = TsNs(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64));
        let start_ts = wall.max(not_before);
        let start = counter.raw();
        Self { counter, start, start_ts, wall, last: start_ts }
    }

    /// What the wall clock showed when this clock was started.
    pub fn wall_at_start(&self) -> TsNs {
        self.wall
    }

    #[inline]
    pub fn now(&mut self) -> TsNs {
        let passed = self.counter.delta_as_nanos(self.start, self.counter.raw());
        self.last = TsNs((self.start_ts.0 + passed).max(self.last.0));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_starts_no_earlier_than_the_log_and_never_runs_back() {
        let ahead = TsNs(u64::MAX / 2);
        let mut clock = Clock::start(ahead);
        let first = clock.now();
        assert!(first >= ahead);
        assert!(
            (0..1_000).scan(first, |before, _| Some(std::mem::replace(before, clock.now()) <= *before)).all(|ok| ok)
        );
    }
}
