//! From the data directory to a node that can go on: the log is proved, applied, and every stream built again from it.
//!
//! ```text
//!  frames --prove, decode, apply--> | events of some commands | --translate--> streams, feed
//!           the calling thread         a few batches on the way     a thread of its own
//! ```
//! What sessions and the public were told costs as much to build again as the state itself, and needs nothing of it but
//! the events.

use crate::exit;
use crate::feed::{FeedItem, FeedState};
use crate::streams::Streams;
use crate::translate::{Outlet, Translator};
use book::codec::{self, CodecError};
use book::engine::Engine;
use book::event::{Event, Sink};
use book::ids::SessionId;
use book::units::{Seq, Stamp};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use wal::directory::Directory;
use wal::error::WalError;
use wal::recover::Recovered;
use wal::store::Store;

/// Events of a batch, beyond which it is handed over, and batches on their way at once.
const BATCH_EVENTS: usize = 4_096;
const BATCHES: usize = 4;

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

/// The events of consecutive commands, and where each command's end.
#[derive(Default)]
pub struct Batch {
    pub events: Vec<Event>,
    pub ends: Vec<(Stamp, usize)>,
}

impl Batch {
    #[inline]
    pub fn end_command(&mut self, stamp: Stamp) {
        self.ends.push((stamp, self.events.len()));
    }

    pub fn clear(&mut self) {
        self.events.clear();
        self.ends.clear();
    }
}

impl Sink for Batch {
    /// As the live engine: describing transfers is the shadow's work.
    const LEDGER: bool = false;

    #[inline]
    fn push(&mut self, event: Event) {
        self.events.push(event);
    }
}

/// Applies the log's records, exactly as the live engine did, and hands their events on.
struct Replay {
    engine: Engine,
    batch: Batch,
    full: SyncSender<Batch>,
    empty: Receiver<Batch>,
}

impl Replay {
    fn apply(&mut self, seq: Seq, bytes: &[u8]) -> Result<(), RestoreError> {
        let record = codec::decode(bytes).map_err(|source| RestoreError::Record { seq: seq.0, source })?;
        if record.ts < self.engine.stamp().ts {
            return Err(RestoreError::TimeRunsBack { seq: seq.0, ts_ns: record.ts.0 });
        }
        let stamp = Stamp { seq, ts: record.ts };
        self.engine.apply(stamp, &record.command, &mut self.batch);
        self.batch.end_command(stamp);
        if BATCH_EVENTS <= self.batch.events.len() {
            self.hand_over();
        }
        Ok(())
    }

    fn hand_over(&mut self) {
        let full = std::mem::replace(&mut self.batch, self.empty.try_recv().unwrap_or_default());
        // Refused only when the other thread panicked, which shows when it is joined.
        let _ = self.full.send(full);
    }
}

/// What was told to sessions and to the public.
struct Told {
    translator: Translator,
    streams: Streams,
    feed: FeedState,
}

impl Told {
    fn new(resend_max: usize) -> Self {
        Self { translator: Translator::default(), streams: Streams::new(resend_max), feed: FeedState::new() }
    }

    /// Takes batches until there are no more; empty ones go back.
    fn rebuild(mut self, full: &Receiver<Batch>, empty: &Sender<Batch>) -> Self {
        let Self { translator, streams, feed } = &mut self;
        for mut batch in full {
            let mut start = 0;
            for &(stamp, end) in &batch.ends {
                translator.translate(stamp, &batch.events[start..end], &mut Rebuild { streams, feed });
                start = end;
            }
            batch.clear();
            // Nobody takes it back at the very end.
            let _ = empty.send(batch);
        }
        self
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
    let (engine, told, seen) = replay(directory, engine, resend_max)?;
    assert!(engine.stamp().seq.0 == seen.tail.seq.0, "every record was applied");
    let store = directory.store()?;
    let ready = wal::recover::recover(directory, &store, seen.tail.seq.next(), |seq, _| {
        Err(format!("sequence {seq} appeared behind the log's end while this process owned the log").into())
    })?;
    assert!(ready.tail == seen.tail, "what was applied is what goes on");
    let log = Recovered { position: ready.position, ..seen };
    let Told { translator, streams, feed } = told;
    Ok((Restored { engine, translator, streams, feed, log }, store))
}

/// Applies the whole log; writes nothing.
fn replay(directory: &Directory, engine: Engine, resend_max: usize) -> Result<(Engine, Told, Recovered), RestoreError> {
    let (full_in, full_out) = sync_channel(BATCHES);
    let (empty_in, empty_out) = channel();
    std::thread::scope(|scope| {
        let told = scope.spawn(move || Told::new(resend_max).rebuild(&full_out, &empty_in));
        let mut replay = Replay { engine, batch: Batch::default(), full: full_in, empty: empty_out };
        let mut failed = None;
        let outcome = wal::recover::inspect(directory, wal::units::Seq(1), |seq, bytes| {
            replay.apply(Seq(seq.0), bytes).map_err(|error| {
                let text = error.to_string();
                failed = Some(error);
                text.into()
            })
        });
        replay.hand_over();
        let Replay { engine, full, .. } = replay;
        drop(full);
        let told = told.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // The log's own error would only wrap what stopped the replay.
        match failed {
            Some(error) => Err(error),
            None => Ok((engine, told, outcome?)),
        }
    })
}
