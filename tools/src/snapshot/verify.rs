//! `pinion snapshot verify`: reads snapshots to their ends, loads the states, and compares what they hash to.

use super::{Whose, describe, one_line};
use crate::failure::code_of;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Progress;
use anyhow::{Context, Result};
use book::engine::{Capacity, Engine};
use clap::Args;
use node::exit;
use node::replica::Replica;
use node::shelf;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use wal::directory::Directory;
use wal::snapshot::{SnapshotFile, SnapshotHeader, SnapshotReader};

#[derive(Args, Debug)]
pub struct Verify {
    #[command(flatten)]
    whose: OptionalWhose,
    /// Single files, wherever they lie [default: all of the directory's]
    #[arg(value_name = "FILE", required_unless_present_any = ["data_dir", "config"])]
    files: Vec<PathBuf>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

/// Files are proved without a directory too.
#[derive(Args, Clone, Debug)]
struct OptionalWhose {
    /// The data directory
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    /// The node's configuration, which names the data directory
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG")]
    config: Option<PathBuf>,
}

impl Verify {
    /// The exit code is that of the first one that is of no use.
    pub fn run(&self) -> Result<u8> {
        let interrupt = Interrupt::listen()?;
        let files = self.files()?;
        let mut progress = Progress::new("verify", files.len());
        let (mut out, mut rows, mut code) = (Output::new(), Vec::new(), exit::OK);
        for (idx, (file, directory)) in files.iter().enumerate() {
            interrupt.check()?;
            progress.at(idx);
            match prove(file, directory.as_ref()) {
                Ok(header) if self.json => {
                    let mut row = describe(file, &header);
                    row["whole"] = true.into();
                    rows.push(row);
                }
                Ok(header) => out.line(format!("{}  whole", one_line(file, &header)))?,
                Err(error) => {
                    code = if code == exit::OK { code_of(&error) } else { code };
                    match self.json {
                        true => rows.push(json!({ "path": file.path, "whole": false, "error": format!("{error:#}") })),
                        false => out.line(format!("OF NO USE  {error:#}"))?,
                    }
                }
            }
        }
        if self.json {
            out.line(Value::Array(rows))?;
        } else if code != exit::OK {
            out.line(
                "a start takes the newest one that is whole; delete those of no use, or keep them to find out why",
            )?;
        }
        out.flush().map(|()| code)
    }

    fn files(&self) -> Result<Vec<(SnapshotFile, Option<Directory>)>> {
        if self.files.is_empty() {
            let whose = Whose { data_dir: self.whose.data_dir.clone(), config: self.whose.config.clone() };
            let path = whose.path()?;
            let files = shelf::list(&Directory::open_read_only(&path)?)?;
            return files.into_iter().map(|file| Ok((file, Some(Directory::open_read_only(&path)?)))).collect();
        }
        self.files.iter().map(|path| Ok((single(path)?, None))).collect()
    }
}

/// A file by its path alone: its header says what it is of.
fn single(path: &Path) -> Result<SnapshotFile> {
    let bytes = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
    let header = SnapshotReader::open(path)?.header().clone();
    Ok(SnapshotFile { path: path.to_owned(), timeline: header.timeline, seq: header.tail.seq, bytes })
}

/// A state that hashes to what the header says, and that is consistent in itself.
fn prove(file: &SnapshotFile, directory: Option<&Directory>) -> Result<SnapshotHeader> {
    let engine = Engine::new(Capacity::default());
    let (replica, header) = match directory {
        Some(directory) => shelf::load(directory, file, engine)?,
        None => Replica::load(SnapshotReader::open(&file.path)?, file.path.clone(), engine)?,
    };
    let consistent = replica.engine.verify();
    consistent
        .map_err(|why| crate::failure::Failure::of(exit::RECONCILIATION, format!("{}: {why}", file.path.display())))?;
    Ok(header)
}
