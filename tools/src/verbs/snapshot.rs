//! `pinion snapshot`: the snapshots of a data directory, with which starts, restores and queries begin.

mod create;
mod data_dir_or_config;
mod list;
mod listing;
mod prune;
mod status;
mod verify;

use crate::terminal::output::ignoring_closed_pipe;
use anyhow::Result;
use clap::{Args, Subcommand};

/// Take, list, verify and prune the snapshots of a data directory.
#[derive(Args, Debug)]
pub struct Snapshot {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Take one now: by a running node (--config or --url), or of a stopped node's directory (--data-dir)
    Create(create::Create),
    /// List them, oldest first
    List(list::List),
    /// Show which snapshot a start would use, how old it is, and what retention would do next
    Status(status::Status),
    /// Load them and compare the state hash: all of a directory, or single files
    Verify(verify::Verify),
    /// Delete all but the newest ones, on a stopped node
    Prune(prune::Prune),
}

impl Snapshot {
    pub fn run(&self) -> Result<u8> {
        ignoring_closed_pipe(match &self.what {
            What::Create(create) => create.run(),
            What::List(list) => list.run(),
            What::Status(status) => status.run(),
            What::Verify(verify) => verify.run(),
            What::Prune(prune) => prune.run(),
        })
    }
}
