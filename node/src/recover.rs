//! From the data directory to a node that can go on: the log is proved, applied, and every stream built again from it.

use crate::events::Events;
use crate::exit;
use crate::feed::{FeedItem, FeedState};
use crate::streams::Streams;
use crate::translate::{Outlet, Translator};
use book::codec::{self, CodecError};
use book::engine::Engine;
use book::ids::SessionId;
use book::units::{Seq, Stamp};
use wal::directory::Directory;
use wal::error::WalError;
use wal::recover::Recovered;
use wal::store::Store;

/// The state after the last command of the log.
pub struct Restored {
    pub engine: Engine,
    pub translator: Translator,
    pub streams: Streams,
    pub feed: FeedState,
    pub log: Recovered,
}

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Log(#[from] WalError),
    #[error("sequence {seq}: {source}")]
    Record { seq: u64, source: CodecError },
    #[error("sequence {seq}: its time {ts_ns} is before the time of the command before it")]
    TimeRunsBack { seq: u64, ts_ns: u64 },
}

impl RestoreError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Log(error) => exit::code_of(error),
            Self::Record { .. } => exit::UNKNOWN_FORMAT,
            Self::TimeRunsBack { .. } => exit::DAMAGED,
        }
    }
}

/// Everything that a replay builds besides the log's own ends.
pub struct Replay {
    pub engine: Engine,
    pub translator: Translator,
    pub streams: Streams,
    pub feed: FeedState,
    events: Events,
}

impl Replay {
    /// From an engine that has seen nothing.
    pub fn new(engine: Engine, resend_max: usize) -> Self {
        Self {
            engine,
            translator: Translator::default(),
            streams: Streams::new(resend_max),
            feed: FeedState::new(),
            events: Events::new(),
        }
    }

    /// Applies one record of the log, exactly as the live engine did.
    pub fn apply(&mut self, seq: Seq, bytes: &[u8]) -> Result<(), RestoreError> {
        let record = codec::decode(bytes).map_err(|source| RestoreError::Record { seq: seq.0, source })?;
        if record.ts < self.engine.stamp().ts {
            return Err(RestoreError::TimeRunsBack { seq: seq.0, ts_ns: record.ts.0 });
        }
        let stamp = Stamp { seq, ts: record.ts };
        self.events.clear();
        self.engine.apply(stamp, &record.command, &mut self.events);
        let mut outlet = Rebuild { streams: &mut self.streams, feed: &mut self.feed };
        self.translator.translate(stamp, self.events.as_slice(), &mut outlet);
        Ok(())
    }
}

/// Where a replay's events go: straight into the streams, because all of it was durable long ago.
struct Rebuild<'a> {
    streams: &'a mut Streams,
    feed: &'a mut FeedState,
}

impl Outlet for Rebuild<'_> {
    fn answer(&mut self, session: SessionId, bytes: &[u8]) {
        self.streams.push(session, bytes);
    }

    fn public(&mut self, item: FeedItem) {
        self.feed.apply(&item);
    }
}

/// Proves and applies the whole log of a directory that this process owns, and only then opens its store for writing:
/// opening a RocksDB writes, and a log that is refused must stay as it was found.
pub fn restore(directory: &Directory, engine: Engine, resend_max: usize) -> Result<(Restored, Store), RestoreError> {
    let mut replay = Replay::new(engine, resend_max);
    let mut failed = None;
    let outcome = wal::recover::inspect(directory, wal::units::Seq(1), |seq, bytes| {
        replay.apply(Seq(seq.0), bytes).map_err(|error| {
            let text = error.to_string();
            failed = Some(error);
            text.into()
        })
    });
    // The log's own error would only wrap what stopped the replay.
    if let Some(error) = failed {
        return Err(error);
    }
    let seen = outcome?;
    assert!(replay.engine.stamp().seq.0 == seen.tail.seq.0, "every record was applied");
    let store = directory.store()?;
    let ready = wal::recover::recover(directory, &store, seen.tail.seq.next(), |seq, _| {
        Err(format!("sequence {seq} appeared behind the log's end while this process owned the log").into())
    })?;
    assert!(ready.tail == seen.tail, "what was applied is what goes on");
    let log = Recovered { position: ready.position, ..seen };
    let Replay { engine, translator, streams, feed, .. } = replay;
    Ok((Restored { engine, translator, streams, feed, log }, store))
}
