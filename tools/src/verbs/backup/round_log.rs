//! What a run of the shipper says of its rounds: lines, and metrics in a file.
//!
//! A line is printed where a round has changed something or has failed, and once a minute otherwise, so that a log of
//! an idle node stays short and still shows that the shipper runs.

use super::size::size;
use crate::archive::error::BackupError;
use crate::archive::round::Round;
use crate::terminal::clock::unix_ns;
use crate::terminal::time_text;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest time without a line.
const QUIET_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    Text,
    Json,
}

/// Prints rounds, and counts them for the metrics.
#[derive(Debug)]
pub struct RoundLog {
    format: OutputFormat,
    metrics_file: Option<PathBuf>,
    /// When the last line was printed.
    said: Option<Instant>,
    totals: Totals,
    /// Whether the metrics could not be written, which is said once.
    has_failed: bool,
}

/// The metrics of a run.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    seq_shipped: u64,
    seq_node: u64,
    lag_ms: u64,
    commands: u64,
    bytes: u64,
    snapshots: u64,
    gaps: u64,
    rounds: u64,
    failures: u64,
    failures_in_a_row: u32,
    /// When the last round succeeded; zero before that.
    success_ms: u64,
}

impl RoundLog {
    pub fn new(format: OutputFormat, metrics_file: Option<PathBuf>) -> Self {
        Self { format, metrics_file, said: None, totals: Totals::default(), has_failed: false }
    }

    pub(super) fn round(&mut self, round: &Round, took: Duration) {
        self.totals.add(round, unix_ns() / 1_000_000);
        if has_changed(round) || self.said.is_none_or(|said| QUIET_MAX <= said.elapsed()) {
            self.say(&match self.format {
                OutputFormat::Json => vec![as_json(round, took).to_string()],
                OutputFormat::Text => as_text(round),
            });
        }
        self.write_metrics();
    }

    pub(super) fn failure(&mut self, error: &BackupError, failures: u32, pause: Duration) {
        (self.totals.failures, self.totals.failures_in_a_row) = (self.totals.failures + 1, failures);
        self.say(&[match self.format {
            OutputFormat::Json => {
                let (error, retry_ms) = (error.to_string(), pause.as_millis() as u64);
                let time_ms = unix_ns() / 1_000_000;
                json!({ "time_ms": time_ms, "error": error, "failures": failures, "retry_ms": retry_ms }).to_string()
            }
            OutputFormat::Text => {
                let pause = pause.as_secs_f64();
                format!("FAILED      {error}; {failures} failures in a row, retry in {pause:.1} s")
            }
        }]);
        self.write_metrics();
    }

    /// Prints lines. A closed pipe is ignored, and shipping continues.
    fn say(&mut self, lines: &[String]) {
        self.said = Some(Instant::now());
        // To the millisecond: more digits say nothing about a round.
        let time = time_text::show(unix_ns() / 1_000_000 * 1_000_000);
        for line in lines {
            let _ = match self.format {
                OutputFormat::Json => writeln!(stdout(), "{line}"),
                OutputFormat::Text => writeln!(stdout(), "{time}  {line}"),
            };
        }
    }

    fn write_metrics(&mut self) {
        let Some(path) = &self.metrics_file else { return };
        match write_metrics(path, &self.totals.as_text()) {
            Ok(()) => self.has_failed = false,
            Err(error) if !self.has_failed => {
                eprintln!("pinion: the metrics are not written to {}: {error}; shipping goes on", path.display());
                self.has_failed = true;
            }
            Err(_) => {}
        }
    }
}

/// Replaces the file by a rename, so that no reader sees a part of it.
fn write_metrics(path: &Path, text: &str) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    fs::write(&name, text)?;
    fs::rename(&name, path)
}

impl Totals {
    fn add(&mut self, round: &Round, now_ms: u64) {
        (self.seq_shipped, self.seq_node, self.lag_ms) = (round.seq_shipped.0, round.seq_node.0, round.lag_ms);
        self.commands += round.commands;
        self.bytes += round.bytes;
        self.snapshots += round.snapshots.len() as u64;
        self.gaps += u64::from(round.gap.is_some());
        self.rounds += 1;
        (self.failures_in_a_row, self.success_ms) = (0, now_ms);
    }

