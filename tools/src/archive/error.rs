//! The errors of backups: each names the object or file, the next step where there is one, and whether a retry can
//! help.

use super::store_failure::{FailureKind, StoreFailure};
use crate::terminal::failure::{ExitCode, code_of};
use node::replica::recover::RestoreError;
use node::replica::{LoadError, RecordError};
use node::status::exit;
use std::path::{Path, PathBuf};
use wal::error::WalError;
use wal::units::{Lsn, NodeId, Timeline};

/// The path at which a process finds its open files.
pub(super) const DESCRIPTOR: &str = "/proc/self/fd/";

pub type Result<T> = std::result::Result<T, BackupError>;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("a backup's address is a path, file:///path or s3://bucket/prefix (--from, --to): {0}")]
    Address(String),
    #[error("{0}")]
    Settings(String),
    #[error("{action} {object}: {cause}")]
    Store { action: &'static str, object: String, cause: StoreFailure },
    #[error(
        "reading {object}: it vanishes from the listing again and again; wait until `pinion backup prune` has ended, \
         and repeat"
    )]
    Vanished { object: String },
    #[error("{0}")]
    Place(String),
    #[error("{object}: {}", without_descriptor(cause))]
    Object { object: String, cause: WalError },
    #[error("{object} is damaged: {why}")]
    Damaged { object: String, why: &'static str },
    #[error("storing {object}: an object of that name has other contents, and none is ever overwritten")]
    Differs { object: String },
    #[error("{place} is not a backup: there is no {missing}")]
    NoBackup { place: String, missing: &'static str },
    #[error("{place} is the backup of node {found}, and this is node {have}; give another place")]
    OtherNode { place: String, have: NodeId, found: NodeId },
    #[error(
        "{place} has timeline {found}, and this data directory is timeline {have}: a restore has superseded it; ship \
         the restored directory instead"
    )]
    NewerTimeline { place: String, have: Timeline, found: Timeline },
    #[error(
        "{place} has timeline {timeline} up to sequence {shipped}, and this log differs from it there: one of the two \
         comes from a copy of the data directory; ship only one of them"
    )]
    Diverged { place: String, timeline: Timeline, shipped: Lsn },
    #[error(
        "the log ends at sequence {have}, and {place} has it up to {shipped}: this data directory is an older copy; \
         find the newer one"
    )]
    Shorter { place: String, have: Lsn, shipped: Lsn },
    #[error(
        "shipping a log that begins after sequence {base}: there is no intact snapshot to restore it from; take one \
         with `pinion snapshot create`"
    )]
    NoSnapshot { base: Lsn },
    #[error("{place} cannot restore sequence {wanted}: it has {ranges}")]
    Outside { place: String, wanted: Lsn, ranges: String },
    #[error("{time} is before every state of {place}, whose oldest state is that of sequence {first}; use --to-seq")]
    BeforeFirstState { place: String, time: String, first: Lsn },
    #[error(
        "{time} is within a gap of {place}: after sequence {last} its next state is that of sequence {next}; use \
         --to-seq with one of the two"
    )]
    TimeInGap { place: String, time: String, last: Lsn, next: Lsn },
    #[error(
        "{place} cannot restore sequence {wanted} with its past: {missing} are missing before it; --without-past \
         restores it with a history that begins after sequence {begins}, and {}", with_past_text(*with_past)
    )]
    PastMissing { place: String, wanted: Lsn, missing: String, begins: Lsn, with_past: Option<Lsn> },
    #[error(
        "{place} has log up to sequence {end} that nothing leads into ({stretches}), and its newest state is that of \
         {}; --to-seq N restores one that it has", newest.map_or("none".to_owned(), |seq| format!("sequence {seq}"))
    )]
    NewestUnreachable { place: String, end: Lsn, stretches: String, newest: Option<Lsn> },
    #[error("{object}: its state has the hash {stated}, and the log before it gives {found}")]
    HashDiffers { object: String, stated: String, found: String },
    #[error("{place}: the log pieces with sequences {first} to {last} are missing")]
    MissingPieces { place: String, first: Lsn, last: Lsn },
    #[error("{place}: the snapshot that leads into the log from sequence {first} to {last} is missing")]
    MissingSnapshot { place: String, first: Lsn, last: Lsn },
    #[error("nothing was deleted, because snapshots that would stay are damaged: {}; move them away first", damage.join("; "))]
    KeptDamaged { damage: Vec<String> },
    /// A failure outside the backup: of the directory for fetched objects, or of the node's own log.
    #[error("{0:#}")]
    Other(anyhow::Error),
    #[error("{action} {path}: {cause}")]
    File { action: &'static str, path: PathBuf, cause: std::io::Error },
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error("{object}: {}", without_descriptor(cause))]
    Load { object: String, cause: LoadError },
    #[error("{object}: {cause}")]
    Record { object: String, cause: RecordError },
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

