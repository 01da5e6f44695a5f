//! The exit codes of node and tools: a contract with scripts and service managers, described in docs/OPERATIONS.md.

use wal::error::{ErrorKind, WalError};

pub const OK: u8 = 0;
pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const CONFIG: u8 = 3;
pub const LOCKED: u8 = 10;
pub const NOT_EMPTY: u8 = 11;
pub const NOT_FOUND: u8 = 12;
pub const DAMAGED: u8 = 13;
pub const UNKNOWN_FORMAT: u8 = 14;
pub const OUTSIDE_LOG: u8 = 15;
pub const FENCED: u8 = 16;
pub const RECONCILIATION: u8 = 17;
pub const HASH_DIFFERS: u8 = 18;
pub const NO_SPACE: u8 = 19;
pub const JOURNAL_FAILED: u8 = 20;
pub const SHORTER_THAN_ACKNOWLEDGED: u8 = 21;
pub const CRASHES_AGAIN: u8 = 22;

/// The exit code for an error of the log.
pub fn code_of(error: &WalError) -> u8 {
    match error.kind() {
        ErrorKind::Locked => LOCKED,
        ErrorKind::NotEmpty => NOT_EMPTY,
        ErrorKind::NotInitialised => NOT_FOUND,
        ErrorKind::Damaged => DAMAGED,
        ErrorKind::UnknownFormat => UNKNOWN_FORMAT,
        ErrorKind::TimelineDiffers => FENCED,
        ErrorKind::NotRetained => OUTSIDE_LOG,
        ErrorKind::NoSpace => NO_SPACE,
        ErrorKind::WriteFailed => JOURNAL_FAILED,
        ErrorKind::ShorterThanAcknowledged => SHORTER_THAN_ACKNOWLEDGED,
        ErrorKind::Config => CONFIG,
        ErrorKind::Other => FAILED,
    }
}
