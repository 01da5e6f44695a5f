//! From the outbox to sockets: released answers enter their streams, and connections are sent the next messages of
//! their streams, from memory or from the history.
//!
//! Invariants: an answer leaves the outbox only when released; a connection is sent the messages of its stream in
//! order, each once, and control bytes only between two packets.

use super::{Connection, Gateway, ResendState, SEND_CONTROL_BYTES_MAX};
use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::resend::ResendRequest;
use crate::gateway::send_buffer::SendBuffer;
use crate::reactor::ports::{ConnId, Sockets};
use crate::replica::session_streams::{SessionStream, SessionStreams};
use crate::rings::outbox::{MESSAGE_BYTES_MAX, Message};
use crate::rings::stage_times::Moments;
use api::binary::encode::stage_times;
use api::binary::orders::{Answer, StageTimes};
use api::binary::session::State;
use api::binary::soup::{PACKET_HEADER_BYTES, PacketKind, append_packet};
use api::binary::stream::StreamError;
use book::command::DownCause;
use book::units::{Seq, TsNs};
use zerocopy::little_endian::U64;

impl Gateway {
    /// Appends released answers to their streams, then sends connections what they can take. Returns the work done.
    pub fn poll_outbound(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let released = self.wiring.released.get();
        let work = self.take_answers(now, released);
        // Release times of commands that have no answer would fill their ring.
        self.wiring.release_times.since(released);
        self.flush(now, reactor);
        work
    }

    /// Appends the answers of commands up to this one to their streams.
    pub(super) fn take_answers(&mut self, now: TsNs, released: Seq) -> usize {
        let mut work = 0;
        while let Some(message) = self.wiring.outbox.next(released) {
            work += 1;
            let moments = self.moments(&message, now);
            self.wiring.stages.record(message.seq, &moments);
            let id = self.session(message.session).and_then(|session| session.conn);
            if true.planted(Mutation::MessageLostWhileAway, |_| id.is_some()) {
                self.streams.push(message.session, message.bytes());
            }
            let Some(id) = id else { continue };
            let Some(conn) = self.conn_mut(id) else { continue };
            if conn.stage_times && conn.control.len() < SEND_CONTROL_BYTES_MAX {
                append_stage_times(&message, &moments, &mut conn.control);
            }
            self.mark_unsent(id);
        }
        work
    }

    /// The stage times of the command of an answer that is handed over in this cycle.
    #[inline]
    fn moments(&mut self, message: &Message, now: TsNs) -> Moments {
        let durable = self.wiring.release_times.since(message.seq).unwrap_or(now);
        let Message { received, sequenced, .. } = *message;
        Moments { received, sequenced, durable, released: now }.in_order()
    }

    /// Whether all answers are sent, to the connections that can take them.
    pub fn is_drained(&self, reactor: &impl Sockets) -> bool {
        self.wiring.outbox.is_empty()
            && self.unsent.is_empty()
            && self.conns.iter().flatten().all(|conn| !reactor.is_sending(conn.id))
    }

    fn flush(&mut self, now: TsNs, reactor: &mut impl Sockets) {
        let mut idx = 0;
        while idx < self.unsent.len() {
            let id = self.unsent[idx];
            if self.flush_one(now, id, reactor) {
                self.unsent.swap_remove(idx);
                if let Some(conn) = self.conn_mut(id) {
                    conn.unsent = false;
                }
            } else {
                idx += 1;
            }
        }
    }

    /// Fills the connection's send buffer with control bytes and messages. True when there is nothing more to do now.
    pub(super) fn flush_one(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) -> bool {
        let Some(conn) = self.conns.get_mut(id.slot()).and_then(Option::as_deref_mut).filter(|c| c.id == id) else {
            return true;
        };
        // Checked while a send is in progress too: if the client does not read, the send does not complete.
        if exceeds_queue(conn, &mut self.streams, self.limits.queue_max) {
            self.disconnect_slow(now, id, reactor);
            return true;
        }
        let Some(buffer) = reactor.send_buffer(id) else {
            // A send is in progress; its completion marks the connection again.
            return true;
        };
        let mut buffer = SendBuffer::new(buffer);
        buffer.drain(&mut conn.control, SEND_CONTROL_BYTES_MAX);
        // Control bytes may end within a packet; the rest of it is sent before any message.
        let at_packet_end = conn.control.is_empty();
        if let (Some(session), State::Open, true) = (conn.session, conn.protocol.state(), at_packet_end) {
            fill(now, conn, &self.streams.stream(session), &mut buffer);
        }
        let len = buffer.len();
        reactor.send(id, len);
        conn.sending_since = now;
        let closing = conn.closing;
        if let (Some(closing), 0) = (closing, len) {
            self.close(now, id, closing.cause, reactor);
        } else {
            self.request_resend(now, id, reactor);
        }
        true
    }

