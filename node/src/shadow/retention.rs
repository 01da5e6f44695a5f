//! Retention: which snapshots are kept, and where the log begins. A pure function from figures to a plan.
//!
//! ```text
//!  oldest                                                                        now
//!  | drop .. | base of the log | thinned: one in each eighth | newest `keep` ...  |
//!            `- at least retain_for and retain_bytes of log after it -'
//! ```
//! Invariants: the newest `keep` snapshots are kept; the log is truncated up to a snapshot that is kept, or not at all,
//! so that the state at every retained sequence can be rebuilt; never past what is stored and exported.

use std::time::Duration;
use wal::units::Lsn;

/// The most snapshots kept between the log's base and the newest ones. More of them shorten a replay to a past
/// sequence, and let the log be truncated closer to what was asked for.
const BETWEEN_MAX: u64 = 8;

/// One snapshot, as figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub seq: Lsn,
    /// Time of its last command.
    pub time_ns: u64,
    /// Bytes of log before it, since the log began.
    pub log_bytes: u64,
}

/// The configured retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub keep: u32,
    /// If both are zero, all of the log is kept. If one is zero, the other decides. Otherwise the kept log satisfies
    /// both.
    pub retain_for: Duration,
    pub retain_bytes: u64,
}

/// What may be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The log may be truncated up to this snapshot, so that it begins right after it.
    pub cut_at: Option<Lsn>,
    /// Snapshots that are no longer needed.
    pub drop: Vec<Lsn>,
}

/// The log as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnds {
    /// The log begins right after this sequence.
    pub base: Lsn,
    /// It is stored and exported up to and including this sequence.
    pub releasable: Lsn,
    pub end: Candidate,
}

/// Plans what may be deleted. `snapshots` are sorted, oldest first.
pub fn plan(snapshots: &[Candidate], log: &LogEnds, asked: &Retention) -> Plan {
    assert!(snapshots.is_sorted_by(|a, b| a.seq < b.seq), "oldest first");
    let kept_from = snapshots.len().saturating_sub(asked.keep.max(1) as usize);
    let (older, kept) = snapshots.split_at(kept_from);
    let base = kept.first().and_then(|oldest_kept| {
        let mut candidates = snapshots.iter().rev().filter(|s| s.seq <= oldest_kept.seq && s.seq <= log.releasable);
        candidates.find(|s| asked.is_satisfied_after(s, &log.end))
    });
    let Some(base) = base else {
        // The log stays as it is, and so does the snapshot after which it begins, if any.
        let mut drop = if asked.keeps_all() { older.iter().map(|s| s.seq).collect() } else { thinned(older, kept) };
        drop.retain(|seq| *seq != log.base);
        return Plan { cut_at: None, drop };
    };
    let (gone, between): (Vec<Candidate>, Vec<Candidate>) = older.iter().partition(|s| s.seq < base.seq);
    let mut drop: Vec<Lsn> = gone.iter().map(|s| s.seq).collect();
    drop.extend(thinned(&between, kept));
    Plan { cut_at: Some(base.seq), drop }
}

/// Divides the time between the first snapshot and the newest ones into `BETWEEN_MAX` parts, and gives all snapshots
/// but one in each part.
fn thinned(between: &[Candidate], kept: &[Candidate]) -> Vec<Lsn> {
    let (Some(first), Some(end)) = (between.first(), kept.first()) else { return Vec::new() };
    let step_ns = (end.time_ns - first.time_ns) / BETWEEN_MAX + 1;
    let mut next_ns = first.time_ns + step_ns;
    let mut drop = Vec::new();
    for candidate in &between[1..] {
        if candidate.time_ns < next_ns {
            drop.push(candidate.seq);
        } else {
            next_ns = candidate.time_ns + step_ns;
        }
    }
    drop
}

impl Retention {
    fn keeps_all(&self) -> bool {
        self.retain_for.is_zero() && self.retain_bytes == 0
    }

