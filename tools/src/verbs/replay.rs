//! `pinion replay`: the log applied again, offline: the same commands give the same state, every recorded hash agrees.

use crate::offline::as_of::{DataDir, Witness, tell_passed_over};
use crate::terminal::failure::Failure;
use crate::terminal::output::{Output, unless_closed};
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

/// Apply the log again and print what the state hashes to: offline proof that it is what was live.
///
/// Every check that the live engine recorded is compared, and every kept snapshot on the way; exit code 18 where one
/// differs.
#[derive(Args, Debug)]
pub struct Replay {
    #[command(flatten)]
    dir: DataDir,
    /// First sequence to apply: the walk begins with the newest snapshot before it [default: all that is retained]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// Last sequence to apply [default: the end of the log]
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Print the hash at every multiple of this, too
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    hash_every: Option<u64>,
    /// A JSON document a line
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub fn run(&self) -> Result<u8> {
        unless_closed(self.replay())
    }

    fn replay(&self) -> Result<u8> {
        if let (Some(from), Some(to)) = (self.from, self.to)
            && to < from
        {
            return Err(Failure::of(exit::USAGE, "--from is behind --to"));
        }
        let past = self.dir.past()?;
        let look = past.look()?;
        let until = look.resolve(self.to.map(Seq))?;
        let begin = self.from.map_or(Ok(look.reach.first), |from| look.resolve(Some(Seq(from - 1))))?;
        let kept = look.snapshots()?;
        let known = kept.iter().filter_map(|file| SnapshotReader::open(&file.path).ok()).map(|reader| {
            let header = reader.header();
            (header.tail.seq.0, StateHash(header.state_hash))
        });
        let mut witness = Hashes {
            out: Output::new(),
            every: self.hash_every.unwrap_or(u64::MAX),
            json: self.json,
            known: known.collect(),
            compared: 0,
            events: 0,
            from: self.from.unwrap_or(1),
        };
        // A snapshot takes its time to load; what is measured is applying.
        let started = Instant::now();
        let moment = look.walk(begin, until, &mut witness)?;
        let seconds = started.elapsed().as_secs_f64();
        tell_passed_over(&moment.passed_over);
        let (hash, stamp) = (moment.replica.engine.state_hash(), moment.replica.engine.stamp());
        let Hashes { mut out, compared, events, .. } = witness;
        let per_second = moment.applied as f64 / seconds;
        if self.json {
            out.line(json!({
                "seq": stamp.seq.0, "ts_ns": stamp.ts.0, "state_hash": hash.to_string(), "commands": moment.applied,
                "events": events, "seconds": seconds, "commands_per_second": per_second,
                "seq_snapshot": moment.from.as_ref().map(|header| header.tail.seq.0), "snapshots_equal": compared,
            }))?;
        } else {
            let from = moment.from.as_ref().map_or("the beginning".to_owned(), |h| format!("snapshot {}", h.tail.seq));
            out.line(format!("state hash  {hash} at sequence {}, {}", stamp.seq.0, time_text::show(stamp.ts.0)))?;
            out.line(format!(
                "replayed    {} commands from {from}, {events} events, in {seconds:.2} s: {per_second:.0} a second",
                moment.applied
            ))?;
            out.line(format!("compared    every recorded check, and {compared} snapshots on the way"))?;
        }
        out.flush().map(|()| exit::OK)
    }
}

/// Prints hashes on the way and compares what snapshots say.
struct Hashes {
    out: Output,
    every: u64,
    json: bool,
    known: BTreeMap<u64, StateHash>,
    compared: u64,
    events: u64,
    from: u64,
}

impl Sink for Hashes {
    const LEDGER: bool = false;

    #[inline]
    fn push(&mut self, _event: Event) {
        self.events += 1;
    }
}

impl Witness for Hashes {
    #[inline]
    fn applied(&mut self, replica: &mut Replica, stamp: Stamp, _bytes: &[u8]) -> Result<()> {
        let seq = stamp.seq.0;
        let wanted = self.from <= seq && seq.is_multiple_of(self.every);
        if wanted || self.known.first_key_value().is_some_and(|(next, _)| *next <= seq) {
            return self.look(replica, seq, wanted);
        }
        Ok(())
    }
}

impl Hashes {
    #[cold]
    fn look(&mut self, replica: &Replica, seq: u64, wanted: bool) -> Result<()> {
        let hash = replica.engine.state_hash();
        // Those before are what the walk began with, or older.
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
