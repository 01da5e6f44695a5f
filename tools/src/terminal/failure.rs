//! How verbs end: with an exit code that scripts can tell apart, and a sentence that says what to do next.

use crate::archive::error::BackupError;
use node::config::load::ConfigErrors;
use node::replica::recover::RestoreError;
use node::replica::{LoadError, RecordError};
use node::shadow::ShadowError;
use node::status::exit;
use wal::error::WalError;

/// A failure with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: u8,
    pub message: String,
}

impl Failure {
    pub fn of(code: u8, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self { code, message: message.into() })
    }
}

/// The exit code for an error: that of the first cause which has one.
pub fn code_of(error: &anyhow::Error) -> u8 {
    let code = error.chain().find_map(|cause| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Some(failure.code);
        }
        if let Some(error) = cause.downcast_ref::<WalError>() {
            return Some(exit::code_of(error));
        }
        if let Some(error) = cause.downcast_ref::<RestoreError>() {
            return Some(error.exit_code());
        }
        if let Some(error) = cause.downcast_ref::<RecordError>() {
            return Some(error.exit_code());
        }
        if let Some(error) = cause.downcast_ref::<ShadowError>() {
            return Some(error.exit_code());
        }
        if let Some(error) = cause.downcast_ref::<LoadError>() {
            return Some(error.exit_code());
        }
        if let Some(error) = cause.downcast_ref::<BackupError>() {
            return Some(error.exit_code());
        }
        cause.downcast_ref::<ConfigErrors>().map(|_| exit::CONFIG)
    });
    code.unwrap_or(exit::FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_code_survives_the_context_around_it() {
        let inner = Failure::of(exit::NOT_EMPTY, "not empty");
        assert_eq!(code_of(&Err::<(), _>(inner).context("making it").expect_err("an error")), exit::NOT_EMPTY);
        let locked = WalError::Locked { path: "d".into() };
        assert_eq!(code_of(&anyhow::Error::new(locked).context("opening it")), exit::LOCKED);
        assert_eq!(code_of(&anyhow::anyhow!("anything")), exit::FAILED);
    }
}
