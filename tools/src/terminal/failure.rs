//! How a verb ends: with an exit code that scripts can tell apart, and a message that says what to do next.
//!
//! Invariant: an error that has an exit code keeps it, however much context is added around it. The types that have one
//! are the table below; a room above this one adds its own by `code_of_any`.

use node::config::load::ConfigErrors;
use node::replica::recover::RestoreError;
use node::replica::{LoadError, RecordError};
use node::shadow::ShadowError;
use node::status::exit;
use std::error::Error;
use wal::error::WalError;

/// An error that determines the exit code of the verb that it ends.
pub trait ExitCode: Error + 'static {
    fn exit_code(&self) -> u8;
}

/// The exit code of an error, where the error is of one type.
pub type CodeIn = fn(&(dyn Error + 'static)) -> Option<u8>;

/// The exit code of `cause`, where it is an `E`.
pub fn code_in<E: ExitCode>(cause: &(dyn Error + 'static)) -> Option<u8> {
    cause.downcast_ref::<E>().map(E::exit_code)
}

const KNOWN: [CodeIn; 7] = [
    code_in::<Failure>,
    code_in::<WalError>,
    code_in::<RestoreError>,
    code_in::<RecordError>,
    code_in::<ShadowError>,
    code_in::<LoadError>,
    code_in::<ConfigErrors>,
];

/// The exit code of an error: that of the first cause which has one.
pub fn code_of(error: &anyhow::Error) -> u8 {
    code_of_any(error, &[])
}

/// The same, where causes of further types have an exit code.
pub fn code_of_any(error: &anyhow::Error, further: &[CodeIn]) -> u8 {
    let code = error.chain().find_map(|cause| KNOWN.iter().chain(further).find_map(|code_in| code_in(cause)));
    code.unwrap_or(exit::FAILED)
}

/// A failure with an exit code and a message of its own.
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

impl ExitCode for Failure {
    fn exit_code(&self) -> u8 {
        self.code
    }
}

impl ExitCode for WalError {
    fn exit_code(&self) -> u8 {
        exit::code_of(self)
    }
}

impl ExitCode for RestoreError {
    fn exit_code(&self) -> u8 {
        RestoreError::exit_code(self)
    }
}

impl ExitCode for RecordError {
    fn exit_code(&self) -> u8 {
        RecordError::exit_code(self)
    }
}

impl ExitCode for ShadowError {
    fn exit_code(&self) -> u8 {
        ShadowError::exit_code(self)
    }
}

impl ExitCode for LoadError {
    fn exit_code(&self) -> u8 {
        LoadError::exit_code(self)
    }
}

impl ExitCode for ConfigErrors {
    fn exit_code(&self) -> u8 {
        exit::CONFIG
    }
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

    #[test]
    fn a_further_type_has_its_code_where_it_is_named() {
        #[derive(Debug, thiserror::Error)]
        #[error("fenced")]
        struct Fenced;
        impl ExitCode for Fenced {
            fn exit_code(&self) -> u8 {
                exit::FENCED
            }
        }
        let error = anyhow::Error::new(Fenced).context("shipping it");
        assert_eq!(code_of_any(&error, &[code_in::<Fenced>]), exit::FENCED);
        assert_eq!(code_of(&error), exit::FAILED);
    }
}
