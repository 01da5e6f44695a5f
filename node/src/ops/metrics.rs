//! `/metrics` in the Prometheus text format, version 0.0.4. Every number is read when it is asked for.

use super::health::Vitals;
use crate::rings::stage_times::StageSet;
use crate::rings::stages::StageTotals;
use crate::status::Status;
use crate::status::version::{COMMIT, PROFILE, VERSION};
use std::fmt::Write;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    read: fn(&Status) -> u64,
}

const fn gauge(name: &'static str, help: &'static str, read: fn(&Status) -> u64) -> Metric {
    Metric { name, kind: "gauge", help, read }
}

const fn counter(name: &'static str, help: &'static str, read: fn(&Status) -> u64) -> Metric {
    Metric { name, kind: "counter", help, read }
}

const METRICS: &[Metric] = &[
    gauge("pinion_seq_next", "Sequence that the next command gets.", |s| s.watermarks.next.get().0),
    gauge("pinion_seq_applied", "Last command applied by the engine.", |s| s.watermarks.applied.get().0),
    gauge("pinion_seq_released", "Last command whose outcome may leave.", |s| s.watermarks.released.get().0),
    gauge("pinion_seq_durable", "Last command that survives a power cut.", |s| s.watermarks.durable.get().0),
    gauge("pinion_seq_stored", "Last command in the store.", |s| s.watermarks.stored.get().0),
    gauge("pinion_seq_exported", "Last command in the reporting database.", |_| 0),
    gauge("pinion_seq_shadow", "Last command applied by the shadow.", |s| s.watermarks.shadow.get().0),
    gauge("pinion_seq_history", "Last command in the history.", |s| s.watermarks.history.get().0),
    gauge("pinion_seq_snapshot", "Last command in the newest snapshot.", |s| s.watermarks.snapshot.get().0),
    gauge("pinion_seq_truncated", "Last command that is no longer in the log.", |s| s.watermarks.truncated.get().0),
    gauge("pinion_seq_hash_differs", "Check at which shadow and engine differ; 0 while they agree.", |s| {
        s.seq_hash_differs.get()
    }),
    counter("pinion_damage_found_total", "Log frames and snapshots found damaged since the start.", |s| {
        s.damage_found.get()
    }),
    counter("pinion_scrub_rounds_total", "Times that the scrubber has read the log and all snapshots.", |s| {
        s.scrub_rounds.get()
    }),
    counter("pinion_patrol_rounds_total", "Old name of pinion_scrub_rounds_total, kept for one release.", |s| {
        s.scrub_rounds.get()
    }),
    gauge("pinion_snapshot_ns", "Time that the newest snapshot took.", |s| s.snapshot_ns.get()),
    gauge("pinion_snapshot_bytes", "Size of the newest snapshot's file.", |s| s.snapshot_bytes.get()),
    counter("pinion_snapshots_total", "Snapshots since the start.", |s| s.snapshots.get()),
    counter("pinion_snapshots_failed_total", "Snapshots that could not be taken.", |s| s.snapshots_failed.get()),
    gauge("pinion_engine_cycle_ns_max", "The engine loop's longest cycle since the start.", |s| {
        s.engine_cycle_ns_max.get()
    }),
    gauge("pinion_connections", "Connections to the orders port.", |s| s.connections.get()),
    gauge("pinion_sessions_open", "Sessions that are logged in.", |s| s.sessions_open.get()),
    gauge("pinion_market_readers", "Readers of market data.", |s| s.market_readers.get()),
    counter("pinion_logins_refused_total", "Logins that failed.", |s| s.logins_refused.get()),
    counter("pinion_commands_total", "Commands since the start.", |s| s.commands.get()),
    counter("pinion_rejects_total", "Orders and cancels refused since the start.", |s| s.rejects.get()),
    counter("pinion_fills_total", "Trades since the start.", |s| s.fills.get()),
    counter("pinion_frames_total", "Journal frames that became durable since the start.", |s| s.frames.get()),
    counter("pinion_ring_entries_total", "Entries into the kernel since the start.", |s| s.ring_entries.get()),
    counter("pinion_market_readers_dropped_total", "Readers dropped for being slow.", |s| {
        s.market_readers_dropped.get()
    }),
];

