//! A small exchange that applies decoded commands and encodes their answers and feed messages.

use api::binary::encode::{EncodeContext, ExecIds, answers};
use api::binary::feed::FeedEncoder;
use api::instruments::Instruments;
use book::command::Command;
use book::engine::{Capacity, Engine};
use book::event::Event;
use book::testing::workload::{Profile, Workload};
use book::units::{Seq, Stamp, TsNs};

const START_NS: u64 = 1_700_000_000_000_000_000;

/// An engine, and the encoders of its events.
pub struct SmallExchange {
    pub engine: Engine,
    pub instruments: Instruments,
    feed: FeedEncoder,
    seq: u64,
    /// The answers to all sessions.
    pub answers: Vec<Vec<u8>>,
    pub public: Vec<Vec<u8>>,
    pub events: Vec<Event>,
}

impl SmallExchange {
    pub fn new() -> Self {
        Self {
            engine: Engine::new(Capacity { orders: 64, leaves: 64, markets: 2, names: 1 }),
            instruments: Instruments::default(),
            feed: FeedEncoder::default(),
            seq: 0,
            answers: Vec::new(),
            public: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Two markets, six funded accounts with a session each: the opening of the mixed workload.
    pub fn opened() -> Self {
        let mut exchange = Self::new();
        Workload::new(Profile::Mixed, 1).setup().iter().for_each(|command| exchange.apply(command));
        exchange
    }

    pub fn apply(&mut self, command: &Command) {
        self.seq += 1;
        let stamp = Stamp { seq: Seq(self.seq), ts: TsNs(START_NS + self.seq * 1_000) };
        self.events.clear();
        self.engine.apply(stamp, command, &mut self.events);
        let mut ids = ExecIds::of_command(stamp.seq, 0);
        for event in &self.events {
            self.instruments.apply(event);
            let Some(exec_id) = ids.next(event) else { continue };
            let context = EncodeContext { stamp, exec_id, gateway_in: stamp.ts };
            answers(event, &self.instruments, &context, &mut |_, bytes| self.answers.push(bytes.to_vec()));
        }
        self.feed.encode(stamp, &self.events, &self.instruments, &mut |bytes| self.public.push(bytes.to_vec()));
    }
}

impl Default for SmallExchange {
    fn default() -> Self {
        Self::new()
    }
}