fn with_past_text(newest: Option<Lsn>) -> String {
    match newest {
        Some(seq) => format!("--to-seq {seq} restores the newest state that has its past"),
        None => "no state has its past".to_owned(),
    }
}

/// The text of a cause. A file without a name is read by the path of its descriptor, which says nothing to anybody.
fn without_descriptor(cause: &impl std::fmt::Display) -> String {
    let text = cause.to_string();
    let Some((before, rest)) = text.split_once(DESCRIPTOR) else { return text };
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{before}the file{rest}")
}

/// A failure to read or write a local file.
pub fn file_error(action: &'static str, path: &Path, cause: std::io::Error) -> BackupError {
    BackupError::File { action, path: PathBuf::from(path), cause }
}

/// An object whose contents are invalid.
pub fn damaged(object: &str, why: &'static str) -> BackupError {
    BackupError::Damaged { object: object.to_owned(), why }
}

impl ExitCode for BackupError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Address(_) | Self::Place(_) => exit::USAGE,
            Self::Settings(_) => exit::CONFIG,
            Self::Store { cause, .. } => match cause.kind {
                FailureKind::NoSpace => exit::NO_SPACE,
                FailureKind::Refused => exit::CONFIG,
                _ => exit::FAILED,
            },
            Self::Vanished { .. } | Self::Interrupted => exit::FAILED,
            Self::File { cause, .. } if cause.kind() == std::io::ErrorKind::StorageFull => exit::NO_SPACE,
            Self::File { .. } => exit::FAILED,
            Self::Object { cause, .. } | Self::Wal(cause) => exit::code_of(cause),
            Self::Damaged { .. } | Self::Differs { .. } | Self::NoSnapshot { .. } => exit::DAMAGED,
            Self::MissingPieces { .. } | Self::MissingSnapshot { .. } | Self::KeptDamaged { .. } => exit::DAMAGED,
            Self::NoBackup { .. } => exit::NOT_FOUND,
            Self::PastMissing { .. } => exit::OUTSIDE_LOG,
            Self::NewestUnreachable { .. } => exit::DAMAGED,
            Self::OtherNode { .. } | Self::NewerTimeline { .. } | Self::Diverged { .. } => exit::FENCED,
            Self::Shorter { .. } => exit::SHORTER_THAN_ACKNOWLEDGED,
            Self::Outside { .. } | Self::BeforeFirstState { .. } | Self::TimeInGap { .. } => exit::OUTSIDE_LOG,
            Self::HashDiffers { .. } => exit::HASH_DIFFERS,
            Self::Other(error) => code_of(error),
            Self::Load { cause, .. } => cause.exit_code(),
            Self::Record { cause, .. } => cause.exit_code(),
            Self::Restore(cause) => cause.exit_code(),
        }
    }
}

impl BackupError {
    /// Whether a retry can succeed: the network, a full disk, or a log that a node overwrote while it was read.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Store { .. } | Self::File { .. } | Self::NoSnapshot { .. } => true,
            Self::Wal(error) => exit::code_of(error) != exit::FENCED && exit::code_of(error) != exit::UNKNOWN_FORMAT,
            _ => false,
        }
    }

    /// Whether only another configuration of the place helps: its key, bucket, region or clock.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Store { cause, .. } if cause.kind == FailureKind::Refused)
    }

    /// Whether an object of the backup has wrong contents.
    pub fn is_damage(&self) -> bool {
        matches!(self.exit_code(), exit::DAMAGED | exit::HASH_DIFFERS)
    }
}
