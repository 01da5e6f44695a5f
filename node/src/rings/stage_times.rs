//! Stage latencies: the times of one command at each stage, and histograms over many commands.

use book::units::TsNs;
use hdrhistogram::Histogram;

/// Names of the stages, in the order of [`Moments::stages`].
pub const STAGE_NAMES: [&str; 4] = ["queue", "journal", "release", "total"];

/// Range of the histograms: 1 ns to one minute. A longer time counts as a minute. Two significant digits take 30 KiB
/// per stage.
pub(super) const NS_MAX: u64 = 60_000_000_000;
const SIGNIFICANT_DIGITS: u8 = 2;

/// The times of one command at each stage, up to its first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    /// The command's bytes reached the gateway, whether or not it had room for the command then.
    pub received: TsNs,
    /// The engine loop gave it its sequence: the command's own time in the log.
    pub sequenced: TsNs,
    /// The engine loop saw that its frame, and all before it, are written and synced. With `journal.sync = "interval"`:
    /// the engine loop applied it, because in that mode its answers may leave then.
    pub durable: TsNs,
    /// The gateway took its first answer from the outbox and put it into the session's send buffer, or queued it while
    /// an earlier send was in progress.
    pub released: TsNs,
}

impl Moments {
    /// Each core reads its clock at the beginning of its own cycle, so a later step may carry an earlier reading.
    /// `sequenced` is in the log and is kept; the other times are clamped to it.
    #[inline]
    pub fn in_order(self) -> Self {
        let received = self.received.min(self.sequenced);
        let durable = self.durable.max(self.sequenced);
        Self { received, sequenced: self.sequenced, durable, released: self.released.max(durable) }
    }

    /// Nanoseconds of queue, journal, release and total. The times must be in order.
    #[inline]
    pub fn stages(&self) -> [u64; STAGE_NAMES.len()] {
        let Self { received, sequenced, durable, released } = *self;
        [sequenced.0 - received.0, durable.0 - sequenced.0, released.0 - durable.0, released.0 - received.0]
    }
}

/// The distribution of one stage's latency over many commands.
#[derive(Clone, Debug)]
pub struct StageTimes {
    histogram: Histogram<u64>,
    /// Exact, whereas the histogram keeps two digits of each value.
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

    /// How many commands took at most `ns`, to two digits.
    pub fn count_upto(&self, ns: u64) -> u64 {
        self.histogram.count_between(0, ns)
    }

    /// The latency that this share of commands did not exceed, to two digits; 0 if there are no commands.
    pub fn quantile_ns(&self, quantile: f64) -> u64 {
        self.histogram.value_at_quantile(quantile)
    }

    pub fn max_ns(&self) -> u64 {
        self.histogram.max()
    }
}

/// The latency distributions of all stages, over the same commands.
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

    /// From the command received to its first answer sent.
    pub fn total(&self) -> &StageTimes {
        &self.stages[STAGE_NAMES.len() - 1]
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &StageTimes)> {
        STAGE_NAMES.into_iter().zip(&self.stages)
    }
}
