//! `pinion backup run`: rounds of shipping until interrupted, with retries after failures of node, network or store.

use super::report::Reporter;
use super::round_log::RoundLog;
use crate::archive::destination::Destination;
use crate::archive::error::{BackupError, Result};
use crate::archive::shipper::{Shipper, TailPolicy};
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

/// Failed rounds since the last success.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    in_a_row: u32,
    /// Failures of the data directory itself, counted anew after each failure of the destination.
    of_source: u32,
    /// Whether a round of this run has succeeded. Before that a refusal is a mistake in the configuration.
    has_shipped: bool,
}

/// Ships until interrupted, or once. An interrupt before that one round is complete is a failure.
pub fn run(
    mut shipper: Shipper<'_>,
    destination: &Destination,
    rounds: Rounds,
    mut log: RoundLog,
    mut reporter: Reporter,
) -> Result<()> {
    let mut failures = Failures::default();
    while !destination.interrupt().is_set() {
        let started = Instant::now();
        let tail_policy = if rounds == Rounds::Once { TailPolicy::SyncNow } else { TailPolicy::WaitForNode };
        match shipper.round(tail_policy) {
            Ok(round) => {
                failures = Failures { has_shipped: true, ..Failures::default() };
                log.round(&round, started.elapsed());
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
                log.failure(&error, failures.in_a_row, pause);
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
        let is_mistake = error.is_refusal() && !self.has_shipped;
        error.may_pass() && attempts_left && !is_mistake
    }
}

fn backoff(failures: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << (failures - 1).min(16));
    doubled.min(BACKOFF_LAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::store_failure::{FailureKind, StoreFailure};
    use crate::terminal::failure::ExitCode;
    use wal::units::Lsn;

    #[test]
    fn pauses_grow_up_to_a_minute() {
        assert_eq!([1, 2, 3].map(backoff), [500, 1_000, 2_000].map(Duration::from_millis));
        assert_eq!([8, 9, 1_000].map(backoff), [60, 60, 60].map(Duration::from_secs));
    }

    #[test]
    fn a_destination_is_retried_without_end_and_its_failures_do_not_count_for_the_source() {
        let store = |kind| BackupError::Store {
            action: "storing",
            object: String::new(),
            cause: StoreFailure::new(kind, "an answer"),
        };
        let passing = || store(FailureKind::Passing);
        let source = BackupError::NoSnapshot { base: Lsn(1) };
        let every = Rounds::Every(Duration::from_secs(2));
        let mut failures = Failures::default();
        for _ in 0..1_000 {
            failures.note(&passing());
            assert!(failures.may_retry(&passing(), every));
        }
        for tries in 1..=SOURCE_TRIES {
            failures.note(&source);
            assert_eq!(failures.may_retry(&source, every), tries < SOURCE_TRIES);
        }
        failures.note(&passing());
        failures.note(&source);
        assert!(failures.may_retry(&source, every) && !failures.may_retry(&source, Rounds::Once));
        // A key that is refused: at the first start a mistake, and later one that the store's operator may correct.
        let refused = store(FailureKind::Refused);
        assert!(!Failures { in_a_row: 1, ..Failures::default() }.may_retry(&refused, every));
        let failures = Failures { in_a_row: 1, of_source: 0, has_shipped: true };
        assert!(failures.may_retry(&refused, every) && refused.exit_code() == 3);
    }
}
