//! Pinion's order book alone: `OrderBook` over a `Pool`, with fills reported through `MatchHandler`, without accounts
//! or events.
//!
//! There are two contracts, which differ in how a cancel or a move names its order:
//! - `ExchangeIds`: by the id that the exchange gave the order at acceptance, as clients of the product do. The streams
//!   know only their own ids. The book is deterministic, so an untimed pass over the same stream finds the ids that it
//!   will give out and writes them into the cancels and moves; see `measure::Works`.
//! - `ClientIds`: by an arbitrary 64-bit number of the client's, through the product's own index of client ids.

use crate::streams::{Cmd, Op, Resting, Side};
use crate::subject::{Fills, Removed, Subject};
use book::cl_ord_index::ClOrdIndex;
use book::command::{Side as BookSide, StpMode};
use book::hash_key::HashKey;
use book::ids::{AccountId, ClOrdId, MarketId, OrderId, SessionId};
use book::ladder::Levels;
use book::look_ahead::{Step, each_step, pays};
use book::order_book::{MatchHandler, OrderBook, Pool, Taker, Treatment};
use book::slab::{NIL, Order, OrderTraits, Orders};
use book::units::{PriceTicks, QtyLots};

/// How a book finds an order by the id in a command.
pub trait Ids {
    const NAME: &'static str;

    fn with_capacity(orders: usize) -> Self;
    fn find(&self, orders: &Orders, id: u64) -> Option<u32>;
    /// Prefetches the cache lines that `find` will touch.
    fn fetch(&self, id: u64);
    /// The slot that `find` will probably return, found without touching the order itself.
    fn guess(&self, id: u64) -> Option<u32>;
    fn insert(&mut self, id: u64, slot: u32);
    fn remove(&mut self, id: u64, slot: u32);
}

#[derive(Debug)]
pub struct ExchangeIds;

impl Ids for ExchangeIds {
    const NAME: &'static str = "pinion, exchange ids";

    fn with_capacity(_orders: usize) -> Self {
        Self
    }

    #[inline(always)]
    fn find(&self, orders: &Orders, id: u64) -> Option<u32> {
        orders.find(OrderId(id))
    }

    #[inline(always)]
    fn fetch(&self, _id: u64) {}

    #[inline(always)]
    fn guess(&self, id: u64) -> Option<u32> {
        Some(OrderId(id).slot())
    }

    #[inline(always)]
    fn insert(&mut self, _id: u64, _slot: u32) {}

    #[inline(always)]
    fn remove(&mut self, _id: u64, _slot: u32) {}
}

const SESSION: SessionId = SessionId(1);

#[derive(Debug)]
pub struct ClientIds(ClOrdIndex);

impl Ids for ClientIds {
    const NAME: &'static str = "pinion, client ids";

    fn with_capacity(orders: usize) -> Self {
        Self(ClOrdIndex::with_capacity(orders, HashKey::default()))
    }

    #[inline(always)]
    fn find(&self, orders: &Orders, id: u64) -> Option<u32> {
        self.0.find(orders, SESSION, ClOrdId(id))
    }

    #[inline(always)]
    fn fetch(&self, id: u64) {
        self.0.fetch(SESSION, ClOrdId(id));
    }

    #[inline(always)]
    fn guess(&self, id: u64) -> Option<u32> {
        self.0.guess(SESSION, ClOrdId(id))
    }

    #[inline(always)]
    fn insert(&mut self, id: u64, slot: u32) {
        self.0.insert(SESSION, ClOrdId(id), slot);
    }

    #[inline(always)]
    fn remove(&mut self, id: u64, slot: u32) {
        self.0.remove(SESSION, ClOrdId(id), slot);
    }
}

#[derive(Debug)]
pub struct Pinion<I> {
    book: OrderBook,
    pool: Pool,
    ids: I,
}

/// Passes fills on and removes filled makers from the index.
struct Matches<'a, I, F> {
    taker: u64,
    ids: &'a mut I,
    fills: &'a mut F,
}

impl<I: Ids, F: Fills> MatchHandler for Matches<'_, I, F> {
    #[inline(always)]
    fn treatment(&mut self, _slot: u32, _maker: &Order) -> Treatment {
        Treatment::Trade
    }

    #[inline(always)]
    fn fill(&mut self, maker: &Order, _taker: &Taker, qty: QtyLots) {
        self.fills.fill(self.taker, maker.cl_ord_id.0, maker.price.0, qty.0 as u32);
    }

    #[inline(always)]
    fn maker_filled(&mut self, slot: u32, maker: &Order) {
        self.ids.remove(maker.cl_ord_id.0, slot);
    }

    fn maker_canceled(&mut self, _slot: u32, _maker: &Order) {}
    fn maker_reduced(&mut self, _maker: &Order, _qty: QtyLots) {}
    fn taker_reduced(&mut self, _taker: &Taker, _qty: QtyLots) {}
}

impl<I: Ids> Pinion<I> {
    /// Makes room for `orders` at once; beyond that, arrays grow while the bench runs.
    pub fn new(orders: usize) -> Self {
        Self {
            book: OrderBook::default(),
            pool: Pool { orders: Orders::with_capacity(orders), levels: Levels::with_capacity(orders / 8 + 64) },
            ids: I::with_capacity(orders),
        }
    }

    /// The exchange's id of the order that the stream names `id`.
    pub fn order_id(&self, id: u64) -> Option<OrderId> {
        self.ids.find(&self.pool.orders, id).map(|slot| self.pool.orders.get(slot).id)
    }

