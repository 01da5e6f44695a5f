//! How long commands take, stage by stage: the moments of one command, and histograms of many.

use book::units::TsNs;
use hdrhistogram::Histogram;

/// Names of the stages, in the order of [`Moments::stages`].
pub const STAGE_NAMES: [&str; 4] = ["queue", "journal", "release", "total"];

/// Bounds of what is told apart: 1 ns to a minute, what takes longer counts as a minute; two digits, 30 KiB a stage.
pub(super) const NS_MAX: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 2;

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
    pub(super) fn record(&mut self, moments: &Moments) {
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

    pub(super) fn is_empty(&self) -> bool {
        self.stages[0].histogram.is_empty()
    }

    /// From the first byte received to the answer sent.
    pub fn total(&self) -> &StageTimes {
        &self.stages[STAGE_NAMES.len() - 1]
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &StageTimes)> {
        STAGE_NAMES.into_iter().zip(&self.stages)
    }
}
