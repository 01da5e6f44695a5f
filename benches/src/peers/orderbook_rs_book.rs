//! `orderbook-rs` 0.15: skip lists of lock-free levels, made for many threads and driven here by one.
//!
//! Fills of an IOC remainder and of a repricing reach only its trade listener, so the adapter takes all fills from
//! there. A stub clock stands in for the system's.

use crate::streams::{Cmd, Side};
use crate::subject::{Fills, Gone, Resting, Subject};
use orderbook_rs::{Id, OrderBook, StubClock, TimeInForce};
use pricelevel::{OrderUpdate, Price};
use std::sync::{Arc, Mutex, PoisonError};

/// Taker, maker, price, quantity.
type Met = Vec<(u64, u64, u32, u32)>;

pub struct OrderbookRs {
    book: OrderBook<()>,
    met: Arc<Mutex<Met>>,
}

impl Default for OrderbookRs {
    fn default() -> Self {
        let met = Arc::new(Mutex::new(Met::with_capacity(4096)));
        let heard = Arc::clone(&met);
        let mut book = OrderBook::with_clock("BENCH", Arc::new(StubClock::new()));
        book.set_trade_listener(Arc::new(move |trade| {
            let mut met = heard.lock().unwrap_or_else(PoisonError::into_inner);
            for fill in trade.match_result.trades().as_vec() {
                let name = |id: Id| id.as_u64().unwrap_or(0);
                let (taker, maker) = (name(fill.taker_order_id()), name(fill.maker_order_id()));
                met.push((taker, maker, fill.price().as_u128() as u32, fill.quantity().as_u64() as u32));
            }
        }));
        Self { book, met }
    }
}

impl OrderbookRs {
    fn tell<F: Fills>(&self, fills: &mut F) -> u32 {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let traded = met.iter().map(|(.., qty)| qty).sum();
        met.drain(..).for_each(|(taker, maker, price, qty)| fills.fill(taker, maker, price, qty));
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
        // An IOC order with a remainder is an error there; its fills are heard all the same.
        let _refused = self.book.add_limit_order(id, price, u64::from(order.qty), side, tif, None);
        order.qty - self.tell(fills).min(order.qty)
    }

    fn cancel(&mut self, id: u64) -> Option<Gone> {
        // Nothing there is `Ok(None)`; other errors show up in the fill hash.
        let _gone = self.book.cancel_order(Id::sequential(id));
        None
    }

    fn amend<F: Fills>(&mut self, order: &Cmd, _qty: Option<u32>, fills: &mut F) -> Option<Gone> {
        let new_price = Price::new(u128::from(order.price));
        let _moved = self.book.update_order(OrderUpdate::UpdatePrice { order_id: Id::sequential(order.id), new_price });
        self.tell(fills);
        None
    }

    fn resting(&self) -> Option<Resting> {
        None
    }
}
