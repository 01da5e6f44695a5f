//! What the public may see, on its way from the engine to the market-data readers.
//!
//! The feed has a thread and a ring of its own: readers cost the pinned core one copy per event, however many they are.
//! Invariants: an item is taken from the ring only when its command is released; the live stream is built from the log
//! alone, so its numbers go on after a restart where they stopped.

use crate::replica::stream_positions::Numbers;
use crate::replica::translate::Translator;
use crate::rings::feed_items::FeedItem;
use api::binary::depth::Depth;
use api::binary::feed::{FeedEncoder, definition, side_code};
use api::binary::market::{FLAG_SNAPSHOT, MarketMessage, OrderAdd};
use api::binary::stream::{SessionSeq, Stream};
use api::instruments::Instruments;
use book::command::Side;
use book::engine::{Engine, Market};
use book::units::Stamp;
use zerocopy::little_endian::{I64, U32, U64};

/// Live messages kept in memory for readers that join late or were away for a moment.
pub const LIVE_MESSAGES: usize = 1 << 20;
const LIVE_BYTES: usize = 72 * LIVE_MESSAGES;

/// The feed's own state: every market as the public sees it, and the newest part of the live stream.
pub struct FeedState {
    instruments: Instruments,
    encoder: FeedEncoder,
    depth: Depth,
    live: Stream,
    stamp: Stamp,
}

impl FeedState {
    pub fn new() -> Self {
        Self {
            instruments: Instruments::default(),
            encoder: FeedEncoder::default(),
            depth: Depth::default(),
            live: Stream::new(SessionSeq::FIRST, LIVE_BYTES, LIVE_MESSAGES),
            stamp: Stamp::default(),
        }
    }

    /// Goes on where the numbers stand: books of what rests now, and nothing yet of the stream's past.
    pub fn resume(engine: &Engine, numbers: &Numbers) -> Self {
        let translator = Translator::of(engine);
        let instruments = translator.instruments().clone();
        let mut depth = Depth::default();
        for (market, rpt_seq) in engine.markets().iter().zip(numbers.rpt_seqs().iter().chain(std::iter::repeat(&0))) {
            let mut apply = |message| depth.apply(&message).expect("a market's own orders come in order");
            resting(market, *rpt_seq, engine, &instruments, numbers.feed_stamp(), &mut apply);
        }
        Self {
            instruments,
            encoder: FeedEncoder::resume(numbers.rpt_seqs().to_vec()),
            depth,
            live: Stream::new(numbers.live(), LIVE_BYTES, LIVE_MESSAGES),
            stamp: numbers.feed_stamp(),
        }
    }

    /// Takes in one item: encodes it, numbers it, and applies it to the feed's own books.
    pub fn apply(&mut self, item: &FeedItem) {
        let Self { instruments, encoder, depth, live, stamp } = self;
        *stamp = item.stamp;
        instruments.apply(&item.event);
        let mut publish = |bytes: &[u8]| {
            live.push(bytes);
            let message = MarketMessage::read(bytes).expect("the feed reads what it wrote");
            depth.apply(&message).expect("the feed's own messages come in order");
        };
        encoder.push(item.stamp, &item.event, instruments, &mut publish);
        if item.last {
            encoder.finish(item.stamp, &mut publish);
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

/// A market as a snapshot of the feed would tell it: its definition, then what rests, by price and time.
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

impl Default for FeedState {
    fn default() -> Self {
        Self::new()
    }
}
