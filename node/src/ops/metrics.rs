//! `/metrics` in the Prometheus text format, version 0.0.4. Every value is read when the page is requested.

use super::health::{Health, LoopHealth};
use super::resources::MemoryUse;
use crate::host::descriptors;
use crate::rings::stage_times::StageSet;
use crate::rings::stages::StageTotals;
use crate::status::Status;
use crate::status::listeners::{ListenerStatus, Listeners};
use crate::status::logging;
use crate::status::logins::LoginStatus;
use crate::status::restarts::Restarts;
use crate::status::version::{COMMIT, PROFILE, VERSION};
use std::fmt::Write;
use wal::table::{Family, TableFigures};

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
    gauge("pinion_seq_next", "Sequence of the next command.", |s| s.watermarks.next.get().0),
    gauge("pinion_seq_applied", "Last command applied by the engine.", |s| s.watermarks.applied.get().0),
    gauge("pinion_seq_released", "Last command whose answers may be sent.", |s| s.watermarks.released.get().0),
    gauge("pinion_seq_durable", "Last command that survives a power cut.", |s| s.watermarks.durable.get().0),
    gauge("pinion_seq_stored", "Last command flushed to RocksDB.", |s| s.watermarks.stored.get().0),
    gauge("pinion_seq_exported", "Last command in the reporting database; 0 without an exporter.", |_| 0),
    gauge("pinion_seq_shadow", "Last command applied by the shadow engine.", |s| s.watermarks.shadow.get().0),
    gauge("pinion_seq_history", "Last command in the history.", |s| s.watermarks.history.get().0),
    gauge("pinion_seq_snapshot", "Last command in the newest snapshot.", |s| s.watermarks.snapshot.get().0),
    gauge("pinion_seq_truncated", "Last command that was truncated from the log.", |s| s.watermarks.truncated.get().0),
    gauge("pinion_seq_hash_differs", "First check at which shadow and live engine differ; 0 while they agree.", |s| {
        s.seq_hash_differs.get()
    }),
    counter("pinion_damage_found_total", "Damaged frames, snapshots and store files found since the start.", |s| {
        s.damage_found.get()
    }),
    counter("pinion_scrub_rounds_total", "Complete reads of the log and all snapshots by the scrubber.", |s| {
        s.scrub_rounds.get()
    }),
    counter("pinion_patrol_rounds_total", "Old name of pinion_scrub_rounds_total, kept for one release.", |s| {
        s.scrub_rounds.get()
    }),
    gauge("pinion_snapshot_ns", "Time to take the newest snapshot.", |s| s.snapshot_ns.get()),
    gauge("pinion_snapshot_bytes", "File size of the newest snapshot.", |s| s.snapshot_bytes.get()),
    counter("pinion_snapshots_total", "Snapshots taken since the start.", |s| s.snapshots.get()),
    counter("pinion_snapshots_failed_total", "Failed attempts to take a snapshot since the start.", |s| {
        s.snapshots_failed.get()
    }),
    counter("pinion_store_merges_total", "Merges of small files of the store since the start.", |s| {
        s.store_merges.get()
    }),
    counter("pinion_store_merged_bytes_total", "Bytes of the small files merged since the start.", |s| {
        s.store_merged_bytes.get()
    }),
    gauge("pinion_engine_cycle_ns_max", "Longest cycle of the engine loop since the start.", |s| {
        s.engine_cycle_ns_max.get()
    }),
    gauge("pinion_rules", "Rules version in force.", |s| s.rules.get()),
    gauge("pinion_format", "Format of the data directory.", |s| s.format.get()),
    gauge(
        "pinion_intake_stopped",
        "0 while new orders are taken, 1 when the node has stopped them, 2 an operator.",
        |s| s.intake.get(),
    ),
    gauge("pinion_disk_total_bytes", "Size of the file system of the data directory.", |s| s.disk.total_bytes.get()),
    gauge("pinion_disk_free_bytes", "Bytes that the node may still use there.", |s| s.disk.free_bytes.get()),
    gauge("pinion_disk_used_percent", "Use of that file system, rounded up.", |s| s.disk.used_percent.get()),
    gauge("pinion_ballast_bytes", "Size of the ballast; 0 where it was deleted.", |s| s.disk.ballast_bytes.get()),
    gauge("pinion_seq_backup", "Last command in a backup that was reported; 0 before that.", |s| s.backup.seq.get()),
    gauge("pinion_recovery_commands", "Commands that the start had to replay.", |s| s.recovery.commands.get()),
    gauge("pinion_recovery_commands_replayed", "How many of them are replayed.", |s| {
        s.recovery.commands_replayed.get()
    }),
    gauge("pinion_connections", "Open connections to the orders port.", |s| s.connections.get()),
    gauge("pinion_sessions_open", "Sessions that are logged in.", |s| s.sessions_open.get()),
    gauge("pinion_market_readers", "Connected readers of market data.", |s| s.market_readers.get()),
    gauge("pinion_logins_waiting", "Logins that wait for the check of their password.", |s| s.logins.waiting.get()),
    counter("pinion_login_locks_total", "Users locked at a block of addresses for wrong passwords.", |s| {
        s.logins.locks.get()
    }),
    counter("pinion_commands_total", "Commands applied since the start.", |s| s.commands.get()),
    counter("pinion_rejects_total", "Rejected orders and cancels since the start.", |s| s.rejects.get()),
    counter("pinion_fills_total", "Fills since the start.", |s| s.fills.get()),
    counter("pinion_frames_total", "Durable journal frames passed to the store writer since the start.", |s| {
        s.frames.get()
    }),
    counter("pinion_ring_entries_total", "System calls of the engine's io_uring since the start.", |s| {
        s.ring_entries.get()
    }),
    counter("pinion_feed_gaps_total", "Times that market data lagged so far that it lost events of the engine.", |s| {
        s.feed_gaps.get()
    }),
    counter("pinion_feed_snapshots_total", "Snapshots of market data that were encoded.", |s| s.feed_snapshots.get()),
    counter("pinion_feed_top_looks_total", "Instruments looked at for readers of the best levels.", |s| {
        s.feed_top_looks.get()
    }),
    counter("pinion_market_connections_refused_total", "Connections to the market port closed when accepted.", |s| {
        s.listeners.market.refused.get()
    }),
    counter("pinion_market_readers_dropped_total", "Market-data readers disconnected because they were slow.", |s| {
        s.market_readers_dropped.get()
    }),
];

