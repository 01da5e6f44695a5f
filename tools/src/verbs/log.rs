//! `pinion log`: the log of a data directory, of a stopped node or beside a running one. Only `quarantine` writes.

mod consequences;
mod follower;
mod inspect;
mod quarantine;
mod quarantine_list;
mod stats;

use crate::offline::data_dir::DataDir;
use crate::offline::replay_observer::ForEachCommand;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::{DecodedCommand, Output, ignoring_closed_pipe};
use anyhow::Result;
use book::event::{Event, NoSink};
use book::units::Seq;
use clap::{Args, Subcommand};
use follower::LogFollower;
use node::status::exit;
use serde_json::json;
use std::collections::VecDeque;
use std::time::Duration;
use wal::units::Lsn;
use wal::walk::Start;

/// How often `tail --follow` polls the log.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// Read the log of a stopped or a running node.
#[derive(Args, Debug)]
pub struct Log {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Print node and timeline, where the log begins and ends, and the quarantined commands
    Inspect(Source),
    /// Prove every frame, apply every command, and print the hashes
    Verify(Source),
    /// Print commands, one a line
    Dump(Dump),
    /// Print the last commands
    Tail(Tail),
    /// Count commands by kind, with bytes and rates
    Stats(stats::Stats),
    /// Skip a command from now on, on a stopped node; this cannot be taken back
    Quarantine(quarantine::Quarantine),
}

#[derive(Args, Debug)]
struct Source {
    #[command(flatten)]
    dir: DataDir,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Dump {
    #[command(flatten)]
    source: Source,
    /// First sequence [default: the first that is retained]
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// Last sequence
    #[arg(long, value_name = "SEQ", default_value_t = u64::MAX)]
    to: u64,
    /// Print only the client order ids of accepted orders, one a line
    #[arg(long, conflicts_with_all = ["json", "from", "to"])]
    client_ids: bool,
}

#[derive(Args, Debug)]
struct Tail {
    #[command(flatten)]
    source: Source,
    /// The number of commands
    #[arg(short, long, default_value_t = 10)]
    number: usize,
    /// Continue with new commands, until interrupted
    #[arg(short, long)]
    follow: bool,
}

impl Log {
    pub fn run(&self) -> Result<u8> {
        let outcome = match &self.what {
            What::Inspect(source) => inspect::inspect(&source.dir, source.json),
            What::Verify(source) => source.verify(),
            What::Dump(dump) => dump.run(),
            What::Tail(tail) => tail.run(),
            What::Stats(stats) => stats.run(),
            What::Quarantine(quarantine) => return quarantine.run(),
        };
        ignoring_closed_pipe(outcome.map(|()| exit::OK))
    }
}

impl Source {
    /// Begins with the oldest state that can be built, so that every retained record is applied.
    fn verify(&self) -> Result<()> {
        let reader = self.dir.reader()?;
        let log = reader.scan()?;
        let found = log.for_each_record(log.first_record(), |_, _| Ok(true))?;
        let state = log.replay(log.range.first, Seq(log.range.end.seq.0), &mut NoSink)?;
        state.report_skipped_snapshots();
        let (seq_first, seq_last) = (log.range.base.seq.0 + 1, state.seq().0);
        let (applied_from, hash) = (seq_last - state.commands_applied + 1, state.replica.engine.state_hash());
        let frames = found.frames_from_store + found.frames_from_head;
        let mut out = Output::new();
        if self.json {
            let line = json!({
                "seq_first": seq_first, "seq_last": seq_last, "seq_applied_first": applied_from, "frames": frames,
                "chain": log.range.end.chain.to_string(), "state_hash": hash.to_string(),
            });
            return out.line(line);
        }
        out.line(format!("sequences   {seq_first} to {seq_last}, applied from {applied_from} on"))?;
        out.line(format!("frames      {frames}, each with a right checksum and link"))?;
        out.line(format!("chain       {}", log.range.end.chain))?;
        out.line(format!("state hash  {hash}"))
    }
}

impl Dump {
    fn run(&self) -> Result<()> {
        if self.client_ids {
            return self.client_ids();
        }
        let reader = self.source.dir.reader()?;
        let log = reader.scan()?;
        let start = self.from.map_or(log.first_record(), |from| Start::At(Lsn(from)));
        let mut out = Output::new();
        log.for_each_record(start, |seq, bytes| {
            if self.to < seq.0 {
                return Ok(false);
            }
            out.command(seq, &reader.decode(seq, bytes)?, self.source.json)?;
            Ok(true)
        })?;
        out.flush()
    }

    /// An id counts as accepted when applying its command gives that event; answers are not consulted.
    fn client_ids(&self) -> Result<()> {
        let reader = self.source.dir.reader()?;
        let log = reader.scan()?;
        let mut out = Output::new();
        let mut print_ids = ForEachCommand::new(|_, _, events| {
            for event in events {
                if let Event::Accepted(accepted) = event
                    && accepted.cl_ord_id.0 != 0
                {
                    out.line(accepted.cl_ord_id.0)?;
                }
            }
            Ok(())
        });
        let state = log.replay(log.range.first, Seq(log.range.end.seq.0), &mut print_ids)?;
        state.report_skipped_snapshots();
        out.flush()
    }
}

impl Tail {
    #[expect(clippy::disallowed_methods, reason = "a follower pauses when the log has nothing new")]
    fn run(&self) -> Result<()> {
        let reader = self.source.dir.reader()?;
        let log = reader.scan()?;
        let end = log.range.end.seq;
        let mut last: VecDeque<(Seq, DecodedCommand)> = VecDeque::new();
        // Frames are found by sequence, so the scan may begin close to the end.
        let from = end.0.saturating_sub(self.number as u64).max(log.range.base.seq.0) + 1;
        if from <= end.0 {
            log.for_each_record(Start::At(Lsn(from)), |seq, bytes| {
                last.push_back((seq, reader.decode(seq, bytes)?));
                Ok(true)
            })?;
        }
        let mut out = Output::new();
        for (seq, command) in &last {
            out.command(*seq, command, self.source.json)?;
        }
        out.flush()?;
        drop(log);
        if !self.follow {
            return Ok(());
        }
        let interrupt = Interrupt::on_signals()?;
        let printed = last.back().map_or(end, |(seq, _)| Lsn(seq.0));
        let mut follower = LogFollower::new(&reader, printed, &mut out, self.source.json);
        while !interrupt.is_set() {
            follower.poll()?;
            std::thread::sleep(FOLLOW_EVERY);
        }
        Ok(())
    }
}
