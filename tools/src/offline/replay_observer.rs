//! Observers, which a caller passes to a replay to see each record while a state is built.

use anyhow::Result;
use book::event::{Event, NoSink, Sink};
use book::units::Stamp;
use node::replica::Replica;

/// Receives the events of each record while a state is built, and is called after each record.
pub trait ReplayObserver: Sink {
    /// `replica` has the state after the record.
    fn applied(&mut self, replica: &mut Replica, stamp: Stamp, bytes: &[u8]) -> Result<()>;
}

/// For the engine's state alone: streams and instruments stay as they were where the replay began.
impl ReplayObserver for NoSink {
    #[inline]
    fn applied(&mut self, _replica: &mut Replica, _stamp: Stamp, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// For the state with all that follows from it: instruments, and the position of every stream.
#[derive(Default)]
pub struct TrackStreams(Vec<Event>);

impl Sink for TrackStreams {
    const LEDGER: bool = false;

    #[inline]
    fn push(&mut self, event: Event) {
        self.0.push(event);
    }
}

impl ReplayObserver for TrackStreams {
    #[inline]
    fn applied(&mut self, replica: &mut Replica, stamp: Stamp, bytes: &[u8]) -> Result<()> {
        replica.translate(stamp, bytes, &self.0, &mut ());
        self.0.clear();
        Ok(())
    }
}

/// Calls a closure with each command's events.
pub struct ForEachCommand<F> {
    events: Vec<Event>,
    visit: F,
}

impl<F: FnMut(Stamp, &[u8], &[Event]) -> Result<()>> ForEachCommand<F> {
    pub fn new(visit: F) -> Self {
        Self { events: Vec::new(), visit }
    }
}

impl<F> Sink for ForEachCommand<F> {
    const LEDGER: bool = true;

    fn push(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl<F: FnMut(Stamp, &[u8], &[Event]) -> Result<()>> ReplayObserver for ForEachCommand<F> {
    fn applied(&mut self, _replica: &mut Replica, stamp: Stamp, bytes: &[u8]) -> Result<()> {
        let visited = (self.visit)(stamp, bytes, &self.events);
        self.events.clear();
        visited
    }
}
