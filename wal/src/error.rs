//! How storage fails, told with the place: file, offset, sequence.
//!
//! Only the world fails here. A caller's mistake is an assert; a damaged log is never repaired by guessing.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::head::Poisoned;
use crate::units::{Lsn, NodeId, Timeline};

pub type Result<T> = std::result::Result<T, WalError>;

#[derive(Debug, Error)]
pub enum WalError {
    #[error("{path} is locked: another process uses this data directory")]
    Locked { path: PathBuf },
    #[error("{path} is not empty: a data directory is made in an empty place only")]
    NotEmpty { path: PathBuf },
    #[error("{path} holds no IDENTITY: not a data directory, or one whose making was interrupted")]
    NotInitialised { path: PathBuf },
    #[error("{path} has format version {found}, this build reads {known}")]
    UnknownFormat { path: PathBuf, found: u32, known: u32 },
    #[error("{path} at offset {offset}, sequence {seq}: {damage}")]
    Damaged { path: PathBuf, offset: u64, seq: Lsn, damage: Damage },
    #[error("{path} is of timeline {found}, expected {have}: an older timeline is never continued")]
    TimelineDiffers { path: PathBuf, have: Timeline, found: Timeline },
    #[error("the log ends at sequence {have}, but {mark} had been acknowledged (noted in {path})")]
    ShorterThanAcknowledged { path: PathBuf, have: Lsn, mark: Lsn },
    #[error("sequence {wanted} was asked for, the log in {path} begins at {begins}")]
    NotRetained { path: PathBuf, wanted: Lsn, begins: Lsn },
    #[error("{action} {path} at offset {offset}: {source}")]
    Io { action: Action, path: PathBuf, offset: u64, source: io::Error },
    #[error("{path}: the file system refuses O_DIRECT (tmpfs and some overlays do): {source}")]
    DirectRefused { path: PathBuf, source: io::Error },
    #[error("{action} the store {path} at sequence {seq}: {message}")]
    Store { action: Action, path: PathBuf, seq: Lsn, message: String, no_space: bool },
    #[error("a write to {path} failed earlier; nothing more is written through this handle")]
    FailedEarlier { path: PathBuf },
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    #[error("config: {0}")]
    Config(#[from] ConfigFault),
    #[error("the visitor stopped at sequence {seq}: {source}")]
    Visitor { seq: Lsn, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{path} was written over while it was read (a node is running); try again. Sequence {seq}")]
    Overtaken { path: PathBuf, seq: Lsn },
}

/// What is wrong with bytes that were once right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    #[error("a frame is missing or broken, yet a later frame (sequence {later}) proves that it had been durable")]
    Hole { later: Lsn },
    #[error("{count} whole frames follow a missing one: more than can have been in flight")]
    BeyondInFlight { count: usize },
    #[error("the frame does not follow its predecessor (chain hash differs)")]
    ChainBroken,
    #[error("a second frame claims sequences that are taken")]
    Overlap,
    #[error("frame: {0}")]
    Frame(crate::frame::FrameFault),
    #[error("sequence expected here, {found} found")]
    SeqGap { found: Lsn },
    #[error("the key does not match the frame that it names")]
    KeyDiffers,
    #[error("the file is missing")]
    FileMissing,
    #[error("the file has {found} bytes, expected {expected}")]
    LengthDiffers { expected: u64, found: u64 },
    #[error("the segment belongs to node {found}, expected {expected}")]
    ForeignNode { expected: NodeId, found: NodeId },
    #[error("the segment calls itself number {found}, expected {expected}: files were swapped")]
    OrdinalDiffers { expected: u32, found: u32 },
    #[error("checksum differs")]
    Checksum,
    #[error("malformed: {0}")]
    Malformed(&'static str),
    #[error("RocksDB: {0}")]
    Store(String),
}

/// What was tried when the operating system or RocksDB said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Create,
    Open,
    Read,
    Write,
    Sync,
    Rename,
    Remove,
    Lock,
    Flush,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Action::Create => "create",
            Action::Open => "open",
            Action::Read => "read",
            Action::Write => "write",
            Action::Sync => "sync",
            Action::Rename => "rename",
            Action::Remove => "remove",
            Action::Lock => "lock",
            Action::Flush => "flush",
        })
    }
}

/// A configuration that cannot work, found before anything is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigFault {
    #[error("segments: at least 2 and at most {max}")]
    SegmentCount { max: u32 },
    #[error("segment_bytes: a multiple of 4096 that holds its header block and one whole frame")]
    SegmentBytes,
    #[error("frame_bytes_max: a multiple of 4096, at most {max}")]
    FrameBytesMax { max: usize },
    #[error("frames_in_flight_max: 1 to {max}")]
    FramesInFlightMax { max: usize },
}

/// Which kind of failure, so that a process can choose how to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    Locked,
    NotEmpty,
    NotInitialised,
    Damaged,
    UnknownFormat,
    TimelineDiffers,
    NotRetained,
    NoSpace,
    WriteFailed,
    ShorterThanAcknowledged,
    Config,
    /// A read that failed, a file that would not open, a visitor that stopped.
    Other,
}

impl WalError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            WalError::Locked { .. } => ErrorKind::Locked,
            WalError::NotEmpty { .. } => ErrorKind::NotEmpty,
            WalError::NotInitialised { .. } => ErrorKind::NotInitialised,
            WalError::UnknownFormat { .. } => ErrorKind::UnknownFormat,
            WalError::Damaged { .. } => ErrorKind::Damaged,
            WalError::TimelineDiffers { .. } => ErrorKind::TimelineDiffers,
            WalError::ShorterThanAcknowledged { .. } => ErrorKind::ShorterThanAcknowledged,
            WalError::NotRetained { .. } => ErrorKind::NotRetained,
            WalError::Io { action, source, .. } => io_kind(*action, source.raw_os_error()),
            WalError::Store { no_space: true, .. } => ErrorKind::NoSpace,
            WalError::Store { action, .. } => io_kind(*action, None),
            WalError::FailedEarlier { .. } => ErrorKind::WriteFailed,
            WalError::Poisoned(poisoned) => io_kind(Action::Write, poisoned.fault.errno()),
            WalError::Config(_) => ErrorKind::Config,
            WalError::DirectRefused { .. } => ErrorKind::Config,
            WalError::Visitor { .. } | WalError::Overtaken { .. } => ErrorKind::Other,
        }
    }

    pub(crate) fn io(action: Action, path: &Path, offset: u64, source: io::Error) -> WalError {
        WalError::Io { action, path: path.to_owned(), offset, source }
    }

    pub fn damaged(path: &Path, offset: u64, seq: Lsn, damage: Damage) -> WalError {
        WalError::Damaged { path: path.to_owned(), offset, seq, damage }
    }
}

fn io_kind(action: Action, errno: Option<i32>) -> ErrorKind {
    if matches!(errno, Some(libc::ENOSPC | libc::EDQUOT)) {
        return ErrorKind::NoSpace;
    }
    match action {
        Action::Create | Action::Write | Action::Sync | Action::Flush | Action::Rename => ErrorKind::WriteFailed,
        Action::Open | Action::Read | Action::Remove | Action::Lock => ErrorKind::Other,
    }
}
