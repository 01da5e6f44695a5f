//! From the engine to the feed thread: every event that the public may see, in the order of the log.
//!
//! A full ring holds the engine's intake up: a command is taken only when there is room for all of its items. An item is
//! published only when the log is released up to its command.

use book::event::Event;
use book::units::Stamp;

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
