//! Whether a start may believe the wall clock: it is compared with the time of the log's last command.
//!
//! Invariant: a wall clock that would move log time by more than an operator can have meant is refused with the
//! figures, before anything is written to the log. Log time never runs back, so one wrong start would move it for good.

use super::clock::WallTime;
use crate::faults::mutation::{Mutation, Planted};
use book::units::TsNs;
use jiff::Timestamp;
use std::fmt;
use std::time::Duration;

/// How far the wall clock may be before the log's last command: a time server that steps the clock of a machine that
/// has just started moves it by less, and the node's clock makes so much good within 84 minutes.
pub const BEFORE_MAX: Duration = Duration::from_secs(5);

/// What a start does with a wall clock that lies far from the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WallPolicy {
    #[default]
    Refuse,
    /// `--accept-clock`: go on once.
    Accept,
}

/// What a start has found about the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WallVerdict {
    Near,
    /// It lies far from the log, and the operator has accepted that.
    Accepted,
}

/// The wall clock lies too far from the log's last command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct WallRefused {
    wall: TsNs,
    last: TsNs,
    ahead_max: Duration,
}

impl fmt::Display for WallRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wall, last, ahead_max } = *self;
        let (distance, place) = if wall < last { (last.0 - wall.0, "before") } else { (wall.0 - last.0, "after") };
        let distance = Duration::from_nanos(distance);
        write!(
            f,
            "the wall clock shows {}, {} {place} the last command of the log, which is of {}; allowed are {} s before \
             and {} after (node.clock_ahead_max). ",
            show(wall),
            show_distance(distance),
            show(last),
            BEFORE_MAX.as_secs(),
            show_distance(ahead_max)
        )?;
        if wall < last {
            write!(
                f,
                "Set the clock, and start again once it is past that command. If log time itself is wrong, an earlier \
                 start had a wrong clock: docs/OPERATIONS.md, \"The clock is wrong\". To go on with the time of the log \
                 standing ahead of the wall clock, start once with --accept-clock"
            )
        } else {
            write!(f, "Set the clock, or, if it is right, start once with --accept-clock")
        }
    }
}

fn show(ts: TsNs) -> String {
    Timestamp::from_nanosecond(i128::from(ts.0)).map_or_else(|_| format!("{} ns", ts.0), |time| time.to_string())
}

fn show_distance(distance: Duration) -> String {
    const DAY_S: u64 = 86_400;
    match distance.as_secs() {
        seconds if seconds < 2 * DAY_S => format!("{}.{:03} s", seconds, distance.subsec_millis()),
        seconds => format!("{} days", seconds / DAY_S),
    }
}

/// Compares the wall clock with the last command of the log; `last` is zero for a log without one.
pub fn check(wall: WallTime, last: TsNs, ahead_max: Duration, policy: WallPolicy) -> Result<WallVerdict, WallRefused> {
    let WallTime(wall) = wall;
    let before_max = BEFORE_MAX.as_nanos() as u64;
    let ahead_max_ns = u64::try_from(ahead_max.as_nanos()).unwrap_or(u64::MAX);
    let is_near = last == TsNs(0)
        || (last.0.saturating_sub(wall.0) <= before_max && wall.0.saturating_sub(last.0) <= ahead_max_ns);
    let is_near = is_near.planted(Mutation::WallUnchecked, |_| true);
    match policy {
        _ if is_near => Ok(WallVerdict::Near),
        WallPolicy::Accept => Ok(WallVerdict::Accepted),
        WallPolicy::Refuse => Err(WallRefused { wall, last, ahead_max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000_000_000;
    const LAST: TsNs = TsNs(1_790_000_000_000_000_000);

    fn found(wall: u64, policy: WallPolicy) -> Result<WallVerdict, WallRefused> {
        check(WallTime(TsNs(wall)), LAST, Duration::from_nanos(30 * DAY), policy)
    }

    fn a_far_clock_is_refused() {
        for wall in [0, LAST.0 - 5_000_000_001, LAST.0 + 30 * DAY + 1, u64::MAX] {
            assert!(found(wall, WallPolicy::Refuse).is_err(), "{wall}");
            assert_eq!(found(wall, WallPolicy::Accept), Ok(WallVerdict::Accepted), "{wall}");
        }
    }

    #[test]
    fn only_a_clock_that_is_far_from_the_log_is_refused() {
        a_far_clock_is_refused();
        for wall in [LAST.0 - 5_000_000_000, LAST.0, LAST.0 + 30 * DAY] {
            assert_eq!(found(wall, WallPolicy::Refuse), Ok(WallVerdict::Near), "{wall}");
        }
        let empty = check(WallTime(TsNs(7)), TsNs(0), Duration::ZERO, WallPolicy::Refuse);
        assert_eq!(empty, Ok(WallVerdict::Near), "a log without commands has no time");
    }

    #[test]
    fn a_refusal_has_the_figures_and_the_way_out() {
        let text = |wall| found(wall, WallPolicy::Refuse).expect_err("refused").to_string();
        let before = text(LAST.0 - 60_000_000_000);
        for part in ["2026-09-21T14:12:20Z", "60.000 s before", "2026-09-21T14:13:20Z", "The clock is wrong"] {
            assert!(before.contains(part), "{part:?} in {before}");
        }
        let ahead = text(LAST.0 + 3_650 * DAY);
        for part in ["3650 days after", "30 days after (node.clock_ahead_max)", "--accept-clock"] {
            assert!(ahead.contains(part), "{part:?} in {ahead}");
        }
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_clock_that_is_not_checked_is_noticed() {
        crate::faults::mutation::assert_noticed(Mutation::WallUnchecked, a_far_clock_is_refused);
    }
}
