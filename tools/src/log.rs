//! `pinion log`: what is in a data directory's log, of a stopped node or beside a running one. Writes nothing.

use crate::command_json::{kind, record_json, record_text};
use crate::log_walk::Walked;
use anyhow::{Result, ensure};
use book::codec::{self, Record};
use book::event::Event;
use book::units::Seq;
use clap::{Args, Subcommand};
use node::exit;
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufWriter, ErrorKind, StdoutLock, Write, stdout};
use std::path::PathBuf;
use std::time::Duration;
use wal::directory::Directory;
use wal::recover::{Recovered, VisitorResult, inspect};

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
    /// What the directory says about itself, and where its log ends
    Inspect(Place),
    /// Prove every frame, apply every command, print the hashes
    Verify(Place),
    /// Print commands, one a line
    Dump(Dump),
    /// Print the last commands
    Tail(Tail),
    /// Count commands by kind
    Stats(Place),
}

#[derive(Args, Debug)]
struct Place {
    #[arg(long, value_name = "D")]
    data_dir: PathBuf,
    /// One line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Dump {
    #[command(flatten)]
    place: Place,
    /// First sequence
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
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
            What::Stats(place) => place.stats(),
        };
        match outcome {
            // Whoever read the output has seen enough.
            Err(error) if is_broken_pipe(&error) => Ok(exit::OK),
            outcome => outcome.map(|()| exit::OK),
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.map(std::io::Error::kind).any(|kind| kind == ErrorKind::BrokenPipe)
}

impl Place {
    fn open(&self) -> Result<Directory> {
        Ok(Directory::open_read_only(&self.data_dir)?)
    }

    fn inspect(&self) -> Result<()> {
        let directory = self.open()?;
        let log = inspect(&directory, wal::units::Seq(1), |_, _| Ok(()))?;
        let identity = directory.identity();
        let (node_id, timeline, geometry) = (identity.node_id, identity.timeline, identity.geometry);
        let cut = log.cut.as_ref().map(|cut| cut.seq.0);
        let mut out = Output::new();
        if self.json {
            let line = json!({
                "data_dir": self.data_dir, "node_id": node_id.to_string(), "timeline": timeline.0,
                "seq_base": identity.seq_base.0, "segments": geometry.segment_count,
                "segment_bytes": geometry.segment_bytes, "seq_last": log.tail.seq.0,
                "seq_stored": log.seq_stored_found.0, "seq_acknowledged": log.mark.0,
                "frames_store": log.frames_from_store, "frames_head": log.frames_from_head,
                "chain": log.tail.chain.to_string(), "torn_at_seq": cut,
            });
            return out.line(&line.to_string());
        }
        out.line(&format!("data directory  {}", self.data_dir.display()))?;
        out.line(&format!("node            {node_id}, timeline {timeline}, log begins after {}", identity.seq_base))?;
        out.line(&format!("head            {} segments of {} bytes", geometry.segment_count, geometry.segment_bytes))?;
        out.line(&format!(
            "sequences       last {}, in the store {}, noted as acknowledged {}",
            log.tail.seq, log.seq_stored_found, log.mark
        ))?;
        out.line(&format!(
            "frames          {} in the store, {} in the head",
            log.frames_from_store, log.frames_from_head
        ))?;
        out.line(&format!("chain           {}", log.tail.chain))?;
        match cut {
            Some(seq) => {
                out.line(&format!("torn end        at sequence {seq}: never acknowledged, cut at the next start"))
            }
            None => out.line("torn end        none"),
        }
    }

    fn verify(&self) -> Result<()> {
        let mut seq_first = 0;
        let walked = Walked::with(&self.data_dir, |seq, _, _| {
            if seq_first == 0 {
                seq_first = seq.0;
            }
            Ok(())
        })?;
        let Recovered { frames_from_store, frames_from_head, tail, .. } = walked.log;
        let frames = frames_from_store + frames_from_head;
        let mut out = Output::new();
        if self.json {
            let line = json!({
                "seq_first": seq_first, "seq_last": walked.seq_last, "frames": frames,
                "chain": tail.chain.to_string(), "state_hash": walked.state_hash.to_string(),
            });
            return out.line(&line.to_string());
        }
        out.line(&format!("sequences   {seq_first} to {}", walked.seq_last))?;
        out.line(&format!("frames      {frames}, each with its checksum and its link"))?;
        out.line(&format!("chain       {}", tail.chain))?;
        out.line(&format!("state hash  {}", walked.state_hash))
    }

