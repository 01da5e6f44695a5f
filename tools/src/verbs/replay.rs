//! `pinion replay`: applies the log again, without a node, and compares every hash that was recorded on the way.

use crate::offline::data_dir::DataDir;
use crate::offline::replay_observer::ReplayObserver;
use crate::terminal::failure::Failure;
use crate::terminal::output::{Output, ignoring_closed_pipe};
use crate::terminal::time_text;
use anyhow::Result;
use book::event::{Event, Sink};
use book::state_hash::StateHash;
use book::units::{Seq, Stamp};
use clap::Args;
use node::replica::{LoadError, Replica};
use node::status::exit;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Instant;
use wal::snapshot::SnapshotReader;

/// Apply the log again, and prove that it gives the state that was live.
///
/// Every hash that the live engine recorded in the log is compared, and that of every snapshot on the way; exit code 18
/// where one differs.
#[derive(Args, Debug)]
pub struct Replay {
    #[command(flatten)]
    dir: DataDir,
    /// First sequence of interest: the replay begins with the newest snapshot before it [default: the oldest retained]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// Last sequence to apply [default: the end of the log]
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Also print the hash at every multiple of N
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    hash_every: Option<u64>,
    /// Print one JSON document a line
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub fn run(&self) -> Result<u8> {
        ignoring_closed_pipe(self.replay())
    }

    fn replay(&self) -> Result<u8> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && to < from
        {
            let message = format!("--from {from} is after --to {to}; there is nothing to apply");
            return Err(Failure::of(exit::USAGE, message));
        }
        let reader = self.dir.reader()?;
        let log = reader.scan()?;
        let until = log.resolve(self.to.map(Seq))?;
        let begin = self.from.map_or(Ok(log.range.first), |from| log.resolve(Some(Seq(from - 1))))?;
        let kept = log.snapshots()?;
        let known = kept.iter().filter_map(|file| SnapshotReader::open(&file.path).ok()).map(|reader| {
            let header = reader.header();
            (header.tail.seq.0, StateHash(header.state_hash))
        });
        let mut hashes = HashComparison {
            out: Output::new(),
            every: self.hash_every.unwrap_or(u64::MAX),
            json: self.json,
            known: known.collect(),
            compared: 0,
            events: 0,
            from: self.from.unwrap_or(1),
        };
        let started = Instant::now();
        let state = log.replay(begin, until, &mut hashes)?;
        let seconds = started.elapsed().as_secs_f64();
        state.report_skipped_snapshots();
        let (hash, stamp) = (state.replica.engine.state_hash(), state.replica.engine.stamp());
        let HashComparison { mut out, compared, events, .. } = hashes;
        let commands = state.commands_applied;
        let per_second = commands as f64 / seconds;
        if self.json {
            out.line(json!({
                "seq": stamp.seq.0, "ts_ns": stamp.ts.0, "state_hash": hash.to_string(), "commands": commands,
                "events": events, "seconds": seconds, "commands_per_second": per_second,
                "seq_snapshot": state.snapshot.as_ref().map(|header| header.tail.seq.0), "snapshots_equal": compared,
                "checks_skipped": state.checks_skipped.as_json(),
            }))?;
        } else {
            let from =
                state.snapshot.as_ref().map_or("the beginning".to_owned(), |h| format!("snapshot {}", h.tail.seq));
            out.line(format!("state hash  {hash} at sequence {}, {}", stamp.seq.0, time_text::show(stamp.ts.0)))?;
            out.line(format!(
                "replayed    {commands} commands from {from}, {events} events, in {seconds:.2} s: {per_second:.0} a second"
            ))?;
            let which =
                if state.checks_skipped.count == 0 { "every recorded hash" } else { "the other recorded hashes" };
            out.line(format!("compared    {which}, and {compared} snapshots on the way: all equal"))?;
            if 0 < state.checks_skipped.count {
                out.line(format!("NOT         {}", state.checks_skipped.text()))?;
            }
        }
        out.flush().map(|()| exit::OK)
    }
}

/// Prints hashes on the way, and compares them with those of snapshots.
struct HashComparison {
    out: Output,
    every: u64,
    json: bool,
    /// The hashes of snapshots that the replay has not reached yet.
    known: BTreeMap<u64, StateHash>,
    compared: u64,
    events: u64,
    from: u64,
}

impl Sink for HashComparison {
    const LEDGER: bool = false;

    #[inline]
    fn push(&mut self, _event: Event) {
        self.events += 1;
    }
}

impl ReplayObserver for HashComparison {
    #[inline]
    fn applied(&mut self, replica: &mut Replica, stamp: Stamp, _bytes: &[u8]) -> Result<()> {
        let seq = stamp.seq.0;
        let wanted = self.from <= seq && seq.is_multiple_of(self.every);
        if wanted || self.known.first_key_value().is_some_and(|(next, _)| *next <= seq) {
            return self.compare(replica, seq, wanted);
        }
        Ok(())
    }
}

impl HashComparison {
    #[cold]
    fn compare(&mut self, replica: &Replica, seq: u64, wanted: bool) -> Result<()> {
        let hash = replica.engine.state_hash();
        // Snapshots before this sequence are the one that the replay began with, or older.
        self.known = self.known.split_off(&seq);
        if let Some(said) = self.known.remove(&seq) {
            if said != hash {
                let path = format!("the snapshot at sequence {seq}").into();
                return Err(LoadError::Hash { path, said: said.to_string(), found: hash.to_string() }.into());
            }
            self.compared += 1;
        }
        if !wanted {
            return Ok(());
        }
        if self.json {
            self.out.line(json!({ "seq": seq, "state_hash": hash.to_string() }))
        } else {
            self.out.line(format!("{seq:>12}  {hash}"))
        }
    }
}
