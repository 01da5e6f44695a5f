//! `pinion state`: the state of the exchange at any sequence that the log still reaches.

mod book_at;
mod diff;
pub mod parts;
mod when;

use crate::terminal::output::{Output, ignoring_closed_pipe};
use crate::terminal::time_text;
use anyhow::Result;
use book::units::Seq;
use clap::{Args, Subcommand};
use node::status::exit;
use parts::Part;
use serde_json::json;
use when::When;

/// Show the state of the exchange at any sequence, beside a running node or without one.
#[derive(Args, Debug)]
pub struct State {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Print the state hash
    Hash(When),
    /// Print everything that differs between two sequences, or between two data directories
    Diff(diff::Diff),
    /// Print everything: assets, markets, accounts, balances, sessions, keys, orders
    Dump(When),
    /// Print a market's book
    Book(book_at::BookAt),
}

impl State {
    pub fn run(&self) -> Result<u8> {
        ignoring_closed_pipe(match &self.what {
            What::Hash(when) => print_hash(when),
            What::Diff(diff) => diff.run(),
            What::Dump(when) => dump(when),
            What::Book(book) => book.run(),
        })
    }
}

fn print_hash(when: &When) -> Result<u8> {
    let state = when.dir.reader()?.engine_state(when.at_seq.map(Seq))?;
    state.report_skipped_snapshots();
    let (stamp, hash) = (state.replica.engine.stamp(), state.replica.engine.state_hash());
    let from = state.snapshot.as_ref().map(|header| header.tail.seq.0);
    let mut out = Output::new();
    if when.json {
        out.line(json!({
            "seq": stamp.seq.0, "ts_ns": stamp.ts.0, "state_hash": hash.to_string(),
            "seq_snapshot": from, "applied": state.commands_applied,
        }))?;
    } else {
        out.line(format!("{hash}  sequence {}, {}", stamp.seq.0, time_text::show(stamp.ts.0)))?;
    }
    out.flush().map(|()| exit::OK)
}

/// One document, or one row a line, printed as it is computed: a large state does not fit into memory twice.
fn dump(when: &When) -> Result<u8> {
    let state = when.state()?;
    let (replica, stamp) = (&state.replica, state.replica.engine.stamp());
    let hash = replica.engine.state_hash();
    let mut out = Output::new();
    if !when.json {
        out.line(format!("sequence {}, {}, state hash {hash}", stamp.seq.0, time_text::show(stamp.ts.0)))?;
        for part in Part::ALL {
            for key in part.keys(replica) {
                let Some(row) = part.row(replica, key) else { continue };
                let fields: Vec<String> = row.iter().map(|(name, value)| format!("{name}={value}")).collect();
                out.line(format!("{} {}", part.singular(), fields.join(" ")))?;
            }
        }
        return out.flush().map(|()| exit::OK);
    }
    out.text(format!(r#"{{"seq":{},"ts_ns":{},"state_hash":"{hash}""#, stamp.seq.0, stamp.ts.0))?;
    for part in Part::ALL {
        out.text(format!(r#","{}":["#, part.name()))?;
        let rows = part.keys(replica).into_iter().filter_map(|key| part.row(replica, key));
        for (idx, row) in rows.enumerate() {
            let comma = if idx == 0 { "" } else { "," };
            out.text(format!("{comma}{}", serde_json::Value::Object(row)))?;
        }
        out.text("]")?;
    }
    out.line("}")?;
    out.flush().map(|()| exit::OK)
}
