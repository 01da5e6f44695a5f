//! Brings back what a session was told so long ago that memory no longer has it, by applying the log again.
//!
//! Slow on purpose and off every path: a client that was away for a moment is served from memory, one that was away for a
//! week waits for this thread. The messages are the same bytes as then, because nothing goes into them but the log.

use crate::events::Events;
use crate::reactor::ConnId;
use crate::translate::{Outlet, Translator};
use api::stream::SessionSeq;
use book::codec;
use book::engine::{Capacity, Engine};
use book::ids::SessionId;
use book::units::{Seq, Stamp};
use rtrb::{Consumer, Producer, RingBuffer};
use std::path::PathBuf;
use std::time::Duration;
use wal::directory::Directory;

/// Sessions that wait for their past at once; more are turned away and try again.
pub const RECALLS_MAX: usize = 16;
/// Messages brought at once. A client further behind asks again, by itself, when it has read them.
const MESSAGES_PER_RECALL_MAX: u64 = 1 << 16;
const IDLE: Duration = Duration::from_millis(5);

/// What a connection wants: its session's messages from `from` up to, not including, `until`.
#[derive(Clone, Copy, Debug)]
pub struct Recall {
    pub conn: ConnId,
    pub session: SessionId,
    pub from: SessionSeq,
    pub until: SessionSeq,
}

/// Consecutive messages of a session.
#[derive(Debug)]
pub struct Recalled {
    pub conn: ConnId,
    pub from: SessionSeq,
    bytes: Vec<u8>,
    /// Where each message ends.
    ends: Vec<usize>,
}

impl Recalled {
    /// The message with this number, if it is one of these.
    pub fn get(&self, seq: SessionSeq) -> Option<&[u8]> {
        let idx = usize::try_from(seq.0.checked_sub(self.from.0)?).ok()?;
        let end = *self.ends.get(idx)?;
        let start = if idx == 0 { 0 } else { self.ends[idx - 1] };
        Some(&self.bytes[start..end])
    }
}

/// The gateway's end.
pub struct Archive {
    pub wanted: Producer<Recall>,
    pub found: Consumer<Recalled>,
}

/// The reading end; given a thread of its own.
pub struct Historian {
    wanted: Consumer<Recall>,
    found: Producer<Recalled>,
    data_dir: PathBuf,
}

pub fn archive(data_dir: PathBuf) -> (Archive, Historian) {
    let (wanted, wanted_out) = RingBuffer::new(RECALLS_MAX);
    let (found_in, found) = RingBuffer::new(RECALLS_MAX);
    (Archive { wanted, found }, Historian { wanted: wanted_out, found: found_in, data_dir })
}

impl Historian {
    /// Runs until the gateway is gone.
    pub fn run(mut self) {
        while !self.wanted.is_abandoned() {
            if self.found.is_full() {
                std::thread::sleep(IDLE);
                continue;
            }
            let Ok(recall) = self.wanted.pop() else {
                std::thread::sleep(IDLE);
                continue;
            };
            let recalled = self.read(&recall);
            // The gateway takes what is found before it asks for more than fits.
            let _ = self.found.push(recalled);
        }
    }

    /// An empty answer when the log cannot be read now; the gateway then turns the client away.
    fn read(&self, recall: &Recall) -> Recalled {
        let mut reader = Reader::new(recall);
        let outcome = Directory::open_read_only(&self.data_dir).and_then(|directory| {
            wal::recover::inspect(&directory, wal::units::Seq(1), |seq, bytes| reader.apply(Seq(seq.0), bytes))
        });
        if let Err(error) = outcome
            && !reader.is_complete()
        {
            tracing::warn!(session = recall.session.0, %error, "the past of a session could not be read");
        }
        reader.recalled
    }
}

/// Applies the log until the wanted messages have passed by.
struct Reader {
    engine: Engine,
    translator: Translator,
    events: Events,
    session: SessionId,
    until: SessionSeq,
    /// Number of the next message that the session is told.
    next: SessionSeq,
    recalled: Recalled,
}

impl Reader {
    fn new(recall: &Recall) -> Self {
        Self {
            engine: Engine::new(Capacity::default()),
            translator: Translator::default(),
            events: Events::new(),
            session: recall.session,
            until: SessionSeq(recall.until.0.min(recall.from.0 + MESSAGES_PER_RECALL_MAX)),
            next: SessionSeq::FIRST,
            recalled: Recalled { conn: recall.conn, from: recall.from, bytes: Vec::new(), ends: Vec::new() },
        }
    }

    fn is_complete(&self) -> bool {
        self.until <= self.next
    }

    fn apply(&mut self, seq: Seq, bytes: &[u8]) -> wal::recover::VisitorResult {
        if self.is_complete() {
            // The only way to stop a walk over the log; `read` knows that it is no failure.
            return Err("enough".into());
        }
        let record = codec::decode(bytes)?;
        let stamp = Stamp { seq, ts: record.ts };
        self.events.clear();
        self.engine.apply(stamp, &record.command, &mut self.events);
        let Self { events, translator, session, until, next, recalled, .. } = self;
        let mut outlet = Listening { session: *session, until: *until, next, recalled };
        translator.translate(stamp, events.as_slice(), &mut outlet);
        Ok(())
    }
}

/// Keeps the wanted messages of one session and lets everything else pass.
struct Listening<'a> {
    session: SessionId,
    until: SessionSeq,
    next: &'a mut SessionSeq,
    recalled: &'a mut Recalled,
}

impl Outlet for Listening<'_> {
    fn answer(&mut self, session: SessionId, bytes: &[u8]) {
        if session != self.session {
            return;
        }
        if self.recalled.from <= *self.next && *self.next < self.until {
            self.recalled.bytes.extend_from_slice(bytes);
            self.recalled.ends.push(self.recalled.bytes.len());
        }
        *self.next = self.next.next();
    }

    fn public(&mut self, _item: crate::feed::FeedItem) {}
}
