//! The flow of commands that a session sends to a node: post-only orders that rest, and cancels of the oldest of them.
//!
//! ```text
//! number     1   2   3 ...  W | W+1   W+2   W+3   W+4 ...        from then on W orders rest, half of them bids
//! command    add add add      | cancel add  cancel add           no bid ever reaches an ask
//! ```
//! Command `n` carries the client order id `n`, which its one answer repeats.

use crate::fixture::{PRICE_ONE_E9, QTY_ONE_E8};
use api::binary::orders::{CancelOrder, EXEC_POST_ONLY, NewOrder};
use api::binary::requests::Target;
use api::binary::sbe::Framed;
use api::binary::soup::{PacketKind, append_packet};
use api::decimal::{PriceE9, QtyE8};
use book::command::Side;
use book::ids::{ClOrdId, MarketId};
use std::collections::VecDeque;
use zerocopy::IntoBytes;

/// Orders that rest once the flow of a single session has begun to cancel.
pub const RESTING: u64 = 1_000;
/// Prices on each side.
const LEVELS: u64 = 50;
const MIDDLE: i64 = 1_000;

/// Makes the commands of one session, one after the other.
#[derive(Clone, Debug)]
pub struct Flow {
    market: MarketId,
    /// Orders that rest once the flow has begun to cancel.
    resting_max: u64,
    /// Number of the latest command.
    number: u64,
    /// Numbers of the orders that rest, oldest first.
    resting: VecDeque<u64>,
}

impl Flow {
    pub fn new(market: MarketId) -> Self {
        Self::with_resting(market, RESTING)
    }

    pub fn with_resting(market: MarketId, resting_max: u64) -> Self {
        let resting = VecDeque::with_capacity(resting_max as usize + 1);
        Self { market, resting_max, number: 0, resting }
    }

    /// For a session that has used every number below `first` already.
    pub fn after(market: MarketId, first: u64) -> Self {
        Self { number: first - 1, ..Self::new(market) }
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn resting(&self) -> u64 {
        self.resting.len() as u64
    }

    /// Appends the next command as a packet and returns its number.
    #[inline]
    pub fn append(&mut self, out: &mut Vec<u8>) -> u64 {
        self.number += 1;
        let id = ClOrdId(self.number);
        let oldest = if self.resting.len() as u64 >= self.resting_max { self.resting.pop_front() } else { None };
        match oldest {
            Some(oldest) => {
                let cancel = CancelOrder::new(id, Target::ClOrdId(ClOrdId(oldest)), self.market);
                append_packet(PacketKind::Unsequenced, Framed::new(cancel).as_bytes(), out);
            }
            None => {
                append_packet(PacketKind::Unsequenced, Framed::new(self.add(id)).as_bytes(), out);
                self.resting.push_back(self.number);
            }
        }
        self.number
    }

    fn add(&self, id: ClOrdId) -> NewOrder {
        // Once the flow cancels, every second command is an add; every second add is a bid.
        let (side, step) = if (self.number / 2).is_multiple_of(2) { (Side::Buy, -1) } else { (Side::Sell, 1) };
        let away = 1 + (self.number / 4 % LEVELS) as i64;
        let price = PriceE9((MIDDLE + step * away) * PRICE_ONE_E9);
        NewOrder { exec_inst: EXEC_POST_ONLY, ..NewOrder::limit(id, self.market, side, price, QtyE8(QTY_ONE_E8)) }
    }
}
