//! One connection of a load: what it asked, when that was due, and what came back.
//!
//! Invariant: `waiting` holds what was sent and not yet answered, in the order of sending; a session answers in that
//! order, so the first of it is the only one that an answer can be about.

use crate::load_generator::flow::{Flow, Request};
use crate::verbs::load::Tally;
use api::binary::orders::{Answer, LIQUIDITY_TAKER};
use api::client::{ClientError, OrderClient};
use book::ids::ClOrdId;
use std::collections::VecDeque;
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

/// Answers taken before the other connections have their turn.
const ANSWERS_PER_TURN_MAX: usize = 1_024;

#[derive(Debug)]
pub struct Line {
    client: OrderClient,
    flow: Flow,
    waiting: VecDeque<Waiting>,
    trace: bool,
    dirty: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    cl_ord_id: ClOrdId,
    due: Instant,
    is_new: bool,
}

/// The first answer to a request.
enum Reply {
    Done { id: u64 },
    Refused { id: u64 },
}

impl Line {
    pub fn new(client: OrderClient, flow: Flow, trace: bool) -> Self {
        Self { client, flow, waiting: VecDeque::with_capacity(1 << 12), trace, dirty: false }
    }

    /// Requests under way.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Puts the flow's next request into the batch.
    pub fn send(&mut self, cl_ord_id: ClOrdId, due: Instant) -> Result<(), ClientError> {
        let request = self.flow.next(cl_ord_id);
        let is_new = matches!(request, Request::New(_));
        // Said before it is queued, because a full batch is written at once.
        self.say("sent", is_new, cl_ord_id.0)?;
        match request {
            Request::New(order) => self.client.queue(&order)?,
            Request::Amend(amend) => self.client.queue(&amend)?,
            Request::Cancel(cancel) => self.client.queue(&cancel)?,
        }
        self.waiting.push_back(Waiting { cl_ord_id, due, is_new });
        self.dirty = true;
        Ok(())
    }

    /// Writes the batch, if there is one.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        if std::mem::take(&mut self.dirty) { self.client.flush() } else { Ok(()) }
    }

    /// Takes the answers that are there. Returns how many.
    pub fn receive(&mut self, tally: &mut Tally) -> Result<usize, ClientError> {
        let mut count = 0;
        while count < ANSWERS_PER_TURN_MAX && self.receive_within(Duration::ZERO, tally)? {
            count += 1;
        }
        Ok(count)
    }

    /// Waits for one answer; `false` when none came.
    pub fn receive_within(&mut self, wait: Duration, tally: &mut Tally) -> Result<bool, ClientError> {
        let Some(received) = self.client.poll(wait)? else { return Ok(false) };
        if let Answer::OrderExecuted(executed) = &received.message
            && executed.liquidity == LIQUIDITY_TAKER
        {
            tally.fills += 1;
        }
        if let Some(reply) = reply(&received.message) {
            self.answered(reply, tally)?;
        }
        Ok(true)
    }

    fn answered(&mut self, reply: Reply, tally: &mut Tally) -> Result<(), ClientError> {
        let (Reply::Done { id } | Reply::Refused { id }) = reply;
        // Unsolicited news carries an id that was answered before.
        let Some(front) = self.waiting.front().copied().filter(|front| front.cl_ord_id.0 == id) else { return Ok(()) };
        self.waiting.pop_front();
        let latency = front.due.elapsed().as_nanos() as u64;
        tally.latency_ns.saturating_record(latency.max(1));
        tally.answered += 1;
        match (reply, front.is_new) {
            (Reply::Done { .. }, is_new) => self.say("ack", is_new, id)?,
            (Reply::Refused { .. }, true) => {
                tally.rejected += 1;
                self.say("nack", true, id)?;
            }
            (Reply::Refused { .. }, false) => tally.late += 1,
        }
        Ok(())
    }

    /// A line of the trace; standard output is flushed with every line.
    fn say(&self, what: &str, is_new: bool, id: u64) -> Result<(), ClientError> {
        if !(self.trace && is_new) {
            return Ok(());
        }
        let failed = |source| ClientError::Io { doing: "writing the trace", source };
        writeln!(stdout(), "{what} {id}").map_err(failed)
    }
}

fn reply(answer: &Answer) -> Option<Reply> {
    Some(match answer {
        Answer::OrderAccepted(m) => Reply::Done { id: m.cl_ord_id.get() },
        Answer::OrderReplaced(m) => Reply::Done { id: m.cl_ord_id.get() },
        Answer::OrderCanceled(m) => Reply::Done { id: m.req_cl_ord_id.get() },
        Answer::OrderRejected(m) => Reply::Refused { id: m.cl_ord_id.get() },
        Answer::CancelRejected(m) => Reply::Refused { id: m.cl_ord_id.get() },
        _ => return None,
    })
}
