//! The ends of connections on their way into the log, and the windows that they begin.
//!
//! The state of the session decides what an end cancels, because the gateway sees what the client has switched on only
//! once it is released. Invariants: each end of a connection on which a session was open is one command, after every
//! command of that connection; one for which the ingress has no room waits, and no session opens before it is there.

use super::{Gateway, GraceWindow};
use crate::faults::mutation::{Mutation, Planted};
use crate::rings::ingress::Ingress;
use book::command::{CodMode, Command, ConnectionEnd, DownCause};
use book::event::WindowBegan;
use book::ids::SessionId;
use book::rules::Rules;
use book::units::TsNs;

/// Ends that one cycle hands over after they have waited.
const ENDS_PER_CYCLE_MAX: usize = 256;

impl Gateway {
    /// The session has no connection from here on.
    pub(super) fn end_session(&mut self, id: SessionId, cause: DownCause, now: TsNs) {
        if let Some(session) = self.session_mut(id) {
            session.conn = None;
        }
        if self.rules < Rules::Two {
            self.start_grace(id, cause, now);
        } else {
            self.log_end(id, cause, now);
        }
        self.wiring.status.sessions_on.left(id);
        self.wiring.status.sessions_open.set(self.wiring.status.sessions_open.get() - 1);
    }

    /// Hands the end of a connection to the engine. While the node stops no orders are cancelled, and no end is logged:
    /// after the start the session has its window.
    pub(super) fn log_end(&mut self, id: SessionId, cause: DownCause, now: TsNs) {
        if self.inbound_stopped {
            return;
        }
        let Some(record) = self.session_mut(id) else { return };
        record.ends = record.ends.wrapping_add(1);
        record.ended_at = now;
        let is_switched_on = record.facts.cod_mode != CodMode::Off;
        let end = ConnectionEnd { session: id, cause, number: record.ends };
        if true.planted(Mutation::EndByGatewaysView, |_| is_switched_on) {
            self.ends.push_back((now, end));
            self.poll_ends();
        }
    }

    /// Hands ends over, in order, as far as the ingress has room.
    pub(super) fn poll_ends(&mut self) -> usize {
        let count = self.ends.len().min(self.wiring.ingress.slots()).min(ENDS_PER_CYCLE_MAX);
        for (received, end) in self.ends.drain(..count) {
            let ingress = Ingress { received, lives_seen: self.lives_seen, command: Command::ConnectionEnd(end) };
            self.wiring.ingress.push(ingress).expect("the ring has room, and this loop alone fills it");
        }
        let waits = self.ends.len().planted(Mutation::EndLostWhenFull, |_| 0);
        self.ends.truncate(waits);
        count
    }

    /// The session's orders are cancelled when the window of the last end of a connection is over, unless it is back.
    pub(super) fn begin_window(&mut self, window: &WindowBegan, now: TsNs) {
        let WindowBegan { session: id, cause, number, window_ms } = *window;
        let Some(record) = self.session_mut(id) else { return };
        if record.conn.is_some() || record.ends != number {
            return;
        }
        let ends = TsNs(record.ended_at.0 + u64::from(window_ms) * 1_000_000);
        record.grace = Some(GraceWindow { cause, ends, after_start: false, awaited: None });
        self.end_grace_if_due(now, id.0 as usize - 1);
    }
}
