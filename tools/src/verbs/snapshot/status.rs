//! `pinion snapshot status`: which snapshot a start would use, how old it is, and what retention would do next.

use super::data_dir_or_config::DataDirOrConfig;
use super::listing;
use crate::terminal::clock::unix_ns;
use crate::terminal::output::Output;
use crate::terminal::time_text;
use anyhow::Result;
use book::engine::{Capacity, Engine};
use clap::Args;
use node::config::Config;
use node::replica::snapshots::{self, Found};
use node::shadow::retention::{self, Candidate, LogEnds, Plan, Retention};
use node::status::exit;
use serde_json::{Value, json};
use std::time::Duration;
use wal::directory::Directory;
use wal::recover::Inspection;
use wal::snapshot::{SnapshotFile, SnapshotHeader};
use wal::units::Lsn;

#[derive(Args, Debug)]
pub(super) struct Status {
    #[command(flatten)]
    dir: DataDirOrConfig,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// The snapshots, and what would happen to them.
struct View {
    files: Vec<SnapshotFile>,
    /// The snapshot that a start would use.
    start: Option<SnapshotHeader>,
    /// Why newer snapshots cannot be used.
    damaged: Vec<String>,
    base: Lsn,
    end: Lsn,
    origin: Lsn,
    plan: Option<Plan>,
}

impl Status {
    pub(super) fn run(&self) -> Result<u8> {
        let directory = self.dir.read_only()?;
        let view = View::of(&directory, self.dir.config()?.as_ref())?;
        let mut out = Output::new();
        if self.json {
            out.line(view.json())?
        } else {
            out.text(view.text())?
        }
        out.flush()?;
        Ok(if view.start.is_some() || view.base == view.origin && view.origin.0 == 0 {
            exit::OK
        } else {
            exit::DAMAGED
        })
    }
}

impl View {
    fn of(directory: &Directory, config: Option<&Config>) -> Result<Self> {
        let inspection = Inspection::open(directory)?;
        let (base, end) = (inspection.base()?.seq, inspection.tail().seq);
        let files = snapshots::list(directory)?;
        let Found { newest, passed_over } =
            snapshots::newest(directory, end, &mut || Engine::new(Capacity::default()))?;
        let start = newest.map(|(_, header)| header).filter(|header| base <= header.tail.seq);
        let plan = config.map(|config| plan(directory, &files, base, inspection.store().seq_stored(), config));
        let damaged = passed_over.iter().map(|passed| passed.why.to_string()).collect();
        Ok(Self { files, start, damaged, base, end, origin: directory.identity().seq_base, plan })
    }

    /// The number of commands after the snapshot that a start would use, and its age in nanoseconds.
    fn lag(&self) -> Option<(u64, u64)> {
        let header = self.start.as_ref()?;
        Some((self.end.0 - header.tail.seq.0, unix_ns().saturating_sub(header.time)))
    }

    fn json(&self) -> Value {
        let start = self.start.as_ref().map(|header| {
            let file = self.files.iter().find(|file| file.seq == header.tail.seq);
            file.map_or(Value::Null, |file| listing::as_json(file, header))
        });
        let (commands, age_ns) = self.lag().unzip();
        let plan = self.plan.as_ref().map(|plan| {
            let drop: Vec<u64> = plan.drop.iter().map(|seq| seq.0).collect();
            json!({ "cut_log_behind": plan.cut_at.map(|seq| seq.0), "drop": drop })
        });
        json!({
            "snapshots": self.files.len(), "newest": self.files.last().map(|file| file.seq.0), "start_begins_with": start,
            "of_no_use": self.damaged, "commands_behind": commands, "age_ns": age_ns, "seq_truncated": self.base.0,
            "seq_last": self.end.0, "retention": plan,
        })
    }

    fn text(&self) -> String {
        let mut text = match (self.files.first(), self.files.last()) {
            (Some(oldest), Some(newest)) => {
                format!("snapshots   {}, from {} to {}\n", self.files.len(), oldest.seq, newest.seq)
            }
            _ => "snapshots   none\n".to_owned(),
        };
        for why in &self.damaged {
            text += &format!("DAMAGED     {why}\n");
        }
        text += &match (&self.start, self.lag()) {
            (Some(header), Some((commands, age_ns))) => format!(
                "a start     uses {} of {}, {:.0} s old, and applies {commands} commands after it\n",
                header.tail.seq,
                time_text::show(header.time),
                Duration::from_nanos(age_ns).as_secs_f64()
            ),
            _ if self.base.0 == 0 => format!("a start     applies the log from its first command, {} commands\n", self.end),
            _ => "A START     IS NOT POSSIBLE: the log was truncated, and no snapshot after which it begins is intact; restore \
                  from a backup\n".to_owned(),
        };
        text += &format!("the log     has {} to {}\n", self.base.next(), self.end);
        text + &match &self.plan {
            Some(plan) => {
                let cut = plan.cut_at.map_or("stays as it is".to_owned(), |seq| format!("is truncated up to {seq}"));
                format!(
                    "retention   at the next snapshot the log {cut}, and {} snapshots are deleted\n",
                    plan.drop.len()
                )
            }
            None => "retention   not shown: give --config\n".to_owned(),
        }
    }
}

/// The node's retention plan, as if it took a snapshot now.
fn plan(directory: &Directory, files: &[SnapshotFile], base: Lsn, stored: Lsn, config: &Config) -> Plan {
    let readers = files.iter().filter_map(|file| snapshots::open(directory, file).ok());
    let candidates: Vec<Candidate> = readers
        .map(|reader| reader.header().clone())
        .map(|header| Candidate { seq: header.tail.seq, time_ns: header.time, log_bytes: header.log_bytes })
        .collect();
    let Some(end) = candidates.last().copied() else { return Plan::default() };
    let asked = Retention {
        keep: config.snapshot.keep,
        retain_for: config.store.retain_for,
        retain_bytes: config.store.retain_bytes,
    };
    retention::plan(&candidates, &LogEnds { base, releasable: stored, end }, &asked)
}
