//! One connection of a load: its requests under way, when each was due, and their answers.
//!
//! Invariant: `in_flight` holds the requests that were sent and not yet answered, in the order of sending. A session
//! answers in that order, so only the first of them can be the one that an answer is about.

use crate::load_generator::flow::{Flow, Request};
use crate::load_generator::tally::Tally;
use api::binary::orders::{Answer, LIQUIDITY_TAKER};
use api::client::{ClientError, OrderClient};
use book::ids::ClOrdId;
use std::collections::VecDeque;
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

/// Answers read from one connection before the next connection is read.
const ANSWERS_PER_TURN_MAX: usize = 1_024;

#[derive(Debug)]
pub struct Connection {
    client: OrderClient,
    flow: Flow,
    in_flight: VecDeque<InFlight>,
    trace: bool,
    /// Whether a request is queued and not written yet.
    dirty: bool,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    cl_ord_id: ClOrdId,
    due: Instant,
    is_new: bool,
}

/// The first answer to a request.
enum Reply {
    Accepted { id: u64 },
    Refused { id: u64 },
}

impl Connection {
    pub fn new(client: OrderClient, flow: Flow, trace: bool) -> Self {
        Self { client, flow, in_flight: VecDeque::with_capacity(1 << 12), trace, dirty: false }
    }

    /// The number of requests under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Queues the flow's next request.
    pub fn send(&mut self, cl_ord_id: ClOrdId, due: Instant) -> Result<(), ClientError> {
        let request = self.flow.next(cl_ord_id);
        let is_new = matches!(request, Request::New(_));
        // Printed before the request is queued, because a full queue is written at once.
        self.print_trace("sent", is_new, cl_ord_id.0)?;
        match request {
            Request::New(order) => self.client.queue(&order)?,
            Request::Amend(amend) => self.client.queue(&amend)?,
            Request::Cancel(cancel) => self.client.queue(&cancel)?,
        }
        self.in_flight.push_back(InFlight { cl_ord_id, due, is_new });
        self.dirty = true;
        Ok(())
    }

    /// Writes what is queued.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        if std::mem::take(&mut self.dirty) { self.client.flush() } else { Ok(()) }
    }

    /// Reads the answers that have arrived. Returns how many.
    pub fn receive(&mut self, tally: &mut Tally) -> Result<usize, ClientError> {
        let mut count = 0;
        while count < ANSWERS_PER_TURN_MAX && self.receive_within(Duration::ZERO, tally)? {
            count += 1;
        }
        Ok(count)
    }

    /// Waits for one answer; `false` when none arrived in time.
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
        let (Reply::Accepted { id } | Reply::Refused { id }) = reply;
        // An unsolicited message carries the id of a request that was answered before.
        let Some(front) = self.in_flight.front().copied().filter(|front| front.cl_ord_id.0 == id) else {
            return Ok(());
        };
        self.in_flight.pop_front();
        let latency = front.due.elapsed().as_nanos() as u64;
        tally.latency_ns.saturating_record(latency.max(1));
        tally.answered += 1;
        match (reply, front.is_new) {
            (Reply::Accepted { .. }, is_new) => self.print_trace("ack", is_new, id)?,
            (Reply::Refused { .. }, true) => {
                tally.rejected += 1;
                self.print_trace("nack", true, id)?;
            }
            (Reply::Refused { .. }, false) => tally.late += 1,
        }
        Ok(())
    }

    /// Prints a line of the trace for a new order. Standard output is flushed with every line.
    fn print_trace(&self, event: &str, is_new: bool, id: u64) -> Result<(), ClientError> {
        if !(self.trace && is_new) {
            return Ok(());
        }
        let failed = |source| ClientError::Io { doing: "writing the trace", source };
        writeln!(stdout(), "{event} {id}").map_err(failed)
    }
}

fn reply(answer: &Answer) -> Option<Reply> {
    Some(match answer {
        Answer::OrderAccepted(m) => Reply::Accepted { id: m.cl_ord_id.get() },
        Answer::OrderReplaced(m) => Reply::Accepted { id: m.cl_ord_id.get() },
        Answer::OrderCanceled(m) => Reply::Accepted { id: m.req_cl_ord_id.get() },
        Answer::OrderRejected(m) => Reply::Refused { id: m.cl_ord_id.get() },
        Answer::CancelRejected(m) => Reply::Refused { id: m.cl_ord_id.get() },
        _ => return None,
    })
}
