//! `pinion upgrade check`: applies the log with this build, as a start would, and says what the directory is.

use crate::offline::as_of::ScannedLog;
use crate::offline::data_dir::DataDir;
use crate::offline::replay_observer::ReplayObserver;
use crate::terminal::output::{Output, ignoring_closed_pipe};
use crate::terminal::time_text;
use anyhow::Result;
use book::codec;
use book::command::{Command, Opened};
use book::event::{Event, Sink};
use book::rules::Rules;
use book::units::Stamp;
use clap::Args;
use node::replica::Replica;
use node::status::exit;
use serde_json::json;
use wal::identity::FORMAT_NEWEST;

#[derive(Args, Debug)]
pub(super) struct Check {
    #[command(flatten)]
    dir: DataDir,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Check {
    /// The exit code is that of a start: 14 where this build does not know what the log has, 18 where a hash differs.
    pub(super) fn run(&self) -> Result<u8> {
        ignoring_closed_pipe(self.check())
    }

    fn check(&self) -> Result<u8> {
        let reader = self.dir.reader()?;
        let log = reader.scan()?;
        let format = reader.directory().identity().format;
        let found = replay(&log)?;
        let mut out = Output::new();
        if self.json {
            let start = |(seq, opened): &(u64, Opened)| json!({ "seq": seq, "build": opened.build, "format": opened.format, "wall_ns": opened.wall.0 });
            let starts: Vec<_> = found.starts.iter().map(start).collect();
            out.line(json!({
                "format": format, "format_newest": FORMAT_NEWEST, "rules": found.rules as u16,
                "rules_newest": Rules::NEWEST as u16, "seq": found.seq, "checks_equal": found.checks,
                "state_hash": found.state_hash, "starts": starts,
            }))?;
            return out.flush().map(|()| exit::OK);
        }
        out.line(format!("format      {format} of {FORMAT_NEWEST}"))?;
        out.line(format!("rules       {} of {}", found.rules, Rules::NEWEST))?;
        out.line(format!("log         sequence {}, state hash {}", found.seq, found.state_hash))?;
        out.line(format!("compared    {} hashes that the log records: all equal", found.checks))?;
        for (seq, opened) in &found.starts {
            let when = time_text::show(opened.wall.0);
            out.line(format!("start       sequence {seq}: {}, format {}, {when}", opened.build, opened.format))?;
        }
        out.line(next_step(format, found.rules))?;
        out.flush().map(|()| exit::OK)
    }
}

/// What an operator may do next, if anything.
fn next_step(format: u32, rules: Rules) -> &'static str {
    if format < FORMAT_NEWEST {
        "this build can run the directory as it is; `pinion upgrade format` raises its format, which closes the way back"
    } else if rules < Rules::NEWEST {
        "this build can run the directory as it is; `pinion admin rules raise` raises the rules, which closes the way back"
    } else {
        "this build can run the directory; nothing is left to raise"
    }
}

struct Found {
    seq: u64,
    rules: Rules,
    state_hash: String,
    checks: u64,
    starts: Vec<(u64, Opened)>,
}

/// Applies everything that is retained.
fn replay(log: &ScannedLog<'_>) -> Result<Found> {
    let mut seen = Seen::default();
    let state = log.replay(log.range.first, log.resolve(None)?, &mut seen)?;
    state.report_skipped_snapshots();
    let engine = &state.replica.engine;
    Ok(Found {
        seq: engine.stamp().seq.0,
        rules: engine.rules(),
        state_hash: engine.state_hash().to_string(),
        checks: seen.checks,
        starts: seen.starts,
    })
}

/// Counts the checks, and keeps the records of starts.
#[derive(Default)]
struct Seen {
    checks: u64,
    starts: Vec<(u64, Opened)>,
}

impl Sink for Seen {
    const LEDGER: bool = false;

    #[inline]
    fn push(&mut self, _event: Event) {}
}

impl ReplayObserver for Seen {
    fn applied(&mut self, _replica: &mut Replica, stamp: Stamp, bytes: &[u8]) -> Result<()> {
        match codec::decode(bytes).map(|record| record.command) {
            Ok(Command::Check(_)) => self.checks += 1,
            Ok(Command::Opened(opened)) => self.starts.push((stamp.seq.0, *opened)),
            // A quarantined record need not be readable.
            _ => {}
        }
        Ok(())
    }
}
