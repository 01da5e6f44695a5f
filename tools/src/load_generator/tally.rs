//! The counts and latencies of a load.

use hdrhistogram::Histogram;
use std::time::Duration;

/// Longer latencies are counted as this long.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

#[derive(Debug)]
pub struct Tally {
    pub sent: u64,
    pub answered: u64,
    /// New orders that the node refused.
    pub rejected: u64,
    /// Cancels and amendments of orders that had already traded, which is a part of any real flow.
    pub late: u64,
    pub fills: u64,
    /// The largest lag of the sender from its own schedule.
    pub sender_lag_max: Duration,
    /// From the scheduled time of a request to its first answer.
    pub latency_ns: Histogram<u64>,
}

impl Tally {
    pub fn new() -> Self {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are valid");
        Self { sent: 0, answered: 0, rejected: 0, late: 0, fills: 0, sender_lag_max: Duration::ZERO, latency_ns }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}
