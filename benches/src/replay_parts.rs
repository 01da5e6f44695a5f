//! A start in its parts, one after the other over the same log; the whole of it is `node::replica::recover::restore`.
//!
//! ```text
//! directory --frames--> records --decode--> commands --apply--> events --translate--> answers  --streams--> streams
//!           read, prove                                                          \-> feed items --feed--> depth, live
//! ```
//! Records are kept in memory after the first part, and the others go over them in chunks, so that what a part hands to the
//! next is still in the cache, as it is in a start. A part's clock is read once a chunk.

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

/// What something took: on the clock, and of this thread's CPU.
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

/// Runs from one lap to the next.
pub struct Watch {
    wall: Instant,
    cpu: Duration,
}

impl Watch {
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: thread_cpu() }
    }

    /// What was spent since the last lap.
    pub fn lap(&mut self) -> Spent {
        let now = Self::start();
        let spent = Spent { wall: now.wall - self.wall, cpu: now.cpu - self.cpu };
        *self = now;
        spent
    }
}

/// What the parts took, in the order of `PARTS`, and the state that they came to.
pub struct Measured {
    pub spent: [Spent; PARTS.len()],
    pub hash: StateHash,
}

/// The records of a log, one behind the other.
#[derive(Default)]
struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// All that a start builds, and what one part hands to the next.
struct Parts {
    engine: Engine,
    translator: Translator,
    streams: SessionStreams,
    feed: PublicFeed,
    records: Vec<codec::Record>,
    heard: Batch,
    said: Said,
}

/// Answers and feed items of a chunk.
#[derive(Default)]
struct Said {
    bytes: Vec<u8>,
    answers: Vec<(SessionId, usize)>,
    items: Vec<FeedItem>,
}

impl Outlet for Said {
    fn answer(&mut self, session: SessionId, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.answers.push((session, self.bytes.len()));
    }

    fn public(&mut self, item: FeedItem) {
        self.items.push(item);
    }
}

pub fn measure(directory: &Directory) -> Result<Measured> {
    let mut watch = Watch::start();
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
            heard: Batch::default(),
            said: Said::default(),
        }
    }

    fn chunk(&mut self, bytes: &[u8], start: usize, ends: &[usize], spent: &mut [Spent; PARTS.len()]) -> Result<()> {
        self.clear();
        let mut watch = Watch::start();
        self.decode(bytes, start, ends)?;
        spent[1] += watch.lap();
        self.apply();
        spent[2] += watch.lap();
        self.translate();
        spent[3] += watch.lap();
        self.keep();
        spent[4] += watch.lap();
        self.said.items.iter().for_each(|item| self.feed.apply(item));
        spent[5] += watch.lap();
        Ok(())
    }

    fn clear(&mut self) {
        self.records.clear();
        self.heard.clear();
        self.said.bytes.clear();
        self.said.answers.clear();
        self.said.items.clear();
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
            self.engine.apply(stamp, &record.command, &mut self.heard);
            self.heard.end_command(stamp);
        }
    }

    fn translate(&mut self) {
        let mut start = 0;
        for &(stamp, end) in &self.heard.ends {
            self.translator.translate(stamp, &self.heard.events[start..end], &mut self.said);
            start = end;
        }
    }

    /// Answers go into the streams of their sessions.
    fn keep(&mut self) {
        let mut start = 0;
        for &(session, end) in &self.said.answers {
            self.streams.push(session, &self.said.bytes[start..end]);
            start = end;
        }
    }
}
