//! A buffer for the events of one command, allocated once.

use book::event::{Event, Sink};

/// The events of the command at hand. The capacity covers the largest number that one command can cause, so that
/// pushing never allocates.
#[derive(Debug)]
pub struct Events(Vec<Event>);

impl Events {
    pub fn new() -> Self {
        Self(Vec::with_capacity(book::engine::EVENTS_PER_COMMAND_MAX))
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn as_slice(&self) -> &[Event] {
        &self.0
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Sink for Events {
    /// The live engine moves balances without describing each transfer: ledger events are made by the shadow.
    const LEDGER: bool = false;

    #[inline]
    fn push(&mut self, event: Event) {
        self.0.push(event);
    }
}
