//! Mass cancels that one command could not finish: which command has to follow, whoever looks at the log.
//!
//! The engine loop lets the rest follow at once, as a command of its own. A node that ends between the two finds in the
//! log that the rest is owed, and begins with it. Invariant: what is owed follows from the log alone.

use book::codec;
use book::command::Command;
use book::event::Event;

/// Rests of mass cancels that the log does not have yet, oldest first. At most a handful: whatever is owed goes before
/// anything of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unfinished(Vec<Command>);

impl Unfinished {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in one record of the log and what it did.
    #[inline]
    pub fn follow(&mut self, record: &[u8], events: &[Event]) {
        let more = events.iter().any(|event| matches!(event, Event::MassCanceled(mass) if mass.more));
        if more || !self.0.is_empty() {
            self.note(record, more);
        }
    }

    #[cold]
    fn note(&mut self, record: &[u8], more: bool) {
        // What cannot be read did nothing, and owes nothing.
        let Ok(record) = codec::decode(record) else { return };
        if let Some(idx) = self.0.iter().position(|owed| *owed == record.command) {
            self.0.remove(idx);
        }
        if more {
            self.0.push(continued(&record.command));
        }
    }

    pub fn into_commands(self) -> Vec<Command> {
        self.0
    }
}

/// The next part of a command that reached the bound of orders that one command may cancel.
#[cold]
pub fn continued(command: &Command) -> Command {
    let mut next = command.clone();
    match &mut next {
        Command::MassCancel(mass) => mass.continued = true,
        Command::SessionDown(down) => down.continued = true,
        other => unreachable!("{other:?} cancels at most one order"),
    }
    next
}
