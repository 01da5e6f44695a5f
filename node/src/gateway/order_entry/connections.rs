//! Connections from accept to close: which bytes are decoded when, and what the end of a connection does to its
//! session.
//!
//! Invariants: a connection whose bytes wait for their turn is in `stalled` and not received from; a session without a
//! connection is in a grace window or its end is with the engine.

use super::inbound::{Outcome, RequestDecoder, TURN};
use super::{CLOSES_PER_CYCLE_MAX, COMMANDS_AHEAD_MAX, Closing, Connection, Gateway, ResendState};
use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::address_block::AddressBlock;
use crate::gateway::send_buffer::ControlOutput;
use crate::reactor::ports::{ConnId, PauseCause, Sockets};
use crate::status::logins::ConnectionRefusal;
use api::binary::login::SessionName;
use api::binary::session::{CloseReason, Session};
use api::binary::stream::SessionSeq;
use book::command::DownCause;
use book::ids::SessionId;
use book::units::TsNs;
use std::net::IpAddr;

impl Gateway {
    pub(super) fn accepted(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        self.accept_ration.take(now);
        // Without an address the connection has ended already.
        let Some(address) = reactor.peer(id).map(|peer| peer.ip()) else { return reactor.close(id) };
        if let Err(why) = self.admit_address(now, address, reactor) {
            self.note_refused(now, address, why);
            return reactor.close(id);
        }
        if id.slot() >= self.conns.len() {
            self.conns.resize_with(id.slot() + 1, || None);
        }
        let mut protocol = Session::new(now);
        protocol.set_limits(self.limits.session);
        self.conns[id.slot()] = Some(Box::new(Connection {
            id,
            address,
            protocol,
            session: None,
            next: SessionSeq::HEAD,
            requested: SessionSeq::HEAD,
            requested_name: SessionName::BLANK,
            waits: None,
            next_at_login: SessionSeq::HEAD,
            resend: ResendState::Live,
            control: Vec::new(),
            stage_times: false,
            sending_since: now,
            received_at: now,
            decoded: 0,
            stalled: false,
            unsent: false,
            closing: None,
        }));
        self.wiring.status.connections.add(1);
        if let Some(oldest) = self.awaited_logins.add(now, id, address) {
            self.displace(now, oldest, reactor);
        }
    }

    /// The port accepts nothing: a connection that has not sent a login is closed for the next one, the oldest first.
    #[cold]
    pub(super) fn make_room(&mut self, now: TsNs, cause: PauseCause, reactor: &mut impl Sockets) {
        if let Some(oldest) = self.awaited_logins.make_room(now, cause, &self.wiring.status.listeners.orders) {
            self.displace(now, oldest, reactor);
        }
    }

    fn displace(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        self.wiring.status.listeners.orders.displaced.add(1);
        self.close(now, id, DownCause::Disconnect, reactor);
    }

    #[cold]
    fn note_refused(&mut self, now: TsNs, address: IpAddr, why: ConnectionRefusal) {
        self.wiring.status.logins.note_connection(why);
        if let Some(unlogged) = self.refusal_log.admit(now) {
            tracing::info!(%address, reason = why.name(), unlogged, "connection closed when it was accepted");
        }
    }

    /// Counts a new connection of the address, unless a limit forbids it.
    fn admit_address(
        &mut self,
        now: TsNs,
        address: IpAddr,
        reactor: &mut impl Sockets,
    ) -> Result<(), ConnectionRefusal> {
        if self.inbound_stopped {
            return Err(ConnectionRefusal::Stopping);
        }
        if !self.logins.queue.has_place(AddressBlock::of(address)) {
            return Err(ConnectionRefusal::LoginQueue);
        }
        let connections = self.by_address.get(&address).copied().unwrap_or(0);
        if self.limits.connections_per_address_max <= connections {
            let oldest = self.awaited_logins.oldest_of(address).ok_or(ConnectionRefusal::Address)?;
            self.displace(now, oldest, reactor);
        }
        *self.by_address.entry(address).or_default() += 1;
        Ok(())
    }

    fn leave_address(&mut self, address: IpAddr) {
        let Some(connections) = self.by_address.get_mut(&address) else { return };
        *connections -= 1;
        if *connections == 0 {
            self.by_address.remove(&address);
        }
    }

    /// Closes connections whose clients have left, so many a cycle.
    pub(super) fn close_lost(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let count = self.lost.len().min(CLOSES_PER_CYCLE_MAX);
        for _ in 0..count {
            let Some(id) = self.lost.pop_front() else { break };
            // What it has sent is decoded first, and its end comes after it.
            let has_bytes = !self.inbound_stopped && self.conn_mut(id).is_some_and(|conn| conn.stalled);
            if has_bytes.planted(Mutation::LastBytesForgotten, |_| false) {
                self.lost.push_back(id);
                continue;
            }
            self.close(now, id, DownCause::Disconnect, reactor);
        }
        count
    }

    /// A connection has received bytes: its turn is at once when nothing waits for the engine, and otherwise after
    /// those of the connections that wait.
    pub(super) fn received(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        if self.stalled.is_empty() && self.wants_commands() {
            self.take_turn(now, id, reactor);
        } else {
            self.mark_stalled(id);
        }
    }

