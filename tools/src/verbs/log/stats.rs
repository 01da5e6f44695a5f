//! `pinion log stats`: counts commands by kind, with bytes and rates.

use crate::offline::data_dir::DataDir;
use crate::terminal::command_json::kind;
use crate::terminal::output::Output;
use crate::terminal::time_text;
use anyhow::Result;
use book::units::{Seq, TsNs};
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use wal::recover::Recovered;
use wal::walk::Start;

const SECOND_NS: u64 = 1_000_000_000;
/// The kind of a quarantined command that cannot be decoded. Any other that cannot be decoded ends the verb.
const UNREADABLE: &str = "unreadable";

#[derive(Args, Debug)]
pub(super) struct Stats {
    #[command(flatten)]
    dir: DataDir,
    /// Only commands at or after this time: 2026-11-25T12:56:53Z, or nanoseconds since 1970
    #[arg(long, value_name = "T", value_parser = time_text::parse)]
    since: Option<TsNs>,
    /// Only commands before this time
    #[arg(long, value_name = "T", value_parser = time_text::parse)]
    until: Option<TsNs>,
    /// First sequence [default: the first that is retained]
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// Last sequence
    #[arg(long, value_name = "SEQ", default_value_t = u64::MAX)]
    to: u64,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default)]
struct Counted {
    /// By kind, in alphabetical order, so that two runs print the same.
    counts: BTreeMap<&'static str, u64>,
    commands: u64,
    bytes: u64,
    seq_first: u64,
    seq_last: u64,
    ts_first_ns: u64,
    ts_last_ns: u64,
    /// The second that is being counted.
    second: u64,
    in_second: u64,
    /// The most commands of one second so far.
    second_max: u64,
}

impl Stats {
    pub(super) fn run(&self) -> Result<()> {
        let reader = self.dir.reader()?;
        let log = reader.scan()?;
        let start = self.from.map_or(log.first_record(), |from| Start::At(wal::units::Lsn(from)));
        let (since, until) = (self.since.unwrap_or(TsNs(0)), self.until.unwrap_or(TsNs(u64::MAX)));
        let (mut counted, mut ts_before) = (Counted::default(), TsNs(0));
        let found = log.for_each_record(start, |seq, bytes| {
            if self.to < seq.0 {
                return Ok(false);
            }
            let (kind, ts) = match reader.decode(seq, bytes)? {
                Ok(record) => (kind(&record.command), record.ts),
                // It has the time of the command before it, as when the log is applied.
                Err(_) => (UNREADABLE, ts_before),
            };
            ts_before = ts;
            if since <= ts && ts < until {
                counted.add(seq, kind, ts, bytes.len());
            }
            Ok(ts < until)
        })?;
        counted.report(&found, self.json)
    }
}

impl Counted {
    fn add(&mut self, seq: Seq, kind: &'static str, ts: TsNs, record_bytes: usize) {
        if self.commands == 0 {
            (self.seq_first, self.ts_first_ns) = (seq.0, ts.0);
        }
        *self.counts.entry(kind).or_default() += 1;
        self.commands += 1;
        self.bytes += record_bytes as u64;
        (self.seq_last, self.ts_last_ns) = (seq.0, ts.0);
        let second = ts.0 / SECOND_NS;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second += 1;
        self.second_max = self.second_max.max(self.in_second);
    }

    fn report(&self, found: &Recovered, json: bool) -> Result<()> {
        let frames = found.frames_from_store + found.frames_from_head;
        let seconds = (self.ts_last_ns - self.ts_first_ns) as f64 / SECOND_NS as f64;
        let rate = |count: u64| if seconds > 0.0 { Some(count as f64 / seconds) } else { None };
        let (commands, bytes) = (self.commands, self.bytes);
        let mut out = Output::new();
        if json {
            let line = json!({
                "commands": commands, "frames": frames, "record_bytes": bytes, "seq_first": self.seq_first,
                "seq_last": self.seq_last, "ts_first_ns": self.ts_first_ns, "ts_last_ns": self.ts_last_ns,
                "seconds": seconds, "commands_per_second": rate(commands), "bytes_per_second": rate(bytes),
                "commands_in_fullest_second": self.second_max, "by_command": self.counts,
            });
            return out.line(line);
        }
        out.line(format!("commands    {commands} in {frames} frames, {bytes} bytes, over {seconds:.3} s"))?;
        if commands > 0 {
            let (first, last) = (time_text::show(self.ts_first_ns), time_text::show(self.ts_last_ns));
            out.line(format!("sequences   {} to {}, {first} to {last}", self.seq_first, self.seq_last))?;
            let mean = bytes as f64 / commands as f64;
            let fullest = self.second_max;
            out.line(match rate(commands).zip(rate(bytes)) {
                Some((commands, bytes)) => format!(
                    "rate        {commands:.0} commands and {bytes:.0} bytes a second, at most {fullest} in one second, {mean:.1} bytes each"
                ),
                None => format!("rate        all at one time, {mean:.1} bytes each"),
            })?;
        }
        for (kind, count) in &self.counts {
            out.line(format!("{kind:<20} {count}"))?;
        }
        Ok(())
    }
}
