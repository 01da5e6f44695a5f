//! What the loops tell the rest of the process about themselves: watermarks, ticks, counts. Plain atomics, written by one
//! loop each, read by anybody; nothing is decided from them but what to show.

pub mod exit;
pub mod logging;
pub mod version;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A number that one loop writes and others read.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Gauge(AtomicU64);

impl Gauge {
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// For counters with one writer.
    #[inline]
    pub fn add(&self, more: u64) {
        self.set(self.get() + more);
    }
}

/// A loop's last sign of life, in the node's own nanoseconds.
#[derive(Debug, Default)]
pub struct Tick {
    pub at_ns: Gauge,
    pub cycles: Gauge,
}

/// One per process. `seq_next > seq_applied >= seq_released`, `seq_released <= seq_durable` (or `seq_applied` where the
/// journal is synced by interval), `seq_stored <= seq_durable`, `seq_snapshot <= seq_shadow <= seq_durable`,
/// `seq_truncated <= min(seq_snapshot, seq_stored)`.
#[derive(Debug, Default)]
pub struct Status {
    pub seq_next: Gauge,
    pub seq_applied: Gauge,
    /// What may leave: `seq_durable`, or `seq_applied` where `journal.sync = "interval"`.
    pub seq_released: Gauge,
    pub seq_durable: Gauge,
    pub seq_stored: Gauge,
    pub seq_exported: Gauge,
    /// Applied by the shadow, written to the history, kept in a snapshot, and no longer in the log.
    pub seq_shadow: Gauge,
    pub seq_history: Gauge,
    pub seq_snapshot: Gauge,
    pub seq_truncated: Gauge,
    /// The check at which the shadow found that its state differs from the live one; zero while they agree.
    pub seq_hash_differs: Gauge,
    /// Up to here somebody wants the state to be compared before anything of it is kept.
    pub seq_check_wanted: Gauge,
    /// What the patrol found damaged since the start, and how often it has read everything.
    pub damage_found: Gauge,
    pub patrol_rounds: Gauge,
    pub snapshots: Gauge,
    pub snapshots_failed: Gauge,
    /// Since the last one that could be taken.
    pub snapshots_failed_in_a_row: Gauge,
    /// Of the newest snapshot of this process.
    pub snapshot_ns: Gauge,
    pub snapshot_bytes: Gauge,

    pub engine: Tick,
    pub gateway: Tick,
    pub keeper: Tick,
    pub feed: Tick,
    pub shadow: Tick,

    /// The engine loop's longest cycle since the start, its waiting included.
    pub engine_cycle_ns_max: Gauge,

    pub connections: Gauge,
    pub sessions_open: Gauge,
    pub logins_refused: Gauge,
    pub commands: Gauge,
    pub rejects: Gauge,
    pub fills: Gauge,
    pub frames: Gauge,
    pub ring_entries: Gauge,
    pub market_readers: Gauge,
    pub market_readers_dropped: Gauge,

    /// Recovered and serving.
    pub ready: AtomicBool,
    /// Asked to stop: loops drain and end.
    pub stopping: AtomicBool,
    /// The newest of `damage_found`, in words.
    damage: Mutex<Option<String>>,
    /// The failure that ends the process, first one wins.
    failure: Mutex<Option<Failure>>,
}

/// Why the process must end, and with which exit code.
#[derive(Debug, Clone)]
pub struct Failure {
    pub exit_code: u8,
    pub message: String,
}

impl Status {
    /// Notes a failure that ends the process and asks every loop to stop.
    pub fn fail(&self, exit_code: u8, message: impl Into<String>) {
        let message = message.into();
        let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if failure.is_none() {
            tracing::error!(exit_code, "{message}");
            *failure = Some(Failure { exit_code, message });
        }
        self.stopping.store(true, Ordering::Release);
    }

    pub fn failure(&self) -> Option<Failure> {
        self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Notes damage that the node lives with.
    pub fn note_damage(&self, message: String) {
        tracing::error!("{message}");
        *self.damage.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(message);
        self.damage_found.add(1);
    }

    pub fn damage(&self) -> Option<String> {
        self.damage.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}
