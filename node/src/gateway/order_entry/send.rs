//! From the outbox to sockets: released answers, what a connection is sent next, from memory or from the past; and what
//! only time brings about.

use super::inbound::Aside;
use super::{CONTROL_BYTES_MAX, Gateway, OrderConn, Past, SEND_CONTROL_BYTES_MAX};
use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::resend::Recall;
use crate::gateway::send_buffer::Filling;
use crate::reactor::ports::{ConnId, Sockets};
use crate::rings::ingress::Ingress;
use crate::rings::outbox::{MESSAGE_BYTES_MAX, Message};
use crate::rings::stage_times::Moments;
use api::binary::encode::stage_times;
use api::binary::orders::{Answer, StageTimes};
use api::binary::session::State;
use api::binary::soup::{PACKET_HEADER_BYTES, PacketKind, append_packet};
use api::binary::stream::{Stream, StreamError};
use book::command::{CodMode, Command, DownCause, SessionDown};
use book::units::TsNs;

impl Gateway {
    /// Moves released answers into their streams and as much as fits into the sockets. Returns the work done.
    pub fn give_out(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let released = self.wiring.released.get();
        let mut work = 0;
        while let Some(message) = self.wiring.outbox.next(released) {
            work += 1;
            let moments = self.moments(&message, now);
            self.wiring.stages.record(message.seq, &moments);
            let conn = self.desk(message.session).and_then(|desk| desk.conn);
            if true.planted(Mutation::MessageLostWhileAway, || conn.is_some()) {
                self.streams.push(message.session, message.bytes());
            }
            let Some(conn) = conn else { continue };
            let Some(state) = self.conn_mut(conn) else { continue };
            if state.stage_times && state.control.len() < SEND_CONTROL_BYTES_MAX {
                append_stage_times(&message, &moments, &mut state.control);
            }
            self.mark_dirty(conn);
        }
        // Marks of commands that answered nobody would fill their ring.
        self.wiring.release_times.since(released);
        self.flush(now, reactor);
        work
    }

    /// When what happened to the command of an answer that is handed over in this cycle.
    #[inline]
    fn moments(&mut self, message: &Message, now: TsNs) -> Moments {
        let durable = self.wiring.release_times.since(message.seq).unwrap_or(now);
        let Message { received, sequenced, .. } = *message;
        Moments { received, sequenced, durable, released: now }.in_order()
    }

    /// Whether every answer given so far has been handed to the sockets that can take it.
    pub fn is_drained(&self, reactor: &impl Sockets) -> bool {
        self.wiring.outbox.is_empty()
            && self.dirty.is_empty()
            && self.conns.iter().flatten().all(|conn| !reactor.is_sending(conn.id))
    }

    pub(super) fn flush(&mut self, now: TsNs, reactor: &mut impl Sockets) {
        let mut idx = 0;
        while idx < self.dirty.len() {
            let id = self.dirty[idx];
            if self.flush_one(now, id, reactor) {
                self.dirty.swap_remove(idx);
                if let Some(conn) = self.conn_mut(id) {
                    conn.dirty = false;
                }
            } else {
                idx += 1;
            }
        }
    }

    /// Fills the connection's send buffer from what waits for it. True when there is nothing more to do for it now.
    pub(super) fn flush_one(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) -> bool {
        let Some(conn) = self.conns.get_mut(id.slot()).and_then(Option::as_deref_mut).filter(|c| c.id == id) else {
            return true;
        };
        let mut in_bounds = true;
        if let (Some(session), Past::Caught) = (conn.session, &conn.past) {
            // What was said before it came is no sign of slowness.
            let next = self.streams.stream_mut(session).next_seq();
            in_bounds = next.0 - conn.next.max(conn.came_at).0 <= self.limits.queue_max;
        }
        // Looked at while a send is under way, too: that of somebody who does not read has no end.
        if !in_bounds {
            self.cut_off(now, id, reactor);
            return true;
        }
        let Some(buffer) = reactor.send_buffer(id) else {
            // A send is under way: its end marks the connection again.
            return true;
        };
        let mut filling = Filling::new(buffer);
        filling.drain(&mut conn.control, SEND_CONTROL_BYTES_MAX);
        let mut fits = true;
        // A packet must not begin in the middle of another: what was cut off is sent first.
        let whole = conn.control.is_empty();
        if let (Some(session), State::Open, true) = (conn.session, conn.protocol.state(), whole) {
            fits = fill(now, conn, self.streams.stream_mut(session), &mut filling);
        }
        let len = filling.len();
        reactor.send(id, len);
        conn.sending_since = now;
        let closing = conn.closing;
        if !fits {
            self.cut_off(now, id, reactor);
        } else if let (Some(closing), 0) = (closing, len) {
            self.close(now, id, closing.cause, reactor);
        } else {
            self.ask_archive(now, id, reactor);
        }
        true
    }

    /// A reader this slow has lost its place in memory, or would; it resumes by number.
    fn cut_off(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        tracing::info!("a session reads too slowly and is disconnected");
        self.close(now, id, DownCause::Disconnect, reactor);
    }

