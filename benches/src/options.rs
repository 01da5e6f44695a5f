//! Command-line options of the benches, each defined once; a bench flattens the groups that it needs into its
//! arguments.
//!
//! Invariant: an option has one name and one meaning in every bench; only the default number of rounds is a bench's
//! own.

use crate::report::source_head;
use crate::streams::standard_paths;
use anyhow::Result;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Length and form of a run.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Mode {
    /// Run one short round on a small case, which shows that the bench works and that its result is right.
    #[arg(long)]
    pub quick: bool,
    /// Print one JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

impl Mode {
    /// Prints text, unless the output is a JSON document.
    pub fn print(&self, text: impl Display) {
        if !self.json {
            println!("{text}");
        }
    }

    /// Prints the head of the bench's source, which draws its wiring, and the machine.
    pub fn print_head(&self, source: &str, machine: &str) {
        self.print(format_args!("{}\n\n{machine}\n", source_head(source)));
    }
}

/// The number of rounds; `DEFAULT` is the bench's own default.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct RoundCount<const DEFAULT: usize> {
    /// Interleaved rounds; every figure is a median over them. A quick run has one.
    #[arg(long, default_value_t = DEFAULT)]
    rounds: usize,
}

impl<const DEFAULT: usize> RoundCount<DEFAULT> {
    pub fn get(&self, mode: Mode) -> usize {
        if mode.quick { 1 } else { self.rounds.max(1) }
    }
}

/// Where a bench makes its files.
#[derive(Clone, Debug, clap::Args)]
pub struct Files {
    /// Make the files in this directory instead of beside the binary.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// Where a single-threaded bench runs.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Pin {
    /// Pin to this core instead of the last one.
    #[arg(long)]
    pub core: Option<usize>,
}

/// Options of the benches that run a stream: `match` and `apply`.
#[derive(Clone, Debug, clap::Parser)]
pub struct StreamOptions {
    /// Measure this stream (PMEWL001 `.bin`; for `match` also `.meb` or `.meb.xz`) instead of the six standard ones.
    #[arg(long)]
    pub file: Vec<PathBuf>,
    #[command(flatten)]
    rounds: RoundCount<5>,
    #[command(flatten)]
    pub mode: Mode,
    #[command(flatten)]
    pub pin: Pin,
    /// Measure only subjects whose name contains this text; the naive twin, the base of all ratios, is always measured.
    #[arg(long)]
    pub only: Option<String>,
    /// Do not measure the peers from the crate registry.
    #[arg(long)]
    pub no_peers: bool,
    /// Do not measure latencies.
    #[arg(long)]
    pub no_latency: bool,
    /// Limit of the CPU time of a peer's round in seconds; a peer that reaches it is measured on the part that it
    /// finished.
    #[arg(long, default_value_t = 3.0)]
    pub peer_seconds: f64,
}

/// Main commands of a stream in a quick run.
const QUICK_LEN: usize = 500_000;

impl StreamOptions {
    pub fn rounds(&self) -> usize {
        self.rounds.get(self.mode)
    }

    /// The streams to measure; a quick run takes the two with small books.
    pub fn paths(&self) -> Result<Vec<PathBuf>> {
        if self.file.is_empty() { standard_paths(self.mode.quick) } else { Ok(self.file.clone()) }
    }

    pub fn main_len_max(&self) -> usize {
        if self.mode.quick { QUICK_LEN } else { usize::MAX }
    }

    pub fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|part| name.contains(part.as_str()))
    }

    pub fn peer_time(&self) -> Duration {
        Duration::from_secs_f64(self.peer_seconds)
    }
}

/// The exit code of a bench; an error goes to standard error under the bench's name.
pub fn exit_code(bench: &str, outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{bench}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
