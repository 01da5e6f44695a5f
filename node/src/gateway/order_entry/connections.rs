//! Connections from accept to close: whose bytes are taken, when they have to wait, and what their end means.

use super::inbound::{Aside, Happened, Taking};
use super::{ADDRESSES_MAX, COMMANDS_PER_RECEIVE_MAX, Closing, Down, Gateway, OrderConn, Past};
use crate::faults::mutation::{Mutation, Planted};
use crate::reactor::ports::{ConnId, Sockets};
use api::binary::login::SessionName;
use api::binary::session::{CloseReason, Session};
use api::binary::stream::SessionSeq;
use book::command::DownCause;
use book::ids::SessionId;
use book::units::TsNs;
use std::net::IpAddr;

impl Gateway {
    pub(super) fn accepted(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        let address = reactor.peer(id).map(|peer| peer.ip());
        if self.closed_to_new || !self.admit_address(now, address) {
            self.wiring.status.logins_refused.add(1);
            reactor.close(id);
            return;
        }
        if id.slot() >= self.conns.len() {
            self.conns.resize_with(id.slot() + 1, || None);
        }
        let mut protocol = Session::new(now);
        protocol.set_limits(self.limits.session);
        self.conns[id.slot()] = Some(Box::new(OrderConn {
            id,
            address,
            protocol,
            session: None,
            next: SessionSeq::HEAD,
            wanted: SessionSeq::HEAD,
            wanted_name: SessionName::BLANK,
            came_at: SessionSeq::HEAD,
            past: Past::Caught,
            control: Vec::new(),
            stage_times: false,
            sending_since: now,
            taken: 0,
            stalled: false,
            dirty: false,
            closing: None,
        }));
        self.wiring.status.connections.add(1);
    }