    /// Whether so few commands wait for the engine that a connection may add to them. A longer queue would make every
    /// session wait for what one session sends.
    fn wants_commands(&self) -> bool {
        let ingress = &self.wiring.ingress;
        let waiting = ingress.buffer().capacity() - ingress.slots();
        !ingress.is_full() && waiting < COMMANDS_AHEAD_MAX
    }

    /// Decodes received bytes as far as the connection's turn and the ingress have room, and receives more when all are
    /// decoded.
    fn take_turn(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        if self.inbound_stopped {
            return;
        }
        let Some(slot) = self.conns.get_mut(id.slot()) else { return };
        let Some(mut conn) = slot.take_if(|conn| conn.id == id) else { return };
        let outcome = self.decode_received(now, &mut conn, reactor);
        let is_stalled = conn.decoded < reactor.received(id).len() && outcome.closed.is_none();
        self.conns[id.slot()] = Some(conn);
        if is_stalled {
            self.mark_stalled(id);
        } else {
            self.finish_receive(now, id, outcome, reactor);
        }
    }

    fn decode_received(&mut self, now: TsNs, conn: &mut Connection, reactor: &impl Sockets) -> Outcome {
        let sender = conn.session.and_then(|id| self.session(id)).map(|session| session.facts.sender());
        let received = conn.received_at;
        let Connection { protocol, control, stage_times, .. } = conn;
        let mut decoder = RequestDecoder {
            received,
            sender,
            lives_seen: self.lives_seen,
            instruments: &self.instruments,
            ingress: &mut self.wiring.ingress,
            stage_times,
            output: ControlOutput::new(control),
            outcome: Outcome::default(),
            turn: TURN,
        };
        let bytes = &reactor.received(conn.id)[conn.decoded..];
        let len = protocol.on_bytes(now, bytes, &mut decoder);
        assert!(len <= bytes.len(), "a session processes no more bytes than it is given");
        let RequestDecoder { mut output, mut outcome, .. } = decoder;
        if outcome.malformed {
            protocol.close(CloseReason::Protocol, &mut output);
        }
        outcome.closed = output.closed();
        conn.decoded += len;
        outcome
    }

    fn finish_receive(&mut self, now: TsNs, id: ConnId, outcome: Outcome, reactor: &mut impl Sockets) {
        if let Some(conn) = self.conn_mut(id) {
            conn.decoded = 0;
        }
        if let Some(login) = outcome.login {
            self.login_requested(now, id, login, reactor);
        }
        if let Some(reason) = outcome.closed {
            let cause = if outcome.logout { DownCause::Logout } else { DownCause::Disconnect };
            self.close_after_flush(now, id, reason, cause, reactor);
            return;
        }
        self.mark_unsent_control(id);
        reactor.receive(id);
    }

    fn mark_stalled(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        if !conn.stalled {
            conn.stalled = true;
            self.stalled.push_back(id);
        }
    }

    /// Gives the connections that wait their turns, one after the other, while few commands wait for the engine.
    pub(super) fn retry_stalled(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let mut turns = 0;
        while self.wants_commands()
            && let Some(id) = self.stalled.pop_front()
        {
            turns += 1;
            if let Some(conn) = self.conn_mut(id) {
                conn.stalled = false;
                conn.decoded = conn.decoded.planted(Mutation::StalledBytesForgotten, |_| reactor.received(id).len());
                self.take_turn(now, id, reactor);
            }
        }
        turns
    }

    pub(super) fn mark_unsent_control(&mut self, id: ConnId) {
        if self.conn_mut(id).is_some_and(|conn| !conn.control.is_empty()) {
            self.mark_unsent(id);
        }
    }

    /// Sends the bytes that the client must still read, such as a rejected login, then closes.
    pub(super) fn close_after_flush(
        &mut self,
        now: TsNs,
        id: ConnId,
        reason: CloseReason,
        cause: DownCause,
        reactor: &mut impl Sockets,
    ) {
        tracing::debug!(%reason, "connection closed");
        self.flush_one(now, id, reactor);
        let Some(conn) = self.conn_mut(id) else { return };
        if reactor.is_sending(id) {
            conn.closing = Some(Closing::new(now, cause));
        } else {
            self.close(now, id, cause, reactor);
        }
    }

    /// Closes a connection. Its session enters its grace window, unless another connection has taken the session over.
    pub(super) fn close(&mut self, now: TsNs, id: ConnId, cause: DownCause, reactor: &mut impl Sockets) {
        let Some(slot) = self.conns.get_mut(id.slot()) else { return reactor.close(id) };
        let Some(conn) = slot.take_if(|conn| conn.id == id) else { return reactor.close(id) };
        self.awaited_logins.remove(id);
        self.leave_address(conn.address);
        if let Some(place) = conn.waits {
            self.leave_queue(place);
        }
        if let Some(id_of_session) = conn.session
            && self.is_live(id_of_session, id)
        {
            let cause = conn.closing.map_or(cause, |closing| closing.cause);
            self.end_session(id_of_session, cause, now);
        }
        self.wiring.status.connections.set(self.wiring.status.connections.get() - 1);
        reactor.close(id);
    }

    /// Whether the session is open on this connection and no later login has displaced it.
    fn is_live(&self, session: SessionId, conn: ConnId) -> bool {
        let is_live = self.session(session).is_some_and(|session| session.conn == Some(conn));
        is_live.planted(Mutation::DisplacedEndsSession, |_| true)
    }
}