    /// Asks for the messages that memory no longer has, when the connection waits for them.
    pub(super) fn ask_archive(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        let Some(conn) = self.conn_mut(id).filter(|conn| matches!(conn.past, Past::Wanted)) else { return };
        let (Some(session), from) = (conn.session, conn.next) else { return };
        let until = self.streams.stream_mut(session).oldest_seq();
        if self.wiring.archive.wanted.push(Recall { conn: id, session, from, until }).is_err() {
            return self.close(now, id, DownCause::Disconnect, reactor);
        }
        if let Some(conn) = self.conn_mut(id) {
            conn.past = Past::Asked;
        }
    }

    pub(super) fn take_recalled(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let mut count = 0;
        while let Ok(recalled) = self.wiring.archive.found.pop() {
            count += 1;
            let id = recalled.conn;
            let Some(conn) = self.conn_mut(id) else { continue };
            if recalled.get(conn.next).is_none() {
                self.close(now, id, DownCause::Disconnect, reactor);
                continue;
            }
            conn.past = Past::Here(Box::new(recalled));
            self.mark_dirty(id);
        }
        count
    }

    /// Stage times, heartbeats, silences, grace windows.
    pub(super) fn keep_house(&mut self, now: TsNs, reactor: &mut impl Sockets) {
        self.wiring.stages.publish();
        // Who reads nothing for as long as it may say nothing is gone, whatever it says.
        let unread_ns_max = u64::from(self.limits.session.silence_ms) * 1_000_000;
        for slot in 0..self.conns.len() {
            let Some(conn) = self.conns[slot].as_deref_mut() else { continue };
            let id = conn.id;
            let mut close = None;
            conn.protocol.on_tick(now, &mut Aside { control: &mut conn.control, close: &mut close });
            // Who does not read what is still to be said does not get to hold the door.
            let stuck = reactor.is_sending(id) && unread_ns_max <= now.0 - conn.sending_since.0;
            let over = stuck || conn.control.len() > CONTROL_BYTES_MAX || conn.closing.is_some_and(|c| c.ends <= now);
            match close {
                Some(reason) => self.close_after_flush(now, id, reason, DownCause::Disconnect, reactor),
                None if over => self.close(now, id, DownCause::Disconnect, reactor),
                None => self.mark_dirty_if_waiting(id),
            }
        }
        for idx in 0..self.desks.len() {
            self.end_if_due(now, idx);
        }
    }

    /// Tells the engine that a session's window to come back is over.
    pub(super) fn end_if_due(&mut self, now: TsNs, idx: usize) {
        // While the node stops, nobody's orders go: the sessions have their window after the start.
        if self.closed_to_new || self.wiring.ingress.is_full() {
            return;
        }
        let desk = &mut self.desks[idx];
        let Some(down) = desk.down.take_if(|down| down.ends <= now) else { return };
        if desk.facts.cod_mode == CodMode::Off {
            return;
        }
        let end = SessionDown { session: desk.facts.session, cause: down.cause, continued: false };
        let ingress = Ingress { received: now, command: Command::SessionDown(end) };
        self.wiring.ingress.push(ingress).expect("room was checked, and this loop alone fills it");
    }
}

/// Fills a send with the session's next messages, from the past where it was brought, else from memory. False when the
/// connection has fallen behind what memory holds.
pub(super) fn fill(now: TsNs, conn: &mut OrderConn, stream: &Stream, filling: &mut Filling<'_>) -> bool {
    while filling.room() >= MESSAGE_BYTES_MAX + PACKET_HEADER_BYTES {
        let recalled = match &conn.past {
            Past::Here(recalled) => recalled.get(conn.next),
            _ => None,
        };
        let message = match (recalled, stream.get(conn.next), &conn.past) {
            (Some(message), _, _) | (None, Ok(message), _) => message,
            (None, Err(StreamError::Beyond { .. }), _) => return true,
            (None, Err(StreamError::Older { .. }), Past::Caught) => return false,
            (None, Err(StreamError::Older { .. }), Past::Asked) => return true,
            (None, Err(StreamError::Older { .. }), Past::Wanted | Past::Here(_)) => {
                conn.past = Past::Wanted;
                return true;
            }
        };
        conn.protocol.send_sequenced(now, message, filling);
        if recalled.is_none() && !matches!(conn.past, Past::Caught) {
            conn.past = Past::Caught;
        }
        conn.next = conn.next.next();
    }
    true
}

/// Appends the stage times of an answer, when it is one that has a client order id and an execution id.
fn append_stage_times(message: &Message, moments: &Moments, control: &mut Vec<u8>) {
    let Ok(answer) = Answer::read(message.bytes()) else { return };
    let (cl_ord_id, exec_id) = match &answer {
        Answer::OrderAccepted(m) => (m.cl_ord_id, m.exec_id),
        Answer::OrderRejected(m) => (m.cl_ord_id, m.exec_id),
        Answer::OrderCanceled(m) => (m.req_cl_ord_id, m.exec_id),
        Answer::OrderReplaced(m) => (m.cl_ord_id, m.exec_id),
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