/// Upper bounds of the histogram's buckets: 1, 2 and 5 in each decade from 1 us to 10 s.
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

/// Loops that were renamed: the name, and the old one, under which their samples stay for one release.
pub const LOOP_ALIASES: [(&str, &str); 1] = [("store_writer", "keeper")];

/// `stages` are there once the node serves.
pub fn render(health: &Health, stages: Option<&StageTotals>) -> String {
    let mut text = String::with_capacity(16 << 10);
    let status = health.status();
    for metric in METRICS {
        line(&mut text, metric.name, metric.kind, metric.help, (metric.read)(status));
    }
    line(&mut text, "pinion_ready", "gauge", "1 while the node accepts orders, else 0.", u64::from(health.is_ready()));
    line(&mut text, "pinion_uptime_ms", "gauge", "Time since the start.", health.uptime().as_millis() as u64);
    put_resources(&mut text, health);
    if let Some(open) = descriptors::open_count() {
        line(&mut text, "pinion_descriptors_open", "gauge", "Open descriptors of the process.", open);
    }
    let help = "Descriptors that the process may have open.";
    line(&mut text, "pinion_descriptors_limit", "gauge", help, descriptors::limit());
    let (help, writes) = ("Time for which applied commands wait and none becomes durable.", health.waiting_writes());
    line(&mut text, "pinion_write_wait_ms", "gauge", help, writes.age.as_millis() as u64);
    let log = logging::figures();
    let help = "Log lines that could not be written, since the start.";
    line(&mut text, "pinion_log_lines_dropped_total", "counter", help, log.lines_dropped);
    let help = "Times that log.dir was removed and made again, since the start.";
    line(&mut text, "pinion_log_dirs_made_total", "counter", help, log.dirs_made);
    put_clock(&mut text, status);
    put_store(&mut text, &health.store_figures());
    put_loops(&mut text, &health.loops());
    put_listeners(&mut text, &status.listeners);
    put_refused(&mut text, &status.logins);
    put_restarts(&mut text, &status.restarts);
    if let Some(stages) = stages {
        stages.read(|set| put_stages(&mut text, set));
    }
    header(&mut text, "pinion_build_info", "gauge", "Version, commit and profile of this build; always 1.");
    let build =
        format_args!("pinion_build_info{{version=\"{VERSION}\",commit=\"{COMMIT}\",profile=\"{PROFILE}\"}} 1\n");
    put(&mut text, build);
    text
}

