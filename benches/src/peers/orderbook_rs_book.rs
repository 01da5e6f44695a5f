//! `orderbook-rs` 0.15: skip lists of lock-free levels, made for many threads and driven here by one.
//!
//! Only its trade listener reports the fills of an IOC order with a remainder and of an amendment, so the adapter reads
//! all fills there. A stub clock replaces the system's.

use crate::streams::{Cmd, Resting, Side};
use crate::subject::{Fills, Removed, Subject};
use orderbook_rs::{Id, OrderBook, StubClock, TimeInForce};
use pricelevel::{OrderUpdate, Price};
use std::sync::{Arc, Mutex, PoisonError};

/// Taker, maker, price and quantity of each trade.
type Trades = Vec<(u64, u64, u32, u32)>;

pub struct OrderbookRs {
    book: OrderBook<()>,
    trades: Arc<Mutex<Trades>>,
}

impl Default for OrderbookRs {
    fn default() -> Self {
        let trades = Arc::new(Mutex::new(Trades::with_capacity(4096)));
        let reported = Arc::clone(&trades);
        let mut book = OrderBook::with_clock("BENCH", Arc::new(StubClock::new()));
        book.set_trade_listener(Arc::new(move |trade| {
            let mut trades = reported.lock().unwrap_or_else(PoisonError::into_inner);
            for fill in trade.match_result.trades().as_vec() {
                let name = |id: Id| id.as_u64().unwrap_or(0);
                let (taker, maker) = (name(fill.taker_order_id()), name(fill.maker_order_id()));
                trades.push((taker, maker, fill.price().as_u128() as u32, fill.quantity().as_u64() as u32));
            }
        }));
        Self { book, trades }
    }
}

impl OrderbookRs {
    /// Passes on the trades of the command just run; returns their quantity.
    fn report<F: Fills>(&self, fills: &mut F) -> u32 {
        let mut trades = self.trades.lock().unwrap_or_else(PoisonError::into_inner);
        let traded = trades.iter().map(|(.., qty)| qty).sum();
        trades.drain(..).for_each(|(taker, maker, price, qty)| fills.fill(taker, maker, price, qty));
        traded
    }
}

impl Subject for OrderbookRs {
    const NAME: &'static str = "orderbook-rs 0.15";

    fn place<F: Fills>(&mut self, order: &Cmd, fills: &mut F) -> u32 {
        let side = match order.side {
            Side::Bid => orderbook_rs::Side::Buy,
            Side::Ask => orderbook_rs::Side::Sell,
        };
        let tif = if order.ioc { TimeInForce::Ioc } else { TimeInForce::Gtc };
        let (id, price) = (Id::sequential(order.id), u128::from(order.price));
        // An IOC order with a remainder is an error here; the listener reports its fills all the same.
        let _refused = self.book.add_limit_order(id, price, u64::from(order.qty), side, tif, None);
        order.qty - self.report(fills).min(order.qty)
    }

    fn cancel(&mut self, id: u64) -> Option<Removed> {
        // An unknown order is `Ok(None)`; any other error shows up in the fill hash.
        let _canceled = self.book.cancel_order(Id::sequential(id));
        None
    }

    fn amend<F: Fills>(&mut self, order: &Cmd, _qty: Option<u32>, fills: &mut F) -> Option<Removed> {
        let new_price = Price::new(u128::from(order.price));
        let _moved = self.book.update_order(OrderUpdate::UpdatePrice { order_id: Id::sequential(order.id), new_price });
        self.report(fills);
        None
    }

    fn resting(&self) -> Option<Resting> {
        None
    }
}
