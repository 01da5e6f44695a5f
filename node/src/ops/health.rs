//! Whether the node lives and is ready, and how each of its parts is.
//!
//! A loop's age is counted here: from the moment at which its tick was last seen to move. So it needs no agreement on
//! clocks, and a loop that hangs grows old whatever it last wrote.

use crate::config::{Config, JournalSyncMode};
use crate::status::lifecycle::Lifecycle;
use crate::status::version::{COMMIT, PROFILE, VERSION};
use crate::status::{Status, Tick};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The engine's tick is older than this: not ready.
pub const ENGINE_AGE_MAX: Duration = Duration::from_secs(1);
/// The same for the other trading loops, which may wait for a disk or a slow reader.
pub const LOOP_AGE_MAX: Duration = Duration::from_secs(45);

/// A shadow further behind than this many commands is worth a look; it costs no order anything.
pub const SHADOW_LAG_MAX: u64 = 1 << 20;

/// A trading loop: its name, where it ticks, how old its tick may be.
struct Watched {
    name: &'static str,
    tick: fn(&Status) -> &Tick,
    age_max: Duration,
}

const LOOPS: [Watched; 4] = [
    Watched { name: "engine", tick: |status| &status.engine, age_max: ENGINE_AGE_MAX },
    Watched { name: "gateway", tick: |status| &status.gateway, age_max: LOOP_AGE_MAX },
    Watched { name: "store_writer", tick: |status| &status.store_writer, age_max: LOOP_AGE_MAX },
    Watched { name: "feed", tick: |status| &status.feed, age_max: LOOP_AGE_MAX },
];

#[derive(Clone, Copy)]
struct Seen {
    at_ns: u64,
    moved: Instant,
}

/// How a loop is now.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    pub name: &'static str,
    pub age: Duration,
    pub age_max: Duration,
    pub cycles: u64,
}

impl Pulse {
    pub fn is_late(&self) -> bool {
        self.age > self.age_max
    }
}

pub struct Vitals {
    lifecycle: Arc<Lifecycle>,
    status: Arc<Status>,
    seen: Mutex<[Seen; LOOPS.len()]>,
    started: Instant,
    name: String,
    journal_sync: JournalSyncMode,
}

impl Vitals {
    pub fn new(config: &Config, lifecycle: Arc<Lifecycle>, status: Arc<Status>) -> Self {
        let now = Instant::now();
        let seen = LOOPS.map(|watched| Seen { at_ns: (watched.tick)(&status).at_ns.get(), moved: now });
        let name = config.node.name.clone();
        Self { lifecycle, status, seen: Mutex::new(seen), started: now, name, journal_sync: config.journal.sync }
    }

    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Looks at every tick; called some hundred times a second.
    pub fn observe(&self) {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (seen, watched) in seen.iter_mut().zip(&LOOPS) {
            let at_ns = (watched.tick)(&self.status).at_ns.get();
            if at_ns != seen.at_ns {
                *seen = Seen { at_ns, moved: now };
            }
        }
    }

    pub fn pulses(&self) -> [Pulse; LOOPS.len()] {
        self.observe();
        let now = Instant::now();
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::array::from_fn(|idx| Pulse {
            name: LOOPS[idx].name,
            age: now.saturating_duration_since(seen[idx].moved),
            age_max: LOOPS[idx].age_max,
            cycles: (LOOPS[idx].tick)(&self.status).cycles.get(),
        })
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// What keeps the node from being ready, if anything: a name and a sentence.
    fn obstacle(&self) -> Option<(&'static str, String)> {
        if let Some(failure) = self.lifecycle.failure() {
            return Some(("node", failure.message));
        }
        if self.lifecycle.is_stopping() {
            return Some(("node", "stopping".to_owned()));
        }
        if !self.lifecycle.is_ready() {
            return Some(("node", "recovering".to_owned()));
        }
        let late = self.pulses().into_iter().find(Pulse::is_late)?;
        Some((late.name, format!("last tick {} ms ago, allowed {} ms", late.age.as_millis(), late.age_max.as_millis())))
    }

    pub fn is_ready(&self) -> bool {
        self.obstacle().is_none()
    }

    /// What somebody should look into although orders are taken.
    fn complaint(&self) -> Option<(&'static str, String)> {
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
            return Some(("shadow", format!("the last {failed} tries to take a snapshot failed: see the log")));
        }
        let behind = self.shadow_lag();
        (SHADOW_LAG_MAX < behind).then(|| ("shadow", format!("{behind} commands behind the live engine")))
    }