    fn as_text(&self) -> String {
        let mut text = String::new();
        let lag = self.seq_node.saturating_sub(self.seq_shipped);
        for (name, kind, help, value) in [
            ("seq_shipped", "gauge", "Last command in the backup.", self.seq_shipped),
            ("lag_commands", "gauge", "Commands that the node has and the backup has not.", lag),
            ("lag_ms", "gauge", "How long the oldest command of the last round was in the node alone.", self.lag_ms),
            ("success_timestamp_ms", "gauge", "When the last round succeeded; 0 before that.", self.success_ms),
            ("failures_in_a_row", "gauge", "Failed rounds since the last success.", self.failures_in_a_row.into()),
            ("failures_total", "counter", "Failed rounds.", self.failures),
            ("rounds_total", "counter", "Rounds that succeeded.", self.rounds),
            ("commands_total", "counter", "Commands shipped.", self.commands),
            ("bytes_total", "counter", "Bytes shipped.", self.bytes),
            ("snapshots_total", "counter", "Snapshots shipped.", self.snapshots),
            ("gaps_total", "counter", "Gaps: the node truncated commands before they were shipped.", self.gaps),
        ] {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "# HELP pinion_shipper_{name} {help}\n# TYPE pinion_shipper_{name} {kind}\npinion_shipper_{name} {value}"
            );
        }
        text
    }
}

fn has_changed(round: &Round) -> bool {
    let is_stored = 0 < round.commands || !round.snapshots.is_empty() || round.config;
    is_stored || round.gap.is_some() || !round.damaged_snapshots.is_empty()
}

fn as_json(round: &Round, took: Duration) -> Value {
    let snapshots: Vec<u64> = round.snapshots.iter().map(|seq| seq.0).collect();
    let gap = round.gap.map(|(first, last)| json!({ "seq_first": first.0, "seq_last": last.0 }));
    json!({
        "time_ms": unix_ns() / 1_000_000,
        "timeline": round.timeline, "seq_shipped": round.seq_shipped.0, "seq_node": round.seq_node.0,
        "behind_commands": lag_commands(round), "commands": round.commands, "pieces": round.pieces,
        "bytes": round.bytes, "lag_ms": round.lag_ms, "took_ms": took.as_millis() as u64, "snapshots": snapshots,
        "snapshots_damaged": round.damaged_snapshots, "config": round.config, "gap": gap,
    })
}

fn as_text(round: &Round) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some((first, last)) = round.gap {
        lines.push(format!(
            "GAP         the node truncated sequences {first} to {last} before they were shipped: no state between them \
             can be restored; keep more log (store.retain_*)"
        ));
    }
    for path in &round.damaged_snapshots {
        lines.push(format!("DAMAGED     snapshot {} was not shipped; see `pinion snapshot verify`", path.display()));
    }
    lines.extend(round.config.then(|| "config      shipped".to_owned()));
    lines.extend(round.snapshots.iter().map(|seq| format!("snapshot    {seq} shipped")));
    lines.push(format!(
        "shipped to  {} ({} commands, {}), the node has {} commands more, lag {:.1} s",
        round.seq_shipped,
        round.commands,
        size(round.bytes),
        lag_commands(round),
        round.lag_ms as f64 / 1e3
    ));
    lines
}

/// Commands that the node has and the backup has not.
fn lag_commands(round: &Round) -> u64 {
    round.seq_node.0.saturating_sub(round.seq_shipped.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::units::Lsn;

    #[test]
    fn an_idle_round_says_nothing_and_a_change_is_said() {
        let mut log = RoundLog::new(OutputFormat::Json, None);
        let idle = Round { seq_shipped: Lsn(7), seq_node: Lsn(7), ..Round::default() };
        log.round(&idle, Duration::ZERO);
        let first = log.said.expect("the first round is said");
        log.round(&idle, Duration::ZERO);
        assert_eq!(log.said, Some(first));
        for changed in [
            Round { commands: 1, ..idle.clone() },
            Round { snapshots: vec![Lsn(3)], ..idle.clone() },
            Round { gap: Some((Lsn(1), Lsn(2))), ..idle.clone() },
            Round { config: true, ..idle },
        ] {
            assert!(has_changed(&changed));
        }
    }

    #[test]
    fn the_metrics_file_has_what_was_shipped() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pinion.prom");
        let mut log = RoundLog::new(OutputFormat::Json, Some(path.clone()));
        let round = Round { seq_shipped: Lsn(70), seq_node: Lsn(75), commands: 5, lag_ms: 12, ..Round::default() };
        log.round(&round, Duration::ZERO);
        log.round(&round, Duration::ZERO);
        let text = fs::read_to_string(&path).expect("written");
        for line in
            ["pinion_shipper_seq_shipped 70", "pinion_shipper_lag_commands 5", "pinion_shipper_commands_total 10"]
        {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1);
    }
}
