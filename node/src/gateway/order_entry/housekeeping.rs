//! What time alone brings about: heartbeats, timeouts, the ends of grace windows.
//!
//! Invariants: one cycle looks at so many connections and so many sessions, and goes on with the next ones in the next
//! cycle; so however many sessions there are, their heartbeats and the ends of their windows are spread over cycles. A
//! grace window that began with the node does not end while a login waits that its session sent before the end.

use super::{CONTROL_BYTES_MAX, Gateway, GraceWindow, Round};
use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::returns::{Return, ReturnReport};
use crate::gateway::send_buffer::ControlOutput;
use crate::reactor::ports::Sockets;
use crate::rings::ingress::Ingress;
use book::command::{CodMode, Command, DownCause, SessionDown};
use book::ids::SessionId;
use book::rules::Rules;
use book::units::TsNs;

/// A round over all connections and sessions begins this long after the one before.
const ROUND_NS: u64 = 50_000_000;
/// Connections, and sessions, that one cycle looks at.
const LOOKS_PER_CYCLE_MAX: usize = 64;

impl Gateway {
    /// Goes on with the round, or begins the next one when it is due. Returns whether there is more to look at at once.
    pub(super) fn housekeeping(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        if self.is_round_over() {
            if now.0 - self.round.began_ns < ROUND_NS {
                return 0;
            }
            self.round = Round { began_ns: now.0, slot: 0, session: 0 };
            self.wiring.stages.publish();
            self.wiring.status.logins.waiting.set(self.logins.queue.len() as u64);
            self.awaited_logins.tick(now, &self.wiring.status.listeners.orders);
        }
        let looks_max = LOOKS_PER_CYCLE_MAX.planted(Mutation::HeartbeatsInOneCycle, |_| usize::MAX);
        let slots = self.round.slot..self.conns.len().min(self.round.slot.saturating_add(looks_max));
        self.round.slot = slots.end;
        slots.for_each(|slot| self.look_at_connection(now, slot, reactor));
        let sessions = self.round.session..self.sessions.len().min(self.round.session.saturating_add(looks_max));
        self.round.session = sessions.end;
        sessions.for_each(|idx| self.end_grace_if_due(now, idx));
        usize::from(!self.is_round_over())
    }

    fn is_round_over(&self) -> bool {
        self.conns.len() <= self.round.slot && self.sessions.len() <= self.round.session
    }

    fn look_at_connection(&mut self, now: TsNs, slot: usize, reactor: &mut impl Sockets) {
        let unread_ns_max = u64::from(self.limits.session.silence_ms) * 1_000_000;
        let Some(conn) = self.conns[slot].as_deref_mut() else { return };
        // A login that waits for its turn has no timeout.
        if conn.waits.is_some() {
            return;
        }
        let id = conn.id;
        if let Some(session) = conn.session {
            self.wiring.status.sessions_on.sent(session, conn.next.0);
        }
        if conn.stalled.planted(Mutation::WaitingIsSilent, |_| false) {
            conn.protocol.bytes_wait(now);
        }
        let mut output = ControlOutput::new(&mut conn.control);
        conn.protocol.on_tick(now, &mut output);
        let closed = output.closed();
        // A client that reads nothing for the silence limit is disconnected, even if it sends heartbeats.
        let is_stuck = reactor.is_sending(id) && unread_ns_max <= now.0 - conn.sending_since.0;
        let is_over = is_stuck || conn.control.len() > CONTROL_BYTES_MAX || conn.closing.is_some_and(|c| c.ends <= now);
        match closed {
            Some(reason) => self.close_after_flush(now, id, reason, DownCause::Disconnect, reactor),
            None if is_over => self.close(now, id, DownCause::Disconnect, reactor),
            None => self.mark_unsent_control(id),
        }
    }

    /// Starts the grace window of a session that has lost its connection.
    pub(super) fn start_grace(&mut self, id: SessionId, cause: DownCause, now: TsNs) {
        if let Some(session) = self.session_mut(id) {
            let ends = ends_after(now, session.facts.cod_window_ms);
            session.grace = Some(GraceWindow { cause, ends, after_start: false, awaited: None });
            // A window of zero ends here: a login that follows at once must not keep the orders.
            self.end_grace_if_due(now, id.0 as usize - 1);
        }
    }

    /// Starts the grace window of a session that had open orders when the node started; it lasts at least
    /// `window_ms_min`.
    pub(super) fn start_grace_after_start(&mut self, id: SessionId, now: TsNs, window_ms_min: u32) {
        if let Some(session) = self.session_mut(id) {
            let ends = ends_after(now, session.facts.cod_window_ms.max(window_ms_min));
            session.grace = Some(GraceWindow { cause: DownCause::Disconnect, ends, after_start: true, awaited: None });
        }
    }

    /// Reports the end of a session to the engine when its grace window is over.
    pub(super) fn end_grace_if_due(&mut self, now: TsNs, idx: usize) {
        // While the node stops no orders are cancelled: after the start the sessions have their grace window.
        if self.inbound_stopped || self.wiring.ingress.is_full() {
            return;
        }
        let session = &mut self.sessions[idx];
        let Some(grace) = session.grace.as_mut().filter(|grace| grace.ends <= now) else { return };
        if grace.after_start {
            let last = session.logins.last().copied().unwrap_or(0);
            let awaited = *grace.awaited.get_or_insert(last);
            let waits = session.logins.first().is_some_and(|first| *first <= awaited);
            if waits.planted(Mutation::GraceEndsBeforeTurn, |_| false) {
                return;
            }
        }
        let GraceWindow { cause, after_start, .. } = *grace;
        session.grace = None;
        // Under rules 2 the state decides, which may have changed since.
        if session.facts.cod_mode != CodMode::Off || Rules::Two <= self.rules {
            let end = SessionDown { session: session.facts.session, cause, continued: false };
            let ingress = Ingress { received: now, lives_seen: self.lives_seen, command: Command::SessionDown(end) };
            self.wiring.ingress.push(ingress).expect("the ring has room, and this loop alone fills it");
        }
        if after_start {
            self.note_return(now, Return::WindowEnded);
        }
    }

    /// Counts a session that had open orders when the node started as back, or as one whose window has ended.
    pub(super) fn note_return(&mut self, now: TsNs, how: Return) {
        if let Some(ReturnReport { back, ended, ms }) = self.returns.note(now, how) {
            tracing::info!(
                back,
                ended,
                ms,
                "every session that had open orders at the start is back or its window has ended; ms counts from the start"
            );
        }
    }
}

fn ends_after(now: TsNs, window_ms: u32) -> TsNs {
    TsNs(now.0 + u64::from(window_ms) * 1_000_000)
}
