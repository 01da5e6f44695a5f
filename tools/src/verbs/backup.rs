//! `pinion backup`: ships a node's log and snapshots to another place, and proves that they bring the state back.
//!
//! ```text
//!  data directory --run: shipper--> destination (directory, S3) --fetch--> data directory --> drill, restore
//!                                       |  list, verify, prune
//! ```
//! docs/BACKUP.md has the format, and what the figures mean.

pub mod access;
pub mod drill;
mod figures;
mod list;
mod prune;
pub mod report;
pub mod round_log;
pub mod run;
mod size;
pub mod verify;

use crate::archive::again::again_where_pruned;
use crate::archive::catalog::Catalog;
use crate::archive::destination::Destination;
use crate::archive::error::BackupError;
use crate::archive::forecast::forecast;
use crate::archive::shipper::Shipper;
use crate::archive::store_address::{OpenMode, local_path};
use crate::client::ops_client::OpsAddress;
use crate::offline::new_place::is_within;
use crate::terminal::failure::ExitCode;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::print;
use access::Access;
use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand};
use drill::WithPast;
use node::status::exit;
use report::Reporter;
use round_log::{OutputFormat, RoundLog};
use run::Rounds;
use serde_json::{Value, json};
use size::size;
use std::path::PathBuf;
use std::time::Duration;
use wal::directory::Directory;
use wal::units::Lsn;

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
    /// Write Prometheus metrics to this file after each round, for a collector of text files
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
    /// Print lines of JSON
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
    /// End with exit code 4 where the newest object is older, such as 1m: for a service that watches the shipper
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_age: Option<Duration>,
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
        self.check_apart()?;
        if self.dry_run {
            return self.report_forecast(interrupt);
        }
        // Checked first: nothing is created at the destination for a path that is no data directory.
        Directory::open_read_only(&self.data_dir)?;
        let destination =
            Destination::open(&self.to, self.access.secrets_file.as_deref(), OpenMode::OrCreate, interrupt)?;
        let rounds = if self.once { Rounds::Once } else { Rounds::Every(self.every) };
        let format = if self.json { OutputFormat::Json } else { OutputFormat::Text };
        let mut shipper = Shipper::new(&self.data_dir, &destination);
        if let Some(config) = &self.ops.config {
            shipper = shipper.with_config(config);
        }
        let log = RoundLog::new(format, self.metrics_file.clone());
        run::run(shipper, &destination, rounds, log, Reporter::of(&self.ops))?;
        Ok(exit::OK)
    }

    /// Refuses a place in the data directory: it would be lost with it, and grow into what the node takes for its own.
    fn check_apart(&self) -> Result<()> {
        match local_path(&self.to) {
            Some(to) if is_within(to, &self.data_dir) => {
                let (to, data_dir) = (to.display(), self.data_dir.display());
                let message = format!("--to {to} is in the data directory {data_dir}: give a place on another disk");
                Err(BackupError::Place(message).into())
            }
            _ => Ok(()),
        }
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
        let age = list::age_of(&catalog);
        let is_late = self.max_age.is_some_and(|max| age.is_none_or(|age| max < age));
        let mut document = list::as_json(&place, &catalog);
        document["late"] = is_late.into();
        let mut text = list::as_text(&place, &catalog);
        if let (true, Some(max)) = (is_late, self.max_age) {
            let age = age.map_or("nothing was shipped".to_owned(), |age| {
                format!("the newest object is {} s old", age.as_secs())
            });
            text += &format!("LATE        {age}, allowed {} s (--max-age)\n", max.as_secs_f64());
        }
        self.source.print(&document, &text)?;
        Ok(match list::has_damage(&catalog) {
            true => exit::DAMAGED,
            false if is_late => list::LATE,
            false => exit::OK,
        })
    }
}

fn ranges_json(ranges: &[(Lsn, Lsn)]) -> Value {
    ranges.iter().map(|(first, last)| json!({ "seq_first": first.0, "seq_last": last.0 })).collect()
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
            "gaps": ranges_json(&verified.gaps),
            "lone_snapshots": verified.lone_snapshots.iter().map(|seq| seq.0).collect::<Vec<_>>(),
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
        for (first, last) in &verified.gaps {
            text += &format!(
                "GAP         {first} to {last}: no state within can be restored, and none after it has a past before it\n"
            );
        }
        for seq in &verified.lone_snapshots {
            text += &format!("ALONE       snapshot {seq}: no log leads to it, and none leads on from it\n");
        }
        for error in &verified.damage {
            text += &format!("DAMAGED     {error}\n");
        }
        if verified.damage.is_empty() {
            text += &match verified.gaps.len() {
                0 => "every object is intact\n".to_owned(),
                count => format!("every object is intact; the log has {count} gaps\n"),
            };
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
        let keep = self.keep as usize;
        let pruning = again_where_pruned(&destination, || {
            let catalog = Catalog::read(&destination)?;
            catalog.check_identities(&destination)?;
            let pruning = prune::plan(&catalog, keep);
            if !pruning.keys.is_empty() {
                prune::check_kept(&destination, &catalog, keep)?;
            }
            Ok(pruning)
        })?;
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
        let scratch = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        for place in local_path(&self.source.from).into_iter().chain(self.data_dir.as_deref()) {
            if is_within(&scratch, place) {
                let (scratch, place) = (scratch.display(), place.display());
                return Err(BackupError::Place(format!("--scratch {scratch} is in {place}: give another one")).into());
            }
        }
        let destination = self.source.open(interrupt)?;
        let report = drill::drill(&destination, &scratch, self.data_dir.as_deref())?;
        self.source.print(&figures::as_json(&report), &figures::as_text(&report))?;
        Ok(match &report.with_past {
            _ if !report.fetched.damaged_snapshots.is_empty() => exit::DAMAGED,
            WithPast::Refused(error) => error.exit_code(),
            WithPast::Restored { .. } => exit::OK,
        })
    }
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
