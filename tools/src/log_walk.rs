//! A data directory's log, proved and applied from the first command on, beside a running node or without one.

use book::codec::{self, Record};
use book::engine::{Capacity, Engine};
use book::event::{Event, Sink};
use book::state_hash::StateHash;
use book::units::{Seq, Stamp};
use std::path::Path;
use wal::directory::Directory;
use wal::error::Result;
use wal::recover::{Recovered, VisitorResult, inspect};

/// What a walk over the whole log found.
#[derive(Debug)]
pub struct Walked {
    pub seq_last: u64,
    pub state_hash: StateHash,
    pub log: Recovered,
}

/// Events of one command, kept for whoever looks at them.
#[derive(Debug, Default)]
pub struct Happened(pub Vec<Event>);

impl Sink for Happened {
    const LEDGER: bool = false;

    fn push(&mut self, event: Event) {
        self.0.push(event);
    }
}

impl Walked {
    /// Proves the log and gives the state that it makes.
    pub fn of(data_dir: &Path) -> Result<Self> {
        Self::with(data_dir, |_, _, _| Ok(()))
    }

    /// The same, showing every command and what it did.
    pub fn with(data_dir: &Path, mut show: impl FnMut(Seq, &Record, &[Event]) -> VisitorResult) -> Result<Self> {
        let directory = Directory::open_read_only(data_dir)?;
        let mut engine = Engine::new(Capacity::default());
        let mut happened = Happened::default();
        let log = inspect(&directory, wal::units::Seq(1), |seq, bytes| {
            let record = codec::decode(bytes)?;
            happened.0.clear();
            engine.apply(Stamp { seq: Seq(seq.0), ts: record.ts }, &record.command, &mut happened);
            show(Seq(seq.0), &record, &happened.0)
        })?;
        Ok(Self { seq_last: engine.stamp().seq.0, state_hash: engine.state_hash(), log })
    }
}
