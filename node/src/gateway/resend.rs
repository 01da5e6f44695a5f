//! Resends from the history: reads messages of a session's stream that are no longer in memory, on a thread of its own.
//!
//! A client that was disconnected for a moment is served from memory and never waits for this thread. Invariant: the
//! messages of a batch are consecutive, and have the bytes that were sent the first time.

use crate::faults::fault::PanicFault;
use crate::history::History;
use crate::host::threads::Life;
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

/// Resends that wait at once. At the limit the gateway disconnects the client, which logs in again.
pub const RESENDS_MAX: usize = 16;
/// Messages in one batch. The gateway requests the next batch when the client has been sent this one.
const MESSAGES_PER_BATCH_MAX: u64 = 1 << 16;
const IDLE: Duration = Duration::from_millis(5);

/// A connection's request for the messages of its session from number `from` up to, not including, `until`.
#[derive(Clone, Copy, Debug)]
pub struct ResendRequest {
    pub conn: ConnId,
    pub session: SessionId,
    pub from: SessionSeq,
    pub until: SessionSeq,
}

/// Consecutive messages of a session.
#[derive(Debug)]
pub struct ResendBatch {
    pub conn: ConnId,
    pub from: SessionSeq,
    bytes: Vec<u8>,
    /// The end of each message in `bytes`.
    ends: Vec<usize>,
}

impl ResendBatch {
    /// An empty batch that begins with number `from`.
    pub fn new(conn: ConnId, from: SessionSeq) -> Self {
        Self { conn, from, bytes: Vec::new(), ends: Vec::new() }
    }

    /// The message with this number, if the batch contains it.
    pub fn get(&self, seq: SessionSeq) -> Option<&[u8]> {
        let idx = usize::try_from(seq.0.checked_sub(self.from.0)?).ok()?;
        let end = *self.ends.get(idx)?;
        let start = if idx == 0 { 0 } else { self.ends[idx - 1] };
        Some(&self.bytes[start..end])
    }

    fn push(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
    }
}

/// The gateway's end.
pub struct ResendPort {
    pub requests: Producer<ResendRequest>,
    pub batches: Consumer<ResendBatch>,
}

/// The reading end, for a thread of its own.
pub struct ResendReader {
    requests: Consumer<ResendRequest>,
    batches: Producer<ResendBatch>,
    /// The request that is being read, so that a panic leaves none without an answer.
    in_progress: Option<ResendRequest>,
    store: Arc<Store>,
    shadow: ShadowPort,
    durable: Watermark<Seq>,
}

pub fn resend_port(store: Arc<Store>, shadow: ShadowPort, durable: Watermark<Seq>) -> (ResendPort, ResendReader) {
    let (requests, requests_out) = RingBuffer::new(RESENDS_MAX);
    let (batches_in, batches) = RingBuffer::new(RESENDS_MAX);
    let reader =
        ResendReader { requests: requests_out, batches: batches_in, in_progress: None, store, shadow, durable };
    (ResendPort { requests, batches }, reader)
}

impl ResendReader {
    /// Runs until the gateway has dropped its end.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own pauses when no resend waits")]
    pub fn run(&mut self, life: Life) {
        if life == Life::Another {
            self.begin_again();
        }
        while !self.requests.is_abandoned() {
            if self.batches.is_full() {
                std::thread::sleep(IDLE);
                continue;
            }
            let Ok(request) = self.requests.pop() else {
                std::thread::sleep(IDLE);
                continue;
            };
            self.in_progress = Some(request);
            let batch = self.read(&request);
            self.in_progress = None;
            self.answer(batch);
        }
    }

    fn answer(&mut self, batch: ResendBatch) {
        self.batches.push(batch).expect("the ring had room, and this loop alone fills it");
    }

    /// Begins again after a panic: the request that was being read is answered with an empty batch, and not tried
    /// again. The client is disconnected and logs in once more.
    fn begin_again(&mut self) {
        // The ring had room for it, and has not been filled since.
        if let Some(request) = self.in_progress.take() {
            self.answer(ResendBatch::new(request.conn, request.from));
        }
    }

    /// Fewer messages than requested, or none, when the history cannot be read at present. The gateway disconnects a
    /// client whose batch is empty.
    fn read(&self, request: &ResendRequest) -> ResendBatch {
        let mut batch = ResendBatch::new(request.conn, request.from);
        let until = SessionSeq(request.until.0.min(request.from.0 + MESSAGES_PER_BATCH_MAX));
        if let Err(why) = self.read_into(&mut batch, request.session, until) {
            let (session, from) = (request.session.0, request.from.0);
            tracing::warn!(session, from, why, "messages to resend could not be read from the history");
        }
        batch
    }

    fn read_into(&self, batch: &mut ResendBatch, session: SessionId, until: SessionSeq) -> Result<(), String> {
        // Messages that memory has dropped are released, hence durable. The shadow waits until the history holds them.
        PanicFault::strike("resend");
        self.shadow.block_for_history(self.durable.get()).map_err(|error| error.to_string())?;
        read_history(&self.store, batch, session, until)
    }
}

/// Appends a session's messages from `batch.from` up to, not including, `until`, as far as the history has them.
pub fn read_history(
    store: &Store,
    batch: &mut ResendBatch,
    session: SessionId,
    until: SessionSeq,
) -> Result<(), String> {
    let mut next = batch.from;
    let outcome = History::of(store).messages(session, batch.from..until, |number, _, bytes| {
        // A gap ends the batch: messages after it would get wrong numbers.
        if number != next {
            return ControlFlow::Break(());
        }
        next = next.next();
        batch.push(bytes);
        ControlFlow::Continue(())
    });
    outcome.map_err(|error| error.to_string())?;
    if next < until { Err(format!("the history of the session ends before message {}", next.0)) } else { Ok(()) }
}
