//! Figures as text and as JSON: medians with their spread, ratios, percentiles; and the text that a bench prints first.

use crate::measure::{Check, KINDS, Latencies, Run};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The head of a bench's source as text: its `//!` lines without the fences of the drawing. It is printed first, so
/// that the drawing of the wiring in the source and the one in the output are the same.
pub fn source_head(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).filter(|line| !line.starts_with("```"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The runs of one subject on one stream.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    /// Whether the subject is Pinion's or the naive twin: then a result that differs fails the bench. One of a peer or
    /// a yardstick is reported only.
    pub ours: bool,
    pub runs: Vec<Run>,
    pub note: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Returns `None` when there are no values.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let mid = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[mid] } else { (values[mid - 1] + values[mid]) / 2.0 };
        Some(Self { median, min, max })
    }

    /// Half the distance between the extremes, in percent of the median.
    pub fn noise_percent(&self) -> f64 {
        if self.median > 0.0 { (self.max - self.min) / self.median * 50.0 } else { 0.0 }
    }

    pub fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

impl Series {
    pub fn new(name: &str, ours: bool, note: &'static str) -> Self {
        Self { name: name.to_owned(), ours, runs: Vec::new(), note }
    }

    pub fn spread(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().map(|run| run.mops))
    }

    /// The worst check of all runs.
    pub fn check(&self) -> Check {
        let bad = self.runs.iter().map(|run| run.check).find(|check| !check.is_exact());
        bad.unwrap_or_else(|| self.runs.first().map_or(Check::TooSlow, |run| run.check))
    }

    pub fn failed(&self) -> bool {
        self.ours && !self.check().is_exact()
    }
}

/// The figures of one stream.
#[derive(Clone, Debug)]
pub struct Sheet {
    pub title: String,
    pub series: Vec<Series>,
    /// Name of the series to which ratios are taken.
    pub base: String,
    pub latencies: Vec<(String, Latencies)>,
}

impl Sheet {
    pub fn failed(&self) -> bool {
        self.series.iter().any(Series::failed) || self.latencies.iter().any(|(_, l)| !l.check.is_exact())
    }

    /// The ratio of each round, so that a slow minute of the machine affects both sides.
    fn ratio(&self, series: &Series) -> Option<Spread> {
        let base = self.series.iter().find(|s| s.name == self.base)?;
        Spread::of(series.runs.iter().zip(&base.runs).filter(|(_, b)| b.mops > 0.0).map(|(s, b)| s.mops / b.mops))
    }

    pub fn text(&self) -> String {
        let mut out = format!("\n{}\n", self.title);
        line(&mut out, "  million commands per CPU second", "median", "min", "max", "noise", "ratio", "check");
        for series in &self.series {
            let Some(spread) = series.spread() else { continue };
            let ratio = self.ratio(series).map_or(String::new(), |r| format!("{:.2}", r.median));
            line(
                &mut out,
                &format!("    {}", series.name),
                &format!("{:.2}", spread.median),
                &format!("{:.2}", spread.min),
                &format!("{:.2}", spread.max),
                &format!("{:.0} %", spread.noise_percent()),
                &ratio,
                &format!("{}{}{}", series.check().text(), if series.note.is_empty() { "" } else { ", " }, series.note),
            );
        }
        if !self.latencies.is_empty() {
            line(&mut out, "  nanoseconds of one command", "count", "p50", "p90", "p99", "p99.9", "check");
        }
        for (name, latencies) in &self.latencies {
            for (kind, histogram) in KINDS.iter().zip(&latencies.by_kind).filter(|(_, h)| !h.is_empty()) {
                let at = |q: f64| histogram.value_at_quantile(q).to_string();
                let (count, check) = (histogram.len().to_string(), latencies.check.text());
                let title = format!("    {name}: {kind}");
                line(&mut out, &title, &count, &at(0.5), &at(0.9), &at(0.99), &at(0.999), check);
            }
        }
        out
    }

    pub fn json(&self) -> Value {
        let series = self.series.iter().filter_map(|series| {
            let spread = series.spread()?;
            Some(json!({
                "name": series.name, "mops_median": spread.median, "mops_min": spread.min, "mops_max": spread.max,
                "noise_percent": spread.noise_percent(), "ratio": self.ratio(series).map(|r| r.median),
                "mops": series.runs.iter().map(|run| run.mops).collect::<Vec<_>>(),
                "check": series.check().text(), "ours": series.ours, "note": series.note,
            }))
        });
        let latencies = self.latencies.iter().map(|(name, latencies)| {
            let kinds = KINDS.iter().zip(&latencies.by_kind).filter(|(_, h)| !h.is_empty());
            let kinds: Map<String, Value> = kinds
                .map(|(kind, h)| {
                    let at = |q: f64| h.value_at_quantile(q);
                    let value = json!({
                        "count": h.len(), "p50_ns": at(0.5), "p90_ns": at(0.9), "p99_ns": at(0.99), "p999_ns": at(0.999),
                    });
                    ((*kind).to_owned(), value)
                })
                .collect();
            json!({ "name": name, "check": latencies.check.text(), "kinds": kinds })
        });
        json!({
            "title": self.title, "ratio_to": self.base,
            "throughput": series.collect::<Vec<_>>(), "latency": latencies.collect::<Vec<_>>(),
        })
    }
}

#[allow(clippy::too_many_arguments)] // the columns of a line
fn line(out: &mut String, name: &str, a: &str, b: &str, c: &str, d: &str, e: &str, last: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{name:<38}{a:>9}{b:>9}{c:>9}{d:>9}{e:>9}  {last}");
}
