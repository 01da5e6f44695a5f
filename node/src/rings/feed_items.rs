//! Public events on their way from the engine to the market-data thread, in the order of the log.
//!
//! A full ring stops the engine from running commands: a command runs only when there is room for all of its items. An
//! item is published only once its command is released.

use book::event::Event;
use book::units::Stamp;

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
            _ => false,
        }
    }
}
