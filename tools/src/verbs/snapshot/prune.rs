//! `pinion snapshot prune`: fewer snapshots, by an operator's hand. A running node prunes its own.

use super::Whose;
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
pub struct Prune {
    #[command(flatten)]
    whose: Whose,
    /// How many of the newest whole ones stay, at least one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
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
    /// Would have gone, had nobody interrupted.
    spared: Vec<SnapshotFile>,
    /// Not deleted: somebody should look at them first.
    of_no_use: Vec<(SnapshotFile, String)>,
}

impl Prune {
    pub fn run(&self) -> Result<u8> {
        let interrupt = Interrupt::listen()?;
        let directory = Directory::open(&self.whose.path()?)
            .context("a running node prunes by itself, as snapshot.keep and store.retain_* say; stop it first")?;
        let base = Inspection::open(&directory)?.base()?.seq;
        let mut sorted = self.sort(&directory, base, &interrupt)?;
        if !self.dry_run {
            sorted.delete(&interrupt)?;
        }
        self.report(&sorted, base)
    }

    /// Newest first: a snapshot counts only when it is whole.
    fn sort(&self, directory: &Directory, base: Lsn, interrupt: &Interrupt) -> Result<Sorted> {
        let mut sorted = Sorted::default();
        for file in snapshots::list(directory)?.into_iter().rev() {
            interrupt.check()?;
            // What is older than the kept ones need not be read to be deleted.
            if self.keep as usize <= sorted.kept.len() && file.seq != base {
                sorted.gone.push(file);
                continue;
            }
            match snapshots::load(directory, &file, Engine::new(Capacity::default())) {
                Ok(_) => sorted.kept.push(file),
                Err(why) => sorted.of_no_use.push((file, why.to_string())),
            }
        }
        Ok(sorted)
    }

    fn report(&self, sorted: &Sorted, base: Lsn) -> Result<u8> {
        let Sorted { kept, gone, spared, of_no_use } = sorted;
        let code = if spared.is_empty() { exit::OK } else { exit::FAILED };
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
                "spared": seqs(spared),
            }))?;
            return out.flush().map(|()| code);
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
        for file in spared {
            out.line(format!("spared   {:>12}  interrupted before it was deleted", file.seq.0))?;
        }
        out.flush().map(|()| code)
    }
}

impl Sorted {
    /// Newest first, so that what is spared at an interrupt is the oldest.
    fn delete(&mut self, interrupt: &Interrupt) -> Result<()> {
        for idx in 0..self.gone.len() {
            if interrupt.is_set() {
                self.spared = self.gone.split_off(idx);
                break;
            }
            wal::snapshot::remove(&self.gone[idx])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::units::Timeline;

    #[test]
    fn an_interrupt_spares_what_has_not_gone_yet_and_is_told() {
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
        let (interrupter, interrupt) = Interrupt::by_hand();
        let mut sorted = Sorted { gone: files[..1].to_vec(), ..Sorted::default() };
        sorted.delete(&interrupt).expect("deleted");
        assert!(sorted.spared.is_empty() && !files[0].path.exists());
        interrupter.interrupt();
        let mut sorted = Sorted { gone: files[1..].to_vec(), ..Sorted::default() };
        sorted.delete(&interrupt).expect("nothing to do");
        assert_eq!((sorted.gone.len(), &sorted.spared[..]), (0, &files[1..]));
        assert!(files[1..].iter().all(|file| file.path.exists()));
    }
}
