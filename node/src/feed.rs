//! What the public may see, on its way from the engine to the market-data readers.
//!
//! The feed has a thread and a ring of its own: readers cost the pinned core one copy per event, however many they are.
//! Invariants: an item is taken from the ring only when its command is released; the live stream is built from the log
//! alone, so its numbers go on after a restart where they stopped.

use api::depth::Depth;
use api::feed::FeedEncoder;
use api::instruments::Instruments;
use api::market::MarketMessage;
use api::stream::{SessionSeq, Stream};
use book::event::Event;
use book::units::Stamp;

/// Live messages kept in memory for readers that join late or were away for a moment.
pub const LIVE_MESSAGES: usize = 1 << 20;
const LIVE_BYTES: usize = 72 * LIVE_MESSAGES;

/// Events between engine and feed.
pub const FEED_ITEMS: usize = 1 << 16;
/// What one command may push.
pub const FEED_ITEMS_PER_COMMAND_MAX: usize =
    2 * book::order_book::FILLS_PER_COMMAND_MAX as usize + book::engine::CANCELS_PER_COMMAND_MAX as usize + 16;

const _: () = assert!(2 * FEED_ITEMS_PER_COMMAND_MAX <= FEED_ITEMS);

/// One event that the public sees, or that the feed needs to render others.
#[derive(Clone, Copy, Debug)]
pub struct FeedItem {
    pub stamp: Stamp,
    pub event: Event,
    /// The last such event of its command.
    pub last: bool,
}

impl FeedItem {
    pub fn is_public(event: &Event) -> bool {
        match event {
            Event::Rested(_) | Event::Fill(_) | Event::Amended(_) => true,
            Event::Canceled(e) => e.was_resting,
            Event::Reduced(e) => e.was_resting,
            Event::AssetAdded(_)
            | Event::MarketAdded(_)
            | Event::MarketRulesChanged(_)
            | Event::MarketStatusChanged { .. } => true,
            _ => false,
        }
    }
}

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

impl Default for FeedState {
    fn default() -> Self {
        Self::new()
    }
}