    fn is_satisfied_after(&self, base: &Candidate, now: &Candidate) -> bool {
        !self.keeps_all()
            && self.retain_for.as_nanos() <= u128::from(now.time_ns.saturating_sub(base.time_ns))
            && self.retain_bytes <= now.log_bytes.saturating_sub(base.log_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// One snapshot a second, a megabyte of log between two.
    fn each_second(count: u64) -> Vec<Candidate> {
        (1..=count).map(at).collect()
    }

    fn at(second: u64) -> Candidate {
        Candidate { seq: Lsn(second * 100), time_ns: second * SECOND, log_bytes: second << 20 }
    }

    fn asked(keep: u32, seconds: u64, bytes: u64) -> Retention {
        Retention { keep, retain_for: Duration::from_secs(seconds), retain_bytes: bytes }
    }

    fn check(count: u64, releasable: u64, asked: Retention, cut_at: Option<u64>, dropped: &[u64]) {
        let log = LogEnds { base: Lsn(0), releasable: Lsn(releasable * 100), end: at(count) };
        let plan = plan(&each_second(count), &log, &asked);
        let drop: Vec<u64> = plan.drop.iter().map(|seq| seq.0 / 100).collect();
        assert_eq!((plan.cut_at.map(|seq| seq.0 / 100), drop.as_slice()), (cut_at, dropped), "{asked:?}");
    }

    #[test]
    fn without_a_bound_the_whole_log_stays_and_old_snapshots_go() {
        check(5, 5, asked(2, 0, 0), None, &[1, 2, 3]);
        check(1, 1, asked(3, 0, 0), None, &[]);
        check(0, 0, asked(3, 0, 0), None, &[]);
    }

    #[test]
    fn the_log_is_cut_where_enough_is_left_after_it() {
        check(10, 10, asked(2, 4, 0), Some(6), &[1, 2, 3, 4, 5]);
        check(10, 10, asked(2, 0, 5 << 20), Some(5), &[1, 2, 3, 4]);
        // Both: the one that asks for more.
        check(10, 10, asked(2, 3, 6 << 20), Some(4), &[1, 2, 3]);
    }

    #[test]
    fn never_into_what_the_kept_snapshots_need() {
        check(10, 10, asked(5, 1, 0), Some(6), &[1, 2, 3, 4, 5]);
        check(3, 3, asked(5, 1, 0), Some(1), &[]);
    }

    #[test]
    fn never_past_what_is_stored_and_exported() {
        check(10, 3, asked(2, 1, 0), Some(3), &[1, 2]);
        check(5, 0, asked(2, 1, 0), None, &[]);
    }

    #[test]
    fn the_snapshot_after_which_the_log_begins_stays() {
        let log = LogEnds { base: Lsn(200), releasable: Lsn(1_000), end: at(10) };
        let plan = plan(&each_second(10)[1..], &log, &asked(3, 0, 0));
        assert!(plan.cut_at.is_none() && !plan.drop.contains(&Lsn(200)), "{plan:?}");
    }

    #[test]
    fn what_lies_between_is_thinned_to_a_bounded_number() {
        let log = LogEnds { base: Lsn(0), releasable: Lsn(100_000), end: at(1_000) };
        let plan = plan(&each_second(1_000), &log, &asked(3, 900, 0));
        assert_eq!(plan.cut_at, Some(Lsn(10_000)));
        let left = 1_000 - plan.drop.len();
        assert!(left <= 3 + 1 + BETWEEN_MAX as usize, "{left} are left");
        assert!(!plan.drop.contains(&Lsn(10_000)), "the base stays");
    }

    /// Run after every snapshot, as the node does, the kept log never gets much longer than asked.
    #[test]
    fn over_time_the_log_stays_bounded() {
        let asked = asked(2, 100, 0);
        let mut held: Vec<Candidate> = Vec::new();
        let mut base = Lsn(0);
        for second in 1..=2_000 {
            held.push(at(second));
            let log = LogEnds { base, releasable: Lsn(u64::MAX), end: at(second) };
            let plan = plan(&held, &log, &asked);
            base = plan.cut_at.unwrap_or(base);
            held.retain(|s| !plan.drop.contains(&s.seq));
            if let Some(cut) = plan.cut_at {
                assert!(held.iter().any(|s| s.seq == cut), "the log begins after a snapshot that is kept");
                let retained = second - cut.0 / 100;
                assert!((100..=130).contains(&retained), "second {second}: {retained} s of log");
            }
            assert!(held.len() <= 12 + 2, "second {second}: {} snapshots", held.len());
        }
    }
}
