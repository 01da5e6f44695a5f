//! Stage latencies on their way from the gateway, which records them on its pinned core, to the ops thread, which adds
//! them up.
//!
//! ```text
//!  received ---- queue ----> sequenced ---- journal ----> durable ---- release ----> released
//!     +------------------------------------ total -----------------------------------+
//!
//!  gateway: StageRecorder ---- full set ----> ops: StageTotals
//!                         <--- empty set ----
//! ```
//! A loop reads its clock once per cycle, so each time is the beginning of the cycle in which the step was done or
//! seen, and steps within one cycle of one loop count as zero. With `threads = "single"` this holds for most of `queue`
//! and `release`.
//!
//! Invariants: a set has one owner at a time, so recording shares, locks and allocates nothing; each command that
//! answers a session is counted once, however many answers it has; the three stages of a command add up to its total.

use crate::rings::stage_times::{Moments, StageSet};
use book::units::Seq;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Sets in circulation: the gateway records into one while the other is in a ring or being added up.
const SETS: usize = 2;

/// The gateway's end.
pub struct StageRecorder {
    set: Box<StageSet>,
    full: Producer<Box<StageSet>>,
    empty: Consumer<Box<StageSet>>,
    /// The command of the last recorded answer.
    seq_last: Seq,
}

pub fn stages() -> (StageRecorder, StageTotals) {
    let (full_in, full_out) = RingBuffer::new(SETS);
    let (mut empty_in, empty_out) = RingBuffer::new(SETS);
    for _ in 1..SETS {
        empty_in.push(Box::new(StageSet::new())).expect("the ring has room for all sets");
    }
    let set = Box::new(StageSet::new());
    let recorder = StageRecorder { set, full: full_in, empty: empty_out, seq_last: Seq(0) };
    (recorder, StageTotals::new(full_out, empty_in))
}

impl StageRecorder {
    /// Counts a command at its first answer. Answers arrive in the order of the log.
    #[inline]
    pub fn record(&mut self, seq: Seq, moments: &Moments) {
        if self.seq_last != seq {
            assert!(self.seq_last < seq, "answers arrive in the order of the log");
            self.seq_last = seq;
            self.set.record(moments);
        }
    }

    /// Hands over the recorded set if an empty one has come back; otherwise recording continues in the same set.
    pub fn publish(&mut self) {
        if self.set.is_empty() {
            return;
        }
        let Ok(empty) = self.empty.pop() else { return };
        let full = std::mem::replace(&mut self.set, empty);
        self.full.push(full).expect("the ring has room for all sets");
    }
}

/// Everything that the gateway has recorded since the start, added up. The lock is shared by the readers of metrics;
/// the gateway never takes it.
pub struct StageTotals {
    state: Mutex<TotalsState>,
}

struct TotalsState {
    full: Consumer<Box<StageSet>>,
    empty: Producer<Box<StageSet>>,
    total: StageSet,
}

impl StageTotals {
    /// Full sets arrive by one ring; emptied sets return by the other, which has room for all of them.
    pub fn new(full: Consumer<Box<StageSet>>, empty: Producer<Box<StageSet>>) -> Self {
        Self { state: Mutex::new(TotalsState { full, empty, total: StageSet::new() }) }
    }

    /// Adds up the sets that have arrived and returns them empty. At most `SETS` are there.
    pub fn collect(&self) {
        drop(self.collected());
    }

    /// Reads the totals of all sets that have arrived. What the gateway records now arrives within 50 ms.
    pub fn read<T>(&self, look: impl FnOnce(&StageSet) -> T) -> T {
        look(&self.collected().total)
    }

    fn collected(&self) -> MutexGuard<'_, TotalsState> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        while let Ok(mut set) = state.full.pop() {
            state.total.merge(&set);
            set.reset();
            state.empty.push(set).expect("the ring has room for all sets");
        }
        guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rings::stage_times::NS_MAX;
    use book::units::TsNs;

    fn moments(received: u64, sequenced: u64, durable: u64, released: u64) -> Moments {
        let [received, sequenced, durable, released] = [received, sequenced, durable, released].map(TsNs);
        Moments { received, sequenced, durable, released }
    }

    #[test]
    fn stages_add_up_to_the_total_whatever_two_clocks_say() {
        for (at, expected) in [
            ((10, 20, 50, 90), [10, 30, 40, 80]),
            ((10, 10, 50, 50), [0, 40, 0, 40]),
            // The gateway's cycle began after the engine's, and the engine's mark came after the gateway's next
            // reading.
            ((15, 10, 50, 45), [0, 40, 0, 40]),
            // No mark: the cycle of the gateway is all that is known, and it may have begun before the engine's.
            ((15, 10, 5, 5), [0, 0, 0, 0]),
        ] {
            let stages = moments(at.0, at.1, at.2, at.3).in_order().stages();
            assert_eq!(stages, expected, "{at:?}");
            assert_eq!(stages[..3].iter().sum::<u64>(), stages[3]);
        }
    }

    /// Count, sum and maximum of each stage.
    fn seen(totals: &StageTotals) -> Vec<(u64, u64, u64)> {
        totals.read(|set| set.iter().map(|(_, times)| (times.count(), times.sum_ns(), times.max_ns())).collect())
    }

    #[test]
    fn a_command_counts_once_and_nothing_is_lost_between_two_looks() {
        let (mut recorder, totals) = stages();
        recorder.record(Seq(3), &moments(0, 10, 30, 60));
        recorder.record(Seq(3), &moments(0, 10, 30, 99));
        recorder.publish();
        // The second set is not handed over until the first has come back.
        recorder.record(Seq(4), &moments(100, 100, 101, 101));
        recorder.publish();
        recorder.record(Seq(7), &moments(100, 100, 102, 102));
        recorder.publish();
        assert_eq!(seen(&totals), [(1, 10, 10), (1, 20, 20), (1, 30, 30), (1, 60, 60)]);
        recorder.publish();
        assert_eq!(seen(&totals), [(3, 10, 10), (3, 23, 20), (3, 30, 30), (3, 63, 60)]);
        recorder.publish();
        assert_eq!(seen(&totals)[0].0, 3, "an empty set is not handed over");
    }

    #[test]
    fn what_takes_longer_than_a_minute_counts_as_a_minute() {
        let (mut recorder, totals) = stages();
        recorder.record(Seq(1), &moments(0, 0, 3 * NS_MAX, 3 * NS_MAX));
        recorder.publish();
        let (count, max_ns) = totals.read(|set| (set.total().count_upto(NS_MAX), set.total().max_ns()));
        assert_eq!(count, 1);
        assert!((NS_MAX..NS_MAX + NS_MAX / 100).contains(&max_ns), "{max_ns}");
    }
}
