//! How a backup fails, told with the object or file; and whether trying again can help.

use crate::terminal::failure::code_of;
use node::replica::recover::RestoreError;
use node::replica::{LoadError, RecordError};
use node::status::exit;
use std::path::PathBuf;
use wal::error::WalError;
use wal::units::{Lsn, NodeId, Timeline};

pub type Result<T> = std::result::Result<T, BackupError>;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("--to and --from take a path, file:///path or s3://bucket/prefix: {0}")]
    Address(String),
    #[error("{0}")]
    Secrets(String),
    #[error("{action} {object}: {cause}")]
    Store { action: &'static str, object: String, cause: Box<object_store::Error> },
    #[error("{object}: {cause}")]
    Object { object: String, cause: WalError },
    #[error("{object}: {why}")]
    Damaged { object: String, why: &'static str },
    #[error("{object} has another content than what would be stored under that name; nothing is ever overwritten")]
    Differs { object: String },
    #[error("{place} holds no backup: there is no {claim}")]
    NoBackup { place: String, claim: &'static str },
    #[error("{place} holds the backup of node {found}, this is node {have}; use another place")]
    OtherNode { place: String, have: NodeId, found: NodeId },
    #[error("{place} holds timeline {found}, this data directory is timeline {have}: a restore has superseded it")]
    NewerTimeline { place: String, have: Timeline, found: Timeline },
    #[error(
        "{place} holds timeline {timeline} up to sequence {shipped}, but this log parts from it there: \
         one of the two comes from a copy of the data directory"
    )]
    Diverged { place: String, timeline: Timeline, shipped: Lsn },
    #[error("the log ends at sequence {have}, but {shipped} was shipped to {place}: this directory is an older copy")]
    Shorter { place: String, have: Lsn, shipped: Lsn },
    #[error("the log begins behind sequence {base} and no whole snapshot is there to begin with")]
    NoSnapshot { base: Lsn },
    #[error("{place} does not reach sequence {wanted}: it holds {held}")]
    Outside { place: String, wanted: Lsn, held: String },
    #[error("{time} is before what the log of {place} reaches: its oldest state is that of sequence {first}")]
    BeforeEverything { place: String, time: String, first: Lsn },
    #[error(
        "{place} does not know what was at {time}: behind sequence {last} it knows nothing before the state of \
         sequence {next}; --to-seq takes either"
    )]
    TimeInGap { place: String, time: String, last: Lsn, next: Lsn },
    #[error("{object}: its state hashes to {said}, the log before it gives {found}")]
    HashDiffers { object: String, said: String, found: String },
    #[error("{place}: log pieces for sequences {first} to {last} are missing")]
    MissingPieces { place: String, first: Lsn, last: Lsn },
    #[error("{place}: no snapshot leads into the log from sequence {first} to {last}: it is missing")]
    MissingSnapshot { place: String, first: Lsn, last: Lsn },
    #[error("nothing was deleted: of the snapshots that would stay, {} not whole: {}", damage.len(), damage.join("; "))]
    KeptDamaged { damage: Vec<String> },
    /// Of a part of the tool that is not about backups: a directory for what is fetched, a look at a node's own log.
    #[error("{0:#}")]
    Tool(anyhow::Error),
    #[error("{doing} {path}: {cause}")]
    File { doing: &'static str, path: PathBuf, cause: std::io::Error },
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Wal(#[from] WalError),
    #[error("{object}: {cause}")]
    Load { object: String, cause: LoadError },
    #[error("{object}: {cause}")]
    Record { object: String, cause: RecordError },
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

impl BackupError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Address(_) => exit::USAGE,
            Self::Secrets(_) => exit::CONFIG,
            Self::Store { cause, .. } if is_no_space(cause.as_ref()) => exit::NO_SPACE,
            Self::Store { .. } | Self::Interrupted => exit::FAILED,
            Self::File { cause, .. } if cause.kind() == std::io::ErrorKind::StorageFull => exit::NO_SPACE,
            Self::File { .. } => exit::FAILED,
            Self::Object { cause, .. } | Self::Wal(cause) => exit::code_of(cause),
            Self::Damaged { .. } | Self::Differs { .. } | Self::NoSnapshot { .. } => exit::DAMAGED,
            Self::MissingPieces { .. } | Self::MissingSnapshot { .. } | Self::KeptDamaged { .. } => exit::DAMAGED,
            Self::NoBackup { .. } => exit::NOT_FOUND,
            Self::OtherNode { .. } | Self::NewerTimeline { .. } | Self::Diverged { .. } => exit::FENCED,
            Self::Shorter { .. } => exit::SHORTER_THAN_ACKNOWLEDGED,
            Self::Outside { .. } | Self::BeforeEverything { .. } | Self::TimeInGap { .. } => exit::OUTSIDE_LOG,
            Self::HashDiffers { .. } => exit::HASH_DIFFERS,
            Self::Tool(error) => code_of(error),
            Self::Load { cause, .. } => cause.exit_code(),
            Self::Record { cause, .. } => cause.exit_code(),
            Self::Restore(cause) => cause.exit_code(),
        }
    }

    /// True where the world may have changed for the better by the next try: a network, a disk that was full, a log
    /// that a node wrote over while it was read.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Store { .. } | Self::File { .. } | Self::NoSnapshot { .. } => true,
            Self::Wal(error) => exit::code_of(error) != exit::FENCED && exit::code_of(error) != exit::UNKNOWN_FORMAT,
            _ => false,
        }
    }

    /// An object whose bytes are not what they were.
    pub fn is_damage(&self) -> bool {
        matches!(self.exit_code(), exit::DAMAGED | exit::HASH_DIFFERS)
    }
}

fn is_no_space(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull) {
            return true;
        }
        cause = error.source();
    }
    false
}
