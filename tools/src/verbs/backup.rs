//! `pinion backup`: ships a node's log and snapshots to another place, and proves that they bring the state back.
//!
//! ```text
//!  data directory --run: shipper--> destination (directory, S3) --fetch--> data directory --> drill, restore
//!                                       |  list, verify, prune
//! ```
//! docs/BACKUP.md has the format, and what the figures mean.

pub mod access;
pub mod drill;
mod list;
mod prune;
pub mod report;
pub mod run;
mod size;
pub mod verify;

use crate::archive::catalog::Catalog;
use crate::archive::destination::Destination;
use crate::archive::error::BackupError;
use crate::archive::forecast::forecast;
use crate::archive::store_address::OpenMode;
use crate::client::ops_client::OpsAddress;
use crate::terminal::failure::ExitCode;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::print;
use access::Access;
use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand};
use drill::{DrillReport, Rpo};
use node::status::exit;
use report::Reporter;
use run::{OutputFormat, Rounds};
use serde_json::{Value, json};
use size::size;
use std::path::PathBuf;
use std::time::Duration;
use wal::directory::Directory;

/// Ship a node's log and snapshots to a directory or an S3-compatible store, and prove that they bring the state back.
#[derive(Args, Debug)]
pub struct Backup {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Ship what is new, round by round, beside a running node or from a stopped one's directory
    Run(Run),
    /// Show which states a backup can restore
    List(List),
    /// Read and prove every object, and apply the log between the snapshots
    Verify(Verify),
    /// Delete everything that is older than the newest N snapshots
    Prune(Prune),
    /// Rehearse a restore: measure how much would be lost (RPO), and how long it takes (RTO)
    Drill(Drill),
}

#[derive(Args, Debug)]
struct Run {
    /// The node's data directory
    #[arg(long, value_name = "D")]
    data_dir: PathBuf,
    /// Where to ship: a path, file:///path or s3://bucket/prefix
    #[arg(long, value_name = "DEST")]
    to: String,
    /// Time between two rounds, such as 2s or 500ms
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    every: Duration,
    /// Ship one round and exit
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    access: Access,
    /// The node to tell how far the backup has come, for its /health: by --config or --url and --token-file
    #[command(flatten)]
    ops: OpsAddress,
    /// Print one line of JSON for each round
    #[arg(long)]
    json: bool,
    /// Print what a round would ship, and ship nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    source: Source,
}

#[derive(Args, Debug)]
struct Verify {
    #[command(flatten)]
    source: Source,
}

