//! `pinion restore`: makes a data directory with the state that another one, or a backup, had at a sequence or a time.
//!
//! ```text
//!  backup --fetch--> (scratch, a source)
//!  source   | snapshot --load--> | records ..N --apply--> state --snapshot--> |      the source is only read
//!           | history rows, entries ..N -------------------------------copy--> | D    timeline + 1, new node id
//!           | quarantine entries ..N ---------------------------------------> |      its log begins after N
//! ```
//! Invariant: the new directory has exactly the commands up to N, or it does not exist.

mod history_builder;
pub mod make;
mod source;

use crate::archive::catalog::ranges_text;
use crate::archive::fetch::CONFIG_FROM_BACKUP;
use crate::offline::as_of::{ScannedLog, StateReader};
use crate::offline::new_directory;
use crate::terminal::clock::unix_ns;
use crate::terminal::failure::Failure;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::print;
use crate::terminal::time_text;
use crate::verbs::backup::access::Access;
use anyhow::Result;
use book::event::NoSink;
use book::new_time::SetBack;
use book::units::{Seq, TsNs};
use clap::Args;
use make::{Restored, Target, restore};
use node::status::exit;
use serde_json::{Value, json};
use source::{Source, Wanted};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Make a data directory with the state that another one, or a backup, had at a sequence or a time.
///
/// The source is only read, and keeps every command: it is the data directory of a stopped or a running node, or a
/// backup. The new directory has the commands up to and including that sequence, and none after it. It has a node id
/// and a timeline of its own; a node starts on it, and sessions find the same messages up to there.
#[derive(Args, Debug)]
pub struct Restore {
    /// The source: a data directory, or a backup by its path, file:///path or s3://bucket/prefix
    #[arg(long, value_name = "X")]
    from: String,
    /// The data directory to make: empty or absent
    #[arg(long, value_name = "D")]
    data_dir: PathBuf,
    /// The last sequence that the new directory has [default: the end of the log]
    #[arg(long, value_name = "N", conflicts_with = "to_time")]
    to_seq: Option<u64>,
    /// The last sequence is that of the last command at or before this time: 2026-11-25T12:56:53Z, or nanoseconds since
    /// 1970
    #[arg(long, value_name = "T", value_parser = time_text::parse)]
    to_time: Option<TsNs>,
    /// Of a backup, fetch no more than the state needs: sessions cannot ask again for messages from before the snapshot
    /// that the restore uses. It is needed where the backup lacks a part of the past
    #[arg(long, conflicts_with = "to_time")]
    without_past: bool,
    /// Begin the new timeline at the wall clock, where the log's time lies in the future because of a wrong clock
    #[arg(long)]
    new_time: bool,
    #[command(flatten)]
    access: Access,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Prove the source's log up to that sequence, print what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
}

impl Restore {
    pub fn run(&self) -> Result<u8> {
        let started = Instant::now();
        let leftover = new_directory::check_free(&self.data_dir)?;
        let interrupt = Interrupt::on_signals()?;
        let wanted = Wanted {
            until: self.to_seq.map(Seq),
            time: self.to_time,
            without_past: self.without_past,
            secrets_file: self.access.secrets_file.as_deref(),
        };
        let source = Source::open(&self.from, wanted, &self.data_dir, &interrupt)?;
        let reader = &source.reader;
        let log = reader.scan()?;
        let seq = self.target(&log)?;
        let after = source.commands_after(seq, Seq(log.range.end.seq.0));
        if self.dry_run {
            return self.describe(&source, &log, seq, after, leftover.as_deref());
        }
        let new_time = self.new_time(&log, seq)?;
        let target = Target { path: &self.data_dir, seq, geometry: source.geometry(), new_time };
        let restored = restore(reader, &log, target, &interrupt)?;
        self.report(&source, &restored, after, started.elapsed().as_secs_f64())?;
        Ok(exit::OK)
    }

    /// The last sequence of the new directory.
    fn target(&self, log: &ScannedLog<'_>) -> Result<Seq> {
        let seq = match self.to_time {
            Some(time) => {
                if unix_ns() < time.0 {
                    let message = format!("--to-time {} is in the future", time_text::show(time.0));
                    return Err(Failure::of(exit::OUTSIDE_LOG, message));
                }
                Some(log.resolve_time(time)?)
            }
            None => self.to_seq.map(Seq),
        };
        let seq = log.resolve(seq)?;
        if seq.0 == 0 {
            let message = "sequence 0 is the empty exchange; `pinion init` makes one";
            return Err(Failure::of(exit::OUTSIDE_LOG, message));
        }
        Ok(seq)
    }

