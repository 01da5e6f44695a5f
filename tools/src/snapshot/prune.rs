//! `pinion snapshot prune`: fewer snapshots, by an operator's hand. A running node prunes its own.

use super::Whose;
use crate::interrupt::Interrupt;
use crate::output::Output;
use anyhow::{Context, Result, ensure};
use book::engine::{Capacity, Engine};
use clap::Args;
use node::exit;
use node::shelf;
use serde_json::json;
use wal::directory::Directory;
use wal::recover::Inspection;
use wal::snapshot::SnapshotFile;
use wal::units::Seq;

#[derive(Args, Debug)]
pub struct Prune {
    #[command(flatten)]
    whose: Whose,
    /// How many of the newest whole ones stay, at least one
    #[arg(long, value_name = "N")]
    keep: usize,
    /// One line of JSON
    #[arg(long)]
    json: bool,
    /// Only say which would go
    #[arg(long)]
    dry_run: bool,
}

/// What becomes of each.
#[derive(Debug, Default)]
struct Sorted {
    kept: Vec<SnapshotFile>,
    gone: Vec<SnapshotFile>,
    /// Not deleted: somebody should look at them first.
    of_no_use: Vec<(SnapshotFile, String)>,
}

impl Prune {
    pub fn run(&self) -> Result<u8> {
        ensure!(0 < self.keep, "--keep counts from 1: a directory is never left without its newest snapshot");
        let interrupt = Interrupt::listen()?;
        let directory = Directory::open(&self.whose.path()?)
            .context("a running node prunes by itself, as snapshot.keep and store.retain_* say; stop it first")?;
        let base = Inspection::open(&directory)?.base()?.seq;
        let sorted = self.sort(&directory, base, &interrupt)?;
        if !self.dry_run {
            for file in &sorted.gone {
                interrupt.check()?;
                wal::snapshot::remove(file)?;
            }
        }
        self.report(&sorted, base)
    }

    /// Newest first: a snapshot counts only when it is whole.
    fn sort(&self, directory: &Directory, base: Seq, interrupt: &Interrupt) -> Result<Sorted> {
        let mut sorted = Sorted::default();
        for file in shelf::list(directory)?.into_iter().rev() {
            interrupt.check()?;
            // What is older than the kept ones need not be read to be deleted.
            if self.keep <= sorted.kept.len() && file.seq != base {
                sorted.gone.push(file);
                continue;
            }
            match shelf::load(directory, &file, Engine::new(Capacity::default())) {
                Ok(_) => sorted.kept.push(file),
                Err(why) => sorted.of_no_use.push((file, why.to_string())),
            }
        }
        Ok(sorted)
    }

    fn report(&self, sorted: &Sorted, base: Seq) -> Result<u8> {
        let Sorted { kept, gone, of_no_use } = sorted;
        let seqs = |files: &[SnapshotFile]| files.iter().map(|file| file.seq.0).collect::<Vec<_>>();
        let mut out = Output::new();
        if self.json {
            let damaged: Vec<_> = of_no_use
                .iter()
                .map(|(file, why)| json!({ "seq": file.seq.0, "path": file.path, "why": why }))
                .collect();
            let bytes: u64 = gone.iter().map(|file| file.bytes).sum();
            out.line(json!({
                "dry_run": self.dry_run, "kept": seqs(kept), "deleted": seqs(gone), "bytes": bytes, "of_no_use": damaged,
            }))?;
            return out.flush().map(|()| exit::OK);
        }
        for file in kept {
            let why = if file.seq == base { ", the log begins behind it" } else { "" };
            out.line(format!("kept     {:>12}{why}", file.seq.0))?;
        }
        let verb = if self.dry_run { "would go" } else { "deleted" };
        for file in gone {
            out.line(format!("{verb:<8} {:>12}  {} bytes", file.seq.0, file.bytes))?;
        }
        for (file, why) in of_no_use {
            out.line(format!("left     {:>12}  of no use, not counted: {why}", file.seq.0))?;
        }
        out.flush().map(|()| exit::OK)
    }
}
