//! The page as one JSON document, a pure function of two samples. Its keys are a contract: they are only ever added.

use super::change::Change;
use super::page::cycles_per_second;
use super::sample::{Sample, Stage};
use serde_json::{Map, Value, json};

/// Values that need an interval are null where there is none, as after a restart of the node.
pub fn of(before: &Sample, after: &Sample) -> Value {
    let change = Change::between(before, after);
    let (was, is, seqs, machine) = (before.counts, after.counts, after.seqs, &after.machine);
    let rate = |was, is| change.map(|change| tenths(change.per_second(was, is)));
    let stages: Map<String, Value> = after.stages.iter().map(|s| (s.name.clone(), stage(before, s, change))).collect();
    let loops = after.loops.iter().map(|now| {
        let cycles = change.and_then(|change| cycles_per_second(before, now, change));
        json!({ "name": now.name, "state": now.state, "age_ms": now.age_ms, "cycles_per_second": cycles.map(tenths) })
    });
    json!({
        "node": after.name,
        "version": after.version,
        "status": after.status,
        "detail": after.detail,
        "ready": after.ready,
        "journal_sync": after.journal_sync,
        "uptime_ms": after.uptime_ms,
        "interval_ms": change.map(|change| (change.seconds() * 1e3).round() as u64),
        "per_second": {
            "commands": rate(was.commands, is.commands),
            "fills": rate(was.fills, is.fills),
            "rejects": rate(was.rejects, is.rejects),
        },
        "counts": {
            "commands": is.commands,
            "fills": is.fills,
            "rejects": is.rejects,
            "sessions_open": is.sessions,
            "connections": is.connections,
            "market_readers": is.market_readers,
        },
        "memory_resident_bytes": is.memory_bytes,
        "machine": {
            "takes": machine.takes,
            "write_wait_ms": machine.write_wait_ms,
            "disk_used_percent": machine.disk_used_percent,
            "disk_free_bytes": machine.disk_free_bytes,
            "ballast_bytes": machine.ballast_bytes,
            "memory_limit_bytes": machine.memory_limit_bytes,
            "descriptors_open": machine.descriptors_open,
            "descriptors_limit": machine.descriptors_limit,
            "clock_error_ns": machine.clock_error_ns,
            "backup_age_ms": machine.backup_age_ms,
        },
        "watermarks": {
            "seq_next": seqs.next,
            "seq_applied": seqs.applied,
            "seq_durable": seqs.durable,
            "seq_released": seqs.released,
            "seq_stored": seqs.stored,
        },
        "behind": {
            "applied_behind_next": seqs.next.saturating_sub(1).saturating_sub(seqs.applied),
            "durable_behind_applied": seqs.applied.saturating_sub(seqs.durable),
            "released_behind_durable": seqs.durable.saturating_sub(seqs.released),
            "stored_behind_durable": seqs.durable.saturating_sub(seqs.stored),
        },
        "stages": stages,
        "loops": loops.collect::<Vec<_>>(),
    })
}

/// Rounds to a tenth: more digits would only show the jitter of the clock.
fn tenths(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

fn stage(before: &Sample, now: &Stage, change: Option<Change>) -> Value {
    let change = change.and_then(|change| change.of_stage(before, now));
    let [p50, p90, p99, p999, max] = now.quantiles_ns;
    json!({
        "interval": change.map(|change| json!({
            "per_second": tenths(change.per_second),
            "mean_ns": change.mean_ns.round() as u64,
            // Null where more than 1 of 100 took longer than the last bound.
            "p99_ns_max": change.p99_s_max.is_finite().then_some((change.p99_s_max * 1e9).round() as u64),
        })),
        "since_start": {
            "count": now.count, "p50_ns": p50, "p90_ns": p90, "p99_ns": p99, "p999_ns": p999, "max_ns": max,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::change::tests::sample;
    use super::*;

    #[test]
    fn the_document_has_the_figures_of_the_page() {
        let found = of(&sample(100), &sample(150));
        assert_eq!((found["interval_ms"].as_u64(), found["ready"].as_bool()), (Some(5_000), Some(true)));
        assert_eq!(found["per_second"], json!({ "commands": 10.0, "fills": 5.0, "rejects": 1.0 }));
        assert_eq!(
            (&found["watermarks"]["seq_durable"], &found["behind"]["durable_behind_applied"]),
            (&146.into(), &4.into())
        );
        let expected = json!({
            "interval": { "per_second": 10.0, "mean_ns": 10_000, "p99_ns_max": 10_000 },
            "since_start": {
                "count": 150, "p50_ns": 10_000, "p90_ns": 10_000, "p99_ns": 11_000, "p999_ns": 12_000, "max_ns": 1_500_000,
            },
        });
        assert_eq!(found["stages"]["total"], expected);
        let looped = json!({ "name": "engine", "state": "ok", "age_ms": 1, "cycles_per_second": 10_000.0 });
        assert_eq!(found["loops"], json!([looped]));
    }

    #[test]
    fn a_node_that_restarted_has_no_rates() {
        let found = of(&sample(150), &sample(100));
        for field in [&found["interval_ms"], &found["per_second"]["commands"], &found["stages"]["total"]["interval"]] {
            assert!(field.is_null(), "{found}");
        }
        assert_eq!(found["counts"]["commands"], 100);
    }
}
