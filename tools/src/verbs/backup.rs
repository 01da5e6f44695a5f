//! `pinion backup`: a node's log and snapshots in another place, and the proof that they bring it back.
//!
//! ```text
//!  data directory --run: shipper--> destination (directory, S3) --fetch--> data directory --> drill, restore
//!                                       |  list, verify, prune
//! ```
//! docs/BACKUP.md has the format and what the figures mean.

pub mod drill;
pub mod list;
pub mod prune;
pub mod run;
pub mod verify;

use crate::archive::catalog::Catalog;
use crate::archive::destination::{Destination, Open};
use crate::archive::error::BackupError;
use crate::archive::forecast::forecast;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::say;
use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand};
use drill::{Drilled, Rpo};
use list::size;
use node::status::exit;
use run::{Rounds, Telling};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use wal::directory::Directory;

/// Ship a node's log and snapshots to a directory or an S3-compatible store, and prove that they bring it back.
#[derive(Args, Debug)]
pub struct Backup {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Ship what is new, again and again, beside a running node or from a stopped one's directory
    Run(Run),
    /// Which states a backup reaches
    List(List),
    /// Read everything, prove every object, apply the log between the snapshots
    Verify(Verify),
    /// Delete what is older than the newest snapshots
    Prune(Prune),
    /// Restore into scratch as in an emergency, and measure what would be lost and how long it takes
    Drill(Drill),
}

#[derive(Args, Debug)]
struct Run {
    #[arg(long, value_name = "D")]
    data_dir: PathBuf,
    /// Path, file:///path or s3://bucket/prefix
    #[arg(long, value_name = "DEST")]
    to: String,
    /// Time between two rounds, such as 2s or 500ms
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    every: Duration,
    /// One round, then the end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    access: Access,
    /// A line of JSON for each round
    #[arg(long)]
    json: bool,
    /// Only say what would be shipped where
    #[arg(long)]
    dry_run: bool,
}

/// Credentials for a backup that is not a directory.
#[derive(Args, Debug)]
pub struct Access {
    /// Lines AWS_NAME=value that go over the environment; refused when others than owner and group may read them
    #[arg(long, value_name = "FILE")]
    pub secrets_file: Option<PathBuf>,
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
    /// Snapshots that stay, counted from the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Only say what would be deleted
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
struct Drill {
    #[command(flatten)]
    source: Source,
    /// Where to restore to; everything there is removed at the end [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// The node's own data directory: measures against it, and compares the state
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct Source {
    /// Path, file:///path or s3://bucket/prefix
    #[arg(long, value_name = "DEST")]
    from: String,
    #[command(flatten)]
    access: Access,
    /// One JSON document
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
        Ok(Destination::open(&self.from, self.access.secrets_file.as_deref(), Open::Existing, interrupt)?)
    }

    fn print(&self, document: &Value, text: &str) -> Result<()> {
        if self.json { say(format_args!("{document}\n")) } else { say(text) }
    }
}

impl Run {
    fn run(&self) -> Result<u8> {
        let interrupt = Interrupt::listen().context("listening for signals")?;
        if self.dry_run {
            return self.foretell(interrupt);
        }
        // What is no data directory makes no place for it either.
        Directory::open_read_only(&self.data_dir)?;
        let destination = Destination::open(&self.to, self.access.secrets_file.as_deref(), Open::OrCreate, interrupt)?;
        let rounds = if self.once { Rounds::Once } else { Rounds::Every(self.every) };
        let telling = if self.json { Telling::Json } else { Telling::Text };
        run::run(&self.data_dir, &destination, rounds, telling)?;
        Ok(exit::OK)
    }

