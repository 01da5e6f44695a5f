//! `/ready` and `/health`: whether the node accepts orders, and the state of each of its loops.
//!
//! The age of a loop is measured here, from when its tick was last seen to change. So the loops' clocks need not agree
//! with this one, and a loop that hangs ages whatever it last wrote.

use super::resources::{Bounds, MemoryUse, intake_json};
use super::write_wait::{WaitingWrites, WriteWait};
use crate::config::human::show_duration;
use crate::config::{Config, JournalSyncMode};
use crate::host::descriptors;
use crate::status::lifecycle::Lifecycle;
use crate::status::listeners::{Limit, ListenerStatus};
use crate::status::logging::{self, LogFigures};
use crate::status::restarts::{Restarts, Worker, WorkerRestarts};
use crate::status::torn_ends;
use crate::status::version::{COMMIT, PROFILE, VERSION};
use crate::status::{Status, Tick};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};
use wal::rocks::options::{LEVEL0_FILES_SLOW, PENDING_BYTES_SLOW};
use wal::store::Store;
use wal::table::{Family, TableFigures};
use wal::torn_ends::TornEnd;

/// The node is not ready if the engine loop's tick is older than this.
pub const ENGINE_AGE_MAX: Duration = Duration::from_secs(1);
/// The same limit for the other trading loops, which may wait for a disk or for slow clients.
pub const LOOP_AGE_MAX: Duration = Duration::from_secs(45);

/// A shadow with a lag of more commands than this makes the node degraded. Orders are not affected.
pub const SHADOW_LAG_MAX: u64 = 1 << 20;

/// A trading loop: its name, its tick, and how old the tick may be.
struct WatchedLoop {
    name: &'static str,
    tick: fn(&Status) -> &Tick,
    age_max: Duration,
}

const LOOPS: [WatchedLoop; 4] = [
    WatchedLoop { name: "engine", tick: |status| &status.engine, age_max: ENGINE_AGE_MAX },
    WatchedLoop { name: "gateway", tick: |status| &status.gateway, age_max: LOOP_AGE_MAX },
    WatchedLoop { name: "store_writer", tick: |status| &status.store_writer, age_max: LOOP_AGE_MAX },
    WatchedLoop { name: "feed", tick: |status| &status.feed, age_max: LOOP_AGE_MAX },
];

#[derive(Clone, Copy)]
struct Seen {
    at_ns: u64,
    moved: Instant,
}

/// The health of one loop.
#[derive(Clone, Copy, Debug)]
pub struct LoopHealth {
    pub name: &'static str,
    pub age: Duration,
    pub age_max: Duration,
    pub cycles: u64,
}

impl LoopHealth {
    pub fn is_late(&self) -> bool {
        self.age > self.age_max
    }
}

/// What `/ready`, `/health` and `/metrics` are computed from.
pub struct Health {
    lifecycle: Arc<Lifecycle>,
    status: Arc<Status>,
    /// Set once the node serves, and gone once it has stopped.
    store: OnceLock<Weak<Store>>,
    seen: Mutex<[Seen; LOOPS.len()]>,
    write_wait: Mutex<WriteWait>,
    started: Instant,
    name: String,
    journal_sync: JournalSyncMode,
    clock_error_max: Duration,
    bounds: Bounds,
    backup_age_max: Duration,
    /// The reports of backups that were seen, and when the last one came.
    backup_seen: Mutex<Option<(u64, Instant)>>,
}

impl Health {
    pub fn new(config: &Config, lifecycle: Arc<Lifecycle>, status: Arc<Status>) -> Self {
        let now = Instant::now();
        let seen = LOOPS.map(|watched| Seen { at_ns: (watched.tick)(&status).at_ns.get(), moved: now });
        let name = config.node.name.clone();
        let (seen, journal_sync) = (Mutex::new(seen), config.journal.sync);
        let write_wait = Mutex::new(WriteWait::new(now, &config.journal));
        Self {
            lifecycle,
            status,
            store: OnceLock::new(),
            seen,
            write_wait,
            started: now,
            name,
            journal_sync,
            clock_error_max: config.node.clock_error_max,
            bounds: Bounds::of(config),
            backup_age_max: config.store.backup_age_max,
            backup_seen: Mutex::default(),
        }
    }

