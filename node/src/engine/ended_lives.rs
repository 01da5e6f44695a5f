//! The sessions whose lives have ended, until the gateway has seen it.
//!
//! Commands that a client has sent in an earlier life may still be on their way when it ends. They must not use ids of
//! the new life, whose messages that client is not sent: they are dropped before they are in the log, and the gateway
//! ends their connection. Invariant: the gateway counts the ends of lives in the same order, so a command that has seen
//! all of them, as nearly every one has, costs one comparison.

use crate::faults::mutation::{Mutation, Planted};
use book::command::Command;
use book::event::Event;
use book::ids::SessionId;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub struct EndedLives {
    count: u32,
    /// Those that the gateway may not have seen, each with its number. Operators end lives one after the other, so
    /// there are few.
    unseen: VecDeque<(u32, SessionId)>,
}

impl EndedLives {
    /// Learns from the events of one command.
    pub fn note(&mut self, events: &[Event]) {
        for event in events {
            if let Event::SessionLifeBegan { session, .. } | Event::SessionRemoved { session } = event {
                self.count = self.count.wrapping_add(1);
                self.unseen.push_back((self.count, *session));
            }
        }
    }

    /// Whether a client sent this command in a life that has ended since. The gateway had seen so many ends.
    #[inline]
    pub fn is_of_ended(&mut self, seen: u32, command: &Command) -> bool {
        let is_late = seen != self.count && self.is_late(seen, command);
        is_late.planted(Mutation::EndedLifeGoesOn, |_| false)
    }

    #[cold]
    fn is_late(&mut self, seen: u32, command: &Command) -> bool {
        // The ring keeps the order, so no later command has seen less. Numbers start again after the largest.
        let unseen = self.count.wrapping_sub(seen) as usize;
        while unseen < self.unseen.len() {
            self.unseen.pop_front();
        }
        let sender = sender(command);
        self.unseen.iter().any(|(_, session)| *session == sender)
    }
}

/// The session whose client sent the command; none for what the gateway itself says of sessions.
fn sender(command: &Command) -> SessionId {
    match command {
        Command::Place(place) => place.session,
        Command::Cancel(cancel) => cancel.session,
        Command::Amend(amend) => amend.session,
        Command::CancelReplace(replace) => replace.place.session,
        Command::MassCancel(mass) => mass.session,
        Command::Refuse(refuse) => refuse.session,
        Command::Query(query) => query.session,
        Command::SetSession(set) => set.session,
        _ => SessionId::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::command::{CodMode, CodScope, ConnectionEnd, DownCause, SetSession};
    use book::ids::ClOrdId;
    use book::run::LifeTag;

    fn set(session: u32) -> Command {
        let (session, request) = (SessionId(session), ClOrdId(1));
        let (cod_mode, cod_scope, cod_window_ms) = (CodMode::Off, CodScope::Session, 0);
        Command::SetSession(SetSession { session, request, cod_mode, cod_scope, cod_window_ms })
    }

    fn what_an_ended_life_has_sent_is_late() {
        let mut lives = EndedLives::default();
        let began =
            |session| Event::SessionLifeBegan { session: SessionId(session), lives: 1, tag: LifeTag(1), skipped: 1 };
        assert!(!lives.is_of_ended(0, &set(1)));
        lives.note(&[began(1)]);
        lives.note(&[Event::SessionRemoved { session: SessionId(2) }]);
        let late: Vec<bool> = (1..=3).map(|session| lives.is_of_ended(0, &set(session))).collect();
        assert_eq!(late, [true, true, false]);
        let late: Vec<bool> = (1..=3).map(|session| lives.is_of_ended(1, &set(session))).collect();
        assert_eq!(late, [false, true, false]);
        let end = ConnectionEnd { session: SessionId(2), cause: DownCause::Disconnect, number: 1 };
        assert!(!lives.is_of_ended(1, &Command::ConnectionEnd(end)), "the end of a connection is always logged");
        assert!(!lives.is_of_ended(2, &set(2)));
    }

    #[test]
    fn what_an_ended_life_has_sent_is_late_until_the_gateway_has_seen_the_end() {
        what_an_ended_life_has_sent_is_late();
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn an_ended_life_that_goes_on_is_noticed() {
        crate::faults::mutation::assert_noticed(Mutation::EndedLifeGoesOn, what_an_ended_life_has_sent_is_late);
    }
}