    fn foretell(&self, interrupt: Interrupt) -> Result<u8> {
        let opened = Destination::open(&self.to, self.access.secrets_file.as_deref(), Open::Existing, interrupt);
        let destination = match opened {
            Err(BackupError::NoBackup { .. }) => None,
            opened => Some(opened?),
        };
        let forecast = forecast(&self.data_dir, destination.as_ref())?;
        say(match self.json {
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
        let interrupt = Interrupt::listen().context("listening for signals")?;
        let destination = self.source.open(interrupt)?;
        let verified = verify::verify(&destination)?;
        let damage: Vec<Value> = verified
            .damage
            .iter()
            .map(|error| json!({ "error": error.to_string(), "exit_code": error.exit_code() }))
            .collect();
        let document = json!({
            "place": destination.to_string(), "snapshots": verified.snapshots, "pieces": verified.pieces,
            "bytes": verified.bytes, "commands": verified.commands, "snapshots_met": verified.snapshots_met,
            "damage": damage,
        });
        let mut text = format!(
            "snapshots   {} proved and loaded, {} of them made by the log too\n\
             log         {} pieces, {} commands applied\nbytes read  {}\n",
            verified.snapshots,
            verified.snapshots_met,
            verified.pieces,
            verified.commands,
            size(verified.bytes)
        );
        for error in &verified.damage {
            text += &format!("DAMAGED     {error}\n");
        }
        if verified.damage.is_empty() {
            text += "whole\n";
        }
        self.source.print(&document, &text)?;
        // A wrong state weighs more than damaged bytes, which everybody can see.
        let codes = verified.damage.iter().map(BackupError::exit_code);
        Ok(codes.max().unwrap_or(exit::OK))
    }
}

impl Prune {
    fn run(&self) -> Result<u8> {
        let interrupt = Interrupt::listen().context("listening for signals")?;
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
            Some((timeline, seq)) => format!("the oldest snapshot is now {seq} of timeline {timeline}\n"),
            None => format!("there are fewer than {} snapshots: everything stays\n", self.keep),
        };
        self.source.print(&document, &text)?;
        Ok(exit::OK)
    }
}

impl Drill {
    fn run(&self) -> Result<u8> {
        let interrupt = Interrupt::listen().context("listening for signals")?;
        let destination = self.source.open(interrupt)?;
        let scratch = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let drilled = drill::drill(&destination, &scratch, self.data_dir.as_deref())?;
        self.source.print(&drilled_json(&drilled), &drilled_text(&drilled))?;
        Ok(if drilled.fetched.passed_over.is_empty() { exit::OK } else { exit::DAMAGED })
    }
}

fn drilled_json(drilled: &Drilled) -> Value {
    let fetched = &drilled.fetched;
    let (rpo_ms, rpo_commands) = match drilled.rpo {
        Rpo::Node { commands, behind } => (behind.as_millis() as u64, Some(commands)),
        Rpo::Age(age) => (age.as_millis() as u64, None),
    };
    json!({
        "timeline": fetched.timeline.0, "seq": fetched.tail.seq.0, "state_hash": drilled.state_hash.to_string(),
        "compared": matches!(drilled.rpo, Rpo::Node { .. }),
        "snapshot_seq": fetched.snapshot.as_ref().map(|header| header.tail.seq.0),
        "pieces": fetched.pieces, "bytes": fetched.bytes, "commands": drilled.commands,
        "rpo_ms": rpo_ms, "rpo_commands": rpo_commands,
        "rto_ms": drilled.rto.as_millis() as u64, "fetch_ms": drilled.fetch.as_millis() as u64,
        "damage": fetched.passed_over,
    })
}

fn drilled_text(drilled: &Drilled) -> String {
    let fetched = &drilled.fetched;
    let from = match &fetched.snapshot {
        Some(header) => format!("snapshot {}", header.tail.seq),
        None => "the origin".to_owned(),
    };
    let mut text = format!(
        "restored    timeline {} up to {}, from {from} and {} pieces, {} read, {} commands applied\n",
        fetched.timeline,
        fetched.tail.seq,
        fetched.pieces,
        size(fetched.bytes),
        drilled.commands
    );
    for damage in &fetched.passed_over {
        text += &format!("DAMAGED     {damage}\n");
    }
    text += &match drilled.rpo {
        Rpo::Node { commands, behind } => format!(
            "state hash  {}, as the node's own log has it\n\
             RPO         {:.3} s: the node has {commands} commands more\n",
            drilled.state_hash,
            behind.as_secs_f64()
        ),
        Rpo::Age(age) => format!(
            "state hash  {}\nRPO         {:.3} s at most: the age of the newest command\n",
            drilled.state_hash,
            age.as_secs_f64()
        ),
    };
    text += &format!(
        "RTO         {:.3} s, of which {:.3} s to fetch\n",
        drilled.rto.as_secs_f64(),
        drilled.fetch.as_secs_f64()
    );
    text
}

/// `2s`, `500ms`, `1m`.
fn duration(text: &str) -> std::result::Result<Duration, anyhow::Error> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| anyhow!("a number with ms, s or m, such as 2s"))?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(anyhow!("a number with ms, s or m, such as 2s")),
    };
    let all_ms = number.checked_mul(unit_ms).filter(|ms| (1..=86_400_000).contains(ms));
    all_ms.map(Duration::from_millis).ok_or_else(|| anyhow!("at least 1ms and at most a day"))
}
