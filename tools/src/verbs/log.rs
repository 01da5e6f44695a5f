//! `pinion log`: what is in a data directory's log, of a stopped node or beside a running one. Only `quarantine` writes.

mod following;
mod leave_out;
mod quarantine;
mod stats;

use crate::offline::as_of::{DataDir, Look, Readable, Showing, tell_passed_over};
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::{Output, unless_closed};
use crate::terminal::time_text;
use anyhow::Result;
use book::event::{Event, NoSink};
use book::units::Seq;
use clap::{Args, Subcommand};
use following::Following;
use node::status::exit;
use serde_json::json;
use std::collections::VecDeque;
use std::time::Duration;
use wal::lineage::Lineage;
use wal::walk::Start;

/// How often `tail --follow` looks again.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// Look into the log of a stopped or a running node.
#[derive(Args, Debug)]
pub struct Log {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// What the directory says about itself, where its log begins and ends, what is left out of it
    Inspect(Place),
    /// Prove every frame, apply every command, print the hashes
    Verify(Place),
    /// Print commands, one a line
    Dump(Dump),
    /// Print the last commands
    Tail(Tail),
    /// Count commands by kind, bytes, and how many came in how much time
    Stats(stats::Stats),
    /// Leave a command out for good, on a stopped node
    Quarantine(quarantine::Quarantine),
}

#[derive(Args, Debug)]
struct Place {
    #[command(flatten)]
    dir: DataDir,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Dump {
    #[command(flatten)]
    place: Place,
    /// First sequence [default: the first that is retained]
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// Last sequence
    #[arg(long, value_name = "SEQ", default_value_t = u64::MAX)]
    to: u64,
    /// Only the client order ids of accepted orders, one a line
    #[arg(long, conflicts_with_all = ["json", "from", "to"])]
    client_ids: bool,
}

#[derive(Args, Debug)]
struct Tail {
    #[command(flatten)]
    place: Place,
    /// How many commands
    #[arg(short, long, default_value_t = 10)]
    number: usize,
    /// Go on with what comes, until interrupted
    #[arg(short, long)]
    follow: bool,
}

impl Log {
    pub fn run(&self) -> Result<u8> {
        let outcome = match &self.what {
            What::Inspect(place) => place.inspect(),
            What::Verify(place) => place.verify(),
            What::Dump(dump) => dump.run(),
            What::Tail(tail) => tail.run(),
            What::Stats(stats) => stats.run(),
            What::Quarantine(quarantine) => return quarantine.run(),
        };
        unless_closed(outcome.map(|()| exit::OK))
    }
}

/// Where the walk over all retained records begins.
pub(crate) fn whole(look: &Look<'_>) -> Start {
    Start::After(look.reach.base)
}

impl Place {
    fn inspect(&self) -> Result<()> {
        let past = self.dir.past()?;
        let look = past.look()?;
        // Every frame is proved on the way, none is applied.
        let log = look.records(whole(&look), |_, _| Ok(true))?;
        let identity = past.directory().identity();
        let (node_id, timeline, geometry) = (identity.node_id, identity.timeline, identity.geometry);
        let cut = log.cut.as_ref().map(|cut| cut.seq.0);
        let lineage = Lineage::read(past.directory().path())?;
        let mut out = Output::new();
        if self.json {
            let left_out: Vec<_> = past
                .quarantine()
                .entries()
                .map(|(seq, entry)| json!({ "seq": seq.0, "time_ns": entry.time_ns, "reason": entry.reason }))
                .collect();
            let ancestors: Vec<_> = lineage
                .0
                .iter()
                .map(|a| {
                    json!({ "node_id": a.node_id.to_string(), "timeline": a.timeline.0, "seq": a.seq.0, "time_ns": a.time_ns })
                })
                .collect();
            let line = json!({
                "data_dir": self.dir.data_dir, "node_id": node_id.to_string(), "timeline": timeline.0,
                "seq_base": identity.seq_base.0, "segments": geometry.segment_count,
                "segment_bytes": geometry.segment_bytes, "seq_truncated": look.reach.base.seq.0,
                "seq_reached": look.reach.first.0, "seq_last": log.tail.seq.0,
                "seq_stored": log.seq_stored_found.0, "seq_acknowledged": log.mark.0,
                "frames_store": log.frames_from_store, "frames_head": log.frames_from_head,
                "chain": log.tail.chain.to_string(), "torn_at_seq": cut,
                "quarantine": left_out, "lineage": ancestors,
            });
            return out.line(line);
        }
        let base = look.reach.base.seq;
        out.line(format!("data directory  {}", self.dir.data_dir.display()))?;
        out.line(format!("node            {node_id}, timeline {timeline}, log begins after {}", identity.seq_base))?;
        for a in &lineage.0 {
            let (when, node) = (time_text::show(a.time_ns), a.node_id);
            out.line(format!(
                "restored        from node {node}, timeline {}, at sequence {}, {when}",
                a.timeline, a.seq
            ))?;
        }
        out.line(format!("head            {} segments of {} bytes", geometry.segment_count, geometry.segment_bytes))?;
        out.line(format!("retained        records behind {base}, states from {} on", look.reach.first.0))?;
        out.line(format!(
            "sequences       last {}, in the store {}, noted as acknowledged {}",
            log.tail.seq, log.seq_stored_found, log.mark
        ))?;
        let frames = (log.frames_from_store, log.frames_from_head);
        out.line(format!("frames          {} in the store, {} in the head", frames.0, frames.1))?;
        out.line(format!("chain           {}", log.tail.chain))?;
        for (seq, entry) in past.quarantine().entries() {
            out.line(format!("left out        {seq}, since {}: {}", time_text::show(entry.time_ns), entry.reason))?;
        }
        match cut {
            Some(seq) => {
                out.line(format!("torn end        at sequence {seq}: never acknowledged, cut at the next start"))
            }
            None => out.line("torn end        none"),
        }
    }