    /// The wall clock, where the new timeline begins at it: the log's last command must be after it.
    fn new_time(&self, log: &ScannedLog<'_>, seq: Seq) -> Result<Option<TsNs>> {
        if !self.new_time {
            return Ok(None);
        }
        let (now, last) = (TsNs(unix_ns()), log.replay(seq, seq, &mut NoSink)?.replica.engine.stamp().ts);
        if now < last {
            return Ok(Some(now));
        }
        let (last, now) = (time_text::show(last.0), time_text::show(now.0));
        let message =
            format!("--new-time: sequence {} is of {last}, and it is {now}: there is nothing to set back", seq.0);
        Err(Failure::of(exit::USAGE, message))
    }

    fn describe(
        &self,
        source: &Source,
        log: &ScannedLog<'_>,
        seq: Seq,
        after: u64,
        leftover: Option<&Path>,
    ) -> Result<u8> {
        let state = log.replay(seq, seq, &mut NoSink)?;
        state.report_skipped_snapshots();
        let (hash, stamp) = (state.replica.engine.state_hash(), state.replica.engine.stamp());
        let timeline = source.reader.directory().identity().timeline.0 + 1;
        if self.json {
            let line = json!({
                "dry_run": true, "data_dir": self.data_dir, "from": self.from, "seq": seq.0, "ts_ns": stamp.ts.0,
                "timeline": timeline, "state_hash": hash.to_string(), "left_behind": after, "swept": leftover,
                "past_begins": source.past_begins().map(|seq| seq.0), "past_missing": missing_json(source),
            });
            return print(format_args!("{line}\n")).map(|()| exit::OK);
        }
        let deleted = leftover.map_or(String::new(), |leftover| format!("would delete  {}\n", leftover.display()));
        print(format_args!(
            "would make    {}\n\
             last command  sequence {}, {}\n\
             timeline      {timeline}\n\
             state hash    {hash}\n\
             not restored  {after} commands after it, which stay in {}\n{}{deleted}",
            self.data_dir.display(),
            seq.0,
            time_text::show(stamp.ts.0),
            self.from,
            past_text(source, "past          "),
        ))?;
        Ok(exit::OK)
    }

    fn report(&self, source: &Source, restored: &Restored, after: u64, seconds: f64) -> Result<()> {
        let Restored { seq, ts, identity, state_hash, history, set_back } = restored;
        if self.json {
            let line = json!({
                "data_dir": self.data_dir, "from": self.from, "seq": seq.0, "ts_ns": ts.0,
                "timeline": identity.timeline.0, "node_id": identity.node_id.to_string(),
                "state_hash": state_hash.to_string(), "left_behind": after, "history_rows": history.rows(),
                "history_rows_cut": history.copied.rows_cut, "history_rows_computed": history.computed,
                "history_begins": history.begins.0, "past_missing": missing_json(source), "seconds": seconds,
                "throttles_set_back": set_back.map(|count| count.throttles),
                "names_set_back": set_back.map(|count| count.names),
            });
            return print(format_args!("{line}\n"));
        }
        let new_time = set_back.map_or(String::new(), |SetBack { throttles, names }| {
            format!(
                "new time        begins at the wall clock; {throttles} throttles and {names} names set back to it\n"
            )
        });
        print(format_args!(
            "data directory  {}\n\
             last command    sequence {}, {}\n\
             node            {}, timeline {}\n\
             state hash      {state_hash}\n{new_time}\
             history         {} rows after sequence {}, {} of them computed from the log, {} shortened\n{}\
             not restored    {after} commands after it, which stay in {}\n\
             took            {seconds:.2} s\n\
             next            {}, and start pinion-node;\n\
             \x20               let only one of the two directories trade\n",
            self.data_dir.display(),
            seq.0,
            time_text::show(ts.0),
            identity.node_id,
            identity.timeline,
            history.rows(),
            history.begins.0,
            history.computed,
            history.copied.rows_cut,
            past_text(source, "past            "),
            self.from,
            self.next_step(&source.reader)
        ))
    }

    fn next_step(&self, reader: &StateReader) -> String {
        let new = self.data_dir.display();
        match reader.directory().path().join(CONFIG_FROM_BACKUP).exists() {
            true => format!(
                "make its configuration with `pinion init --config-only --data-dir {new}`, then check it with `pinion recon --data-dir {new}`"
            ),
            false => format!("check it with `pinion recon --data-dir {new}`, set node.data_dir to it"),
        }
    }
}

fn missing_json(source: &Source) -> Value {
    let missing = source.fetched.iter().flat_map(|fetched| &fetched.past_missing);
    missing.map(|(first, last)| json!({ "seq_first": first.0, "seq_last": last.0 })).collect()
}

/// What a backup has of the past before the state, where that is not everything.
fn past_text(source: &Source, label: &str) -> String {
    let missing = source.fetched.as_ref().map_or(String::new(), |fetched| ranges_text(&fetched.past_missing));
    match source.past_begins() {
        Some(begins) if !missing.is_empty() => {
            format!("{label}begins after sequence {}; the backup lacks {missing}\n", begins.0)
        }
        Some(begins) if 0 < begins.0 => format!("{label}begins after sequence {}\n", begins.0),
        _ => String::new(),
    }
}
