//! The clock thread: compares the node's clock with the wall clock, and steers it there slowly.
//!
//! Invariants: it is the only thread that steers; what it reads from the wall clock changes the rate of log time, never
//! log time itself.

use super::clock::{Clock, Divergence, RATE_PPM_MAX};
use crate::faults::mutation::{Mutation, Planted};
use crate::status::Status;
use crate::status::lifecycle::Lifecycle;
use std::sync::Arc;
use std::time::Duration;

/// How often the two clocks are compared.
const EVERY: Duration = Duration::from_millis(100);
/// The divergence is made good at a rate that would take so long, bounded by `RATE_PPM_MAX`. A counter that is off by
/// 50 parts per million so stays 50 us apart.
const CORRECTED_WITHIN_S: i64 = 1;

/// The clock thread's loop.
pub struct ClockWatch {
    clock: Clock,
    status: Arc<Status>,
    error_max: Duration,
    is_apart: bool,
}

impl ClockWatch {
    /// Beyond `error_max` the divergence is logged, and `/health` says so.
    pub fn new(clock: Clock, status: Arc<Status>, error_max: Duration) -> Self {
        Self { clock, status, error_max, is_apart: false }
    }

    /// Compares once, and steers.
    pub fn poll(&mut self) {
        let found = self.clock.compare();
        let rate_ppb = rate_for(found).planted(Mutation::ClockNotSteered, |_| 0);
        self.clock.steer(rate_ppb);
        self.status.clock_error_ns.set_signed(found.0);
        self.status.clock_rate_ppb.set_signed(rate_ppb);
        self.status.clock.at_ns.set(self.clock.now().0);
        self.status.clock.cycles.add(1);
        self.report(found);
    }

    fn report(&mut self, found: Divergence) {
        let is_apart = u128::from(found.0.unsigned_abs()) > self.error_max.as_nanos();
        if is_apart && !self.is_apart {
            tracing::warn!(
                error_ns = found.0,
                rate_ppm_max = RATE_PPM_MAX,
                "the node's clock and the wall clock differ: log time is led to the wall clock slowly"
            );
        } else if self.is_apart && !is_apart {
            tracing::info!(error_ns = found.0, "the node's clock agrees with the wall clock again");
        }
        self.is_apart = is_apart;
    }

    /// Runs until the node stops; it is woken for that.
    pub fn run(&mut self, lifecycle: &Lifecycle) {
        while !lifecycle.is_stopping() {
            self.poll();
            std::thread::park_timeout(EVERY);
        }
    }
}

/// The rate that leads from this divergence to none, in parts per thousand million.
fn rate_for(found: Divergence) -> i64 {
    let rate_max = 1_000 * RATE_PPM_MAX;
    (found.0.saturating_neg() / CORRECTED_WITHIN_S).clamp(-rate_max, rate_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::WallTime;
    use crate::status::watermarks::watermarks;
    use book::units::{Seq, TsNs};

    #[test]
    fn a_divergence_is_made_good_slowly() {
        let check = |error_ns, ppb| assert_eq!(rate_for(Divergence(error_ns)), ppb, "{error_ns}");
        check(0, 0);
        check(2_000, -2_000);
        check(-100_000, 100_000);
        check(1_000_000, -1_000_000);
        check(3_600_000_000_000, -1_000_000);
        check(i64::MIN, 1_000_000);
    }

    /// The rate at which a clock goes on that is so far ahead of the wall clock.
    fn steered(ahead: Duration) -> i64 {
        let (status, wall) = (Arc::new(Status::new(watermarks(Seq(0)).1)), WallTime::read());
        let clock = Clock::start(TsNs(wall.0.0 + ahead.as_nanos() as u64));
        let mut watch = ClockWatch::new(clock, Arc::clone(&status), Duration::from_millis(100));
        watch.poll();
        assert!(ahead < Duration::from_secs(1) || watch.is_apart, "{:?}", status.clock_error_ns.get_signed());
        status.clock_rate_ppb.get_signed()
    }

    #[test]
    fn a_clock_that_is_ahead_is_slowed_down() {
        assert_eq!(steered(Duration::from_secs(60)), -1_000 * RATE_PPM_MAX);
        assert!(steered(Duration::ZERO).abs() <= 1_000 * RATE_PPM_MAX);
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_clock_that_is_not_steered_is_noticed() {
        crate::faults::mutation::plant(Some(Mutation::ClockNotSteered));
        let rate_ppb = steered(Duration::from_secs(60));
        crate::faults::mutation::plant(None);
        assert_ne!(rate_ppb, -1_000 * RATE_PPM_MAX);
    }
}
