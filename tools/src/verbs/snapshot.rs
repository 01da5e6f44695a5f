//! `pinion snapshot`: the kept states of a data directory, from which starts, restores and looks back begin.

mod create;
mod prune;
mod status;
mod verify;

use crate::terminal::output::{Output, unless_closed};
use crate::terminal::time_text;
use anyhow::{Context, Result};
use book::state_hash::StateHash;
use clap::{Args, Subcommand};
use node::config::Config;
use node::replica::snapshots;
use node::status::exit;
use serde_json::{Value, json};
use std::path::PathBuf;
use wal::directory::Directory;
use wal::recover::Inspection;
use wal::snapshot::{SnapshotFile, SnapshotHeader, SnapshotReader};

/// Take, list, prove and prune the snapshots of a data directory.
#[derive(Args, Debug)]
pub struct Snapshot {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Take one now: by a running node (--config or --url), or of a stopped one's directory (--data-dir)
    Create(create::Create),
    /// List them, oldest first
    List(List),
    /// The newest one, what a start would begin with, and what retention would do next
    Status(status::Status),
    /// Load them and compare the state hash: all of a directory, or single files
    Verify(verify::Verify),
    /// Delete all but the newest ones, on a stopped node
    Prune(prune::Prune),
}

impl Snapshot {
    pub fn run(&self) -> Result<u8> {
        unless_closed(match &self.what {
            What::Create(create) => create.run(),
            What::List(list) => list.run(),
            What::Status(status) => status.run(),
            What::Verify(verify) => verify.run(),
            What::Prune(prune) => prune.run(),
        })
    }
}

/// A data directory by its path or by the node's configuration.
#[derive(Args, Clone, Debug)]
pub struct Whose {
    /// The data directory
    #[arg(long, value_name = "D", required_unless_present = "config")]
    data_dir: Option<PathBuf>,
    /// The node's configuration, which names the data directory
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG")]
    config: Option<PathBuf>,
}

impl Whose {
    fn config(&self) -> Result<Option<Config>> {
        Ok(self.config.as_deref().map(Config::load_values).transpose()?)
    }

    fn path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.data_dir {
            return Ok(path.clone());
        }
        Ok(self.config()?.context("--data-dir or --config says where the directory is")?.node.data_dir)
    }

    fn read_only(&self) -> Result<Directory> {
        Ok(Directory::open_read_only(&self.path()?)?)
    }
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    whose: Whose,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

impl List {
    fn run(&self) -> Result<u8> {
        let directory = self.whose.read_only()?;
        let base = Inspection::open(&directory)?.base()?.seq;
        let mut out = Output::new();
        let mut rows = Vec::new();
        for file in snapshots::list(&directory)? {
            let header = SnapshotReader::open(&file.path).map(|reader| reader.header().clone());
            let use_of_it = if file.seq < base {
                "before the log begins"
            } else if file.seq == base {
                "the log begins behind it"
            } else {
                ""
            };
            match header {
                Ok(header) if self.json => {
                    let mut row = describe(&file, &header);
                    row["log_begins_behind"] = (file.seq == base).into();
                    row["of_use"] = (base <= file.seq).into();
                    rows.push(row);
                }
                Ok(header) => out.line(format!("{}  {use_of_it}", one_line(&file, &header)).trim_end())?,
                Err(error) if self.json => {
                    let (path, error) = (&file.path, error.to_string());
                    rows.push(json!({ "path": path, "seq": file.seq.0, "bytes": file.bytes, "error": error }));
                }
                Err(error) => out.line(format!("{:>12}  {error}", file.seq.0))?,
            }
        }
        if self.json {
            out.line(Value::Array(rows))?;
        }
        out.flush().map(|()| exit::OK)
    }
}

fn describe(file: &SnapshotFile, header: &SnapshotHeader) -> Value {
    json!({
        "path": file.path, "seq": header.tail.seq.0, "timeline": header.timeline.0, "ts_ns": header.time,
        "bytes": file.bytes, "log_bytes": header.log_bytes, "chain": header.tail.chain.to_string(),
        "state_hash": StateHash(header.state_hash).to_string(), "build": header.build,
    })
}

fn one_line(file: &SnapshotFile, header: &SnapshotHeader) -> String {
    let (seq, bytes, time) = (header.tail.seq.0, file.bytes, time_text::show(header.time));
    format!("{seq:>12}  {time:<30}  {bytes:>12} bytes  {}  {}", StateHash(header.state_hash), header.build)
}
