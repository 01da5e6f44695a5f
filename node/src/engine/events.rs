//! The events of one command, in a buffer that is made once.

use book::event::{Event, Sink};

/// Events of one command, in a buffer made once.
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
    /// The live engine books every transfer; describing them is the shadow's work.
    const LEDGER: bool = false;

    #[inline]
    fn push(&mut self, event: Event) {
        self.0.push(event);
    }
}
