//! `pinion state diff`: names everything that differs between two states.

use super::parts::{Part, Row};
use super::when::state_at;
use crate::offline::as_of::StateAt;
use crate::offline::data_dir::DataDir;
use crate::terminal::output::Output;
use anyhow::Result;
use clap::{ArgGroup, Args};
use node::status::exit;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("second").args(["with_seq", "with_dir"]).required(true).multiple(true)))]
pub(super) struct Diff {
    #[command(flatten)]
    dir: DataDir,
    /// The first state's sequence [default: the end of the log]
    #[arg(long, value_name = "N")]
    at_seq: Option<u64>,
    /// The second state's sequence [default: that of the first]
    #[arg(long, value_name = "M")]
    with_seq: Option<u64>,
    /// The data directory of the second state [default: that of the first]
    #[arg(long, value_name = "D")]
    with_dir: Option<PathBuf>,
    /// Print one line of JSON for each difference, and one with the totals
    #[arg(long)]
    json: bool,
}

impl Diff {
    /// Two directories must have the same state at the same sequence; the exit code says where they have not.
    pub(super) fn run(&self) -> Result<u8> {
        let first = state_at(&self.dir, self.at_seq)?;
        let data_dir = self.with_dir.clone().unwrap_or_else(|| self.dir.data_dir.clone());
        let with_seq = self.with_seq.or(Some(first.seq().0));
        let second = state_at(&DataDir { data_dir }, with_seq)?;
        let mut out = Output::new();
        let mut count = 0;
        for part in Part::ALL {
            compare(part, &first, &second, |key, left, right| {
                count += 1;
                self.print(&mut out, part, key, left, right)
            })?;
        }
        let hashes = [&first, &second].map(|state| state.replica.engine.state_hash());
        let equal = hashes[0] == hashes[1];
        let hashes = hashes.map(|hash| hash.to_string());
        let seqs = [first.seq().0, second.seq().0];
        if self.json {
            out.line(json!({ "differences": count, "seq": seqs, "state_hash": hashes, "equal": equal }))?;
        } else {
            out.line(format!("{count} differences between sequence {} and sequence {}", seqs[0], seqs[1]))?;
            if equal {
                out.line(format!("the states are equal: {}", hashes[0]))?;
            } else {
                out.line(format!("state hashes {} and {}", hashes[0], hashes[1]))?;
            }
            if count == 0 && !equal {
                out.line(
                    "the difference is in what no row shows: the queue within a price, used client order ids, or free slots",
                )?;
            }
        }
        out.flush()?;
        Ok(if equal || seqs[0] != seqs[1] { exit::OK } else { exit::HASH_DIFFERS })
    }

    fn print(&self, out: &mut Output, part: Part, key: u64, left: Option<&Row>, right: Option<&Row>) -> Result<()> {
        if self.json {
            return out.line(json!({ "part": part.name(), "key": key, "first": left, "second": right }));
        }
        let what = part.label(key);
        match (left, right) {
            (Some(left), Some(right)) => out.line(format!("{what}: {}", changes(left, right).join(", "))),
            (Some(row), None) => out.line(format!("{what}: only in the first: {}", Value::Object(row.clone()))),
            (None, Some(row)) => out.line(format!("{what}: only in the second: {}", Value::Object(row.clone()))),
            (None, None) => Ok(()),
        }
    }
}

fn changes(left: &Row, right: &Row) -> Vec<String> {
    let changed = left.iter().filter(|(name, value)| right.get(*name) != Some(value));
    changed.map(|(name, value)| format!("{name} {value} -> {}", right.get(name).unwrap_or(&Value::Null))).collect()
}

/// Calls `show` with each pair of rows that are not equal, in the order of their keys.
fn compare(
    part: Part,
    first: &StateAt,
    second: &StateAt,
    mut show: impl FnMut(u64, Option<&Row>, Option<&Row>) -> Result<()>,
) -> Result<()> {
    let (left, right) = (part.keys(&first.replica), part.keys(&second.replica));
    let mut keys = [left, right].concat();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let (left, right) = (part.row(&first.replica, key), part.row(&second.replica, key));
        if left != right {
            show(key, left.as_ref(), right.as_ref())?;
        }
    }
    Ok(())
}
