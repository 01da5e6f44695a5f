//! Latencies of interleaved rounds, and the ratio of a subject to its limit in each round.
//!
//! A percentile is the median of the rounds' percentiles and never that of all samples together: one bad second of a
//! shared machine spoils one round only. Ratios are computed within a round, so that it affects both sides.

use crate::report::Spread;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::fmt::Write;

/// Ten seconds; a longer latency counts as this.
const NS_MAX: u64 = 10_000_000_000;

/// The printed quantiles.
pub const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Distribution of one block of operations, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let mut histogram = Histogram::new_with_bounds(1, NS_MAX, 3).expect("bounds in order");
        // Every page is written once, or the first sample that falls on one would include a page fault.
        for shift in 0..33 {
            for part in 0..16 {
                histogram.saturating_record((1 << shift) + (part << shift) / 16);
            }
        }
        histogram.reset();
        Self(histogram)
    }
}

impl Latencies {
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    pub fn at(&self, quantile: f64) -> u64 {
        self.0.value_at_quantile(quantile)
    }
}

/// One subject's blocks, one for each round.
#[derive(Clone, Debug)]
pub struct Rounds {
    pub name: String,
    blocks: Vec<Latencies>,
}

impl Rounds {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), blocks: Vec::new() }
    }

    pub fn push(&mut self, block: Latencies) {
        self.blocks.push(block);
    }

    pub fn count(&self) -> u64 {
        self.blocks.iter().map(Latencies::count).sum()
    }

    pub fn spread(&self, quantile: f64) -> Option<Spread> {
        Spread::of(self.blocks.iter().map(|block| block.at(quantile) as f64))
    }

    /// The subject's quantile over the limit's, of each round.
    pub fn ratio(&self, limit: &Rounds, quantile: f64) -> Option<Spread> {
        let pairs = self.blocks.iter().zip(&limit.blocks).filter(|(_, limit)| limit.count() > 0);
        Spread::of(pairs.map(|(subject, limit)| subject.at(quantile) as f64 / limit.at(quantile) as f64))
    }

    /// Name, count, percentiles in microseconds, noise of the median.
    pub fn line(&self) -> String {
        let mut out = format!("  {:<34}{:>9}", self.name, self.count());
        for (_, quantile) in QUANTILES {
            // Writing to a string cannot fail.
            let _ = write!(out, "{:>10.1}", self.spread(quantile).map_or(0.0, |s| s.median / 1e3));
        }
        let noise = self.spread(0.5).map_or(0.0, |s| s.noise_percent());
        let _ = write!(out, "{noise:>8.0} %");
        out
    }

    /// Ratios to `limit`: median (min to max) over the rounds, for p50 and p99.
    pub fn ratio_line(&self, limit: &Rounds) -> String {
        let part = |name: &str, quantile: f64| {
            self.ratio(limit, quantile)
                .map_or(String::new(), |r| format!("{name} x{:.2} ({:.2} to {:.2})", r.median, r.min, r.max))
        };
        format!("  {:<34}{}   {}", format!("{} / {}", self.name, limit.name), part("p50", 0.5), part("p99", 0.99))
    }

    pub fn json(&self, limit: Option<&Rounds>) -> Value {
        let mut value = json!({ "name": self.name, "count": self.count() });
        for (name, quantile) in QUANTILES {
            let Some(spread) = self.spread(quantile) else { continue };
            value[format!("{name}_ns")] = spread.json();
            if let Some(ratio) = limit.and_then(|limit| self.ratio(limit, quantile)) {
                value[format!("{name}_ratio")] = ratio.json();
            }
        }
        value
    }
}

/// The head of a table whose rows are `line`s.
pub fn table_head() -> String {
    format!(
        "  {:<34}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "microseconds, medians of rounds", "count", "p50", "p90", "p99", "p99.9", "noise"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(ns: u64) -> Latencies {
        let mut block = Latencies::default();
        block.record(ns);
        block
    }

    #[test]
    fn a_ratio_is_computed_within_its_round() {
        let (mut subject, mut limit) = (Rounds::new("subject"), Rounds::new("limit"));
        // The third round is ten times slower for both.
        for (a, b) in [(110, 100), (120, 100), (1_300, 1_000)] {
            subject.push(block(a));
            limit.push(block(b));
        }
        let ratio = subject.ratio(&limit, 0.5).expect("three rounds");
        assert!((ratio.median - 1.2).abs() < 0.01 && (ratio.max - 1.3).abs() < 0.01, "{ratio:?}");
        assert_eq!(subject.count(), 3);
    }
}