    fn disconnect_slow(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        let session = self.conn_mut(id).and_then(|conn| conn.session).map(|session| session.0);
        tracing::info!(session, "slow reader disconnected; it can resume by sequence number");
        self.close(now, id, DownCause::Disconnect, reactor);
    }

    /// Requests messages from the history for a connection that needs them.
    fn request_resend(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        let Some(conn) = self.conn_mut(id).filter(|conn| matches!(conn.resend, ResendState::Needed)) else { return };
        let (Some(session), from) = (conn.session, conn.next) else { return };
        let until = self.streams.stream(session).oldest_seq();
        assert!(from <= until, "messages from the history are older than those in memory");
        if self.wiring.resends.requests.push(ResendRequest { conn: id, session, from, until }).is_err() {
            return self.close(now, id, DownCause::Disconnect, reactor);
        }
        if let Some(conn) = self.conn_mut(id) {
            conn.resend = ResendState::Requested;
        }
    }

    pub(super) fn poll_resends(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let mut count = 0;
        while let Ok(batch) = self.wiring.resends.batches.pop() {
            count += 1;
            let id = batch.conn;
            let Some(conn) = self.conn_mut(id) else { continue };
            if batch.get(conn.next).is_none() {
                self.close(now, id, DownCause::Disconnect, reactor);
                continue;
            }
            conn.resend = ResendState::Ready(Box::new(batch));
            self.mark_unsent(id);
        }
        count
    }
}

/// Whether a client that is served from memory has more unread messages than the limit. Resends do not count.
fn exceeds_queue(conn: &Connection, streams: &mut SessionStreams, queue_max: u64) -> bool {
    let (Some(session), ResendState::Live) = (conn.session, &conn.resend) else { return false };
    let next = streams.stream(session).next_seq();
    assert!(conn.next <= next, "a connection is not sent messages that its stream does not have");
    next.0 - conn.next.max(conn.next_at_login).0 > queue_max
}

/// Fills a send with the next messages of the session: from the batch of a resend, else from memory, which may have
/// given up messages of this session for others; they are in the history.
fn fill(now: TsNs, conn: &mut Connection, stream: &SessionStream<'_>, buffer: &mut SendBuffer<'_>) {
    while buffer.room() >= MESSAGE_BYTES_MAX + PACKET_HEADER_BYTES {
        let resent = match &conn.resend {
            ResendState::Ready(batch) => batch.get(conn.next),
            _ => None,
        };
        let message = match (resent, stream.get(conn.next), &conn.resend) {
            (Some(message), _, _) | (None, Ok(message), _) => message,
            (None, Err(StreamError::Beyond { .. }), _) => return,
            (None, Err(StreamError::Older { .. }), ResendState::Requested) => return,
            (None, Err(StreamError::Older { .. }), ResendState::Live | ResendState::Needed | ResendState::Ready(_)) => {
                conn.resend = ResendState::Needed;
                return;
            }
        };
        let sent = conn.protocol.send_sequenced(now, message, buffer);
        assert!(sent == conn.next, "the client counts message {} as {}", conn.next.0, sent.0);
        if resent.is_none() && !matches!(conn.resend, ResendState::Live) {
            conn.resend = ResendState::Live;
        }
        conn.next = conn.next.next();
    }
}

/// Appends the stage times of an answer to a request of one order.
fn append_stage_times(message: &Message, moments: &Moments, control: &mut Vec<u8>) {
    let Ok(answer) = Answer::read(message.bytes()) else { return };
    let (cl_ord_id, exec_id) = match &answer {
        Answer::OrderAccepted(m) => (m.cl_ord_id, m.exec_id),
        Answer::OrderRejected(m) => (m.cl_ord_id, m.exec_id),
        Answer::OrderCanceled(m) => (m.req_cl_ord_id, m.exec_id),
        Answer::OrderReplaced(m) => (m.cl_ord_id, m.exec_id),
        // Nothing was executed, and it has no execution id.
        Answer::CancelRejected(m) => (m.cl_ord_id, U64::ZERO),
        _ => return,
    };
    let times = StageTimes {
        cl_ord_id,
        exec_id,
        received_time_ns: moments.received.0.into(),
        sequenced_time_ns: moments.sequenced.0.into(),
        durable_time_ns: moments.durable.0.into(),
        released_time_ns: moments.released.0.into(),
    };
    stage_times(times, &mut |bytes| append_packet(PacketKind::Unsequenced, bytes, control));
}
