//! The options that name a state: a data directory and a sequence.

use crate::offline::as_of::StateAt;
use crate::offline::data_dir::DataDir;
use anyhow::Result;
use book::units::Seq;
use clap::Args;

#[derive(Args, Debug)]
pub(super) struct When {
    #[command(flatten)]
    pub dir: DataDir,
    /// The state at this sequence [default: the end of the log]
    #[arg(long, value_name = "N")]
    pub at_seq: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl When {
    pub(super) fn state(&self) -> Result<StateAt> {
        state_at(&self.dir, self.at_seq)
    }
}

pub(super) fn state_at(dir: &DataDir, seq: Option<u64>) -> Result<StateAt> {
    let state = dir.reader()?.state(seq.map(Seq))?;
    state.report_skipped_snapshots();
    Ok(state)
}