    fn shadow_lag(&self) -> u64 {
        self.status.watermarks.durable.get().0.saturating_sub(self.status.watermarks.shadow.get().0)
    }

    fn shadow(&self) -> Value {
        let status = &self.status;
        let (differs_at, behind) = (status.seq_hash_differs.get(), self.shadow_lag());
        json!({
            "state": if differs_at > 0 { "differs" } else if SHADOW_LAG_MAX < behind { "behind" } else { "following" },
            "hash_differs_at": (differs_at > 0).then_some(differs_at),
            "behind": behind,
            "cycles": status.shadow.cycles.get(),
            "snapshots": status.snapshots.get(),
            "snapshots_failed": status.snapshots_failed.get(),
            "snapshot_ms": status.snapshot_ns.get() / 1_000_000,
            "snapshot_bytes": status.snapshot_bytes.get(),
        })
    }

    pub fn ready(&self) -> Response {
        match self.obstacle() {
            None => Json(json!({ "ready": true })).into_response(),
            Some((name, detail)) => {
                let body = json!({ "ready": false, "loop": name, "detail": detail });
                (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
            }
        }
    }

    pub fn health(&self) -> Json<Value> {
        let (status, watermarks) = (&self.status, &self.status.watermarks);
        let last_error = self.lifecycle.failure().map(|failure| failure.message);
        let component = |pulse: &Pulse| {
            json!({
                "name": pulse.name,
                "state": if pulse.is_late() { "late" } else { "ok" },
                "age_ms": pulse.age.as_millis() as u64,
                "age_ms_max": pulse.age_max.as_millis() as u64,
                "cycles": pulse.cycles,
                "last_error": Value::Null,
            })
        };
        let (obstacle, complaint) = (self.obstacle(), self.complaint());
        let sync = match self.journal_sync {
            JournalSyncMode::Always => "always",
            JournalSyncMode::Interval => "interval",
        };
        Json(json!({
            "node": self.name,
            "status": match (&obstacle, &complaint) {
                (Some(_), _) => "not_ready",
                (None, Some(_)) => "degraded",
                (None, None) => "ok",
            },
            "detail": obstacle.or(complaint).map(|(name, detail)| format!("{name}: {detail}")),
            "uptime_ms": self.uptime().as_millis() as u64,
            "version": VERSION,
            "journal_sync": sync,
            // What was acknowledged may be lost in a power cut only where the journal is synced by interval.
            "acknowledged_is_durable": self.journal_sync == JournalSyncMode::Always,
            "last_error": last_error,
            "components": self.pulses().iter().map(component).collect::<Vec<_>>(),
            "watermarks": {
                "seq_next": watermarks.next.get().0,
                "seq_applied": watermarks.applied.get().0,
                "seq_released": watermarks.released.get().0,
                "seq_durable": watermarks.durable.get().0,
                "seq_stored": watermarks.stored.get().0,
                // No exporter is built yet.
                "seq_exported": 0,
                "seq_shadow": watermarks.shadow.get().0,
                "seq_history": watermarks.history.get().0,
                "seq_snapshot": watermarks.snapshot.get().0,
                "seq_truncated": watermarks.truncated.get().0,
            },
            "shadow": self.shadow(),
            "counts": {
                "connections": status.connections.get(),
                "sessions_open": status.sessions_open.get(),
                "logins_refused": status.logins_refused.get(),
                "commands": status.commands.get(),
                "rejects": status.rejects.get(),
                "fills": status.fills.get(),
                "market_readers": status.market_readers.get(),
                "market_readers_dropped": status.market_readers_dropped.get(),
            },
        }))
    }
}

pub fn version() -> Json<Value> {
    Json(json!({ "version": VERSION, "commit": COMMIT, "profile": PROFILE }))
}