    fn stats(&self) -> Result<()> {
        let mut stats = Stats::default();
        let log = inspect(&self.open()?, wal::units::Seq(1), |_, bytes| {
            stats.take(&codec::decode(bytes)?, bytes.len());
            Ok(())
        })?;
        stats.report(&log, self.json)
    }
}

#[derive(Debug, Default)]
struct Stats {
    /// By kind, in alphabetical order, so that two runs print alike.
    counts: BTreeMap<&'static str, u64>,
    bytes: u64,
    ts_first_ns: u64,
    ts_last_ns: u64,
}

impl Stats {
    fn take(&mut self, record: &Record, record_bytes: usize) {
        *self.counts.entry(kind(&record.command)).or_default() += 1;
        self.bytes += record_bytes as u64;
        if self.ts_first_ns == 0 {
            self.ts_first_ns = record.ts.0;
        }
        self.ts_last_ns = record.ts.0;
    }

    fn report(&self, log: &Recovered, json: bool) -> Result<()> {
        let (commands, frames) = (log.records, log.frames_from_store + log.frames_from_head);
        let seconds = (self.ts_last_ns - self.ts_first_ns) as f64 / 1e9;
        let mut out = Output::new();
        if json {
            let line = json!({
                "commands": commands, "frames": frames, "record_bytes": self.bytes, "ts_first_ns": self.ts_first_ns,
                "ts_last_ns": self.ts_last_ns, "by_command": self.counts,
            });
            return out.line(&line.to_string());
        }
        out.line(&format!("commands    {commands} in {frames} frames, {} bytes, over {seconds:.3} s", self.bytes))?;
        for (kind, count) in &self.counts {
            out.line(&format!("{kind:<20} {count}"))?;
        }
        Ok(())
    }
}

impl Dump {
    fn run(&self) -> Result<()> {
        if self.client_ids {
            return self.client_ids();
        }
        ensure!(0 < self.from, "--from counts from 1");
        let directory = self.place.open()?;
        let mut out = Output::new();
        let outcome = inspect(&directory, wal::units::Seq(self.from), |seq, bytes| {
            if self.to < seq.0 {
                return Err(Enough.into());
            }
            out.command(Seq(seq.0), &codec::decode(bytes)?, self.place.json)
        });
        match outcome {
            Err(wal::error::WalError::Visitor { source, .. }) if source.is::<Enough>() => Ok(()),
            outcome => Ok(outcome.map(|_log| ())?),
        }
    }

    /// An id is accepted when applying its command says so: nothing else is believed.
    fn client_ids(&self) -> Result<()> {
        let mut out = Output::new();
        Walked::with(&self.place.data_dir, |_, _, events| {
            for event in events {
                if let Event::Accepted(accepted) = event
                    && accepted.cl_ord_id.0 != 0
                {
                    writeln!(out.0, "{}", accepted.cl_ord_id.0)?;
                }
            }
            Ok(())
        })?;
        out.flush()
    }
}

/// The wanted part is over.
#[derive(Debug, thiserror::Error)]
#[error("the wanted part is over")]
struct Enough;

impl Tail {
    fn run(&self) -> Result<()> {
        let directory = self.place.open()?;
        let mut last = VecDeque::with_capacity(self.number + 1);
        let log = inspect(&directory, wal::units::Seq(1), |seq, bytes| {
            last.push_back((Seq(seq.0), codec::decode(bytes)?));
            if self.number < last.len() {
                last.pop_front();
            }
            Ok(())
        })?;
        let mut out = Output::new();
        for (seq, record) in &last {
            out.command(*seq, record, self.place.json).map_err(anyhow::Error::from_boxed)?;
        }
        out.flush()?;
        let mut next = log.tail.seq.next();
        if !self.follow {
            return Ok(());
        }
        loop {
            std::thread::sleep(FOLLOW_EVERY);
            let log = inspect(&directory, next, |seq, bytes| {
                out.command(Seq(seq.0), &codec::decode(bytes)?, self.place.json)
            })?;
            out.flush()?;
            next = log.tail.seq.next();
        }
    }
}

/// Standard output in large pieces, whose failures are told: a pipe may be closed at the other end.
struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    fn new() -> Self {
        Self(BufWriter::with_capacity(1 << 16, stdout().lock()))
    }

    fn line(&mut self, text: &str) -> Result<()> {
        Ok(writeln!(self.0, "{text}")?)
    }

    fn command(&mut self, seq: Seq, record: &Record, json: bool) -> VisitorResult {
        if json {
            writeln!(self.0, "{}", record_json(seq, record))?;
        } else {
            writeln!(self.0, "{}", record_text(seq, record))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.0.flush()?)
    }
}
