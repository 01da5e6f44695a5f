//! Public events on their way from the engine to the market-data thread, in the order of the log.
//!
//! Market data never stops the engine. The items of a command enter the ring all or none; where they do not fit, they
//! are lost, and the ring says up to which command. The feed then takes its state from the shadow and goes on from
//! there. An item is published only once its command is released.

use book::event::Event;
use book::units::{Seq, Stamp};
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Events between engine and market data.
pub const FEED_ITEMS: usize = 1 << 16;
/// The most events that one command can push.
pub const FEED_ITEMS_PER_COMMAND_MAX: usize =
    2 * book::order_book::FILLS_PER_COMMAND_MAX as usize + book::engine::CANCELS_PER_COMMAND_MAX as usize + 16;

const _: () = assert!(2 * FEED_ITEMS_PER_COMMAND_MAX <= FEED_ITEMS);

/// An event that is published, or that the feed needs to encode others.
#[derive(Clone, Copy, Debug)]
pub struct FeedItem {
    pub stamp: Stamp,
    pub event: Event,
    /// Whether this is the last such event of its command.
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
            // Nothing is said of it, but readers that come later are sent no definition of the market.
            Event::MarketRemoved { .. } => true,
            // Nothing is said of this either, but the numbers of the feed go on elsewhere.
            Event::RunBegan { skipped, .. } => *skipped > 0,
            _ => false,
        }
    }
}

/// The engine loop's end.
pub struct FeedIn {
    ring: Producer<FeedItem>,
    lost_upto: Arc<AtomicU64>,
    /// Whether the items of the present command fit.
    has_room: bool,
}

/// The end of the market-data loop.
pub struct FeedOut {
    ring: Consumer<FeedItem>,
    lost_upto: Arc<AtomicU64>,
}

/// A ring for so many items, at least as many as one command can have.
pub fn feed_items(capacity: usize) -> (FeedIn, FeedOut) {
    let (producer, consumer) = RingBuffer::new(capacity);
    let lost_upto = Arc::<AtomicU64>::default();
    let feed_in = FeedIn { ring: producer, lost_upto: Arc::clone(&lost_upto), has_room: false };
    (feed_in, FeedOut { ring: consumer, lost_upto })
}

impl FeedIn {
    /// Begins a command.
    #[inline]
    pub fn begin(&mut self) {
        self.has_room = self.ring.slots() >= FEED_ITEMS_PER_COMMAND_MAX;
    }

    #[inline]
    pub fn push(&mut self, item: FeedItem) {
        if self.has_room {
            self.ring.push(item).expect("room for all items of a command was checked when it began");
        } else {
            self.lose(item.stamp.seq);
        }
    }

    #[cold]
    fn lose(&mut self, seq: Seq) {
        self.lost_upto.store(seq.0, Ordering::Release);
    }
}

impl FeedOut {
    /// The last command whose items did not fit; zero while there is none.
    #[inline]
    pub fn lost_upto(&self) -> Seq {
        Seq(self.lost_upto.load(Ordering::Acquire))
    }

    /// Takes the next item if its command is at or before `released`.
    #[inline]
    pub fn pop(&mut self, released: Seq) -> Option<FeedItem> {
        self.ring.peek().ok().filter(|item| item.stamp.seq <= released)?;
        self.ring.pop().ok()
    }

    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Whether so many items wait that the next ones may soon be lost.
    pub fn is_half_full(&self) -> bool {
        self.ring.buffer().capacity() / 2 <= self.ring.slots()
    }
}
