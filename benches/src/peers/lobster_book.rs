//! `lobster` 0.7: a balanced tree of levels that are vectors of arena indices.
//!
//! It has neither immediate-or-cancel limit orders nor amendments. The adapter makes the first a limit order and a
//! cancel of its remainder, the second a cancel and a new order with the open quantity that the stream gives.

use crate::streams::{Cmd, Resting, Side};
use crate::subject::{Fills, Removed, Subject};
use lobster::{OrderBook, OrderEvent, OrderType};

#[derive(Debug)]
pub struct Lobster(OrderBook);

impl Lobster {
    pub fn new(orders: usize) -> Self {
        Self(OrderBook::new(orders, 16, false))
    }

    fn limit<F: Fills>(&mut self, order: &Cmd, fills: &mut F) -> u32 {
        let side = match order.side {
            Side::Bid => lobster::Side::Bid,
            Side::Ask => lobster::Side::Ask,
        };
        let (id, qty, price) = (u128::from(order.id), u64::from(order.qty), u64::from(order.price));
        match self.0.execute(OrderType::Limit { id, side, qty, price }) {
            OrderEvent::Filled { fills: matched, filled_qty, .. }
            | OrderEvent::PartiallyFilled { fills: matched, filled_qty, .. } => {
                for fill in &matched {
                    fills.fill(fill.order_1 as u64, fill.order_2 as u64, fill.price as u32, fill.qty as u32);
                }
                order.qty - filled_qty as u32
            }
            _ => order.qty,
        }
    }
}

impl Subject for Lobster {
    const NAME: &'static str = "lobster 0.7";

    fn place<F: Fills>(&mut self, order: &Cmd, fills: &mut F) -> u32 {
        let left = self.limit(order, fills);
        if left > 0 && order.ioc {
            self.0.execute(OrderType::Cancel { id: u128::from(order.id) });
        }
        left
    }

    /// Returns `None` always: this book does not report whether such an order rested.
    fn cancel(&mut self, id: u64) -> Option<Removed> {
        self.0.execute(OrderType::Cancel { id: u128::from(id) });
        None
    }

    fn amend<F: Fills>(&mut self, order: &Cmd, _qty: Option<u32>, fills: &mut F) -> Option<Removed> {
        self.0.execute(OrderType::Cancel { id: u128::from(order.id) });
        self.limit(order, fills);
        None
    }

    fn resting(&self) -> Option<Resting> {
        None
    }
}
