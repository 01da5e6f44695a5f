//! The difference between two samples of one node.

use super::sample::{Sample, Stage};

/// The time between two samples of one run of a node, by the node's own clock.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    seconds: f64,
}

/// The rate and the latencies of one stage in that time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StageChange {
    pub per_second: f64,
    pub mean_ns: f64,
    /// The smallest bound of the node's histogram that 99 of 100 commands did not exceed; infinite above all bounds.
    pub p99_s_max: f64,
}

impl Change {
    /// None where no time passed, or where the node restarted and its counters with it.
    pub fn between(before: &Sample, after: &Sample) -> Option<Self> {
        let ms = after.uptime_ms.checked_sub(before.uptime_ms).filter(|ms| 0 < *ms)?;
        (before.counts.commands <= after.counts.commands).then_some(Self { seconds: ms as f64 / 1e3 })
    }

    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    pub fn per_second(&self, before: u64, after: u64) -> f64 {
        after.saturating_sub(before) as f64 / self.seconds
    }

    /// None where no command went through the stage.
    pub fn of_stage(&self, before: &Sample, after: &Stage) -> Option<StageChange> {
        let before = before.stages.iter().find(|stage| stage.name == after.name)?;
        let count = after.count.checked_sub(before.count).filter(|count| 0 < *count)?;
        // All counts of one sample are read at the same time, so 99 of 100 are below some bound.
        let enough = count - count / 100;
        let reached = after.buckets.iter().zip(&before.buckets).find(|(a, b)| enough <= a.1.saturating_sub(b.1));
        Some(StageChange {
            per_second: count as f64 / self.seconds,
            mean_ns: (after.sum_s - before.sum_s).max(0.0) * 1e9 / count as f64,
            p99_s_max: reached.map_or(f64::INFINITY, |(bucket, _)| bucket.0),
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::sample::{Counts, Loop, Machine, Watermarks};
    use super::*;

    /// A node that has answered `commands` commands, 10 a second, each in 10 us.
    pub fn sample(commands: u64) -> Sample {
        let count_upto = |bound: f64| if bound < 1e-5 { 0 } else { commands };
        Sample {
            name: "pinion".to_owned(),
            version: "0.1.0".to_owned(),
            status: "ok".to_owned(),
            detail: None,
            journal_sync: "always".to_owned(),
            ready: true,
            uptime_ms: commands * 100,
            counts: Counts {
                commands,
                fills: commands / 2,
                rejects: commands / 10,
                sessions: 2,
                connections: 3,
                market_readers: 1,
                memory_bytes: Some(512 << 20),
            },
            machine: Machine {
                disk_used_percent: Some(42),
                disk_free_bytes: Some(9 << 30),
                clock_error_ns: Some(-7_000),
                ..Machine::default()
            },
            seqs: Watermarks {
                next: commands + 1,
                applied: commands,
                durable: commands - 4,
                released: commands - 4,
                stored: commands / 2,
            },
            loops: vec![Loop {
                name: "engine".to_owned(),
                state: "ok".to_owned(),
                age_ms: 1,
                cycles: commands * 1_000,
            }],
            stages: vec![Stage {
                name: "total".to_owned(),
                count: commands,
                sum_s: commands as f64 / 1e5,
                buckets: [1e-6, 1e-5, 1e-4, f64::INFINITY].map(|bound| (bound, count_upto(bound))).to_vec(),
                quantiles_ns: [10_000, 10_000, 11_000, 12_000, 1_500_000],
            }],
        }
    }

    #[test]
    fn rates_are_by_the_nodes_own_clock() {
        let (before, after) = (sample(100), sample(150));
        let change = Change::between(&before, &after).expect("five seconds");
        assert_eq!(change.seconds(), 5.0);
        assert_eq!(change.per_second(before.counts.commands, after.counts.commands), 10.0);
        let stage = change.of_stage(&before, &after.stages[0]).expect("fifty commands");
        assert_eq!((stage.per_second, stage.mean_ns.round(), stage.p99_s_max), (10.0, 10_000.0, 1e-5));
    }

    #[test]
    fn a_restart_and_a_pause_have_no_rates() {
        assert!(Change::between(&sample(100), &sample(100)).is_none());
        assert!(Change::between(&sample(100), &sample(50)).is_none());
        let (before, after) = (sample(100), sample(150));
        let idle = Stage { count: 100, ..after.stages[0].clone() };
        let change = Change::between(&before, &after).expect("five seconds");
        assert_eq!(change.of_stage(&before, &idle), None);
    }

    #[test]
    fn the_slowest_of_a_hundred_does_not_decide() {
        let (before, mut after) = (sample(100), sample(300));
        let change = Change::between(&before, &after).expect("twenty seconds");
        let p99_s_max = |after: &Sample| change.of_stage(&before, &after.stages[0]).expect("commands").p99_s_max;
        after.stages[0].buckets[1].1 -= 2;
        assert_eq!(p99_s_max(&after), 1e-5, "2 of 200 took longer");
        after.stages[0].buckets[1].1 -= 1;
        assert_eq!(p99_s_max(&after), 1e-4);
        after.stages[0].buckets.iter_mut().for_each(|bucket| bucket.1 = 100);
        assert_eq!(p99_s_max(&after), f64::INFINITY, "no bound holds 99 of 100");
    }
}
