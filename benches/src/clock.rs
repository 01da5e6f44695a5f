//! Two clocks: the CPU time of this thread for throughput, the time stamp counter for single commands.
//!
//! CPU time does not count the moments in which a shared machine runs something else. The counter is read through
//! `quanta`; its step and the cost of one reading are measured, because they are a good part of a latency of 50 ns.

use quanta::Clock;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// CPU time that this thread has used.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[derive(Clone, Debug)]
pub struct Ticks {
    clock: Clock,
    /// Median time of one reading; every latency sample contains it once.
    pub cost_ns: f64,
    /// The smallest difference seen between two readings that are not equal.
    pub step_ns: f64,
}

const READINGS: usize = 100_000;
/// The cost is a median over batches, because now and then something else runs between two readings.
const BATCH: usize = 100;

impl Default for Ticks {
    fn default() -> Self {
        let clock = Clock::new();
        let mut readings = vec![1u64; READINGS];
        for reading in &mut readings {
            *reading = clock.raw();
        }
        let mut batches: Vec<u64> = readings.chunks_exact(BATCH).map(|b| b[BATCH - 1] - b[0]).collect();
        batches.sort_unstable();
        let batch_ticks = batches[batches.len() / 2] as f64;
        let step = readings.windows(2).map(|w| w[1] - w[0]).filter(|&d| d > 0).min().unwrap_or(1);
        let ns_per_tick = clock.delta_as_nanos(0, 1_000_000_000) as f64 / 1e9;
        Self { clock, cost_ns: batch_ticks / (BATCH - 1) as f64 * ns_per_tick, step_ns: step as f64 * ns_per_tick }
    }
}

impl Ticks {
    #[inline(always)]
    pub fn now(&self) -> u64 {
        self.clock.raw()
    }

    pub fn ns(&self, ticks: u64) -> u64 {
        self.clock.delta_as_nanos(0, ticks)
    }
}
