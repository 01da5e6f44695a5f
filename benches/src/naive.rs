//! The naive twin: the simplest correct book, and the base of every ratio.
//!
//! Levels lie in a balanced tree; each is a queue that is searched from its front; a hash map leads from an id to side
//! and price.

use crate::streams::{Cmd, Resting, Side};
use crate::subject::{Fills, Removed, Subject};
use std::collections::{BTreeMap, HashMap, VecDeque};

#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: u64,
    qty: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Naive {
    sides: [BTreeMap<u32, VecDeque<Waiting>>; 2],
    places: HashMap<u64, (Side, u32)>,
}

impl Naive {
    fn take<F: Fills>(&mut self, taker: u64, side: Side, limit: u32, mut qty: u32, fills: &mut F) -> u32 {
        let other = &mut self.sides[side.opposite().idx()];
        while qty > 0 {
            let best = if side == Side::Bid { other.first_entry() } else { other.last_entry() };
            let Some(mut level) = best else { break };
            let price = *level.key();
            let reaches = if side == Side::Bid { price <= limit } else { price >= limit };
            if !reaches {
                break;
            }
            let queue = level.get_mut();
            while let Some(maker) = queue.front_mut().filter(|_| qty > 0) {
                let traded = qty.min(maker.qty);
                fills.fill(taker, maker.id, price, traded);
                qty -= traded;
                maker.qty -= traded;
                if maker.qty == 0 {
                    self.places.remove(&maker.id);
                    queue.pop_front();
                }
            }
            if queue.is_empty() {
                level.remove();
            }
        }
        qty
    }

    fn rest(&mut self, id: u64, side: Side, price: u32, qty: u32) {
        self.sides[side.idx()].entry(price).or_default().push_back(Waiting { id, qty });
        self.places.insert(id, (side, price));
    }
}

impl Subject for Naive {
    const NAME: &'static str = "naive twin";

    #[inline]
    fn place<F: Fills>(&mut self, order: &Cmd, fills: &mut F) -> u32 {
        let left = self.take(order.id, order.side, order.price, order.qty, fills);
        if left > 0 && !order.ioc {
            self.rest(order.id, order.side, order.price, left);
        }
        left
    }

    #[inline]
    fn cancel(&mut self, id: u64) -> Option<Removed> {
        let (side, price) = self.places.remove(&id)?;
        let levels = &mut self.sides[side.idx()];
        let queue = levels.get_mut(&price)?;
        let at = queue.iter().position(|waiting| waiting.id == id)?;
        let qty = queue.remove(at)?.qty;
        if queue.is_empty() {
            levels.remove(&price);
        }
        Some(Removed { side, price, qty })
    }

    #[inline]
    fn amend<F: Fills>(&mut self, order: &Cmd, qty: Option<u32>, fills: &mut F) -> Option<Removed> {
        let removed = self.cancel(order.id)?;
        let left = self.take(order.id, removed.side, order.price, qty.unwrap_or(removed.qty), fills);
        if left > 0 {
            self.rest(order.id, removed.side, order.price, left);
        }
        Some(removed)
    }

    fn resting(&self) -> Option<Resting> {
        let waiting = self.sides.iter().flat_map(|side| side.values().flatten());
        Some(
            waiting
                .fold(Resting::default(), |sum, w| Resting { orders: sum.orders + 1, qty: sum.qty + u64::from(w.qty) }),
        )
    }
}
