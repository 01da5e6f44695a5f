//! `pinion backup run`: rounds of shipping until interrupted, through failures of the node, the network and itself.

use super::list::size;
use crate::archive::destination::Destination;
use crate::archive::error::{BackupError, Result};
use crate::archive::shipper::{Haste, Round, Shipper};
use serde_json::json;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

/// Between tries after a failure: doubled each time, up to the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_LAST: Duration = Duration::from_secs(60);

/// Tries of a run that is to end by itself.
const ONCE_TRIES: u32 = 5;

/// Failures in a row of the data directory itself, after which it is not the node that is in the way. A destination is
/// waited for without end.
const SOURCE_TRIES: u32 = 10;

/// When rounds come, and whether there is more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounds {
    Once,
    Every(Duration),
}

/// How rounds are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    Text,
    Json,
}

/// Failed rounds since the last one that went well.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    in_a_row: u32,
    /// Of the data directory itself, since the destination failed: that tells nothing about the directory.
    of_source: u32,
}

/// Ships until interrupted, or once; an interrupt before that one round was whole is a failure.
pub fn run(data_dir: &Path, destination: &Destination, rounds: Rounds, telling: Telling) -> Result<()> {
    let mut shipper = Shipper::new(data_dir, destination);
    let mut failures = Failures::default();
    while !destination.interrupt().is_set() {
        let started = Instant::now();
        let haste = if rounds == Rounds::Once { Haste::Now } else { Haste::Later };
        match shipper.round(haste) {
            Ok(round) => {
                failures = Failures::default();
                tell(&round, started.elapsed(), telling);
                let Rounds::Every(every) = rounds else { return Ok(()) };
                destination.pause(every.saturating_sub(started.elapsed()));
            }
            Err(BackupError::Interrupted) => break,
            Err(error) => {
                failures.note(&error);
                if !failures.leave_hope(&error, rounds) {
                    return Err(error);
                }
                let pause = backoff(failures.in_a_row);
                tell_failure(&error, failures.in_a_row, pause, telling);
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

    /// Whether another try can help.
    fn leave_hope(&self, error: &BackupError, rounds: Rounds) -> bool {
        let may_try = match rounds {
            Rounds::Once => self.in_a_row < ONCE_TRIES,
            Rounds::Every(_) => self.of_source < SOURCE_TRIES,
        };
        error.may_pass() && may_try
    }
}

fn backoff(failures: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << (failures - 1).min(16));
    doubled.min(BACKOFF_LAST)
}

/// Whoever was reading may have gone by now, which is no reason to stop shipping.
fn say(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

fn tell(round: &Round, took: Duration, telling: Telling) {
    let snapshots: Vec<u64> = round.snapshots.iter().map(|seq| seq.0).collect();
    if telling == Telling::Json {
        let gap = round.gap.map(|(first, last)| json!({ "seq_first": first.0, "seq_last": last.0 }));
        let line = json!({
            "timeline": round.timeline, "seq_shipped": round.seq_shipped.0, "seq_node": round.seq_node.0,
            "behind_commands": behind(round), "commands": round.commands, "pieces": round.pieces, "bytes": round.bytes,
            "lag_ms": round.lag_ms, "took_ms": took.as_millis() as u64, "snapshots": snapshots,
            "snapshots_damaged": round.passed_over, "gap": gap,
        });
        return say(&line.to_string());
    }
    if let Some((first, last)) = round.gap {
        say(&format!(
            "GAP         the node had forgotten sequences {first} to {last} before they were shipped: no state between \
             them can be restored"
        ));
    }
    for path in &round.passed_over {
        say(&format!("DAMAGED     snapshot {} was not shipped", path.display()));
    }
    for seq in &snapshots {
        say(&format!("snapshot    {seq} shipped"));
    }
    say(&format!(
        "shipped to  {} ({} commands, {}), {} behind the node, lag {:.1} s",
        round.seq_shipped,
        round.commands,
        size(round.bytes),
        behind(round),
        round.lag_ms as f64 / 1e3
    ));
}

fn behind(round: &Round) -> u64 {
    round.seq_node.0.saturating_sub(round.seq_shipped.0)
}

fn tell_failure(error: &BackupError, failures: u32, pause: Duration, telling: Telling) {
    if telling == Telling::Json {
        let (error, retry_ms) = (error.to_string(), pause.as_millis() as u64);
        return say(&json!({ "error": error, "failures": failures, "retry_ms": retry_ms }).to_string());
    }
    say(&format!("FAILED      {error}; try {failures} in a row, the next in {:.1} s", pause.as_secs_f64()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::units::Lsn;

    #[test]
    fn tries_come_further_apart_up_to_a_minute() {
        assert_eq!([1, 2, 3].map(backoff), [500, 1_000, 2_000].map(Duration::from_millis));
        assert_eq!([8, 9, 1_000].map(backoff), [60, 60, 60].map(Duration::from_secs));
    }

    #[test]
    fn a_destination_is_waited_for_without_end_and_wears_out_no_patience_with_the_source() {
        let cause =
            || Box::new(object_store::Error::NotImplemented { operation: String::new(), implementer: String::new() });
        let store = || BackupError::Store { action: "storing", object: String::new(), cause: cause() };
        let source = BackupError::NoSnapshot { base: Lsn(1) };
        let every = Rounds::Every(Duration::from_secs(2));
        let mut failures = Failures::default();
        for _ in 0..1_000 {
            failures.note(&store());
            assert!(failures.leave_hope(&store(), every));
        }
        for tries in 1..=SOURCE_TRIES {
            failures.note(&source);
            assert_eq!(failures.leave_hope(&source, every), tries < SOURCE_TRIES);
        }
        failures.note(&store());
        failures.note(&source);
        assert!(failures.leave_hope(&source, every) && !failures.leave_hope(&source, Rounds::Once));
    }
}
