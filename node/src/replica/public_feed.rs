//! The public market-data feed: encodes public events into the numbered live stream, and keeps the books for snapshots.
//!
//! The feed has its own thread and ring: however many readers there are, the pinned core pays for one copy per event.
//! Invariants: an event is published only once its command is released; the live stream depends on the log alone, so
//! after a restart its numbers continue where they stopped.

use crate::replica::stream_positions::StreamPositions;
use crate::replica::translate::Translator;
use crate::rings::feed_items::FeedItem;
use api::binary::depth::Depth;
use api::binary::feed::{FeedEncoder, definition};
use api::binary::market::{FLAG_SNAPSHOT, MarketMessage, OrderAdd};
use api::binary::orders::side_code;
use api::binary::stream::{SessionSeq, Stream};
use api::instruments::Instruments;
use book::command::Side;
use book::engine::{Engine, Market};
use book::event::Event;
use book::units::Stamp;
use zerocopy::little_endian::{I64, U32, U64};

/// Live messages kept in memory, for readers that resume after a short absence.
pub const LIVE_MESSAGES: usize = 1 << 20;
const LIVE_BYTES: usize = 72 * LIVE_MESSAGES;

/// The state of the feed: the public depth of every market, and the newest messages of the live stream.
pub struct PublicFeed {
    instruments: Instruments,
    encoder: FeedEncoder,
    depth: Depth,
    live: Stream,
    /// The life of the streams in which `live` is.
    life: u32,
    stamp: Stamp,
}

impl PublicFeed {
    pub fn new() -> Self {
        Self {
            instruments: Instruments::default(),
            encoder: FeedEncoder::default(),
            depth: Depth::default(),
            live: Stream::new(SessionSeq::FIRST, LIVE_BYTES, LIVE_MESSAGES),
            life: 0,
            stamp: Stamp::default(),
        }
    }

    /// Continues at these positions: the books hold the orders that rest now, the live stream holds no past messages.
    pub fn resume(engine: &Engine, positions: &StreamPositions) -> Self {
        let translator = Translator::of(engine);
        let instruments = translator.instruments().clone();
        let mut depth = Depth::default();
        for market in engine.markets() {
            let rpt_seq = positions.rpt_seqs().get(market.rules.id.0 as usize - 1).unwrap_or(&0);
            let mut apply = |message| depth.apply(&message).expect("resting orders are in the order of their book");
            resting(market, *rpt_seq, engine, &instruments, positions.feed_stamp(), &mut apply);
        }
        Self {
            instruments,
            encoder: FeedEncoder::resume(positions.rpt_seqs().to_vec()),
            depth,
            live: Stream::new(positions.live(), LIVE_BYTES, LIVE_MESSAGES),
            life: engine.run().life,
            stamp: positions.feed_stamp(),
        }
    }

    /// Publishes one item: encodes it, numbers its messages, and applies them to the feed's own books.
    pub fn apply(&mut self, item: &FeedItem) {
        if let Event::RunBegan { life, skipped, .. } = item.event {
            self.begin_life(life, skipped);
        }
        let Self { instruments, encoder, depth, live, stamp, .. } = self;
        *stamp = item.stamp;
        instruments.apply(&item.event);
        if let Event::MarketRemoved { market } = item.event {
            depth.remove(market.0);
        }
        let mut publish = |bytes: &[u8]| {
            live.push(bytes);
            let message = MarketMessage::read(bytes).expect("the feed can decode what it encoded");
            depth.apply(&message).expect("the feed's own messages are in order");
        };
        encoder.push(item.stamp, &item.event, instruments, &mut publish);
        if item.last {
            encoder.finish(item.stamp, &mut publish);
        }
    }

    /// Begins a life, once: the live stream goes on so many numbers later, and memory has none of the older messages. A
    /// start does this before any reader comes, and the command that records it follows.
    pub fn begin_life(&mut self, life: u32, skipped: u64) {
        if self.life < life {
            self.life = life;
            self.live = Stream::new(SessionSeq(self.live.next_seq().0 + skipped), LIVE_BYTES, LIVE_MESSAGES);
        }
    }

    pub fn depth(&self) -> &Depth {
        &self.depth
    }

    pub fn live(&self) -> &Stream {
        &self.live
    }

    pub fn stamp(&self) -> Stamp {
        self.stamp
    }
}

/// The messages of a market in a snapshot of the feed: its definition, then its resting orders by price and time.
fn resting(
    market: &Market,
    rpt_seq: u64,
    engine: &Engine,
    instruments: &Instruments,
    stamp: Stamp,
    apply: &mut impl FnMut(MarketMessage),
) {
    let (id, instrument) = (market.rules.id, instruments.at(market.rules.id));
    apply(definition(instrument, stamp.ts, rpt_seq, FLAG_SNAPSHOT).into());
    for side in [Side::Buy, Side::Sell] {
        for (_, order) in market.book.queue(engine.pool(), side) {
            let message = OrderAdd {
                event_time_ns: U64::new(stamp.ts.0),
                order_id: U64::new(order.id.0),
                price_e9: I64::new(instrument.price_e9(order.price).0),
                qty_e8: I64::new(instrument.qty_e8(order.leaves).0),
                rpt_seq: U64::new(rpt_seq),
                instrument_id: U32::new(id.0),
                side: side_code(side),
                flags: FLAG_SNAPSHOT,
                pad: [0; 2],
            };
            apply(message.into());
        }
    }
}

impl Default for PublicFeed {
    fn default() -> Self {
        Self::new()
    }
}