    /// The node serves from now on, with this store.
    pub fn serve(&self, store: Weak<Store>) {
        // Set once: a second node would have another `Health`.
        let _ = self.store.set(store);
    }

    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The files of the store as they are now. RocksDB answers from memory; zeros where it has failed or is closed.
    pub fn store_figures(&self) -> TableFigures {
        let store = self.store.get().and_then(Weak::upgrade);
        store.and_then(|store| store.figures().ok()).unwrap_or_default()
    }

    /// Looks at every tick, and at what waits for the disk, to measure ages. To be called much more often than
    /// the shortest allowed age.
    pub fn observe(&self) {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (seen, watched) in seen.iter_mut().zip(&LOOPS) {
            let at_ns = (watched.tick)(&self.status).at_ns.get();
            // Before a node serves no loop can be late.
            if at_ns != seen.at_ns || !self.lifecycle.is_ready() {
                *seen = Seen { at_ns, moved: now };
            }
        }
        // In this order: what is applied is never less.
        let watermarks = &self.status.watermarks;
        let (durable, applied) = (watermarks.durable.get().0, watermarks.applied.get().0);
        let mut write_wait = self.write_wait.lock().unwrap_or_else(PoisonError::into_inner);
        write_wait.observe(now, applied, durable);
        let (reports, mut backup_seen) = (self.status.backup.reports.get(), self.backup_seen());
        if 0 < reports && backup_seen.is_none_or(|(seen, _)| seen != reports) {
            *backup_seen = Some((reports, now));
        }
    }

    fn backup_seen(&self) -> MutexGuard<'_, Option<(u64, Instant)>> {
        self.backup_seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long ago the last backup was reported; `None` before the first since the start.
    pub fn backup_age(&self) -> Option<Duration> {
        self.observe();
        self.backup_seen().map(|(_, at)| at.elapsed())
    }

    fn backup_reason(&self) -> Option<(&'static str, String)> {
        // Before the first report the node itself is as old as the backup may be.
        let age = self.backup_age().unwrap_or_else(|| self.uptime());
        let is_late = !self.backup_age_max.is_zero() && self.backup_age_max < age;
        let (age, max) = (age.as_secs(), show_duration(self.backup_age_max));
        is_late.then(|| ("backup", format!("no backup was reported for {age} s, allowed {max} (store.backup_age_max)")))
    }

    fn backup(&self) -> Value {
        let age = self.backup_age();
        json!({
            "state": match (self.backup_reason(), age) {
                (Some(_), _) => "late",
                (None, None) => "unknown",
                (None, Some(_)) => "ok",
            },
            "seq": age.map(|_| self.status.backup.seq.get()),
            "age_ms": age.map(|age| age.as_millis() as u64),
            "lag_commands": self.backup_lag(),
        })
    }

    /// Commands that the node has and the last reported backup has not; `None` before the first report.
    pub fn backup_lag(&self) -> Option<u64> {
        let durable = self.status.watermarks.durable.get().0;
        self.backup_age().map(|_| durable.saturating_sub(self.status.backup.seq.get()))
    }

    fn recovery(&self) -> Value {
        let recovery = &self.status.recovery;
        json!({
            "stage": recovery.stage().name(),
            "seq_snapshot": recovery.seq_snapshot.get(),
            "commands": recovery.commands.get(),
            "commands_replayed": recovery.commands_replayed.get(),
        })
    }

    pub fn waiting_writes(&self) -> WaitingWrites {
        self.observe();
        self.write_wait.lock().unwrap_or_else(PoisonError::into_inner).waiting(Instant::now())
    }

    pub fn loops(&self) -> [LoopHealth; LOOPS.len()] {
        self.observe();
        let now = Instant::now();
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::array::from_fn(|idx| LoopHealth {
            name: LOOPS[idx].name,
            age: now.saturating_duration_since(seen[idx].moved),
            age_max: LOOPS[idx].age_max,
            cycles: (LOOPS[idx].tick)(&self.status).cycles.get(),
        })
    }

