//! `pinion upgrade`: whether a directory can go over to this build, and the step that raises its format.

mod check;
mod format;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Check that a data directory can go over to this build, and raise its format.
///
/// A build writes what the build before it can read, until an operator closes the way back: with `pinion upgrade
/// format` for the form of the files, and with `pinion admin rules raise` for the outcomes of commands.
#[derive(Args, Debug)]
pub struct Upgrade {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Apply the log with this build and compare every recorded hash; changes nothing
    Check(check::Check),
    /// Raise the format of a stopped node's directory; there is no way back
    Format(format::Format),
}

impl Upgrade {
    pub fn run(&self) -> Result<u8> {
        match &self.what {
            What::Check(check) => check.run(),
            What::Format(format) => format.run(),
        }
    }
}
