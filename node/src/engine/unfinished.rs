//! Commands over many orders that are to go on, and when the next part of one has its turn.
//!
//! Each part may look at as many orders as thousands of plain commands, so parts wait for others: between two of them
//! `OTHERS_FIRST` other commands run, if so many wait. When none waits, the next part runs at once. Invariant:
//! unfinished commands take turns, so that each comes to its end however many there are.

use crate::faults::mutation::{Mutation, Planted};
use crate::replica::mass_cancels::Continuations;
use book::command::Command;
use book::engine::VISITS_PER_COMMAND_MAX;
use std::collections::VecDeque;

/// Other commands that run before the next part, when they wait. Twice as many as a part looks at orders: to look at an
/// order, and even to cancel it, costs less than a command does from socket to socket.
const OTHERS_FIRST: u32 = 2 * VISITS_PER_COMMAND_MAX;

#[derive(Debug, Default)]
pub struct UnfinishedCommands {
    /// The next parts, in the order of their turns.
    parts: VecDeque<Command>,
    others_first: u32,
}

impl UnfinishedCommands {
    /// What the log began and did not finish.
    pub fn new(continuations: Continuations) -> Self {
        let mut parts = VecDeque::from(continuations.into_commands());
        parts.reserve(64);
        Self { parts, others_first: 0 }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub fn push(&mut self, part: Command) {
        self.parts.push_back(part);
    }

    /// The next part, if it has its turn.
    #[inline]
    pub fn next(&mut self, others_wait: impl FnOnce() -> bool) -> Option<Command> {
        if self.parts.is_empty() { None } else { self.take(others_wait()) }
    }

    #[cold]
    fn take(&mut self, others_wait: bool) -> Option<Command> {
        let waits = (0 < self.others_first && others_wait).planted(Mutation::PartsBeforeOthers, |_| false);
        if waits {
            return None;
        }
        self.others_first = OTHERS_FIRST;
        self.parts.pop_front()
    }

    /// Another command runs.
    #[inline]
    pub fn count_other(&mut self) {
        self.others_first = self.others_first.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::command::{DownCause, SessionDown};
    use book::ids::SessionId;

    fn part(number: u32) -> Command {
        Command::SessionDown(SessionDown { session: SessionId(number), cause: DownCause::Logout, continued: true })
    }

    fn parts_wait_for_others() {
        let mut unfinished = UnfinishedCommands::default();
        assert_eq!(unfinished.next(|| true), None);
        unfinished.push(part(1));
        unfinished.push(part(2));
        assert_eq!(unfinished.next(|| true), Some(part(1)), "nothing of the kind has run before");
        unfinished.push(part(1));
        for other in 0..OTHERS_FIRST {
            assert_eq!(unfinished.next(|| true), None, "after {other} others");
            unfinished.count_other();
        }
        assert_eq!(unfinished.next(|| true), Some(part(2)), "they take turns");
        assert_eq!(unfinished.next(|| false), Some(part(1)), "no other command waits");
        assert!(unfinished.is_empty());
    }

    #[test]
    fn between_two_parts_others_have_their_turn() {
        parts_wait_for_others();
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn parts_that_come_before_all_others_are_noticed() {
        crate::faults::mutation::assert_noticed(Mutation::PartsBeforeOthers, parts_wait_for_others);
    }
}