/// Labels of a loop: its name, and the name that it had in the release before.
fn loop_labels(name: &'static str) -> impl Iterator<Item = &'static str> {
    let old_name = LOOP_ALIASES.iter().find(|(now, _)| *now == name).map(|(_, old)| *old);
    std::iter::once(name).chain(old_name)
}

fn put_resources(text: &mut String, health: &Health) {
    if let Some(MemoryUse { resident_bytes, limit_bytes }) = health.memory() {
        line(text, "pinion_memory_resident_bytes", "gauge", "Resident memory of the process.", resident_bytes);
        line(text, "pinion_memory_limit_bytes", "gauge", "Memory that the process may have.", limit_bytes);
    }
    if let Some(age) = health.backup_age() {
        let help = "Time since the last report of a backup.";
        line(text, "pinion_backup_age_ms", "gauge", help, age.as_millis() as u64);
    }
    if let Some(lag) = health.backup_lag() {
        let help = "Commands that the node has and the last reported backup has not.";
        line(text, "pinion_backup_lag_commands", "gauge", help, lag);
    }
}

fn put_clock(text: &mut String, status: &Status) {
    for (name, help, value) in [
        ("pinion_clock_error_ns", "By how much the node's clock is ahead of the wall clock.", &status.clock_error_ns),
        (
            "pinion_clock_rate_ppb",
            "How much faster than the processor's counter the node's clock runs, in 1e-9.",
            &status.clock_rate_ppb,
        ),
    ] {
        header(text, name, "gauge", help);
        put(text, format_args!("{name} {}\n", value.get_signed()));
    }
}

fn put_store(text: &mut String, figures: &TableFigures) {
    let families = || Family::ALL.map(Family::name).into_iter().zip(&figures.families);
    header(text, "pinion_store_files", "gauge", "Files of the store, by family and RocksDB's level.");
    for (family, found) in families() {
        for (level, files) in found.files.iter().enumerate() {
            put(text, format_args!("pinion_store_files{{family=\"{family}\",level=\"{level}\"}} {files}\n"));
        }
    }
    header(text, "pinion_store_bytes", "gauge", "Bytes in these files.");
    for (family, found) in families() {
        put(text, format_args!("pinion_store_bytes{{family=\"{family}\"}} {}\n", found.bytes));
    }
    header(text, "pinion_store_pending_bytes", "gauge", "Bytes that RocksDB still has to rewrite.");
    for (family, found) in families() {
        put(text, format_args!("pinion_store_pending_bytes{{family=\"{family}\"}} {}\n", found.pending_bytes));
    }
    let delayed = figures.delayed_bytes_per_second;
    line(text, "pinion_store_delayed_bytes_per_second", "gauge", "Rate to which writes are delayed, else 0.", delayed);
    let stopped = u64::from(figures.is_stopped);
    line(text, "pinion_store_writes_stopped", "gauge", "1 while RocksDB has stopped writes, else 0.", stopped);
}

fn put_loops(text: &mut String, loops: &[LoopHealth]) {
    header(text, "pinion_loop_age_ms", "gauge", "Time since the last tick of the loop.");
    for health in loops {
        for label in loop_labels(health.name) {
            put(text, format_args!("pinion_loop_age_ms{{loop=\"{label}\"}} {}\n", health.age.as_millis()));
        }
    }
    header(text, "pinion_loop_cycles_total", "counter", "Cycles of the loop since the start.");
    for health in loops {
        for label in loop_labels(health.name) {
            put(text, format_args!("pinion_loop_cycles_total{{loop=\"{label}\"}} {}\n", health.cycles));
        }
    }
}

/// Metrics of each listener: name, kind, help, and the value.
type ListenerMetric = (&'static str, &'static str, &'static str, fn(&ListenerStatus) -> u64);

const LISTENER_METRICS: [ListenerMetric; 3] = [
    ("pinion_listener_at_limit", "gauge", "1 while the listener is at a limit, else 0.", |listener| {
        u64::from(listener.limit().is_some())
    }),
    ("pinion_listener_limited_total", "counter", "Episodes in which the listener was at a limit.", |listener| {
        listener.limited.get()
    }),
    (
        "pinion_connections_displaced_total",
        "counter",
        "Connections without a login or a request in progress that were closed to make room.",
        |listener| listener.displaced.get(),
    ),
];

fn put_listeners(text: &mut String, listeners: &Listeners) {
    for (name, kind, help, read) in LISTENER_METRICS {
        header(text, name, kind, help);
        for (listener, status) in listeners.all() {
            put(text, format_args!("{name}{{listener=\"{listener}\"}} {}\n", read(status)));
        }
    }
}

fn put_refused(text: &mut String, logins: &LoginStatus) {
    header(text, "pinion_logins_refused_total", "counter", "Logins that did not open their session, by reason.");
    for (reason, count) in logins.all() {
        put(text, format_args!("pinion_logins_refused_total{{reason=\"{reason}\"}} {count}\n"));
    }
    let help = "Connections to the orders port that were closed when they were accepted, by reason.";
    header(text, "pinion_connections_refused_total", "counter", help);
    for (reason, count) in logins.connections() {
        put(text, format_args!("pinion_connections_refused_total{{reason=\"{reason}\"}} {count}\n"));
    }
}

fn put_restarts(text: &mut String, restarts: &Restarts) {
    header(text, "pinion_thread_restarts_total", "counter", "Restarts of the thread after a panic.");
    for (worker, found) in restarts.all() {
        let (name, count) = (worker.name(), found.count.get());
        put(text, format_args!("pinion_thread_restarts_total{{thread=\"{name}\"}} {count}\n"));
    }
}

fn put_stages(text: &mut String, set: &StageSet) {
    header(
        text,
        "pinion_stage_seconds",
        "histogram",
        "Latency of commands in each stage since the start, to two digits.",
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
    header(text, "pinion_stage_quantile_ns", "gauge", "Latency quantile of commands in each stage since the start.");
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
    text.write_fmt(arguments).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_renamed_loop_keeps_its_old_label() {
        let mut text = String::new();
        let (age, age_max) = (Duration::from_millis(7), Duration::from_secs(1));
        put_loops(&mut text, &["store_writer", "feed"].map(|name| LoopHealth { name, age, age_max, cycles: 9 }));
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "pinion_loop_age_ms{loop=\"store_writer\"} 7",
                "pinion_loop_age_ms{loop=\"keeper\"} 7",
                "pinion_loop_age_ms{loop=\"feed\"} 7",
                "pinion_loop_cycles_total{loop=\"store_writer\"} 9",
                "pinion_loop_cycles_total{loop=\"keeper\"} 9",
                "pinion_loop_cycles_total{loop=\"feed\"} 9",
            ]
        );
    }
}
