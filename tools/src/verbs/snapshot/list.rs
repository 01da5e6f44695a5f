//! `pinion snapshot list`: every snapshot file with its header, and which of them the log continues from.

use super::data_dir_or_config::DataDirOrConfig;
use super::listing;
use crate::terminal::output::Output;
use anyhow::Result;
use clap::Args;
use node::replica::snapshots;
use node::status::exit;
use serde_json::{Value, json};
use wal::recover::Inspection;
use wal::snapshot::SnapshotReader;

#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    dir: DataDirOrConfig,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(&self) -> Result<u8> {
        let directory = self.dir.read_only()?;
        let base = Inspection::open(&directory)?.base()?.seq;
        let mut out = Output::new();
        let mut rows = Vec::new();
        for file in snapshots::list(&directory)? {
            let header = SnapshotReader::open(&file.path).map(|reader| reader.header().clone());
            let note = if file.seq < base {
                "before the log begins"
            } else if file.seq == base {
                "the log begins after it"
            } else {
                ""
            };
            match header {
                Ok(header) if self.json => {
                    let mut row = listing::as_json(&file, &header);
                    row["log_begins_behind"] = (file.seq == base).into();
                    row["of_use"] = (base <= file.seq).into();
                    rows.push(row);
                }
                Ok(header) => out.line(format!("{}  {note}", listing::as_text(&file, &header)).trim_end())?,
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