#[derive(Args, Debug)]
struct Prune {
    #[command(flatten)]
    source: Source,
    /// The number of newest snapshots that stay
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Print what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
struct Drill {
    #[command(flatten)]
    source: Source,
    /// Where to restore to; what the drill makes there is deleted at the end [default: the temporary directory]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// The node's own data directory: measure against it, and compare the state
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Source {
    /// The backup: a path, file:///path or s3://bucket/prefix
    #[arg(long, value_name = "DEST")]
    from: String,
    #[command(flatten)]
    access: Access,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Backup {
    pub fn run(&self) -> Result<u8> {
        match &self.what {
            What::Run(run) => run.run(),
            What::List(list) => list.run(),
            What::Verify(verify) => verify.run(),
            What::Prune(prune) => prune.run(),
            What::Drill(drill) => drill.run(),
        }
    }
}

impl Source {
    fn open(&self, interrupt: Interrupt) -> Result<Destination> {
        Ok(Destination::open(&self.from, self.access.secrets_file.as_deref(), OpenMode::Existing, interrupt)?)
    }

    fn print(&self, document: &Value, text: &str) -> Result<()> {
        if self.json { print(format_args!("{document}\n")) } else { print(text) }
    }
}

impl Run {
    fn run(&self) -> Result<u8> {
        let interrupt = Interrupt::on_signals().context("installing signal handlers")?;
        if self.dry_run {
            return self.report_forecast(interrupt);
        }
        // Checked first: nothing is created at the destination for a path that is no data directory.
        Directory::open_read_only(&self.data_dir)?;
        let destination =
            Destination::open(&self.to, self.access.secrets_file.as_deref(), OpenMode::OrCreate, interrupt)?;
        let rounds = if self.once { Rounds::Once } else { Rounds::Every(self.every) };
        let format = if self.json { OutputFormat::Json } else { OutputFormat::Text };
        run::run(&self.data_dir, &destination, rounds, format, Reporter::of(&self.ops))?;
        Ok(exit::OK)
    }

    fn report_forecast(&self, interrupt: Interrupt) -> Result<u8> {
        let opened = Destination::open(&self.to, self.access.secrets_file.as_deref(), OpenMode::Existing, interrupt);
        let destination = match opened {
            Err(BackupError::NoBackup { .. }) => None,
            opened => Some(opened?),
        };
        let forecast = forecast(&self.data_dir, destination.as_ref())?;
        print(match self.json {
            true => format!("{}\n", forecast.as_json(&self.to)),
            false => forecast.as_text(&self.to),
        })?;
        Ok(exit::OK)
    }
}

impl List {
    fn run(&self) -> Result<u8> {
        let destination = self.source.open(Interrupt::never())?;
        let (place, catalog) = (destination.to_string(), Catalog::read(&destination)?);
        self.source.print(&list::as_json(&place, &catalog), &list::as_text(&place, &catalog))?;
        Ok(exit::OK)
    }
}

impl Verify {
    fn run(&self) -> Result<u8> {
        let interrupt = Interrupt::on_signals().context("installing signal handlers")?;
        let destination = self.source.open(interrupt)?;
        let verified = verify::verify(&destination)?;
        let damage: Vec<Value> = verified
            .damage
            .iter()
            .map(|error| json!({ "error": error.to_string(), "exit_code": error.exit_code() }))
            .collect();
        let document = json!({
            "place": destination.to_string(), "snapshots": verified.snapshots, "pieces": verified.pieces,
            "bytes": verified.bytes, "commands": verified.commands, "snapshots_met": verified.snapshots_compared,
            "damage": damage,
        });
        let mut text = format!(
            "snapshots   {} proved and loaded, {} of them equal to the state that the log gives\n\
             log         {} pieces, {} commands applied\nbytes read  {}\n",
            verified.snapshots,
            verified.snapshots_compared,
            verified.pieces,
            verified.commands,
            size(verified.bytes)
        );
        for error in &verified.damage {
            text += &format!("DAMAGED     {error}\n");
        }
        if verified.damage.is_empty() {
            text += "every object is intact\n";
        }
        self.source.print(&document, &text)?;
        // Of several exit codes the largest: a wrong state (18) takes precedence over damaged bytes (13).
        let codes = verified.damage.iter().map(BackupError::exit_code);
        Ok(codes.max().unwrap_or(exit::OK))
    }
}

impl Prune {
    fn run(&self) -> Result<u8> {
        let interrupt = Interrupt::on_signals().context("installing signal handlers")?;
        let destination = self.source.open(interrupt)?;
        let (catalog, keep) = (Catalog::read(&destination)?, self.keep as usize);
        let pruning = prune::plan(&catalog, keep);
        if !pruning.keys.is_empty() {
            prune::check_kept(&destination, &catalog, keep)?;
        }
        if !self.dry_run {
            prune::carry_out(&destination, &pruning)?;
        }
        let keys: Vec<String> = pruning.keys.iter().map(ToString::to_string).collect();
        let oldest = pruning.oldest_kept.map(|(timeline, seq)| json!({ "timeline": timeline.0, "seq": seq.0 }));
        let document = json!({
            "deleted": keys, "bytes": pruning.bytes, "oldest_snapshot": oldest, "dry_run": self.dry_run,
        });
        let verb = if self.dry_run { "would delete" } else { "deleted" };
        let mut text: String = keys.iter().map(|key| format!("{verb} {key}\n")).collect();
        text += &format!("{verb} {} objects, {}\n", keys.len(), size(pruning.bytes));
        text += &match pruning.oldest_kept {
            Some((timeline, seq)) => format!("the oldest snapshot that stays is {seq} of timeline {timeline}\n"),
            None => format!("the backup has fewer than {} snapshots, so everything stays\n", self.keep),
        };
        self.source.print(&document, &text)?;
        Ok(exit::OK)
    }
}

impl Drill {
    fn run(&self) -> Result<u8> {
        let interrupt = Interrupt::on_signals().context("installing signal handlers")?;
        let destination = self.source.open(interrupt)?;
        let scratch = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let report = drill::drill(&destination, &scratch, self.data_dir.as_deref())?;
        self.source.print(&drill_json(&report), &drill_text(&report))?;
        Ok(if report.fetched.damaged_snapshots.is_empty() { exit::OK } else { exit::DAMAGED })
    }
}

fn drill_json(report: &DrillReport) -> Value {
    let fetched = &report.fetched;
    let (rpo_ms, rpo_commands) = match report.rpo {
        Rpo::OfNode { commands, lag } => (lag.as_millis() as u64, Some(commands)),
        Rpo::AtMost(age) => (age.as_millis() as u64, None),
    };
    json!({
        "timeline": fetched.timeline.0, "seq": fetched.tail.seq.0, "state_hash": report.state_hash.to_string(),
        "compared": matches!(report.rpo, Rpo::OfNode { .. }),
        "snapshot_seq": fetched.snapshot.as_ref().map(|header| header.tail.seq.0),
        "pieces": fetched.pieces, "bytes": fetched.bytes, "commands": report.commands,
        "rpo_ms": rpo_ms, "rpo_commands": rpo_commands,
        "rto_ms": report.rto.as_millis() as u64, "fetch_ms": report.fetch.as_millis() as u64,
        "damage": fetched.damaged_snapshots,
    })
}

fn drill_text(report: &DrillReport) -> String {
    let fetched = &report.fetched;
    let from = match &fetched.snapshot {
        Some(header) => format!("snapshot {}", header.tail.seq),
        None => "the first command".to_owned(),
    };
    let mut text = format!(
        "restored    timeline {} up to sequence {}, from {from} and {} pieces, {} read, {} commands applied\n",
        fetched.timeline,
        fetched.tail.seq,
        fetched.pieces,
        size(fetched.bytes),
        report.commands
    );
    for damage in &fetched.damaged_snapshots {
        text += &format!("DAMAGED     {damage}\n");
    }
    text += &match report.rpo {
        Rpo::OfNode { commands, lag } => format!(
            "state hash  {}, equal to that of the node's own log\n\
             RPO         {:.3} s: the node has {commands} commands that the backup has not\n",
            report.state_hash,
            lag.as_secs_f64()
        ),
        Rpo::AtMost(age) => format!(
            "state hash  {}\nRPO         at most {:.3} s, the age of the newest command shipped\n",
            report.state_hash,
            age.as_secs_f64()
        ),
    };
    text += &format!(
        "RTO         {:.3} s, of which {:.3} s to fetch\n",
        report.rto.as_secs_f64(),
        report.fetch.as_secs_f64()
    );
    text
}

/// Parses `2s`, `500ms`, `1m`.
fn duration(text: &str) -> std::result::Result<Duration, anyhow::Error> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| anyhow!("expected a number with ms, s or m, such as 2s"))?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(anyhow!("expected a number with ms, s or m, such as 2s")),
    };
    let all_ms = number.checked_mul(unit_ms).filter(|ms| (1..=86_400_000).contains(ms));
    all_ms.map(Duration::from_millis).ok_or_else(|| anyhow!("expected at least 1ms and at most a day"))
}
