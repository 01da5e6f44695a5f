//! How storage fails: what was tried, on which file, offset and sequence, and what was found.
//!
//! Only the world fails here. A caller's mistake is an assert, and a damaged log is never repaired by guessing.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::frame::FrameFault;
use crate::poison::Poisoned;
use crate::units::{Lsn, NodeId, Timeline};

pub type Result<T> = std::result::Result<T, WalError>;

#[derive(Debug, Error)]
pub enum WalError {
    #[error("{path} is locked: another process writes to this data directory. Stop that process first")]
    Locked { path: PathBuf },
    #[error("{path} is not empty: a data directory is made only in a place that is empty or absent. Give another path")]
    NotEmpty { path: PathBuf },
    #[error(
        "{path} has no IDENTITY: it is not a data directory, or making it was interrupted. Check the path, or delete what \
         was begun there and make it again"
    )]
    NotInitialised { path: PathBuf },
    #[error("{path} has format version {found}, and this build reads version {known}. Use the build that wrote it")]
    UnknownFormat { path: PathBuf, found: u32, known: u32 },
    #[error("{path} is damaged{}: {damage}", Where { offset: *offset, seq: *seq })]
    Damaged { path: PathBuf, offset: u64, seq: Lsn, damage: Damage },
    #[error(
        "{path} is of timeline {found}, and this data directory is of timeline {have}: files from before and after a \
         restore are never mixed. Put this directory's own file back"
    )]
    TimelineDiffers { path: PathBuf, have: Timeline, found: Timeline },
    #[error(
        "the log ends at sequence {have}, but sequence {mark} was acknowledged, as {path} or a newer snapshot shows: the \
         end was lost or this is an old copy. The next frame belongs in {segment} at offset {offset}, and there is none. \
         Find the newest copy, or restore from a backup"
    )]
    ShorterThanAcknowledged { path: PathBuf, have: Lsn, mark: Lsn, segment: PathBuf, offset: u64 },
    #[error("sequence {wanted} was asked for, and the log in {path} begins at {begins}: older records were truncated")]
    NotRetained { path: PathBuf, wanted: Lsn, begins: Lsn },
    #[error("cannot {action} {path}{}: {source}", Where { offset: *offset, seq: Lsn::ZERO })]
    Io { action: Action, path: PathBuf, offset: u64, source: io::Error },
    #[error(
        "cannot open {path} with O_DIRECT: the file system refuses it, as tmpfs and some overlays do ({source}). Put the \
         data directory on another file system"
    )]
    DirectRefused { path: PathBuf, source: io::Error },
    #[error("cannot {action} the store {path}{}: {message}", Where { offset: 0, seq: *seq })]
    Store { action: Action, path: PathBuf, seq: Lsn, message: String, no_space: bool },
    #[error("{path} is not written any more after an earlier write failed. Restart to find out what is on disk")]
    FailedEarlier { path: PathBuf },
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    #[error("config: {0}")]
    Config(#[from] ConfigFault),
    #[error("sequence {seq} could not be applied: {source}")]
    Visitor { seq: Lsn, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{path}: the running node overwrote sequence {seq} while it was read. Try again")]
    Overtaken { path: PathBuf, seq: Lsn },
}

/// Where in a file, and at which record, as far as an error knows it: an offset or a sequence of 0 is not printed.
struct Where {
    offset: u64,
    seq: Lsn,
}

impl std::fmt::Display for Where {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.offset, self.seq) {
            (0, Lsn::ZERO) => Ok(()),
            (0, seq) => write!(f, " at sequence {seq}"),
            (offset, Lsn::ZERO) => write!(f, " at offset {offset}"),
            (offset, seq) => write!(f, " at offset {offset}, sequence {seq}"),
        }
    }
}

/// What is wrong with bytes that were once right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    #[error("a frame is missing or broken, and a later frame (sequence {later}) attests that it had been durable")]
    Hole { later: Lsn },
    #[error("a frame is missing or broken, and the mark (sequence {mark}) attests that it had been acknowledged")]
    Acknowledged { mark: Lsn },
    #[error("{count} intact frames follow a missing one: more than can have been in flight")]
    BeyondInFlight { count: usize },
    #[error("the frame does not follow the one before it (chain hash differs)")]
    ChainBroken,
    #[error("a second frame has the sequences of this one")]
    Overlap,
    #[error("frame: {0}")]
    Frame(FrameFault),
    #[error("this sequence is missing, the next frame begins at {found}")]
    SeqGap { found: Lsn },
    #[error("the key names another frame than the one under it")]
    KeyDiffers,
    #[error("the file is missing")]
    FileMissing,
    #[error("the file has {found} bytes, expected {expected}")]
    LengthDiffers { expected: u64, found: u64 },
    #[error("the segment belongs to node {found}, expected {expected}")]
    ForeignNode { expected: NodeId, found: NodeId },
    #[error("the segment is number {found}, expected {expected}: files were swapped")]
    OrdinalDiffers { expected: u32, found: u32 },
    #[error("checksum differs")]
    Checksum,
    #[error("malformed: {0}")]
    Malformed(&'static str),
    #[error("RocksDB: {0}")]
    Store(String),
}

/// What was tried when the operating system or RocksDB refused it.
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
    Merge,
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
            Action::Merge => "merge files of",
        })
    }
}

/// A configuration that cannot work, found before anything is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigFault {
    #[error("segments: at least 2 and at most {max}")]
    SegmentCount { max: u32 },
    #[error("segment_bytes: a multiple of 4096 that holds the segment's header block and the largest frame")]
    SegmentBytes,
    #[error("frame_bytes_max: a multiple of 4096, at most {max}")]
    FrameBytesMax { max: usize },
    #[error("frames_in_flight_max: 1 to {max}")]
    FramesInFlightMax { max: usize },
}

/// The kind of a failure, from which a process chooses its exit code.
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
    /// A read that failed, a file that could not be opened, a visitor that returned an error.
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
        Action::Open | Action::Read | Action::Remove | Action::Lock | Action::Merge => ErrorKind::Other,
    }
}
