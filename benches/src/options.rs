//! What all benches let you choose.

use crate::streams::standard_paths;
use anyhow::Result;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, clap::Parser)]
pub struct Options {
    /// Measure this stream (PMEWL001 `.bin`; for `match` also `.meb` or `.meb.xz`) instead of the six standard ones.
    #[arg(long)]
    pub file: Vec<PathBuf>,
    /// Interleaved rounds; the figures are medians over them.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// The two small books, one short round: does it run, is it exact?
    #[arg(long)]
    pub quick: bool,
    /// One JSON document instead of text.
    #[arg(long)]
    pub json: bool,
    /// Pin to this core instead of the last one.
    #[arg(long)]
    pub core: Option<usize>,
    /// Only subjects whose name contains this.
    #[arg(long)]
    pub only: Option<String>,
    /// Leave out the peers from the crate registry.
    #[arg(long)]
    pub no_peers: bool,
    /// Leave out the latency pass.
    #[arg(long)]
    pub no_latency: bool,
    /// Seconds of CPU time that one round of a slow peer may take; then its figure is over what it got done.
    #[arg(long, default_value_t = 3.0)]
    pub peer_seconds: f64,
}

/// Main commands of a quick run.
const QUICK_LEN: usize = 500_000;

impl Options {
    pub fn paths(&self) -> Result<Vec<PathBuf>> {
        if self.file.is_empty() { standard_paths(self.quick) } else { Ok(self.file.clone()) }
    }

    pub fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.max(1) }
    }

    pub fn main_len_max(&self) -> usize {
        if self.quick { QUICK_LEN } else { usize::MAX }
    }

    pub fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|part| name.contains(part.as_str()))
    }

    pub fn peer_time(&self) -> Duration {
        Duration::from_secs_f64(self.peer_seconds)
    }
}