    /// Begins with the oldest state there is, so that every retained record is applied.
    fn verify(&self) -> Result<()> {
        let past = self.dir.past()?;
        let look = past.look()?;
        let log = look.records(whole(&look), |_, _| Ok(true))?;
        let moment = look.walk(look.reach.first, Seq(look.reach.end.seq.0), &mut NoSink)?;
        tell_passed_over(&moment.passed_over);
        let (seq_first, seq_last) = (look.reach.base.seq.0 + 1, moment.seq().0);
        let (applied_from, hash) = (seq_last - moment.applied + 1, moment.replica.engine.state_hash());
        let frames = log.frames_from_store + log.frames_from_head;
        let mut out = Output::new();
        if self.json {
            let line = json!({
                "seq_first": seq_first, "seq_last": seq_last, "seq_applied_first": applied_from, "frames": frames,
                "chain": look.reach.end.chain.to_string(), "state_hash": hash.to_string(),
            });
            return out.line(line);
        }
        out.line(format!("sequences   {seq_first} to {seq_last}, applied from {applied_from} on"))?;
        out.line(format!("frames      {frames}, each with its checksum and its link"))?;
        out.line(format!("chain       {}", look.reach.end.chain))?;
        out.line(format!("state hash  {hash}"))
    }
}

impl Dump {
    fn run(&self) -> Result<()> {
        if self.client_ids {
            return self.client_ids();
        }
        let past = self.place.dir.past()?;
        let look = past.look()?;
        let start = self.from.map_or(whole(&look), |from| Start::At(wal::units::Lsn(from)));
        let mut out = Output::new();
        look.records(start, |seq, bytes| {
            if self.to < seq.0 {
                return Ok(false);
            }
            out.command(seq, &past.read(seq, bytes)?, self.place.json)?;
            Ok(true)
        })?;
        out.flush()
    }

    /// An id is accepted when applying its command says so: nothing else is believed.
    fn client_ids(&self) -> Result<()> {
        let past = self.place.dir.past()?;
        let look = past.look()?;
        let mut out = Output::new();
        let mut witness = Showing::new(|_, _, events| {
            for event in events {
                if let Event::Accepted(accepted) = event
                    && accepted.cl_ord_id.0 != 0
                {
                    out.line(accepted.cl_ord_id.0)?;
                }
            }
            Ok(())
        });
        let moment = look.walk(look.reach.first, Seq(look.reach.end.seq.0), &mut witness)?;
        tell_passed_over(&moment.passed_over);
        out.flush()
    }
}

impl Tail {
    fn run(&self) -> Result<()> {
        let past = self.place.dir.past()?;
        let look = past.look()?;
        let end = look.reach.end.seq;
        let mut last: VecDeque<(Seq, Readable)> = VecDeque::new();
        // Frames are found by sequence, so a walk may begin close to the end.
        let from = end.0.saturating_sub(self.number as u64).max(look.reach.base.seq.0) + 1;
        if from <= end.0 {
            look.records(Start::At(wal::units::Lsn(from)), |seq, bytes| {
                last.push_back((seq, past.read(seq, bytes)?));
                Ok(true)
            })?;
        }
        let mut out = Output::new();
        for (seq, record) in &last {
            out.command(*seq, record, self.place.json)?;
        }
        out.flush()?;
        drop(look);
        if !self.follow {
            return Ok(());
        }
        let interrupt = Interrupt::listen()?;
        let shown = last.back().map_or(end, |(seq, _)| wal::units::Lsn(seq.0));
        let mut following = Following::new(&past, shown, &mut out, self.place.json);
        while !interrupt.is_set() {
            following.go_on()?;
            std::thread::sleep(FOLLOW_EVERY);
        }
        Ok(())
    }
}
