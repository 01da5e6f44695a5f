//! Brings back what a session was told so long ago that memory no longer has it, from the history.
//!
//! Off every path: a client that was away for a moment is served from memory, one that was away for a week waits for
//! this thread. The messages are the same bytes as then.

use crate::history::History;
use crate::reactor::ports::ConnId;
use crate::replica::questions::ShadowPort;
use crate::status::watermarks::Watermark;
use api::binary::stream::SessionSeq;
use book::ids::SessionId;
use book::units::Seq;
use rtrb::{Consumer, Producer, RingBuffer};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use wal::store::Store;

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
    /// None yet.
    pub fn from(conn: ConnId, from: SessionSeq) -> Self {
        Self { conn, from, bytes: Vec::new(), ends: Vec::new() }
    }

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
    store: Arc<Store>,
    shadow: ShadowPort,
    durable: Watermark<Seq>,
}

pub fn archive(store: Arc<Store>, shadow: ShadowPort, durable: Watermark<Seq>) -> (Archive, Historian) {
    let (wanted, wanted_out) = RingBuffer::new(RECALLS_MAX);
    let (found_in, found) = RingBuffer::new(RECALLS_MAX);
    (Archive { wanted, found }, Historian { wanted: wanted_out, found: found_in, store, shadow, durable })
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

    /// Less than was asked for, or nothing, when the history cannot be read now; the gateway then turns the client away.
    fn read(&self, recall: &Recall) -> Recalled {
        let mut recalled = Recalled::from(recall.conn, recall.from);
        let until = SessionSeq(recall.until.0.min(recall.from.0 + MESSAGES_PER_RECALL_MAX));
        if let Err(why) = self.read_into(&mut recalled, recall.session, until) {
            tracing::warn!(session = recall.session.0, why, "the past of a session could not be read");
        }
        recalled
    }

    fn read_into(&self, recalled: &mut Recalled, session: SessionId, until: SessionSeq) -> Result<(), String> {
        // What memory no longer has was told long ago, hence released: the shadow has it or is about to.
        self.shadow.block_for_history(self.durable.get()).map_err(|error| error.to_string())?;
        gather(&self.store, recalled, session, until)
    }
}

/// Reads a session's messages from `recalled.from` up to, not including, `until`, as far as the history has them.
pub fn gather(store: &Store, recalled: &mut Recalled, session: SessionId, until: SessionSeq) -> Result<(), String> {
    let mut next = recalled.from;
    let outcome = History::of(store).messages(session, recalled.from..until, |number, _, bytes| {
        // A gap is the end: what lies behind it would get wrong numbers.
        if number != next {
            return ControlFlow::Break(());
        }
        next = next.next();
        recalled.bytes.extend_from_slice(bytes);
        recalled.ends.push(recalled.bytes.len());
        ControlFlow::Continue(())
    });
    outcome.map_err(|error| error.to_string())?;
    if next < until { Err(format!("its history ends at message {}", next.0)) } else { Ok(()) }
}
