//! The node's clock, the only reader of time: UTC in nanoseconds, never running backwards.
//!
//! ```text
//!  wall clock --clock thread (`host::clock_watch`)--> steering: a time, the counter at it, a rate
//!                                                        |
//!  processor's counter ---------------------------> Clock::now, on every thread
//! ```
//! A reading is the processor's time-stamp counter (crate `quanta`), at a rate that leads slowly to the wall clock. So
//! a step of the wall clock cannot reorder the log, and a reading costs nanoseconds instead of a system call.
//! Invariants: no clock runs backwards; its rate differs from the counter's by `RATE_PPM_MAX` at most; a pinned thread
//! never waits for the thread that steers.

use crate::faults::fault::WallFault;
use crate::faults::mutation::{Mutation, Planted};
use book::units::TsNs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};
use std::time::{SystemTime, UNIX_EPOCH};

/// The most by which the clock is faster or slower than the counter, in parts per million: a wall clock that is set
/// wrong by a day while the node runs moves log time by 3.6 s in an hour, and a step of 100 ms is made good in 100 s.
pub const RATE_PPM_MAX: i64 = 1_000;
/// Rates are in units of 2^-40 of the counter's rate, so that a reading needs no division.
const RATE_BITS: u32 = 40;
/// Attempts to read the wall clock without being interrupted; the fastest counts.
const WALL_ATTEMPTS: usize = 5;

/// A straight piece of the way that the clock takes: `ts` at the counter's `raw`, from there on at `rate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    raw: u64,
    ts: u64,
    rate: i64,
}

impl Segment {
    /// The time when so many nanoseconds of the counter have passed.
    #[inline]
    fn after(&self, passed_ns: u64) -> u64 {
        let slewed = (i128::from(passed_ns) * i128::from(self.rate)) >> RATE_BITS;
        self.ts.saturating_add(passed_ns).saturating_add_signed(slewed as i64)
    }
}

/// The newest segment, written by the clock thread. Readers never wait: one that finds it half written goes on with the
/// segment that it has.
#[derive(Debug)]
struct Steering {
    /// Odd while the rest is being written.
    version: AtomicU64,
    raw: AtomicU64,
    ts: AtomicU64,
    rate: AtomicI64,
}

impl Steering {
    fn publish(&self, segment: Segment) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.raw.store(segment.raw, Ordering::Relaxed);
        self.ts.store(segment.ts, Ordering::Relaxed);
        self.rate.store(segment.rate, Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }

    /// The segment of a later version than `seen`, if one is completely written.
    #[inline]
    fn newer(&self, seen: u64) -> Option<(u64, Segment)> {
        let version = self.version.load(Ordering::Acquire);
        if version == seen { None } else { self.read(version) }
    }

    #[cold]
    fn read(&self, version: u64) -> Option<(u64, Segment)> {
        let segment = Segment {
            raw: self.raw.load(Ordering::Relaxed),
            ts: self.ts.load(Ordering::Relaxed),
            rate: self.rate.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        let is_complete = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        is_complete.then_some((version, segment))
    }
}

/// One thread's clock. Clones are the same clock for other threads.
#[derive(Debug, Clone)]
pub struct Clock {
    counter: quanta::Clock,
    steering: Arc<Steering>,
    version: u64,
    segment: Segment,
    last: TsNs,
}

impl Clock {
    /// Starts at the wall clock's time, or at `not_before` if the log is ahead of it.
    pub fn start(not_before: TsNs) -> Self {
        // First of all, because it is calibrated when it is first made, for up to 0.2 s.
        let counter = quanta::Clock::new();
        let (wall, raw) = (WallTime::read(), counter.raw());
        let segment = Segment { raw, ts: wall.0.max(not_before).0, rate: 0 };
        let steering = Steering {
            version: AtomicU64::new(0),
            raw: AtomicU64::new(segment.raw),
            ts: AtomicU64::new(segment.ts),
            rate: AtomicI64::new(segment.rate),
        };
        Self { counter, steering: Arc::new(steering), version: 0, segment, last: TsNs(segment.ts) }
    }

    #[inline]
    pub fn now(&mut self) -> TsNs {
        if let Some((version, segment)) = self.steering.newer(self.version) {
            (self.version, self.segment) = (version, segment);
        }
        self.at(self.counter.raw())
    }

