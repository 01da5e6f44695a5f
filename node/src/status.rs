//! Telemetry of the loops: watermarks, ticks, counters. Each number is written by one loop and read by any thread; no
//! loop bases a decision on it.

pub mod exit;
pub mod gauge;
pub mod lifecycle;
pub mod listeners;
pub mod logging;
pub mod logins;
pub mod recovery;
pub mod restarts;
pub mod sessions_on;
pub mod torn_ends;
pub mod version;
pub mod watermarks;

use gauge::Gauge;
use listeners::Listeners;
use logins::LoginStatus;
use recovery::Recovery;
use restarts::Restarts;
use sessions_on::SessionsOn;
use std::sync::{Mutex, PoisonError};
use torn_ends::TornEndNotices;
use watermarks::Watermarks;

/// A loop's heartbeat: the node's time in its last cycle, and the number of cycles.
#[derive(Debug, Default)]
pub struct Tick {
    pub at_ns: Gauge,
    pub cycles: Gauge,
}

/// The file system of the data directory, as the disk thread has measured it; zeros before that.
#[derive(Debug, Default)]
pub struct DiskStatus {
    pub total_bytes: Gauge,
    pub free_bytes: Gauge,
    pub used_percent: Gauge,
    /// Zero where it was deleted.
    pub ballast_bytes: Gauge,
}

/// What `pinion backup run` has reported since the start.
#[derive(Debug, Default)]
pub struct BackupStatus {
    /// The last command that a backup has.
    pub seq: Gauge,
    /// How often one was reported.
    pub reports: Gauge,
}

/// Telemetry of one process. No decision is based on it: positions that gate something are [`Watermarks`], whose
/// readers are here only to be shown, and start and stop of the process are in [`Lifecycle`](lifecycle::Lifecycle).
#[derive(Debug)]
pub struct Status {
    pub watermarks: Watermarks,
    /// The check at which the shadow's state differed from the live one; zero while they agree.
    pub seq_hash_differs: Gauge,
    /// Damaged frames, snapshots and files of the store found since the start, by the scrubber and the store merger.
    pub damage_found: Gauge,
    /// How often the scrubber has read everything.
    pub scrub_rounds: Gauge,
    pub snapshots: Gauge,
    pub snapshots_failed: Gauge,
    /// Failed attempts since the last success.
    pub snapshots_failed_in_a_row: Gauge,
    /// Of the newest snapshot of this process.
    pub snapshot_ns: Gauge,
    pub snapshot_bytes: Gauge,

    pub engine: Tick,
    pub gateway: Tick,
    pub store_writer: Tick,
    pub store_merges: Gauge,
    pub store_merged_bytes: Gauge,
    /// Since the last one that succeeded.
    pub store_merges_failed_in_a_row: Gauge,
    pub feed: Tick,
    pub shadow: Tick,

    /// The engine loop's longest cycle since the start, its waiting included.
    pub engine_cycle_ns_max: Gauge,

    /// The rules version in force.
    pub rules: Gauge,
    /// What the exchange accepts, as the number of its `IntakeState`.
    pub intake: Gauge,
    /// The format of the data directory.
    pub format: Gauge,

    /// The clock thread's comparisons with the wall clock.
    pub clock: Tick,
    /// By how much the node's clock is ahead of the wall clock; signed.
    pub clock_error_ns: Gauge,
    /// How much faster than the processor's counter the node's clock runs, in parts per thousand million; signed.
    pub clock_rate_ppb: Gauge,

    pub connections: Gauge,
    pub sessions_open: Gauge,
    pub sessions_on: SessionsOn,
    pub logins: LoginStatus,
    pub commands: Gauge,
    pub rejects: Gauge,
    pub fills: Gauge,
    pub frames: Gauge,
    pub ring_entries: Gauge,
    pub market_readers: Gauge,
    pub market_readers_dropped: Gauge,
    /// How often the feed's ring was full, so that it had to take its state from the shadow.
    pub feed_gaps: Gauge,
    /// Snapshots of market data that were encoded.
    pub feed_snapshots: Gauge,
    /// Instruments that were looked at for readers of the best levels.
    pub feed_top_looks: Gauge,
    pub listeners: Listeners,
    pub restarts: Restarts,
    pub recovery: Recovery,
    pub disk: DiskStatus,
    pub backup: BackupStatus,
    pub torn_ends: TornEndNotices,

    /// The newest damage that was found, as a message.
    damage: Mutex<Option<String>>,
}

impl Status {
    pub fn new(watermarks: Watermarks) -> Self {
        Self {
            watermarks,
            seq_hash_differs: Gauge::default(),
            damage_found: Gauge::default(),
            scrub_rounds: Gauge::default(),
            snapshots: Gauge::default(),
            snapshots_failed: Gauge::default(),
            snapshots_failed_in_a_row: Gauge::default(),
            snapshot_ns: Gauge::default(),
            snapshot_bytes: Gauge::default(),
            engine: Tick::default(),
            gateway: Tick::default(),
            store_writer: Tick::default(),
            store_merges: Gauge::default(),
            store_merged_bytes: Gauge::default(),
            store_merges_failed_in_a_row: Gauge::default(),
            feed: Tick::default(),
            shadow: Tick::default(),
            engine_cycle_ns_max: Gauge::default(),
            rules: Gauge::default(),
            intake: Gauge::default(),
            format: Gauge::default(),
            clock: Tick::default(),
            clock_error_ns: Gauge::default(),
            clock_rate_ppb: Gauge::default(),
            connections: Gauge::default(),
            sessions_open: Gauge::default(),
            sessions_on: SessionsOn::default(),
            logins: LoginStatus::default(),
            commands: Gauge::default(),
            rejects: Gauge::default(),
            fills: Gauge::default(),
            frames: Gauge::default(),
            ring_entries: Gauge::default(),
            market_readers: Gauge::default(),
            market_readers_dropped: Gauge::default(),
            feed_gaps: Gauge::default(),
            feed_snapshots: Gauge::default(),
            feed_top_looks: Gauge::default(),
            listeners: Listeners::default(),
            restarts: Restarts::default(),
            recovery: Recovery::default(),
            disk: DiskStatus::default(),
            backup: BackupStatus::default(),
            torn_ends: TornEndNotices::default(),
            damage: Mutex::default(),
        }
    }

    /// Records damaged data on disk. It does not stop the node, because the state in memory does not depend on it.
    pub fn note_damage(&self, message: String) {
        tracing::error!("{message}");
        let mut newest = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = Some(message);
        // Two loops find damage; the lock makes them one writer.
        self.damage_found.add(1);
    }

    pub fn damage(&self) -> Option<String> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
