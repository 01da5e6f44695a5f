//! How many connections a port accepts: a burst at once, then so many a second.
//!
//! Accepting and closing a connection takes as long as several orders, and anybody may connect. Invariant: in any time
//! there are no more accepts than the burst and the rate allow, and one that the reactor had begun already. The others
//! wait in the kernel's queue of the listener.

use crate::faults::mutation::{Mutation, Planted};
use book::units::TsNs;

/// Five thousand a second: ten thousand sessions that come back are accepted within two seconds.
const EVERY_NS: u64 = 200_000;
const BURST: u64 = 64;

/// A virtual clock that each accept advances by its share of a second (GCRA, ITU-T I.371).
#[derive(Clone, Copy, Debug, Default)]
pub struct AcceptRation {
    ahead: TsNs,
}

impl AcceptRation {
    /// Counts an accept.
    pub fn take(&mut self, now: TsNs) {
        self.ahead = TsNs(self.ahead.max(now).0 + EVERY_NS);
    }

    /// Whether no further connection is to be accepted now.
    pub fn is_used(&self, now: TsNs) -> bool {
        (now.0 + BURST * EVERY_NS < self.ahead.0 + EVERY_NS).planted(Mutation::AcceptsUnrationed, |_| false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_burst_and_then_a_rate() {
        let mut ration = AcceptRation::default();
        let start = 1_000_000_000;
        let mut accept_all = |at: u64| {
            let mut count = 0;
            while !ration.is_used(TsNs(at)) {
                ration.take(TsNs(at));
                count += 1;
            }
            count
        };
        assert_eq!(accept_all(start), BURST);
        assert_eq!(accept_all(start + EVERY_NS - 1), 0);
        assert_eq!(accept_all(start + EVERY_NS), 1);
        assert_eq!(accept_all(start + 11 * EVERY_NS), 10);
        assert_eq!(accept_all(start + 3_600_000_000_000), BURST);
    }
}
