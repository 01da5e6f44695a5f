//! The option `--data-dir` of every verb that reads a data directory.

use crate::offline::as_of::StateReader;
use crate::terminal::interrupt::Interrupt;
use anyhow::Result;
use std::path::PathBuf;

#[derive(clap::Args, Clone, Debug)]
pub struct DataDir {
    /// The data directory of a stopped or a running node
    #[arg(long, value_name = "D")]
    pub data_dir: PathBuf,
}

impl DataDir {
    /// A reader whose scans end when the user interrupts.
    pub fn reader(&self) -> Result<StateReader> {
        Ok(StateReader::open(&self.data_dir)?.interruptible(Interrupt::on_signals()?))
    }
}
