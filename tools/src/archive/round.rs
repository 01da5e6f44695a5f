//! The result of a round of the shipper, and the position in the backup that it keeps between rounds.

use super::key::Key;
use std::collections::BTreeSet;
use std::path::PathBuf;
use wal::identity::Identity;
use wal::units::{Lsn, Tail};

/// The report of one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    pub timeline: u32,
    /// The newest sequence in the backup.
    pub seq_shipped: Lsn,
    /// The newest sequence in the node's log, when the round read it.
    pub seq_node: Lsn,
    pub commands: u64,
    pub pieces: u64,
    pub bytes: u64,
    /// How long the oldest command of this round was in the node's log only: a loss of the machine would have lost it.
    pub lag_ms: u64,
    /// The snapshots that this round stored.
    pub snapshots: Vec<Lsn>,
    /// Snapshot files that were not stored because they are damaged.
    pub damaged_snapshots: Vec<PathBuf>,
    /// Whether the configuration was stored, because it is new.
    pub config: bool,
    /// Sequences that the node truncated before they were shipped: first and last.
    pub gap: Option<(Lsn, Lsn)>,
}

/// The contents of the backup as the shipper last read or wrote them.
pub(super) struct Position {
    pub identity: Identity,
    /// The end of the newest piece.
    pub shipped: Option<Tail>,
    /// The name of the newest piece, or the name that sorts before all pieces of the timeline.
    pub newest: Key,
    /// The time of the last command of the newest piece.
    pub time_ns: u64,
    /// The newest snapshot.
    pub snapshot: Option<Lsn>,
    /// Snapshots that were found damaged, so that each is reported once. As many as the directory has at most.
    pub damaged: BTreeSet<Lsn>,
    /// The newest configuration in the backup, and its version.
    pub config: Option<(u32, String)>,
    /// The number of entries of the newest QUARANTINE.
    pub quarantined: u32,
}
