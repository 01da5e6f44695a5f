//! How long commands take, stage by stage: recorded by the gateway on its pinned core, added up by the edge.
//!
//! ```text
//!  received ---- queue ----> sequenced ---- journal ----> durable ---- release ----> released
//!     +------------------------------------ total -----------------------------------+
//!
//!  gateway: StageRecorder ---- full set ----> edge: StageTotals
//!                         <--- empty set ----
//! ```
//! A loop reads its clock once a cycle, so each moment is the beginning of the cycle in which something was seen or
//! done, and what happens within one cycle of one loop takes no time here. With `threads = "single"` that is most of
//! `queue` and `release`.
//!
//! Invariants: a set has one owner at a time, so recording shares nothing, locks nothing and allocates nothing; one
//! sample a command that answers a session, however many answers it has; the three stages of a command add up to its
//! total.

use crate::edge::stage_totals::StageTotals;
use book::units::{Seq, TsNs};
use hdrhistogram::Histogram;
use rtrb::{Consumer, Producer, RingBuffer};

/// Names of the stages, in the order of [`Moments::stages`].
pub const STAGE_NAMES: [&str; 4] = ["queue", "journal", "release", "total"];

/// Bounds of what is told apart: 1 ns to a minute, what takes longer counts as a minute; two digits, 30 KiB a stage.
const NS_MAX: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 2;
/// Sets that go round: the gateway records into one while the other is on its way, added up, or waiting empty.
const SETS: usize = 2;

/// The moments of one command and its first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    /// The gateway took the command out of its connection's bytes; bytes that wait because the ingress is full are not
    /// yet.
    pub received: TsNs,
    /// The engine loop gave it its place in the log: the command's own time.
    pub sequenced: TsNs,
    /// The engine loop saw that its frame, and all before it, are written and synced. Where `journal.sync =
    /// "interval"`: it was applied, which is when its answers may leave there.
    pub durable: TsNs,
    /// The gateway took its first answer and filled the session's send buffer with it, or queued it behind a send under
    /// way.
    pub released: TsNs,
}

impl Moments {
    /// Two cores read their clocks at the beginning of their own cycles, so what happens later may carry the earlier
    /// reading. `sequenced` is in the log and stays; the others move to it.
    #[inline]
    pub fn in_order(self) -> Self {
        let received = self.received.min(self.sequenced);
        let durable = self.durable.max(self.sequenced);
        Self { received, sequenced: self.sequenced, durable, released: self.released.max(durable) }
    }

    /// Nanoseconds of queue, journal, release and total; the moments are in order.
    #[inline]
    pub fn stages(&self) -> [u64; STAGE_NAMES.len()] {
        let Self { received, sequenced, durable, released } = *self;
        [sequenced.0 - received.0, durable.0 - sequenced.0, released.0 - durable.0, released.0 - received.0]
    }
}

/// What one stage took, of many commands.
#[derive(Clone, Debug)]
pub struct StageTimes {
    histogram: Histogram<u64>,
    /// Exact, where the histogram knows two digits of each.
    sum_ns: u64,
}

impl StageTimes {
    fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, NS_MAX, SIGNIFICANT_DIGITS);
        Self { histogram: histogram.expect("bounds that a histogram can have"), sum_ns: 0 }
    }

    #[inline]
    fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all histograms here have the same bounds");
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    fn reset(&mut self) {
        self.histogram.reset();
        self.sum_ns = 0;
    }

    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// How many took at most `ns`, to two digits.
    pub fn count_upto(&self, ns: u64) -> u64 {
        self.histogram.count_between(0, ns)
    }

    /// What this share of them did not exceed, to two digits; 0 where there is none.
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile)
    }

    pub fn max_ns(&self) -> u64 {
        self.histogram.max()
    }
}

/// All stages of the same commands.
#[derive(Clone, Debug)]
pub struct StageSet {
    stages: [StageTimes; STAGE_NAMES.len()],
}

impl Default for StageSet {
    fn default() -> Self {
        Self::new()
    }
}

impl StageSet {
    pub fn new() -> Self {
        Self { stages: std::array::from_fn(|_| StageTimes::new()) }
    }

    #[inline]
    fn record(&mut self, moments: &Moments) {
        for (stage, ns) in self.stages.iter_mut().zip(moments.stages()) {
            stage.record(ns);
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.stages.iter_mut().zip(&other.stages).for_each(|(stage, other)| stage.merge(other));
    }

    pub fn reset(&mut self) {
        self.stages.iter_mut().for_each(StageTimes::reset);
    }

    fn is_empty(&self) -> bool {
        self.stages[0].histogram.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &StageTimes)> {
        STAGE_NAMES.into_iter().zip(&self.stages)
    }
}

/// The gateway's end.
pub struct StageRecorder {
    set: Box<StageSet>,
    full: Producer<Box<StageSet>>,
    empty: Consumer<Box<StageSet>>,
    /// The command of the last answer.
    seq_last: Seq,
}

pub fn stages() -> (StageRecorder, StageTotals) {
    let (full_in, full_out) = RingBuffer::new(SETS);
    let (mut empty_in, empty_out) = RingBuffer::new(SETS);
    for _ in 1..SETS {
        empty_in.push(Box::new(StageSet::new())).expect("a ring for all sets");
    }
    let set = Box::new(StageSet::new());
    let recorder = StageRecorder { set, full: full_in, empty: empty_out, seq_last: Seq(0) };
    (recorder, StageTotals::new(full_out, empty_in))
}

impl StageRecorder {
    /// Counts a command at its first answer. Answers come in the order of the log.
    #[inline]
    pub fn record(&mut self, seq: Seq, moments: &Moments) {
        if self.seq_last != seq {
            assert!(self.seq_last < seq, "answers are taken in the order of the log");
            self.seq_last = seq;
            self.set.record(moments);
        }
    }

    /// Gives away what was recorded if an empty set has come back; otherwise that goes on in the set at hand.
    pub fn publish(&mut self) {
        if self.set.is_empty() {
            return;
        }
        let Ok(empty) = self.empty.pop() else { return };
        let full = std::mem::replace(&mut self.set, empty);
        self.full.push(full).expect("a ring for all sets");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        // The second set is not given away while the first is not back.
        recorder.record(Seq(4), &moments(100, 100, 101, 101));
        recorder.publish();
        recorder.record(Seq(7), &moments(100, 100, 102, 102));
        recorder.publish();
        assert_eq!(seen(&totals), [(1, 10, 10), (1, 20, 20), (1, 30, 30), (1, 60, 60)]);
        recorder.publish();
        assert_eq!(seen(&totals), [(3, 10, 10), (3, 23, 20), (3, 30, 30), (3, 63, 60)]);
        recorder.publish();
        assert_eq!(seen(&totals)[0].0, 3, "an empty set is not given away");
    }

    #[test]
    fn what_takes_longer_than_a_minute_counts_as_a_minute() {
        let (mut recorder, totals) = stages();
        recorder.record(Seq(1), &moments(0, 0, 3 * NS_MAX, 3 * NS_MAX));
        recorder.publish();
        let (count, max_ns) = totals.read(|set| (set.stages[3].count_upto(NS_MAX), set.stages[3].max_ns()));
        assert_eq!(count, 1);
        assert!((NS_MAX..NS_MAX + NS_MAX / 100).contains(&max_ns), "{max_ns}");
    }
}