    pub fn memory(&self) -> Option<MemoryUse> {
        MemoryUse::now(self.bounds.memory_max)
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Why the node is not ready, if it is not: the name of a part, and a sentence.
    fn not_ready_reason(&self) -> Option<(&'static str, String)> {
        if let Some(failure) = self.lifecycle.failure() {
            return Some(("node", failure.message));
        }
        if self.lifecycle.is_stopping() {
            return Some(("node", "stopping".to_owned()));
        }
        if !self.lifecycle.is_ready() {
            return Some(("node", self.status.recovery.describe()));
        }
        if let Some(late) = self.loops().into_iter().find(LoopHealth::is_late) {
            let (age, age_max) = (late.age.as_millis(), late.age_max.as_millis());
            return Some((late.name, format!("last tick {age} ms ago, allowed {age_max} ms")));
        }
        let writes = self.waiting_writes();
        let (count, age, age_max) = (writes.count, writes.age.as_millis(), writes.age_max.as_millis());
        let detail = || format!("{count} commands wait for the disk, none durable for {age} ms, allowed {age_max} ms");
        writes.is_late().then(|| ("journal", detail()))
    }

    pub fn is_ready(&self) -> bool {
        self.not_ready_reason().is_none()
    }

    /// What an operator should look into although orders are accepted: the name of a part, and a sentence.
    fn degraded_reason(&self) -> Option<(&'static str, String)> {
        let status = &self.status;
        let (differs_at, failed) = (status.seq_hash_differs.get(), status.snapshots_failed_in_a_row.get());
        if differs_at > 0 {
            let detail = format!("its state differs from the live engine's at sequence {differs_at}");
            return Some(("shadow", format!("{detail}; it keeps and answers nothing more")));
        }
        if let Some(damage) = status.damage() {
            return Some(("scrubber", damage));
        }
        if failed > 0 {
            return Some(("shadow", format!("the last {failed} attempts to take a snapshot failed: see the log file")));
        }
        if let Some(detail) = store_reason(&self.store_figures(), status.store_merges_failed_in_a_row.get()) {
            return Some(("store", detail));
        }
        let lag = self.shadow_lag();
        if SHADOW_LAG_MAX < lag {
            return Some(("shadow", format!("its lag is {lag} commands; trading is not affected")));
        }
        let reason = self.bounds.reason(status).or_else(|| self.clock_reason()).or_else(|| self.limited_reason());
        let reason = reason.or_else(|| self.backup_reason()).or_else(|| status.restarts.degraded_reason());
        reason.or_else(log_reason).or_else(|| self.torn_end_reason())
    }

    /// The oldest torn end that no operator has acknowledged.
    fn torn_end_reason(&self) -> Option<(&'static str, String)> {
        self.status.torn_ends.waiting().first().map(|end| ("journal", torn_ends::describe(end)))
    }

    /// Whether the node's clock and the wall clock differ by more than they may.
    fn clock_is_apart(&self) -> bool {
        let error_ns = self.status.clock_error_ns.get_signed().unsigned_abs();
        self.clock_error_max < Duration::from_nanos(error_ns)
    }

    fn clock_reason(&self) -> Option<(&'static str, String)> {
        let error_ns = self.status.clock_error_ns.get_signed();
        let side = if error_ns < 0 { "behind" } else { "ahead of" };
        let (ms, max) = (error_ns.unsigned_abs() / 1_000_000, show_duration(self.clock_error_max));
        let detail = format!("it is {ms} ms {side} the wall clock, allowed {max} (node.clock_error_max)");
        self.clock_is_apart().then(|| ("clock", format!("{detail}; log time is led there slowly")))
    }

    fn clock(&self) -> Value {
        json!({
            "state": if self.clock_is_apart() { "apart" } else { "ok" },
            "error_ns": self.status.clock_error_ns.get_signed(),
            "error_ns_max": self.clock_error_max.as_nanos() as u64,
            "rate_ppb": self.status.clock_rate_ppb.get_signed(),
            "cycles": self.status.clock.cycles.get(),
        })
    }

    /// The listener that is at a limit, if one is.
    fn limited_reason(&self) -> Option<(&'static str, String)> {
        let listeners = self.status.listeners.all();
        let (name, limit) = listeners.into_iter().find_map(|(name, listener)| Some((name, listener.limit()?)))?;
        let detail = match limit {
            Limit::Connections => "all its connections are in use",
            Limit::Accept => "the kernel refuses connections: see the log file",
        };
        let order = "those without a login or a request are closed for new ones";
        Some(("listeners", format!("{name}: {detail}; {order}; open sessions are not affected")))
    }

    /// Durable commands that the shadow has not applied yet.
    fn shadow_lag(&self) -> u64 {
        self.status.watermarks.durable.get().0.saturating_sub(self.status.watermarks.shadow.get().0)
    }

    fn shadow(&self) -> Value {
        let status = &self.status;
        let (differs_at, lag) = (status.seq_hash_differs.get(), self.shadow_lag());
        json!({
            "state": if differs_at > 0 { "differs" } else if SHADOW_LAG_MAX < lag { "behind" } else { "following" },
            "hash_differs_at": (differs_at > 0).then_some(differs_at),
            "behind": lag,
            "cycles": status.shadow.cycles.get(),
            "snapshots": status.snapshots.get(),
            "snapshots_failed": status.snapshots_failed.get(),
            "snapshot_ms": status.snapshot_ns.get() / 1_000_000,
            "snapshot_bytes": status.snapshot_bytes.get(),
        })
    }

    pub fn ready_response(&self) -> Response {
        match self.not_ready_reason() {
            None => Json(json!({ "ready": true })).into_response(),
            Some((name, detail)) => {
                let body = json!({ "ready": false, "loop": name, "detail": detail });
                (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
            }
        }
    }

    pub fn report(&self) -> Json<Value> {
        let (status, watermarks) = (&self.status, &self.status.watermarks);
        let last_error = self.lifecycle.failure().map(|failure| failure.message);
        let component = |health: &LoopHealth| {
            json!({
                "name": health.name,
                "state": match (self.lifecycle.is_ready(), health.is_late()) {
                    (false, _) => "starting",
                    (true, true) => "late",
                    (true, false) => "ok",
                },
                "age_ms": health.age.as_millis() as u64,
                "age_ms_max": health.age_max.as_millis() as u64,
                "cycles": health.cycles,
                "last_error": Value::Null,
            })
        };
        let (not_ready_reason, degraded_reason) = (self.not_ready_reason(), self.degraded_reason());
        let sync = match self.journal_sync {
            JournalSyncMode::Always => "always",
            JournalSyncMode::Interval => "interval",
        };
        Json(json!({
            "node": self.name,
            "status": match (&not_ready_reason, &degraded_reason) {
                (Some(_), _) => "not_ready",
                (None, Some(_)) => "degraded",
                (None, None) => "ok",
            },
            "detail": not_ready_reason.or(degraded_reason).map(|(name, detail)| format!("{name}: {detail}")),
            "uptime_ms": self.uptime().as_millis() as u64,
            "version": VERSION,
            "journal_sync": sync,
            // A power cut can lose acknowledged commands only if the journal is synced by interval.
            "acknowledged_is_durable": self.journal_sync == JournalSyncMode::Always,
            "last_error": last_error,
            "components": self.loops().iter().map(component).collect::<Vec<_>>(),
            "watermarks": {
                "seq_next": watermarks.next.get().0,
                "seq_applied": watermarks.applied.get().0,
                "seq_released": watermarks.released.get().0,
                "seq_durable": watermarks.durable.get().0,
                "seq_stored": watermarks.stored.get().0,
                // There is no exporter yet.
                "seq_exported": 0,
                "seq_shadow": watermarks.shadow.get().0,
                "seq_history": watermarks.history.get().0,
                "seq_snapshot": watermarks.snapshot.get().0,
                "seq_truncated": watermarks.truncated.get().0,
            },
            "shadow": self.shadow(),
            "rules": status.rules.get(),
            "format": status.format.get(),
            "recovery": self.recovery(),
            "intake": intake_json(status),
            "disk": self.bounds.disk_json(status),
            "memory": self.bounds.memory_json(),
            "backup": self.backup(),
            "descriptors": { "open": descriptors::open_count(), "limit": descriptors::limit() },
            "listeners": status.listeners.all().map(|(name, listener)| listener_json(name, listener)),
            "threads": threads(&status.restarts),
            "journal": journal_json(&self.waiting_writes()),
            "torn_ends": status.torn_ends.waiting().iter().map(torn_end_json).collect::<Vec<_>>(),
            "clock": self.clock(),
            "log": log_json(&logging::figures()),
            "counts": counts_json(status),
        }))
    }
}

fn torn_end_json(end: &TornEnd) -> Value {
    json!({
        "seq": end.seq.0,
        "file": format!("head/{}", end.place.segment.file_name()),
        "offset": end.place.offset,
        "found": end.found,
        "frames_intact": end.frames_intact,
        "blocks_wiped": end.blocks,
    })
}

fn counts_json(status: &Status) -> Value {
    json!({
        "connections": status.connections.get(),
        "sessions_open": status.sessions_open.get(),
        "logins_waiting": status.logins.waiting.get(),
        "logins_refused": status.logins.refused_total(),
        "commands": status.commands.get(),
        "rejects": status.rejects.get(),
        "fills": status.fills.get(),
        "market_readers": status.market_readers.get(),
        "market_readers_dropped": status.market_readers_dropped.get(),
    })
}

fn listener_json(name: &str, listener: &ListenerStatus) -> Value {
    let state = match listener.limit() {
        None => "ok",
        Some(Limit::Connections) => "full",
        Some(Limit::Accept) => "refused",
    };
    json!({
        "name": name,
        "state": state,
        "limited": listener.limited.get(),
        "displaced": listener.displaced.get(),
    })
}

/// The threads that are started again after a panic.
fn threads(restarts: &Restarts) -> Value {
    let thread = |(worker, restarts): (Worker, &WorkerRestarts)| json!({ "name": worker.name(), "restarts": restarts.count.get(), "last_panic": restarts.message() });
    restarts.all().map(thread).collect()
}

fn journal_json(writes: &WaitingWrites) -> Value {
    json!({
        "state": if writes.is_late() { "late" } else { "ok" },
        "commands_waiting": writes.count,
        "age_ms": writes.age.as_millis() as u64,
        "age_ms_max": writes.age_max.as_millis() as u64,
    })
}

fn log_json(figures: &LogFigures) -> Value {
    json!({
        "state": if figures.trouble.is_some() { "dropping" } else { "ok" },
        "lines_dropped": figures.lines_dropped,
        "dirs_made": figures.dirs_made,
        "detail": figures.trouble,
    })
}

fn log_reason() -> Option<(&'static str, String)> {
    let LogFigures { lines_dropped, trouble, .. } = logging::figures();
    Some(("log", format!("{}; {lines_dropped} lines were dropped since the start; trading is not affected", trouble?)))
}

/// What is wrong with the files of the store, if something is. Merges that do not keep up are reported at half of
/// what makes RocksDB delay writes: a delayed store writer does not free the journal, and orders wait for that.
fn store_reason(figures: &TableFigures, failed: u64) -> Option<String> {
    if figures.is_stopped {
        return Some("RocksDB has stopped writes until a merge has ended: see the disk; orders wait soon".to_owned());
    }
    if figures.delayed_bytes_per_second > 0 {
        let rate = figures.delayed_bytes_per_second;
        return Some(format!("RocksDB delays writes to {rate} bytes/s because merges do not keep up: see the disk"));
    }
    for (family, found) in Family::ALL.into_iter().zip(&figures.families) {
        let (name, files, pending) = (family.name(), found.files[0], found.pending_bytes);
        if LEVEL0_FILES_SLOW / 2 <= files {
            let limit = LEVEL0_FILES_SLOW;
            return Some(format!("{files} files of {name} wait to be merged, and writes are delayed from {limit} on"));
        }
        if PENDING_BYTES_SLOW / 2 <= pending {
            let limit = PENDING_BYTES_SLOW;
            return Some(format!(
                "{pending} bytes of {name} wait to be merged, and writes are delayed from {limit} on"
            ));
        }
    }
    (failed > 0).then(|| format!("the last {failed} attempts to merge small files failed: see the log file"))
}

pub fn version() -> Json<Value> {
    Json(json!({ "version": VERSION, "commit": COMMIT, "profile": PROFILE }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_that_do_not_keep_up_are_reported_before_writes_wait() {
        let check = |change: fn(&mut TableFigures), failed, expected: &str| {
            let mut figures = TableFigures::default();
            change(&mut figures);
            let found = store_reason(&figures, failed).unwrap_or_default();
            assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{found}");
        };
        check(|_| {}, 0, "");
        check(|figures| figures.families[0].files = [31, 500, 0, 0, 0, 0, 0], 0, "");
        check(|figures| figures.families[0].files[0] = 32, 0, "32 files of log wait to be merged");
        check(|figures| figures.families[1].pending_bytes = 31 << 30, 0, "");
        check(|figures| figures.families[1].pending_bytes = 32 << 30, 0, "34359738368 bytes of history wait");
        check(|figures| figures.delayed_bytes_per_second = 9, 0, "delays writes to 9 bytes/s");
        check(|figures| figures.is_stopped = true, 0, "stopped writes");
        check(|_| {}, 2, "the last 2 attempts to merge");
    }
}
