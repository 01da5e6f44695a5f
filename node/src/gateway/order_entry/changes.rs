//! Changes of instruments and sessions, in force once their commands are released.
//!
//! Invariants: a connection of a session whose life has ended, whose password has changed, or that is removed, is
//! ended; what it was answered until then is in the stream of that life, and no later answer is. A removed session is
//! as unknown as one that never was.

use super::{Closing, Gateway, SessionRecord};
use crate::faults::mutation::{Mutation, Planted};
use crate::gateway::returns::Return;
use crate::gateway::send_buffer::ControlOutput;
use crate::reactor::ports::{ConnId, Sockets};
use crate::rings::control::{Change, Control, SessionFacts};
use api::binary::session::CloseReason;
use book::command::DownCause;
use book::ids::SessionId;
use book::units::{Seq, TsNs};

impl Gateway {
    pub(super) fn poll_control(&mut self, now: TsNs, reactor: &mut impl Sockets) -> usize {
        let released = self.wiring.released.get();
        let mut count = 0;
        while let Some(Control { seq, change }) = self.wiring.control.next(released) {
            match change {
                Change::Instruments(event) => self.instruments.apply(&event),
                Change::Session(facts) => self.set_facts(now, seq, *facts, reactor),
                Change::Window(window) => self.begin_window(&window, now),
                Change::Disconnect(session) => self.end_connection(now, session, CloseReason::Disconnected, reactor),
                Change::Rules(rules) => self.rules = rules,
            }
            count += 1;
        }
        count
    }

    /// Adds a session, in the order of ids.
    pub(super) fn add_session(&mut self, facts: SessionFacts) {
        assert!(facts.session.0 as usize == self.sessions.len() + 1, "session ids are dense");
        if !facts.removed {
            self.by_user.insert(facts.user, facts.session);
        }
        self.sessions.push(SessionRecord::new(facts));
    }

    /// Adds a session, or replaces the facts of a known one, as the command with this sequence has left them.
    fn set_facts(&mut self, now: TsNs, seq: Seq, facts: SessionFacts, reactor: &mut impl Sockets) {
        let id = facts.session;
        let Some(record) = self.session_mut(id) else { return self.add_session(facts) };
        let life_began = record.facts.lives < facts.lives;
        let password_changed = record.facts.password_hash != facts.password_hash;
        let is_removed = facts.removed && !record.facts.removed;
        let (user, life) = (facts.user, facts.life);
        record.facts = facts;
        if password_changed {
            record.password_number += 1;
            record.verified = None;
        }
        if life_began || is_removed {
            // What was answered before belongs to the life that has ended.
            self.take_answers(now, seq);
            self.lives_seen = self.lives_seen.wrapping_add(1);
        }
        if is_removed {
            self.by_user.remove(&user);
            self.end_connection(now, id, CloseReason::Removed, reactor);
            self.drop_grace(now, id);
        } else if life_began {
            self.end_connection(now, id, CloseReason::NewLife, reactor);
            let skipped = life.map_or(0, |tag| tag.numbers_skipped());
            self.streams.begin_session_life(id, skipped);
        } else if password_changed {
            self.end_connection(now, id, CloseReason::PasswordChanged, reactor);
        }
    }

    /// Nothing of a removed session is left to cancel.
    fn drop_grace(&mut self, now: TsNs, id: SessionId) {
        let grace = self.session_mut(id).and_then(|record| record.grace.take());
        if grace.is_some_and(|grace| grace.after_start) {
            self.note_return(now, Return::WindowEnded);
        }
    }

    /// Ends the connection of a session, if it has one, after the messages that it can take at once.
    fn end_connection(&mut self, now: TsNs, id: SessionId, reason: CloseReason, reactor: &mut impl Sockets) {
        let conn = self.session(id).and_then(|record| record.conn);
        let Some(conn) = conn.filter(|_| true.planted(Mutation::ConnectionOutlivesLife, |_| false)) else { return };
        tracing::info!(session = id.0, %reason, "connection ended by an operator");
        self.flush_one(now, conn, reactor);
        // A client that has left too much unread is gone by now.
        if self.session(id).is_none_or(|record| record.conn != Some(conn)) {
            return;
        }
        self.say_end(now, conn, reason);
        self.end_session(id, DownCause::Disconnect, now);
        self.mark_unsent(conn);
    }

    /// The connection stays until its last bytes are sent, without a session.
    fn say_end(&mut self, now: TsNs, conn: ConnId, reason: CloseReason) {
        let Some(conn) = self.conn_mut(conn) else { return };
        conn.protocol.end_because(now, reason, &mut ControlOutput::new(&mut conn.control));
        conn.session = None;
        conn.closing = Some(Closing::new(now, DownCause::Disconnect));
    }
}
