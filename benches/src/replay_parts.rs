//! The parts of a start, one after the other over the same log; `node::replica::recover::restore` is the complete
//! start.
//!
//! ```text
//! directory --frames--> records --decode--> commands --apply--> events --translate--> answers  --streams--> streams
//!           read, prove                                                          \-> feed items --feed--> depth, live
//! ```
//! The first part leaves the records in memory, and the others process them in chunks, so that the input of each part
//! is still in the cache, as in a start. A part's clock is read once a chunk.

use crate::clock::thread_cpu;
use anyhow::Result;
use book::codec;
use book::engine::{Capacity, Engine};
use book::ids::SessionId;
use book::state_hash::StateHash;
use book::units::{Seq, Stamp};
use node::replica::public_feed::PublicFeed;
use node::replica::recover::Batch;
use node::replica::session_streams::SessionStreams;
use node::replica::translate::{Outlet, Translator};
use node::rings::feed_items::FeedItem;
use std::ops::AddAssign;
use std::time::{Duration, Instant};
use wal::directory::Directory;

/// Messages that a session's stream keeps, as a node does by default.
pub const RESEND_MAX: usize = 65_536;
const CHUNK_RECORDS: usize = 1_024;

pub const PARTS: [&str; 6] = ["frames", "decode", "apply", "translate", "streams", "feed"];

/// Elapsed time and this thread's CPU time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    pub wall: Duration,
    pub cpu: Duration,
}

impl AddAssign for Spent {
    fn add_assign(&mut self, other: Self) {
        self.wall += other.wall;
        self.cpu += other.cpu;
    }
}

/// Measures from one lap to the next.
pub struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: thread_cpu() }
    }

    /// Time spent since the lap before.
    pub fn lap(&mut self) -> Spent {
        let now = Self::start();
        let spent = Spent { wall: now.wall - self.wall, cpu: now.cpu - self.cpu };
        *self = now;
        spent
    }
}

/// Time of each part in the order of `PARTS`, and the hash of the state at the end.
pub struct Measured {
    pub spent: [Spent; PARTS.len()],
    pub hash: StateHash,
}

/// The records of a log, one after the other in one buffer.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Everything that a start builds, and the buffers between its parts.
struct Parts {
    engine: Engine,
    translator: Translator,
    streams: SessionStreams,
    feed: PublicFeed,
    records: Vec<codec::Record>,
    events: Batch,
    output: Output,
}

/// Answers and feed items of a chunk.
#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    answers: Vec<(SessionId, usize)>,
    items: Vec<FeedItem>,
}

impl Outlet for Output {
    fn answer(&mut self, session: SessionId, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.answers.push((session, self.bytes.len()));
    }

    fn public(&mut self, item: FeedItem) {
        self.items.push(item);
    }
}

pub fn measure(directory: &Directory) -> Result<Measured> {
    let mut watch = Stopwatch::start();
    wal::recover::inspect(directory, wal::units::Lsn(1), |_, _| Ok(()))?;
    let frames = watch.lap();
    let mut records = Records::default();
    wal::recover::inspect(directory, wal::units::Lsn(1), |_, bytes| {
        records.bytes.extend_from_slice(bytes);
        records.ends.push(records.bytes.len());
        Ok(())
    })?;
    let mut parts = Parts::new();
    let mut spent = [Spent::default(); PARTS.len()];
    spent[0] = frames;
    let mut start = 0;
    for ends in records.ends.chunks(CHUNK_RECORDS) {
        parts.chunk(&records.bytes, start, ends, &mut spent)?;
        start = ends.last().copied().unwrap_or(start);
    }
    Ok(Measured { spent, hash: parts.engine.state_hash() })
}

impl Parts {
    fn new() -> Self {
        Self {
            engine: Engine::new(Capacity::default()),
            translator: Translator::default(),
            streams: SessionStreams::new(RESEND_MAX),
            feed: PublicFeed::new(),
            records: Vec::with_capacity(CHUNK_RECORDS),
            events: Batch::default(),
            output: Output::default(),
        }
    }

    fn chunk(&mut self, bytes: &[u8], start: usize, ends: &[usize], spent: &mut [Spent; PARTS.len()]) -> Result<()> {
        self.clear();
        let mut watch = Stopwatch::start();
        self.decode(bytes, start, ends)?;
        spent[1] += watch.lap();
        self.apply();
        spent[2] += watch.lap();
        self.translate();
        spent[3] += watch.lap();
        self.append();
        spent[4] += watch.lap();
        self.output.items.iter().for_each(|item| self.feed.apply(item));
        spent[5] += watch.lap();
        Ok(())
    }

    fn clear(&mut self) {
        self.records.clear();
        self.events.clear();
        self.output.bytes.clear();
        self.output.answers.clear();
        self.output.items.clear();
    }

    fn decode(&mut self, bytes: &[u8], mut start: usize, ends: &[usize]) -> Result<()> {
        for &end in ends {
            self.records.push(codec::decode(&bytes[start..end])?);
            start = end;
        }
        Ok(())
    }

    fn apply(&mut self) {
        let mut seq = self.engine.stamp().seq;
        for record in &self.records {
            seq = Seq(seq.0 + 1);
            let stamp = Stamp { seq, ts: record.ts };
            self.engine.apply(stamp, &record.command, &mut self.events);
            self.events.end_command(stamp, stamp.ts);
        }
    }

    fn translate(&mut self) {
        let mut start = 0;
        for &(stamp, received, end) in &self.events.ends {
            self.translator.translate(stamp, received, &self.events.events[start..end], &mut self.output);
            start = end;
        }
    }

    /// Appends the answers to the streams of their sessions.
    fn append(&mut self) {
        let mut start = 0;
        for &(session, end) in &self.output.answers {
            self.streams.push(session, &self.output.bytes[start..end]);
            start = end;
        }
    }
}