/// Upper bounds of the histograms' buckets: 1, 2, 5 in each decade from 1 us to 10 s.
const BOUNDS_NS: [u64; 22] = {
    let mut bounds = [0; 22];
    let (mut idx, mut decade) = (0, 1_000);
    while idx < bounds.len() {
        bounds[idx] = [1, 2, 5][idx % 3] * decade;
        idx += 1;
        if idx.is_multiple_of(3) {
            decade *= 10;
        }
    }
    bounds
};
const _: () = assert!(BOUNDS_NS[0] == 1_000 && BOUNDS_NS[BOUNDS_NS.len() - 1] == 10_000_000_000);

const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

pub fn render(vitals: &Vitals, stages: &StageTotals) -> String {
    let mut text = String::with_capacity(16 << 10);
    let status = vitals.status();
    for metric in METRICS {
        line(&mut text, metric.name, metric.kind, metric.help, (metric.read)(status));
    }
    line(&mut text, "pinion_ready", "gauge", "Whether orders are taken.", u64::from(vitals.is_ready()));
    line(&mut text, "pinion_uptime_ms", "gauge", "Time since the start.", vitals.uptime().as_millis() as u64);
    if let Some(bytes) = resident_bytes() {
        line(&mut text, "pinion_memory_resident_bytes", "gauge", "Memory of the process.", bytes);
    }
    header(&mut text, "pinion_loop_age_ms", "gauge", "Time since the loop's last tick.");
    for pulse in vitals.pulses() {
        put(&mut text, format_args!("pinion_loop_age_ms{{loop=\"{}\"}} {}\n", pulse.name, pulse.age.as_millis()));
    }
    header(&mut text, "pinion_loop_cycles_total", "counter", "Cycles of the loop since the start.");
    for pulse in vitals.pulses() {
        put(&mut text, format_args!("pinion_loop_cycles_total{{loop=\"{}\"}} {}\n", pulse.name, pulse.cycles));
    }
    stages.read(|set| put_stages(&mut text, set));
    header(&mut text, "pinion_build_info", "gauge", "Which code this is.");
    let build =
        format_args!("pinion_build_info{{version=\"{VERSION}\",commit=\"{COMMIT}\",profile=\"{PROFILE}\"}} 1\n");
    put(&mut text, build);
    text
}

fn put_stages(text: &mut String, set: &StageSet) {
    header(
        text,
        "pinion_stage_seconds",
        "histogram",
        "Time of commands in each stage, to two digits, since the start.",
    );
    for (stage, times) in set.iter() {
        for ns in BOUNDS_NS {
            let (le, count) = (ns as f64 / 1e9, times.count_upto(ns));
            put(text, format_args!("pinion_stage_seconds_bucket{{stage=\"{stage}\",le=\"{le}\"}} {count}\n"));
        }
        let (count, sum_ns) = (times.count(), times.sum_ns());
        put(text, format_args!("pinion_stage_seconds_bucket{{stage=\"{stage}\",le=\"+Inf\"}} {count}\n"));
        let (s, ns) = (sum_ns / 1_000_000_000, sum_ns % 1_000_000_000);
        put(text, format_args!("pinion_stage_seconds_sum{{stage=\"{stage}\"}} {s}.{ns:09}\n"));
        put(text, format_args!("pinion_stage_seconds_count{{stage=\"{stage}\"}} {count}\n"));
    }
    header(text, "pinion_stage_quantile_ns", "gauge", "What this share of commands did not exceed since the start.");
    for (stage, times) in set.iter() {
        for quantile in QUANTILES {
            let ns = times.quantile_ns(quantile);
            put(text, format_args!("pinion_stage_quantile_ns{{stage=\"{stage}\",quantile=\"{quantile}\"}} {ns}\n"));
        }
        let max_ns = times.max_ns();
        put(text, format_args!("pinion_stage_quantile_ns{{stage=\"{stage}\",quantile=\"max\"}} {max_ns}\n"));
    }
}

fn line(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    header(text, name, kind, help);
    put(text, format_args!("{name} {value}\n"));
}

fn header(text: &mut String, name: &str, kind: &str, help: &str) {
    put(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a String takes whatever is written");
}

/// From `/proc/self/statm`, in pages of 4096 bytes as on every machine this runs on.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()? * 4_096)
}
