//! `pinion upgrade format`: raises the format of a data directory, once a snapshot of its very end is verified.
//!
//! Invariant: the directory is changed by one rename of IDENTITY, so it has the one format or the other.

use crate::offline::as_of::StateReader;
use crate::terminal::failure::Failure;
use crate::terminal::output::Output;
use anyhow::Result;
use book::engine::{Capacity, Engine};
use clap::Args;
use node::replica::snapshots;
use node::status::exit;
use std::path::PathBuf;
use wal::directory::Directory;
use wal::identity::FORMAT_NEWEST;
use wal::units::Tail;

#[derive(Args, Debug)]
pub(super) struct Format {
    /// The data directory of a stopped node
    #[arg(long, value_name = "D")]
    data_dir: PathBuf,
    /// Check everything, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Format {
    pub(super) fn run(&self) -> Result<u8> {
        let mut directory = Directory::open(&self.data_dir)?;
        let format = directory.identity().format;
        let mut out = Output::new();
        if format == FORMAT_NEWEST {
            out.line(format!("the directory has format {format} already, the newest that this build knows"))?;
            return out.flush().map(|()| exit::OK);
        }
        let end = self.end_of_log()?;
        verify_snapshot_at(&directory, end)?;
        let consequence = format!(
            "a build that knows only format {format} refuses the directory from then on (exit code 14), and there is no \
             way back but a restore from a backup"
        );
        if self.dry_run {
            out.line(format!("would raise the format from {format} to {FORMAT_NEWEST}: {consequence}"))?;
        } else {
            directory.raise_format(FORMAT_NEWEST)?;
            out.line(format!("raised the format from {format} to {FORMAT_NEWEST}: {consequence}"))?;
        }
        out.flush().map(|()| exit::OK)
    }

    fn end_of_log(&self) -> Result<Tail> {
        let reader = StateReader::open(&self.data_dir)?;
        Ok(reader.scan()?.range.end)
    }
}

/// The snapshot at the end of the log is read to its end, and its state has the hash in its header. With it, a build
/// that cannot read a record before that end can still be helped from the snapshot.
fn verify_snapshot_at(directory: &Directory, end: Tail) -> Result<()> {
    let found = snapshots::list(directory)?.into_iter().find(|file| file.seq == end.seq);
    let Some(file) = found else {
        let message = format!(
            "there is no snapshot at sequence {}, the end of the log: start the node and stop it, which takes one, or run \
             pinion snapshot create --data-dir on the stopped node's directory",
            end.seq
        );
        return Err(Failure::of(exit::FAILED, message));
    };
    let (_, header) = snapshots::load(directory, &file, Engine::new(Capacity::default()))?;
    if header.tail != end {
        let message =
            format!("snapshot {} does not stand at the end of this log: its chain hash differs", file.path.display());
        return Err(Failure::of(exit::DAMAGED, message));
    }
    Ok(())
}
