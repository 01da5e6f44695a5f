//! `pinion log quarantine`: a command of the log that nobody applies any more, by an operator's decision.

use super::leave_out::{LeaveOutError, prepare};
use crate::offline::as_of::{Past, Readable, tell_passed_over};
use crate::terminal::command_json::{record_json, record_text, unreadable_json, unreadable_text};
use crate::terminal::failure::Failure;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::say;
use crate::terminal::time_text;
use anyhow::{Context, Result};
use book::codec;
use book::units::Seq;
use clap::Args;
use node::status::exit;
use serde_json::json;
use std::path::PathBuf;
use wal::directory::Directory;
use wal::quarantine::Quarantined;
use wal::walk::Start;

/// Every start, replay, restore and backup from then on leaves the command out: it keeps its number and does nothing.
/// There is no way back, because what comes behind it is built without it.
#[derive(Args, Debug)]
pub struct Quarantine {
    /// The data directory of a stopped node
    #[arg(long, value_name = "D")]
    data_dir: PathBuf,
    /// The command to leave out
    #[arg(long, value_name = "N")]
    seq: u64,
    /// Why, in a line: it stays with the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// One line of JSON
    #[arg(long)]
    json: bool,
    /// Show the command and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Quarantine {
    pub fn run(&self) -> Result<u8> {
        // Locked for a dry run too: what is true of a running node's log is not true for long.
        let past = Past::of(Directory::open(&self.data_dir)?)?.until_interrupted(Interrupt::listen()?);
        let list = prepare(past.directory(), wal::units::Lsn(self.seq), &self.reason).map_err(refused)?;
        let record = self.find(&past)?;
        let entry = list.entries().find(|(seq, _)| seq.0 == self.seq).map(|(_, entry)| entry.clone());
        let entry = entry.context("what was added is in the list")?;
        let past = past.leaving_out(list);
        self.prove(&past)?;
        if !self.dry_run {
            past.quarantine().write(past.directory().path())?;
        }
        self.report(&record, &entry)?;
        Ok(exit::OK)
    }

    /// The command itself, as far as this build can read it.
    fn find(&self, past: &Past) -> Result<Readable> {
        let mut found = Err("it is not there".to_owned());
        past.look()?.records(Start::At(wal::units::Lsn(self.seq)), |_, bytes| {
            found = codec::decode(bytes).map_err(|error| error.to_string());
            Ok(false)
        })?;
        Ok(found)
    }

    /// The log must go on without it.
    fn prove(&self, past: &Past) -> Result<()> {
        let moment = past.state(None).with_context(|| {
            let (seq, before) = (self.seq, self.seq - 1);
            format!(
                "without sequence {seq} the log cannot be applied to its end, so nothing was changed; `pinion restore \
                 --to-seq {before}` goes on from before it"
            )
        })?;
        tell_passed_over(&moment.passed_over);
        Ok(())
    }

    fn report(&self, record: &Readable, entry: &Quarantined) -> Result<()> {
        let seq = Seq(self.seq);
        if self.json {
            let command = match record {
                Ok(record) => record_json(seq, record),
                Err(why) => unreadable_json(seq, why),
            };
            let line = json!({
                "dry_run": self.dry_run, "data_dir": self.data_dir, "seq": seq.0, "command": command,
                "left_out": !self.dry_run, "time_ns": entry.time_ns, "reason": entry.reason,
            });
            return say(format_args!("{line}\n"));
        }
        let shown = match record {
            Ok(record) => format!("{}\ngiven at     {}", record_text(seq, record), time_text::show(record.ts.0)),
            Err(why) => unreadable_text(seq, why),
        };
        let done = if self.dry_run { "would be left out" } else { "left out for good" };
        say(format_args!("{shown}\n{done}, because: {}\n", entry.reason))
    }
}

fn refused(error: LeaveOutError) -> anyhow::Error {
    let code = match error {
        LeaveOutError::Log(error) => return error.into(),
        LeaveOutError::OutsideLog { .. } => exit::OUTSIDE_LOG,
        LeaveOutError::Reason => exit::USAGE,
        LeaveOutError::Already { .. } | LeaveOutError::Applied { .. } | LeaveOutError::Full => exit::FAILED,
    };
    Failure::of(code, error.to_string())
}
