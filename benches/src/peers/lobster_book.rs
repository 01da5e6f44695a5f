//! `lobster` 0.7: balanced tree of levels with vectors of arena indices.
//!
//! It has no immediate-or-cancel limit and no amendment: the first is a limit order and a cancel of its remainder, the
//! second a cancel and a new order with the quantity that the stream says is open.

use crate::streams::{Cmd, Side};
use crate::subject::{Fills, Gone, Resting, Subject};
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
            OrderEvent::Filled { fills: met, filled_qty, .. }
            | OrderEvent::PartiallyFilled { fills: met, filled_qty, .. } => {
                for fill in &met {
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

    /// It does not say whether there was such an order.
    fn cancel(&mut self, id: u64) -> Option<Gone> {
        self.0.execute(OrderType::Cancel { id: u128::from(id) });
        None
    }

    fn amend<F: Fills>(&mut self, order: &Cmd, _qty: Option<u32>, fills: &mut F) -> Option<Gone> {
        self.0.execute(OrderType::Cancel { id: u128::from(order.id) });
        self.limit(order, fills);
        None
    }

    fn resting(&self) -> Option<Resting> {
        None
    }
}
