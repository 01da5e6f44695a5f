//! `pinion log quarantine`: by an operator's decision, a command of the log is skipped from now on.

use super::quarantine_list::{QuarantineError, list_with};
use crate::offline::as_of::StateReader;
use crate::terminal::command_json::{record_json, record_text, unreadable_json, unreadable_text};
use crate::terminal::failure::Failure;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::{DecodedCommand, print};
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
use wal::units::Lsn;
use wal::walk::Start;

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
    /// Print the command, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Quarantine {
    pub(super) fn run(&self) -> Result<u8> {
        // Locked for a dry run too, because the log of a running node changes.
        let reader = StateReader::of(Directory::open(&self.data_dir)?)?.interruptible(Interrupt::on_signals()?);
        let list = list_with(reader.directory(), Lsn(self.seq), &self.reason).map_err(refused)?;
        let command = self.find(&reader)?;
        let entry = list.entries().find(|(seq, _)| seq.0 == self.seq).map(|(_, entry)| entry.clone());
        let entry = entry.context("the new entry is in the list")?;
        let reader = reader.with_quarantine(list);
        self.prove(&reader)?;
        if !self.dry_run {
            reader.quarantine().write(reader.directory().path())?;
        }
        self.report(&command, &entry)?;
        Ok(exit::OK)
    }

    /// The command itself, as far as this build can decode it.
    fn find(&self, reader: &StateReader) -> Result<DecodedCommand> {
        let mut found = Err("it is not in the log".to_owned());
        reader.scan()?.for_each_record(Start::At(Lsn(self.seq)), |_, bytes| {
            found = codec::decode(bytes).map_err(|error| error.to_string());
            Ok(false)
        })?;
        Ok(found)
    }

    /// The rest of the log has to apply without the command.
    fn prove(&self, reader: &StateReader) -> Result<()> {
        let state = reader.state(None).with_context(|| {
            let (seq, before) = (self.seq, self.seq - 1);
            format!(
                "applying the log without sequence {seq}: it cannot be applied to its end, so nothing was changed; \
                 `pinion restore --to-seq {before}` makes a directory that ends before the command"
            )
        })?;
        state.report_skipped_snapshots();
        Ok(())
    }

    fn report(&self, command: &DecodedCommand, entry: &Quarantined) -> Result<()> {
        let seq = Seq(self.seq);
        if self.json {
            let command = match command {
                Ok(record) => record_json(seq, record),
                Err(why) => unreadable_json(seq, why),
            };
            let line = json!({
                "dry_run": self.dry_run, "data_dir": self.data_dir, "seq": seq.0, "command": command,
                "left_out": !self.dry_run, "time_ns": entry.time_ns, "reason": entry.reason,
            });
            return print(format_args!("{line}\n"));
        }
        let shown = match command {
            Ok(record) => format!("{}\nsequenced at  {}", record_text(seq, record), time_text::show(record.ts.0)),
            Err(why) => unreadable_text(seq, why),
        };
        let done = if self.dry_run { "would be quarantined" } else { "quarantined: skipped from now on" };
        print(format_args!("{shown}\n{done}; reason: {}\n", entry.reason))
    }
}

fn refused(error: QuarantineError) -> anyhow::Error {
    let code = match error {
        QuarantineError::Log(error) => return error.into(),
        QuarantineError::OutsideLog { .. } => exit::OUTSIDE_LOG,
        QuarantineError::Reason => exit::USAGE,
        QuarantineError::Already { .. } | QuarantineError::Applied { .. } | QuarantineError::Full => exit::FAILED,
    };
    Failure::of(code, error.to_string())
}
