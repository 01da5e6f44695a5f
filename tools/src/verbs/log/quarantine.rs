//! `pinion log quarantine`: by an operator's decision, a command of the log is skipped from now on.

use super::consequences::Consequences;
use super::quarantine_list::{QuarantineError, list_with};
use crate::offline::as_of::{StateAt, StateReader};
use crate::terminal::command_json::{record_json, record_text, unreadable_json, unreadable_text};
use crate::terminal::failure::Failure;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::print;
use crate::terminal::time_text;
use anyhow::{Context, Result};
use book::engine::Engine;
use book::units::Seq;
use clap::Args;
use node::status::exit;
use serde_json::json;
use std::path::PathBuf;
use wal::directory::Directory;
use wal::quarantine::Quarantined;
use wal::units::Lsn;

/// Every start, replay, restore and backup from then on skips the command: it keeps its sequence and does nothing. This
/// cannot be taken back, because the commands after it are applied to a state without it.
#[derive(Args, Debug)]
pub(super) struct Quarantine {
    /// The data directory of a stopped node
    #[arg(long, value_name = "D")]
    data_dir: PathBuf,
    /// The sequence of the command to skip
    #[arg(long, value_name = "N")]
    seq: u64,
    /// Why, in one line; it is stored beside the log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Quarantine it although clients know its outcome, or later commands stand on it
    #[arg(long)]
    force: bool,
    /// Print the command, what stands on it and which clients know its outcome, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Quarantine {
    pub(super) fn run(&self) -> Result<u8> {
        // Locked for a dry run too, because the log of a running node changes.
        let reader = StateReader::of(Directory::open(&self.data_dir)?)?.interruptible(Interrupt::on_signals()?);
        let list = list_with(reader.directory(), Lsn(self.seq), &self.reason).map_err(refused)?;
        let answered = reader.directory().mark_seq()?;
        let consequences = Consequences::of(&reader.scan()?, answered, Lsn(self.seq))?;
        // A rehearsal shows what stands on the command, whether or not it is forced.
        let verdict = consequences.check(self.force || self.dry_run);
        verdict.map_err(refused)?;
        let entry = list.entries().find(|(seq, _)| seq.0 == self.seq).map(|(_, entry)| entry.clone());
        let entry = entry.context("the new entry is in the list")?;
        let reader = reader.with_quarantine(list);
        let state = self.prove(&reader)?;
        if !self.dry_run {
            reader.quarantine().write(reader.directory().path())?;
        }
        self.report(&consequences, &state.replica.engine, &entry)?;
        Ok(exit::OK)
    }

    /// The rest of the log has to apply without the command.
    fn prove(&self, reader: &StateReader) -> Result<StateAt> {
        let state = reader.state(None).with_context(|| {
            let (seq, before) = (self.seq, self.seq - 1);
            format!(
                "applying the log without sequence {seq}: it cannot be applied to its end, so nothing was changed; \
                 `pinion restore --to-seq {before}` makes a directory that ends before the command"
            )
        })?;
        state.report_skipped_snapshots();
        Ok(state)
    }

    fn report(&self, consequences: &Consequences, engine: &Engine, entry: &Quarantined) -> Result<()> {
        let (seq, command) = (Seq(self.seq), &consequences.command);
        let needs_force = consequences.check(false).err().map(|error| error.to_string());
        if self.json {
            let command = match command {
                Ok(record) => record_json(seq, record),
                Err(why) => unreadable_json(seq, why),
            };
            let line = json!({
                "dry_run": self.dry_run, "data_dir": self.data_dir, "seq": seq.0, "command": command,
                "left_out": !self.dry_run, "time_ns": entry.time_ns, "reason": entry.reason,
                "consequences": consequences.as_json(engine), "needs_force": needs_force,
            });
            return print(format_args!("{line}\n"));
        }
        let shown = match command {
            Ok(record) => format!("{}\nsequenced at  {}", record_text(seq, record), time_text::show(record.ts.0)),
            Err(why) => unreadable_text(seq, why),
        };
        let done = match needs_force {
            Some(why) if self.dry_run => format!("would be refused without --force: {why}"),
            _ if self.dry_run => format!("would be quarantined; reason: {}", entry.reason),
            _ => format!("quarantined: skipped from now on; reason: {}", entry.reason),
        };
        print(format_args!("{shown}\n{}{done}\n", consequences.as_text(engine)))
    }
}

fn refused(error: QuarantineError) -> anyhow::Error {
    let code = match error {
        QuarantineError::Log(error) => return error.into(),
        QuarantineError::OutsideLog { .. } => exit::OUTSIDE_LOG,
        QuarantineError::Reason => exit::USAGE,
        QuarantineError::Already { .. }
        | QuarantineError::Applied { .. }
        | QuarantineError::Check { .. }
        | QuarantineError::StoodOn { .. }
        | QuarantineError::Full => exit::FAILED,
    };
    Failure::of(code, error.to_string())
}