    pub(super) fn admit_address(&mut self, now: TsNs, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return false };
        if self.by_address.len() >= ADDRESSES_MAX {
            self.by_address.retain(|_, record| record.connections > 0);
        }
        let limits = self.limits;
        let record = self.by_address.entry(address).or_default();
        let in_window = now.0 - record.failures_since_ns < limits.login_failure_window_ns;
        let failed_too_often = in_window && limits.login_failures_max <= record.failures;
        if failed_too_often || limits.connections_per_address_max <= record.connections {
            return false;
        }
        record.connections += 1;
        true
    }

    pub(super) fn note_failure(&mut self, now: TsNs, address: Option<IpAddr>) {
        let window_ns = self.limits.login_failure_window_ns;
        let Some(record) = address.and_then(|a| self.by_address.get_mut(&a)) else { return };
        if window_ns <= now.0 - record.failures_since_ns {
            (record.failures, record.failures_since_ns) = (0, now.0);
        }
        record.failures += 1;
    }

    /// Turns received bytes into commands, as far as the ingress has room; asks for more when all are taken.
    pub(super) fn received(&mut self, now: TsNs, id: ConnId, reactor: &mut impl Sockets) {
        if self.closed_to_new {
            return;
        }
        if self.wiring.ingress.is_full() {
            return self.mark_stalled(id);
        }
        let Some(mut conn) = self.conns.get_mut(id.slot()).and_then(Option::take) else { return };
        if conn.id == id {
            let happened = self.take_bytes(now, &mut conn, reactor);
            let paused = conn.taken < reactor.received(id).len() && !happened.ends();
            self.conns[id.slot()] = Some(conn);
            if paused {
                self.mark_stalled(id);
            } else {
                self.finish_receive(now, id, happened, reactor);
            }
        } else {
            self.conns[id.slot()] = Some(conn);
        }
    }

    pub(super) fn take_bytes(&mut self, now: TsNs, conn: &mut OrderConn, reactor: &impl Sockets) -> Happened {
        let sender = conn.session.and_then(|s| self.desk(s)).map(|desk| desk.facts.sender());
        let OrderConn { protocol, control, stage_times, .. } = conn;
        let mut taking = Taking {
            now,
            sender,
            instruments: &self.instruments,
            ingress: &mut self.wiring.ingress,
            control,
            stage_times,
            happened: Happened::default(),
        };
        let bytes = &reactor.received(conn.id)[conn.taken..];
        let taken = protocol.on_bytes(now, bytes, &mut taking);
        let mut happened = taking.happened;
        if happened.protocol_error {
            // What the client sends is no message of ours: nothing after it can be trusted.
            protocol.close(CloseReason::Protocol, &mut Aside { control, close: &mut happened.close });
        }
        conn.taken += taken;
        happened
    }

    pub(super) fn finish_receive(&mut self, now: TsNs, id: ConnId, happened: Happened, reactor: &mut impl Sockets) {
        if let Some(conn) = self.conn_mut(id) {
            conn.taken = 0;
        }
        if let Some(login) = happened.login {
            self.ask_doorman(now, id, login);
        }
        if let Some(reason) = happened.close {
            let cause = if happened.logout { DownCause::Logout } else { DownCause::Disconnect };
            self.close_after_flush(now, id, reason, cause, reactor);
            return;
        }
        self.mark_dirty_if_waiting(id);
        reactor.receive(id);
    }

    pub(super) fn mark_stalled(&mut self, id: ConnId) {
        let Some(conn) = self.conn_mut(id) else { return };
        if !conn.stalled {
            conn.stalled = true;
            self.stalled.push(id);
        }
    }

    pub(super) fn retry_stalled(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        if self.stalled.is_empty() || self.wiring.ingress.slots() < COMMANDS_PER_RECEIVE_MAX {
            return 0;
        }
        let stalled = std::mem::take(&mut self.stalled);
        for &id in &stalled {
            if let Some(conn) = self.conn_mut(id) {
                conn.stalled = false;
                conn.taken = conn.taken.planted(Mutation::StalledBytesForgotten, || reactor.received(id).len());
                self.received(now, id, reactor);
            }
        }
        stalled.len()
    }

    pub(super) fn mark_dirty_if_waiting(&mut self, id: ConnId) {
        if self.conn_mut(id).is_some_and(|conn| !conn.control.is_empty()) {
            self.mark_dirty(id);
        }
    }

    /// Sends what is still to be said, then closes; used for refusals, which the client shall see.
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
            conn.closing = Some(Closing::within(now, cause));
        } else {
            self.close(now, id, cause, reactor);
        }
    }

    /// Ends a connection. Its session, if it had one, is down from now on, unless another connection has taken over.
    pub(super) fn close(&mut self, now: TsNs, id: ConnId, cause: DownCause, reactor: &mut impl Sockets) {
        let Some(slot) = self.conns.get_mut(id.slot()) else { return reactor.close(id) };
        if slot.as_ref().is_none_or(|conn| conn.id != id) {
            return reactor.close(id);
        }
        let Some(conn) = slot.take() else { return };
        if let Some(record) = conn.address.and_then(|address| self.by_address.get_mut(&address)) {
            record.connections -= 1;
        }
        if let Some(session) = conn.session
            && let Some(desk) = self.desk_mut(session)
            && desk.conn == Some(id)
        {
            desk.conn = None;
            let cause = conn.closing.map_or(cause, |closing| closing.cause);
            self.mark_down(session, cause, now, 0);
            self.wiring.status.sessions_open.set(self.wiring.status.sessions_open.get() - 1);
        }
        self.wiring.status.connections.set(self.wiring.status.connections.get() - 1);
        reactor.close(id);
    }

    /// The session has its own grace window to come back, or a longer one that the node grants after its own start.
    pub(super) fn mark_down(&mut self, session: SessionId, cause: DownCause, now: TsNs, window_ms_min: u32) {
        if let Some(desk) = self.desk_mut(session) {
            let window_ms = desk.facts.cod_window_ms.max(window_ms_min);
            desk.down = Some(Down { cause, ends: TsNs(now.0 + u64::from(window_ms) * 1_000_000) });
            // Without a window at once, or a quick new login would keep what was to be cancelled.
            self.end_if_due(now, session.0 as usize - 1);
        }
    }
}