    #[inline]
    fn at(&mut self, raw: u64) -> TsNs {
        let found = self.segment.after(self.counter.delta_as_nanos(self.segment.raw, raw));
        // A segment begins at a time that the one before has already passed on another core, by nanoseconds.
        self.last = TsNs(found.max(self.last.0).planted(Mutation::ClockRunsBack, |_| found));
        self.last
    }

    /// Reads the wall clock, and by how much this clock is ahead of it.
    pub(super) fn compare(&mut self) -> Divergence {
        let mut readings = (0..WALL_ATTEMPTS).map(|_| {
            let before = self.counter.raw();
            let wall = WallTime::read().0;
            (self.counter.raw().saturating_sub(before), before, wall)
        });
        let first = readings.next().expect("there is more than one attempt");
        let (took, before, wall) =
            readings.fold(first, |best, reading| if reading.0 < best.0 { reading } else { best });
        let now = self.at(before + took / 2);
        Divergence(now.0.wrapping_sub(wall.0) as i64)
    }

    /// Goes on from here at another rate, in parts per thousand million. To be called by one thread only.
    pub(super) fn steer(&mut self, rate_ppb: i64) {
        assert!(rate_ppb.abs() <= 1_000 * RATE_PPM_MAX, "the clock is steered slowly: {rate_ppb} ppb");
        let raw = self.counter.raw();
        let rate = ((i128::from(rate_ppb) << RATE_BITS) / 1_000_000_000) as i64;
        let ts = self.at(raw).0;
        self.segment = Segment { raw, ts, rate };
        self.steering.publish(self.segment);
        self.version = self.steering.version.load(Ordering::Relaxed);
    }
}

/// By how many nanoseconds the clock is ahead of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence(pub i64);

/// A reading of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallTime(pub TsNs);

impl WallTime {
    #[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock in a node")]
    pub fn read() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        Self(TsNs(since.saturating_add_signed(WallFault::offset_ns())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs_on(clock: &mut Clock, not_before: TsNs) -> bool {
        (0..1_000).scan(not_before, |before, _| Some(std::mem::replace(before, clock.now()) <= *before)).all(|ok| ok)
    }

    #[test]
    fn time_starts_no_earlier_than_the_log_and_never_runs_back() {
        let ahead = TsNs(u64::MAX / 2);
        let mut clock = Clock::start(ahead);
        let first = clock.now();
        assert!(first >= ahead);
        assert!(runs_on(&mut clock, first));
    }

    #[test]
    fn a_rate_is_kept_within_its_bound_and_reaches_every_thread() {
        let mut clock = Clock::start(TsNs(0));
        let mut other = clock.clone();
        clock.steer(-1_000 * RATE_PPM_MAX);
        let (slow, started) = (other.now(), other.segment);
        assert_eq!((started.rate, other.version), (clock.segment.rate, 2));
        // In 1,000 s it loses one, and it is where it was at the moment of the change.
        assert_eq!(started.after(1_000_000_000_000) - started.ts, 999_000_000_000);
        assert!(started.ts <= slow.0 && runs_on(&mut other, slow));
        clock.steer(1_000 * RATE_PPM_MAX);
        other.now();
        assert_eq!(other.segment.after(1_000_000_000_000) - other.segment.ts, 1_000_999_999_999);
    }

    #[test]
    fn a_segment_that_is_being_written_is_not_read() {
        let mut clock = Clock::start(TsNs(0));
        clock.steering.version.store(1, Ordering::Release);
        clock.steering.ts.store(7, Ordering::Relaxed);
        let before = clock.segment;
        clock.now();
        assert_eq!(clock.segment, before);
    }

    /// A segment that begins before the time at which the one before it was left.
    fn a_segment_before_the_clock_does_not_show() {
        let mut clock = Clock::start(TsNs(0));
        let before = clock.now();
        clock.steering.publish(Segment { ts: before.0 - 1_000_000_000, ..clock.segment });
        assert!(before <= clock.now());
    }

    #[test]
    fn no_step_is_backwards() {
        a_segment_before_the_clock_does_not_show();
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_clock_that_runs_back_is_noticed() {
        crate::faults::mutation::assert_noticed(Mutation::ClockRunsBack, a_segment_before_the_clock_does_not_show);
    }
}
