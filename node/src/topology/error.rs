//! Why a node does not start, and the exit code of each reason.

use crate::reactor::uring::ReactorError;
use crate::replica::crash_guard::CrashesAgain;
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
    #[error("listening on {address} ({key}): {source}")]
    Listen { key: &'static str, address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    CrashesAgain(#[from] CrashesAgain),
    #[error("{0}")]
    Fault(String),
    #[error("starting a thread: {0}")]
    Thread(std::io::Error),
}

impl StartError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Restore(error) => error.exit_code(),
            Self::Log(error) => exit::code_of(error),
            Self::CrashesAgain(error) => error.exit_code(),
            Self::Fault(_) => exit::CONFIG,
            Self::Listen { .. } | Self::Reactor(_) | Self::Thread(_) => exit::FAILED,
        }
    }
}
