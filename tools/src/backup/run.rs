//! `pinion backup run`: rounds of shipping until interrupted, through failures of the node, the network and itself.

use super::destination::Destination;
use super::error::{BackupError, Result};
use super::list::size;
use super::shipper::{Haste, Round, Shipper};
use serde_json::json;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::{Duration, Instant};
use wal::units::Seq;

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

/// Ships until interrupted, or once.
pub fn run(data_dir: &Path, destination: &Destination, rounds: Rounds, telling: Telling) -> Result<()> {
    let mut shipper = Shipper::new(data_dir, destination);
    let mut failures = 0;
    while !destination.interrupt().is_set() {
        let started = Instant::now();
        let haste = if rounds == Rounds::Once { Haste::Now } else { Haste::Later };
        match shipper.round(haste) {
            Ok(round) => {
                failures = 0;
                tell(&round, started.elapsed(), telling);
                let Rounds::Every(every) = rounds else { return Ok(()) };
                destination.pause(every.saturating_sub(started.elapsed()));
            }
            Err(BackupError::Interrupted) => break,
            Err(error) => {
                failures += 1;
                if !worth_another(&error, failures, rounds) {
                    return Err(error);
                }
                let pause = backoff(failures);
                tell_failure(&error, failures, pause, telling);
                destination.pause(pause);
            }
        }
    }
    Ok(())
}

fn worth_another(error: &BackupError, failures: u32, rounds: Rounds) -> bool {
    let tries_max = match (rounds, error) {
        (Rounds::Once, _) => ONCE_TRIES,
        (Rounds::Every(_), BackupError::Store { .. }) => u32::MAX,
        (Rounds::Every(_), _) => SOURCE_TRIES,
    };
    error.may_pass() && failures < tries_max
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
    round.seq_node.0.saturating_sub(round.seq_shipped.max(Seq::ZERO).0)
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

    #[test]
    fn tries_come_further_apart_up_to_a_minute() {
        assert_eq!([1, 2, 3].map(backoff), [500, 1_000, 2_000].map(Duration::from_millis));
        assert_eq!([8, 9, 1_000].map(backoff), [60, 60, 60].map(Duration::from_secs));
    }
}
