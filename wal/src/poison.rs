//! How a head ends: after the first failed write or sync nothing is written, and no watermark moves, ever again.
//!
//! The kernel may drop dirty pages after a failed sync and report success for the next one, so a retry would prove
//! nothing. Whether the failed frame is on disk is unknown; only a restart, which reads the disk, can find out.

use thiserror::Error;

use crate::units::{Lsn, Place};

/// What the operating system reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WriteFault {
    #[error("write failed with errno {0}")]
    Write(i32),
    #[error("sync failed with errno {0}")]
    Sync(i32),
    #[error("short write, {written} of {expected} bytes")]
    Short { written: usize, expected: usize },
    #[error("the sync ended before the write that it must follow: the two are not linked, and the frame may be lost")]
    SyncedUnwritten,
}

impl WriteFault {
    pub fn errno(&self) -> Option<i32> {
        match self {
            WriteFault::Write(errno) | WriteFault::Sync(errno) => Some(*errno),
            WriteFault::Short { .. } | WriteFault::SyncedUnwritten => None,
        }
    }
}

/// The failure that ended a head: from `seq` on nothing was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "journal poisoned: writing sequence {seq} and later at {place}: {fault}. Nothing more is written or acknowledged; \
     restart to find out what is on disk"
)]
pub struct Poisoned {
    pub seq: Lsn,
    pub place: Place,
    pub fault: WriteFault,
}
