//! Snapshot files: the state after one record of the log, in opaque pieces; complete, or refused.
//!
//! ```text
//! 0                      192  each piece                              the end
//! | magic ... build, crc | tag coding 0 raw stored crc | bytes ... | tag 0 ... | pieces | BLAKE3 of all before |
//! ```
//!
//! Invariants: a file is written under a temporary name, synced and renamed, and its directory is synced, so a file
//! that has its final name is complete; each piece has a checksum of its stored bytes, and the end has one over the
//! file, so a missing or moved piece is detected too. The contents of a piece are the caller's.

mod files;
mod format;
mod read;
mod write;

pub use files::{SnapshotFile, list, list_on, remove, remove_on, sweep, sweep_on};
pub use format::{
    BUILD_BYTES, HEADER_BYTES, SNAPSHOT_MAGIC, SNAPSHOT_PIECE_BYTES_MAX, SNAPSHOT_PREFIX_BYTES_MAX,
    SNAPSHOT_VERSION_NEWEST, SNAPSHOT_VERSION_OLDEST, SnapshotHeader,
};
pub use read::SnapshotReader;
pub use write::SnapshotWriter;
