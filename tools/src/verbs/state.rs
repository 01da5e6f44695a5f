//! `pinion state`: the exchange as it was at any sequence that the log still reaches.

mod book_at;
mod diff;
pub mod parts;

use crate::offline::as_of::{DataDir, Moment, tell_passed_over};
use crate::terminal::output::{Output, unless_closed};
use crate::terminal::time_text;
use anyhow::Result;
use book::units::Seq;
use clap::{Args, Subcommand};
use node::status::exit;
use parts::Part;
use serde_json::json;

/// Look at the exchange as it was at any sequence, beside a running node or without one.
#[derive(Args, Debug)]
pub struct State {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Print the state hash
    Hash(When),
    /// Name everything that differs between two sequences, or between two data directories
    Diff(diff::Diff),
    /// Print everything: assets, markets, accounts, balances, sessions, keys, orders
    Dump(When),
    /// Print a market's book
    Book(book_at::BookAt),
}

/// Where and when.
#[derive(Args, Debug)]
pub struct When {
    #[command(flatten)]
    dir: DataDir,
    /// As of this sequence [default: the end of the log]
    #[arg(long, value_name = "N")]
    at_seq: Option<u64>,
    /// JSON
    #[arg(long)]
    json: bool,
}

impl State {
    pub fn run(&self) -> Result<u8> {
        unless_closed(match &self.what {
            What::Hash(when) => when.hash(),
            What::Diff(diff) => diff.run(),
            What::Dump(when) => when.dump(),
            What::Book(book) => book.run(),
        })
    }
}

impl When {
    pub fn moment(&self) -> Result<Moment> {
        moment_of(&self.dir, self.at_seq)
    }

    fn hash(&self) -> Result<u8> {
        let moment = self.dir.past()?.engine_state(self.at_seq.map(Seq))?;
        tell_passed_over(&moment.passed_over);
        let (stamp, hash) = (moment.replica.engine.stamp(), moment.replica.engine.state_hash());
        let from = moment.from.as_ref().map(|header| header.tail.seq.0);
        let mut out = Output::new();
        if self.json {
            out.line(json!({
                "seq": stamp.seq.0, "ts_ns": stamp.ts.0, "state_hash": hash.to_string(),
                "seq_snapshot": from, "applied": moment.applied,
            }))?;
        } else {
            out.line(format!("{hash}  sequence {}, {}", stamp.seq.0, time_text::show(stamp.ts.0)))?;
        }
        out.flush().map(|()| exit::OK)
    }

    /// One document, or a row a line, written as it is made: a large state does not fit memory twice.
    fn dump(&self) -> Result<u8> {
        let moment = self.moment()?;
        let (replica, stamp) = (&moment.replica, moment.replica.engine.stamp());
        let hash = replica.engine.state_hash();
        let mut out = Output::new();
        if !self.json {
            out.line(format!("sequence {}, {}, state hash {hash}", stamp.seq.0, time_text::show(stamp.ts.0)))?;
            for part in Part::ALL {
                for key in part.keys(replica) {
                    let Some(row) = part.row(replica, key) else { continue };
                    let fields: Vec<String> = row.iter().map(|(name, value)| format!("{name}={value}")).collect();
                    out.line(format!("{} {}", part.one(), fields.join(" ")))?;
                }
            }
            return out.flush().map(|()| exit::OK);
        }
        out.piece(format!(r#"{{"seq":{},"ts_ns":{},"state_hash":"{hash}""#, stamp.seq.0, stamp.ts.0))?;
        for part in Part::ALL {
            out.piece(format!(r#","{}":["#, part.name()))?;
            let rows = part.keys(replica).into_iter().filter_map(|key| part.row(replica, key));
            for (idx, row) in rows.enumerate() {
                let comma = if idx == 0 { "" } else { "," };
                out.piece(format!("{comma}{}", serde_json::Value::Object(row)))?;
            }
            out.piece("]")?;
        }
        out.line("}")?;
        out.flush().map(|()| exit::OK)
    }
}

pub fn moment_of(dir: &DataDir, at: Option<u64>) -> Result<Moment> {
    let moment = dir.past()?.state(at.map(Seq))?;
    tell_passed_over(&moment.passed_over);
    Ok(moment)
}
