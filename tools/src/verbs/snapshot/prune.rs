//! `pinion snapshot prune`: deletes old snapshots of a stopped node. A running node prunes by itself.
//!
//! Invariant: only intact snapshots count as kept; the newest intact one and the one after which the log begins stay.

use super::data_dir_or_config::DataDirOrConfig;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::Output;
use anyhow::{Context, Result};
use book::engine::{Capacity, Engine};
use clap::Args;
use node::replica::snapshots;
use node::status::exit;
use serde_json::json;
use wal::directory::Directory;
use wal::recover::Inspection;
use wal::snapshot::SnapshotFile;
use wal::units::Lsn;

#[derive(Args, Debug)]
pub(super) struct Prune {
    #[command(flatten)]
    dir: DataDirOrConfig,
    /// The number of newest intact snapshots that stay, at least one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Print what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

/// The outcome for each snapshot.
#[derive(Debug, Default)]
struct Outcome {
    kept: Vec<SnapshotFile>,
    deleted: Vec<SnapshotFile>,
    /// Not deleted, because the user interrupted before.
    spared: Vec<SnapshotFile>,
    /// Not deleted, so that the operator can examine them.
    damaged: Vec<(SnapshotFile, String)>,
}

impl Prune {
    pub(super) fn run(&self) -> Result<u8> {
        let interrupt = Interrupt::on_signals()?;
        let directory = Directory::open(&self.dir.path()?)
            .context("a running node prunes by itself, as snapshot.keep and store.retain_* say; stop it first")?;
        let base = Inspection::open(&directory)?.base()?.seq;
        let mut outcome = self.plan(&directory, base, &interrupt)?;
        if !self.dry_run {
            outcome.delete(&interrupt)?;
        }
        self.report(&outcome, base)
    }

    /// Newest first: a snapshot counts only when it loads.
    fn plan(&self, directory: &Directory, base: Lsn, interrupt: &Interrupt) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for file in snapshots::list(directory)?.into_iter().rev() {
            interrupt.check()?;
            // A snapshot older than the kept ones is deleted without reading it.
            if self.keep as usize <= outcome.kept.len() && file.seq != base {
                outcome.deleted.push(file);
                continue;
            }
            match snapshots::load(directory, &file, Engine::new(Capacity::default())) {
                Ok(_) => outcome.kept.push(file),
                Err(why) => outcome.damaged.push((file, why.to_string())),
            }
        }
        Ok(outcome)
    }

    fn report(&self, outcome: &Outcome, base: Lsn) -> Result<u8> {
        let Outcome { kept, deleted, spared, damaged } = outcome;
        let code = if spared.is_empty() { exit::OK } else { exit::FAILED };
        let seqs = |files: &[SnapshotFile]| files.iter().map(|file| file.seq.0).collect::<Vec<_>>();
        let mut out = Output::new();
        if self.json {
            let of_no_use: Vec<_> =
                damaged.iter().map(|(file, why)| json!({ "seq": file.seq.0, "path": file.path, "why": why })).collect();
            let bytes: u64 = deleted.iter().map(|file| file.bytes).sum();
            out.line(json!({
                "dry_run": self.dry_run, "kept": seqs(kept), "deleted": seqs(deleted), "bytes": bytes, "of_no_use": of_no_use,
                "spared": seqs(spared),
            }))?;
            return out.flush().map(|()| code);
        }
        for file in kept {
            let why = if file.seq == base { ", the log begins after it" } else { "" };
            out.line(format!("kept         {:>12}{why}", file.seq.0))?;
        }
        let verb = if self.dry_run { "would delete" } else { "deleted" };
        for file in deleted {
            out.line(format!("{verb:<12} {:>12}  {} bytes", file.seq.0, file.bytes))?;
        }
        for (file, why) in damaged {
            out.line(format!("damaged      {:>12}  not counted, not deleted: {why}", file.seq.0))?;
        }
        for file in spared {
            out.line(format!("not deleted  {:>12}  interrupted before", file.seq.0))?;
        }
        out.flush().map(|()| code)
    }
}

impl Outcome {
    /// Newest first, so that an interrupt spares the oldest.
    fn delete(&mut self, interrupt: &Interrupt) -> Result<()> {
        for idx in 0..self.deleted.len() {
            if interrupt.is_set() {
                self.spared = self.deleted.split_off(idx);
                break;
            }
            wal::snapshot::remove(&self.deleted[idx])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::units::Timeline;

    #[test]
    fn an_interrupt_spares_what_is_not_deleted_yet() {
        let dir = tempfile::tempdir().expect("a directory");
        let files: Vec<SnapshotFile> = [30, 20, 10]
            .map(|seq| SnapshotFile {
                path: dir.path().join(seq.to_string()),
                timeline: Timeline(1),
                seq: Lsn(seq),
                bytes: 1,
            })
            .into();
        files.iter().for_each(|file| std::fs::write(&file.path, "1").expect("ours"));
        let (interrupter, interrupt) = Interrupt::manual();
        let mut outcome = Outcome { deleted: files[..1].to_vec(), ..Outcome::default() };
        outcome.delete(&interrupt).expect("deleted");
        assert!(outcome.spared.is_empty() && !files[0].path.exists());
        interrupter.interrupt();
        let mut outcome = Outcome { deleted: files[1..].to_vec(), ..Outcome::default() };
        outcome.delete(&interrupt).expect("nothing to do");
        assert_eq!((outcome.deleted.len(), &outcome.spared[..]), (0, &files[1..]));
        assert!(files[1..].iter().all(|file| file.path.exists()));
    }
}
