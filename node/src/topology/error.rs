//! Why a node cannot start, and the exit code for each reason.

use crate::host::clock_start::WallRefused;
use crate::host::descriptors::TooFewDescriptors;
use crate::reactor::uring::ReactorError;
use crate::replica::backup_mark::BackupMarkError;
use crate::replica::crash_guard::CrashLoop;
use crate::replica::recover::RestoreError;
use crate::status::exit;
use std::net::SocketAddr;
use wal::error::WalError;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Log(#[from] WalError),
    #[error(transparent)]
    Reactor(#[from] ReactorError),
    #[error("binding {key} to {address}: {source}")]
    Listen { key: &'static str, address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    BackupMark(#[from] BackupMarkError),
    #[error(transparent)]
    CrashLoop(#[from] CrashLoop),
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    #[error(transparent)]
    Wall(#[from] WallRefused),
    #[error("{0}")]
    Fault(String),
    #[error("drawing a random number: {0}")]
    Random(#[from] getrandom::Error),
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
}

impl StartError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Restore(error) => error.exit_code(),
            Self::Log(error) => exit::code_of(error),
            Self::BackupMark(error) => error.exit_code(),
            Self::CrashLoop(error) => error.exit_code(),
            Self::Descriptors(_) | Self::Wall(_) | Self::Fault(_) => exit::CONFIG,
            Self::Listen { .. } | Self::Reactor(_) | Self::Random(_) | Self::Thread(_) => exit::FAILED,
        }
    }
}