    #[inline(always)]
    fn take<F: Fills>(&mut self, id: u64, side: BookSide, price: u32, qty: u64, cum: u64, fills: &mut F) -> Taker {
        let limit = PriceTicks(price);
        let mut taker = Taker { slot: NIL, side, limit, leaves: QtyLots(qty), cum: QtyLots(cum) };
        if self.book.crosses(side, limit) {
            let mut matches = Matches { taker: id, ids: &mut self.ids, fills };
            self.book.take(&mut self.pool, &mut taker, &mut matches);
        }
        taker
    }
}

impl<I: Ids> Pinion<I> {
    /// The same prefetching as the engine's (`book::look_ahead`), for the parts that the book alone has.
    #[inline(always)]
    fn fetch(&self, step: Step, cmd: &Cmd) {
        let is_new = cmd.op == Op::New;
        let slot = || self.ids.guess(cmd.id).filter(|&slot| (slot as usize) < self.pool.orders.slots_len());
        match step {
            Step::Name => self.ids.fetch(cmd.id),
            Step::Line if !is_new => {
                if let Some(slot) = slot() {
                    self.pool.orders.fetch(slot);
                }
            }
            Step::Line => {}
            Step::Queue => {
                if !is_new && let Some(slot) = slot() {
                    OrderBook::fetch_neighbours(&self.pool, slot);
                }
                if cmd.op != Op::Cancel {
                    self.book.fetch_level(&self.pool, book_side(cmd.side), PriceTicks(cmd.price));
                }
            }
            Step::Tail if cmd.op != Op::Cancel => {
                self.book.fetch_tail(&self.pool, book_side(cmd.side), PriceTicks(cmd.price));
            }
            Step::Tail => {}
        }
    }
}

impl<I: Ids> Subject for Pinion<I> {
    const NAME: &'static str = I::NAME;

    #[inline(always)]
    fn look_ahead(&self, coming: &[Cmd]) {
        if pays(&self.pool.orders) {
            each_step(|distance| coming.get(distance), |step, cmd| self.fetch(step, cmd));
        }
    }

    #[inline(always)]
    fn place<F: Fills>(&mut self, order: &Cmd, fills: &mut F) -> u32 {
        let side = book_side(order.side);
        let taker = self.take(order.id, side, order.price, u64::from(order.qty), 0, fills);
        if taker.leaves.0 > 0 && !order.ioc {
            let slot = self.pool.orders.insert(record(order, side, &taker));
            self.book.rest(&mut self.pool, slot);
            self.ids.insert(order.id, slot);
        }
        taker.leaves.0 as u32
    }

    #[inline(always)]
    fn cancel(&mut self, id: u64) -> Option<Removed> {
        let slot = self.ids.find(&self.pool.orders, id)?;
        self.book.unlink(&mut self.pool, slot);
        self.ids.remove(id, slot);
        let removed = removed(self.pool.orders.get(slot));
        self.pool.orders.remove(slot);
        Some(removed)
    }

    #[inline(always)]
    fn amend<F: Fills>(&mut self, order: &Cmd, qty: Option<u32>, fills: &mut F) -> Option<Removed> {
        let slot = self.ids.find(&self.pool.orders, order.id)?;
        self.book.unlink(&mut self.pool, slot);
        let moved = self.pool.orders.get(slot);
        let (before, id, cum) = (removed(moved), moved.cl_ord_id.0, moved.cum.0);
        let open = qty.unwrap_or(before.qty);
        let taker = self.take(id, book_side(before.side), order.price, u64::from(open), cum, fills);
        if taker.leaves.0 > 0 {
            let moved = self.pool.orders.get_mut(slot);
            moved.price = taker.limit;
            moved.leaves = taker.leaves;
            moved.cum = taker.cum;
            self.book.rest(&mut self.pool, slot);
        } else {
            self.ids.remove(id, slot);
            self.pool.orders.remove(slot);
        }
        Some(before)
    }

    fn resting(&self) -> Option<Resting> {
        let sum = |resting: Resting, (_, order): (u32, &Order)| Resting {
            orders: resting.orders + 1,
            qty: resting.qty + order.leaves.0,
        };
        let sides = [BookSide::Buy, BookSide::Sell];
        Some(sides.iter().flat_map(|&side| self.book.queue(&self.pool, side)).fold(Resting::default(), sum))
    }
}

#[inline(always)]
pub fn book_side(side: Side) -> BookSide {
    match side {
        Side::Bid => BookSide::Buy,
        Side::Ask => BookSide::Sell,
    }
}

#[inline(always)]
fn removed(order: &Order) -> Removed {
    let side = match order.traits.side() {
        BookSide::Buy => Side::Bid,
        BookSide::Sell => Side::Ask,
    };
    Removed { side, price: order.price.0, qty: order.leaves.0 as u32 }
}

#[inline(always)]
fn record(order: &Cmd, side: BookSide, taker: &Taker) -> Order {
    Order {
        id: OrderId::NONE,
        leaves: taker.leaves,
        cum: taker.cum,
        cl_ord_id: ClOrdId(order.id),
        prev: NIL,
        next: NIL,
        level: NIL,
        account: AccountId(u32::from(order.user)),
        session: SESSION,
        market: MarketId(1),
        price: PriceTicks(order.price),
        stp_group: 0,
        traits: OrderTraits::new(side, false, true, StpMode::None),
        cancel_group: 0,
    }
}

/// Maps the stream's dense ids one to one to scattered 64-bit numbers, as a client might send them: the finaliser of
/// SplitMix64 (Steele, Lea and Flood 2014).
pub fn scattered(id: u64) -> u64 {
    let id = (id ^ (id >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let id = (id ^ (id >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    id ^ (id >> 31)
}
