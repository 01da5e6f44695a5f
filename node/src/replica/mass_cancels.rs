//! Mass cancels that one command could not finish: which command has to follow, whoever looks at the log.
//!
//! The engine loop lets the rest follow at once, as a command of its own. A node that ends between the two finds in the
//! log that the rest is owed, and begins with it. Invariant: what is owed follows from the log alone, so whoever keeps a
//! state instead of the log before it keeps this too.

use book::codec;
use book::command::Command;
use book::event::Event;
use book::units::TsNs;

/// Pieces of a snapshot, one for each command; beside those of `numbers`.
const TAG_UNFINISHED: u8 = 66;
/// Of a command that cancels, as a record.
const COMMAND_BYTES_MAX: usize = 256;

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

    /// Gives each command that is owed to `put`, with its tag.
    pub fn save<E>(&self, put: &mut impl FnMut(u8, &[u8]) -> Result<(), E>) -> Result<(), E> {
        for command in &self.0 {
            let mut bytes = [0; COMMAND_BYTES_MAX];
            let len = codec::encode(TsNs(0), command, &mut bytes).expect("a cancel is smaller than its bound");
            put(TAG_UNFINISHED, &bytes[..len])?;
        }
        Ok(())
    }

    /// Takes one back. False when the piece is none of these.
    pub fn take(&mut self, tag: u8, piece: &[u8]) -> bool {
        let owed = match codec::decode(piece) {
            Ok(record) if tag == TAG_UNFINISHED => record.command,
            _ => return false,
        };
        let can_be = matches!(owed, Command::MassCancel(_) | Command::SessionDown(_));
        if can_be {
            self.0.push(owed);
        }
        can_be
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
