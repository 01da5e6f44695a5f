//! The public market-data feed: encodes public events into the numbered live stream, and keeps the books for snapshots.
//!
//! The feed has its own thread and ring: however many readers there are, the pinned core pays for one copy per event.
//! Invariants: an event is published only once its command is released; the live stream depends on the log alone, so
//! after a restart its numbers continue where they stopped.

use crate::faults::mutation::{Mutation, Planted};
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
use std::ops::Range;
use wal::error::WalError;
use zerocopy::little_endian::{I64, U32, U64};

/// Live messages kept in memory, for readers that resume after a short absence.
pub const LIVE_MESSAGES: usize = 1 << 20;
const LIVE_BYTES: usize = 72 * LIVE_MESSAGES;
/// Receives a message of the past with its number; an error says what is wrong with it.
pub type ShowMessage<'a> = dyn FnMut(SessionSeq, &[u8]) -> Result<(), &'static str> + 'a;
/// The longest message of the live stream.
pub const LIVE_MESSAGE_BYTES_MAX: usize = 128;

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
            live: memory(SessionSeq::FIRST),
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
            live: memory(positions.live()),
            life: engine.run().life,
            stamp: positions.feed_stamp(),
        }
    }

    /// Puts back into memory the messages before those it has, as far as `read` shows them in order and without a gap
    /// up to there: for a start, whose replay began at a snapshot. `read` is given the numbers that there is room for.
    /// Where it fails memory stays as it was.
    pub fn put_back(
        &mut self,
        read: impl FnOnce(Range<SessionSeq>, &mut ShowMessage<'_>) -> Result<(), WalError>,
    ) -> Result<(), WalError> {
        let (oldest, next) = (self.live.oldest_seq(), self.live.next_seq());
        let first = SessionSeq(next.0.saturating_sub(LIVE_MESSAGES as u64).max(SessionSeq::FIRST.0));
        if oldest <= first {
            return Ok(());
        }
        let mut past: Option<Stream> = None;
        read(first..oldest, &mut |number, message| {
            if message.len() > LIVE_MESSAGE_BYTES_MAX || MarketMessage::read(message).is_err() {
                return Err("a message of the live stream");
            }
            let stream = past.take().filter(|past| past.next_seq() == number);
            past.insert(stream.unwrap_or_else(|| memory(number))).push(message);
            Ok(())
        })?;
        let reaches = |past: &Stream| (past.next_seq() == oldest).planted(Mutation::LiveGapUnseen, |_| true);
        if let Some(mut past) = past.filter(reaches) {
            let copied = self.live.read_from(oldest, &mut |_, message| _ = past.push(message));
            copied.expect("memory holds its oldest message and all after it");
            self.live = past;
        }
        Ok(())
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
            self.live = memory(SessionSeq(self.live.next_seq().0 + skipped));
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

/// Empty memory, whose first message gets the number `next`.
fn memory(next: SessionSeq) -> Stream {
    Stream::new(next, LIVE_BYTES, LIVE_MESSAGES)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::single_range_in_vec_init, reason = "runs of numbers, of which there may be only one")]

    use super::*;

    fn message(number: u64) -> Vec<u8> {
        let add = OrderAdd {
            event_time_ns: U64::new(number),
            order_id: U64::new(number),
            price_e9: I64::new(1),
            qty_e8: I64::new(1),
            rpt_seq: U64::new(number),
            instrument_id: U32::new(1),
            side: side_code(Side::Buy),
            flags: 0,
            pad: [0; 2],
        };
        let mut bytes = Vec::new();
        MarketMessage::from(add).write(&mut |written| bytes.extend_from_slice(written));
        bytes
    }

    /// A feed that has said the messages of `said` since the snapshot of its start, and then finds these in the
    /// history.
    fn remembered(runs: &[Range<u64>], said: Range<u64>) -> PublicFeed {
        let mut feed = PublicFeed { live: memory(SessionSeq(said.start)), ..PublicFeed::new() };
        said.clone().for_each(|number| _ = feed.live.push(&message(number)));
        let put_back = feed.put_back(|wanted, show| {
            let numbers = runs.iter().cloned().flatten().map(SessionSeq).filter(|number| wanted.contains(number));
            numbers.for_each(|number| show(number, &message(number.0)).expect("a message"));
            Ok(())
        });
        put_back.expect("the history is intact");
        assert_eq!(feed.live().next_seq(), SessionSeq(said.end), "what comes next has the number it would have had");
        feed
    }

    fn check(runs: &[Range<u64>], said: Range<u64>, oldest: u64) {
        let feed = remembered(runs, said.clone());
        assert_eq!(feed.live().oldest_seq(), SessionSeq(oldest));
        for number in oldest..said.end {
            assert_eq!(feed.live().get(SessionSeq(number)), Ok(&message(number)[..]));
        }
    }

    #[test]
    fn the_past_is_in_memory_again_as_far_as_the_history_has_it() {
        check(&[1..4, 4..700, 700..1_001], 1_001..1_001, 1);
        // The history is ahead of the snapshot, from where the replay has said everything again.
        check(&[1..1_001], 500..1_200, 1);
        check(&[100..200], 150..150, 100);
        check(&[], 150..160, 150);
    }

    #[test]
    fn memory_has_as_many_messages_as_it_ever_has() {
        let next = LIVE_MESSAGES as u64 + 5_001;
        let feed = remembered(&[1..next], next - 9_000..next);
        // The messages of this test have 56 bytes: their number is the limit.
        assert_eq!(feed.live().oldest_seq(), SessionSeq(5_001));
    }

    #[test]
    fn a_gap_ends_the_past() {
        check(&[1..100, 200..300], 300..310, 200);
        // A life of the streams begins.
        check(&[1..100], 1 << 40..(1 << 40) + 9, 1 << 40);
        // Between history and snapshot.
        check(&[1..100], 120..130, 120);
    }

    #[test]
    fn a_row_that_is_no_message_is_reported() {
        let mut feed = PublicFeed { live: memory(SessionSeq(2)), ..PublicFeed::new() };
        let mut found = Ok(());
        let put_back = feed.put_back(|_, show| {
            found = show(SessionSeq(1), b"none");
            Ok(())
        });
        assert!(put_back.is_ok() && found.is_err());
        assert_eq!(feed.live().oldest_seq(), SessionSeq(2), "memory is as it was");
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_gap_that_is_not_seen_is_noticed() {
        crate::faults::mutation::assert_noticed(Mutation::LiveGapUnseen, a_gap_ends_the_past);
    }
}
