//! `pinion snapshot verify`: reads snapshots to their ends, loads their states, and compares the state hashes.

use super::data_dir_or_config::DataDirOrConfig;
use super::listing;
use crate::terminal::failure::{Failure, code_of};
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::Output;
use crate::terminal::progress::Progress;
use anyhow::Result;
use book::engine::{Capacity, Engine};
use clap::Args;
use node::replica::Replica;
use node::replica::snapshots;
use node::status::exit;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use wal::directory::Directory;
use wal::recover::Inspection;
use wal::snapshot::{SnapshotFile, SnapshotHeader, SnapshotReader};
use wal::units::{Lsn, Timeline};

#[derive(Args, Debug)]
pub(super) struct Verify {
    #[command(flatten)]
    dir: OptionalDataDir,
    /// Single files, in any directory [default: all snapshots of the data directory]
    #[arg(value_name = "FILE", required_unless_present_any = ["data_dir", "config"])]
    files: Vec<PathBuf>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// No data directory is needed where files are named.
#[derive(Args, Clone, Debug)]
struct OptionalDataDir {
    /// The data directory
    #[arg(long, value_name = "D", conflicts_with = "files")]
    data_dir: Option<PathBuf>,
    /// The node's configuration, which names the data directory
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG")]
    config: Option<PathBuf>,
}

impl Verify {
    /// The exit code is that of the first snapshot that is not intact.
    pub(super) fn run(&self) -> Result<u8> {
        let interrupt = Interrupt::on_signals()?;
        let directory = self.directory()?;
        let files = match &directory {
            Some(directory) => snapshots::list(directory)?,
            None => self.files.iter().map(|path| single(path)).collect(),
        };
        let mut progress = Progress::new("verifying", files.len());
        let (mut out, mut rows, mut code) = (Output::new(), Vec::new(), exit::OK);
        for (idx, file) in files.iter().enumerate() {
            interrupt.check()?;
            progress.at(idx);
            match prove(file, directory.as_ref()) {
                Ok(header) if self.json => {
                    let mut row = listing::as_json(file, &header);
                    row["whole"] = true.into();
                    rows.push(row);
                }
                Ok(header) => out.line(format!("{}  intact", listing::as_text(file, &header)))?,
                Err(error) => {
                    code = if code == exit::OK { code_of(&error) } else { code };
                    match self.json {
                        true => rows.push(json!({ "path": file.path, "whole": false, "error": format!("{error:#}") })),
                        false => out.line(format!("DAMAGED  {error:#}"))?,
                    }
                }
            }
        }
        if self.json {
            out.line(Value::Array(rows))?;
        } else if code != exit::OK {
            out.line("a start uses the newest intact snapshot; delete the damaged ones, or keep them to find out why")?;
        }
        if let Some(directory) = directory.filter(|_| files.is_empty()) {
            report_none(&directory, &mut out, self.json)?;
        }
        out.flush().map(|()| code)
    }

    /// The data directory; none where files are named.
    fn directory(&self) -> Result<Option<Directory>> {
        if !self.files.is_empty() {
            return Ok(None);
        }
        let dir = DataDirOrConfig { data_dir: self.dir.data_dir.clone(), config: self.dir.config.clone() };
        dir.read_only().map(Some)
    }
}

/// A log that begins with the first command needs no snapshot; one that was truncated cannot be used without.
fn report_none(directory: &Directory, out: &mut Output, json: bool) -> Result<()> {
    let base = Inspection::open(directory)?.base()?.seq;
    if base != Lsn::ZERO {
        out.flush()?;
        let dir = directory.path().display();
        let message = format!(
            "{dir} has no snapshot, and its log begins after sequence {base}: no state can be built; restore from a backup"
        );
        return Err(Failure::of(exit::DAMAGED, message));
    }
    if json { Ok(()) } else { out.line("no snapshot, and none is needed: the log begins with the first command") }
}

/// A file by its path alone; its header says which state it has.
fn single(path: &Path) -> SnapshotFile {
    let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
    SnapshotFile { path: path.to_owned(), timeline: Timeline(0), seq: Lsn::ZERO, bytes }
}

/// Loads the state, whose hash must be the one in the header, and checks that it is consistent.
fn prove(file: &SnapshotFile, directory: Option<&Directory>) -> Result<SnapshotHeader> {
    let engine = Engine::new(Capacity::default());
    let (replica, header) = match directory {
        Some(directory) => snapshots::load(directory, file, engine)?,
        None => Replica::load(SnapshotReader::open(&file.path)?, file.path.clone(), engine)?,
    };
    let consistent = replica.engine.verify();
    consistent.map_err(|why| Failure::of(exit::RECONCILIATION, format!("{}: {why}", file.path.display())))?;
    Ok(header)
}
