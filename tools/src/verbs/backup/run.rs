//! `pinion backup run`: rounds of shipping until interrupted, with retries after failures of node, network or store.

use super::report::Reporter;
use super::size::size;
use crate::archive::destination::Destination;
use crate::archive::error::{BackupError, Result};
use crate::archive::round::Round;
use crate::archive::shipper::{Shipper, TailPolicy};
use serde_json::json;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

/// The pause before a retry: doubled after each failure in a row, up to the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_LAST: Duration = Duration::from_secs(60);

/// Attempts of a run with `--once`.
const ONCE_TRIES: u32 = 5;

/// Failures in a row of the data directory itself after which the run ends: so many are not caused by a running node. A
/// destination that fails is retried without end.
const SOURCE_TRIES: u32 = 10;

/// One round, or rounds without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounds {
    Once,
    Every(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    Text,
    Json,
}

/// Failed rounds since the last success.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    in_a_row: u32,
    /// Failures of the data directory itself, counted anew after each failure of the destination.
    of_source: u32,
}

/// Ships until interrupted, or once. An interrupt before that one round is complete is a failure.
pub fn run(
    data_dir: &Path,
    destination: &Destination,
    rounds: Rounds,
    format: OutputFormat,
    mut reporter: Reporter,
) -> Result<()> {
    let mut shipper = Shipper::new(data_dir, destination);
    let mut failures = Failures::default();
    while !destination.interrupt().is_set() {
        let started = Instant::now();
        let tail_policy = if rounds == Rounds::Once { TailPolicy::SyncNow } else { TailPolicy::WaitForNode };
        match shipper.round(tail_policy) {
            Ok(round) => {
                failures = Failures::default();
                report(&round, started.elapsed(), format);
                reporter.shipped(round.seq_shipped);
                let Rounds::Every(every) = rounds else { return Ok(()) };
                destination.pause(every.saturating_sub(started.elapsed()));
            }
            Err(BackupError::Interrupted) => break,
            Err(error) => {
                failures.note(&error);
                if !failures.may_retry(&error, rounds) {
                    return Err(error);
                }
                let pause = backoff(failures.in_a_row);
                report_failure(&error, failures.in_a_row, pause, format);
                destination.pause(pause);
            }
        }
    }
    if rounds == Rounds::Once { Err(BackupError::Interrupted) } else { Ok(()) }
}

impl Failures {
    fn note(&mut self, error: &BackupError) {
        self.in_a_row += 1;
        self.of_source = if matches!(error, BackupError::Store { .. }) { 0 } else { self.of_source + 1 };
    }

    /// Whether another attempt may succeed.
    fn may_retry(&self, error: &BackupError, rounds: Rounds) -> bool {
        let attempts_left = match rounds {
            Rounds::Once => self.in_a_row < ONCE_TRIES,
            Rounds::Every(_) => self.of_source < SOURCE_TRIES,
        };
        error.may_pass() && attempts_left
    }
}

fn backoff(failures: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << (failures - 1).min(16));
    doubled.min(BACKOFF_LAST)
}

/// Prints a line. A closed pipe is ignored, and shipping continues.
fn print_line(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

fn report(round: &Round, took: Duration, format: OutputFormat) {
    let snapshots: Vec<u64> = round.snapshots.iter().map(|seq| seq.0).collect();
    if format == OutputFormat::Json {
        let gap = round.gap.map(|(first, last)| json!({ "seq_first": first.0, "seq_last": last.0 }));
        let line = json!({
            "timeline": round.timeline, "seq_shipped": round.seq_shipped.0, "seq_node": round.seq_node.0,
            "behind_commands": lag_commands(round), "commands": round.commands, "pieces": round.pieces, "bytes": round.bytes,
            "lag_ms": round.lag_ms, "took_ms": took.as_millis() as u64, "snapshots": snapshots,
            "snapshots_damaged": round.damaged_snapshots, "gap": gap,
        });
        return print_line(&line.to_string());
    }
    if let Some((first, last)) = round.gap {
        print_line(&format!(
            "GAP         the node truncated sequences {first} to {last} before they were shipped: no state between them \
             can be restored; keep more log (store.retain_*)"
        ));
    }
    for path in &round.damaged_snapshots {
        print_line(&format!("DAMAGED     snapshot {} was not shipped; see `pinion snapshot verify`", path.display()));
    }
    for seq in &snapshots {
        print_line(&format!("snapshot    {seq} shipped"));
    }
    print_line(&format!(
        "shipped to  {} ({} commands, {}), the node has {} commands more, lag {:.1} s",
        round.seq_shipped,
        round.commands,
        size(round.bytes),
        lag_commands(round),
        round.lag_ms as f64 / 1e3
    ));
}

/// Commands that the node has and the backup has not.
fn lag_commands(round: &Round) -> u64 {
    round.seq_node.0.saturating_sub(round.seq_shipped.0)
}

fn report_failure(error: &BackupError, failures: u32, pause: Duration, format: OutputFormat) {
    if format == OutputFormat::Json {
        let (error, retry_ms) = (error.to_string(), pause.as_millis() as u64);
        return print_line(&json!({ "error": error, "failures": failures, "retry_ms": retry_ms }).to_string());
    }
    print_line(&format!("FAILED      {error}; {failures} failures in a row, retry in {:.1} s", pause.as_secs_f64()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::units::Lsn;

    #[test]
    fn pauses_grow_up_to_a_minute() {
        assert_eq!([1, 2, 3].map(backoff), [500, 1_000, 2_000].map(Duration::from_millis));
        assert_eq!([8, 9, 1_000].map(backoff), [60, 60, 60].map(Duration::from_secs));
    }

    #[test]
    fn a_destination_is_retried_without_end_and_its_failures_do_not_count_for_the_source() {
        let cause =
            || Box::new(object_store::Error::NotImplemented { operation: String::new(), implementer: String::new() });
        let store = || BackupError::Store { action: "storing", object: String::new(), cause: cause() };
        let source = BackupError::NoSnapshot { base: Lsn(1) };
        let every = Rounds::Every(Duration::from_secs(2));
        let mut failures = Failures::default();
        for _ in 0..1_000 {
            failures.note(&store());
            assert!(failures.may_retry(&store(), every));
        }
        for tries in 1..=SOURCE_TRIES {
            failures.note(&source);
            assert_eq!(failures.may_retry(&source, every), tries < SOURCE_TRIES);
        }
        failures.note(&store());
        failures.note(&source);
        assert!(failures.may_retry(&source, every) && !failures.may_retry(&source, Rounds::Once));
    }
}
