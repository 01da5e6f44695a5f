//! The book of one market: two ladders over shared pools, and the loop in which an order takes from the other side.
//!
//! It knows prices, quantities and priority, and nothing of money: every fill is reported through `MatchHandler`, which
//! the engine implements to settle it and a bench to count it. Invariants: no resting order crosses the other side;
//! better prices trade first and older orders of one price first; a fill moves quantity from open to filled on both
//! sides and loses none.

use crate::command::Side;
use crate::ids::ORDER_SLOTS_MAX;
use crate::ladder::{Best, Ladder, Levels};
use crate::mutation::{self, Mutation, Planted};
use crate::slab::{NIL, Order, Orders};
use crate::units::{PriceTicks, QTY_LOTS_MAX, QtyLots, UNITS_MAX};

/// How many resting orders one command may reach. When there are more, the remainder of its order is cancelled, so that
/// no command occupies the engine for longer than this many fills take.
pub const FILLS_PER_COMMAND_MAX: u32 = 2048;

/// The orders and price levels of all markets.
#[derive(Debug)]
pub struct Pool {
    pub orders: Orders,
    pub levels: Levels,
}

/// Both sides of one market's book.
#[derive(Debug)]
pub struct OrderBook {
    /// By `Side::idx`.
    sides: [Ladder; 2],
}

/// The incoming order, as far as matching changes it. Invariant: `leaves` only falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taker {
    pub slot: u32,
    pub side: Side,
    pub limit: PriceTicks,
    pub leaves: QtyLots,
    pub cum: QtyLots,
}

/// What happens between the taker and a resting order that it reaches: a trade, or self-trade prevention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    Trade,
    CancelTaker,
    CancelMaker,
    CancelBoth,
    Decrement,
}

/// Why taking ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeEnd {
    Filled,
    /// The other side has nothing, or nothing more, within the limit.
    Limit,
    /// Self-trade prevention ended the taker, with or without a remainder.
    SelfTrade,
    FillLimit,
}

/// Decides over each resting order that the taker reaches, and is called for all that happens.
pub trait MatchHandler {
    fn treatment(&mut self, slot: u32, maker: &Order) -> Treatment;
    /// A trade. The quantities of both sides are those after it.
    fn fill(&mut self, maker: &Order, taker: &Taker, qty: QtyLots);
    /// The maker is filled. It leaves the book, and its slot is freed, right after this call.
    fn maker_filled(&mut self, slot: u32, maker: &Order);
    /// Self-trade prevention cancels the maker. It leaves the book, and its slot is freed, right after this call.
    fn maker_canceled(&mut self, slot: u32, maker: &Order);
    /// Self-trade prevention took `qty` off the maker, and the rest of it stays.
    fn maker_reduced(&mut self, maker: &Order, qty: QtyLots);
    /// Self-trade prevention took `qty` off the taker.
    fn taker_reduced(&mut self, taker: &Taker, qty: QtyLots);
}

impl Default for OrderBook {
    fn default() -> Self {
        Self { sides: [Ladder::new(Side::Buy), Ladder::new(Side::Sell)] }
    }
}

impl OrderBook {
    pub fn ladder(&self, side: Side) -> &Ladder {
        &self.sides[side.idx()]
    }

    pub fn best_price(&self, side: Side) -> Option<PriceTicks> {
        let ladder = self.ladder(side);
        ladder.best().map(|best| ladder.price(best.key))
    }

    /// Whether an order of `side` at `price` would reach an order of the other side.
    #[inline]
    pub fn crosses(&self, side: Side, price: PriceTicks) -> bool {
        let other = self.ladder(side.opposite());
        other.best().is_some_and(|best| best.key <= other.key(price))
    }

    /// Puts an order at the end of the queue of its price.
    #[inline]
    pub fn rest(&mut self, pool: &mut Pool, slot: u32) {
        let order = pool.orders.get(slot);
        let side = order.traits.side();
        debug_assert!(0 < order.leaves.0 && 0 < order.price.0, "an order rests with something open, at a price");
        debug_assert!(!self.crosses(side, order.price), "a resting order never crosses the book");
        self.sides[side.idx()].append(&mut pool.levels, &mut pool.orders, slot);
    }

    /// Takes a resting order out of its queue; it keeps its slot.
    #[inline]
    pub fn unlink(&mut self, pool: &mut Pool, slot: u32) {
        let side = pool.orders.get(slot).traits.side();
        self.sides[side.idx()].unlink(&mut pool.levels, &mut pool.orders, slot);
    }

    /// Takes from the other side, best price and oldest order first, until the taker is filled or a `TakeEnd` stops it.
    #[inline]
    pub fn take<M: MatchHandler>(&mut self, pool: &mut Pool, taker: &mut Taker, handler: &mut M) -> TakeEnd {
        let ladder = &mut self.sides[taker.side.opposite().idx()];
        let reach = ladder.key(taker.limit).planted(Mutation::ReachTooShort, |key| key.saturating_sub(1));
        let mut reached_count = 0;
        while taker.leaves.0 > 0 {
            let Some(best) = ladder.best().filter(|best| best.key <= reach) else { return TakeEnd::Limit };
            if reached_count == FILLS_PER_COMMAND_MAX {
                return TakeEnd::FillLimit;
            }
            reached_count += 1;
            let slot = pool.levels.head(best.level).planted(Mutation::YoungestFirst, |_| youngest(pool, best));
            let maker = pool.orders.get(slot);
            assert!(maker.traits.side() != taker.side && 0 < maker.leaves.0, "a maker is open, on the other side");
            debug_assert!(ladder.key(maker.price) == best.key, "a maker rests at the price of its level");
            // When this maker is used up, the next one in its queue is needed.
            if maker.next != NIL {
                pool.orders.fetch(maker.next);
            }
            match handler.treatment(slot, maker) {
                Treatment::Trade => trade(ladder, pool, slot, taker, handler),
                Treatment::CancelTaker => return TakeEnd::SelfTrade,
                Treatment::CancelMaker => {
                    cancel_maker(ladder, pool, slot, handler);
                    mutation::when(Mutation::CanceledMakersNotReached, || reached_count -= 1);
                }
                Treatment::CancelBoth => {
                    cancel_maker(ladder, pool, slot, handler);
                    return TakeEnd::SelfTrade;
                }
                Treatment::Decrement => {
                    decrement(ladder, pool, slot, taker, handler);
                    if taker.leaves.0 == 0 {
                        return TakeEnd::SelfTrade;
                    }
                }
            }
        }
        TakeEnd::Filled
    }

    /// Brings into the cache what taking the order in `slot` out of its queue will touch. Cheap only when the order's
    /// own line is there already.
    #[inline]
    pub fn fetch_neighbours(pool: &Pool, slot: u32) {
        let Order { prev, next, level, .. } = *pool.orders.get(slot);
        for neighbour in [prev, next] {
            if neighbour != NIL {
                pool.orders.fetch(neighbour);
            }
        }
        pool.levels.fetch(level);
    }

    /// Brings the level of a price into the cache.
    #[inline]
    pub fn fetch_level(&self, pool: &Pool, side: Side, price: PriceTicks) {
        let ladder = self.ladder(side);
        ladder.fetch_level(&pool.levels, ladder.key(price));
    }

    /// Brings the youngest order of a price into the cache. Cheap only when the level is there already.
    #[inline]
    pub fn fetch_tail(&self, pool: &Pool, side: Side, price: PriceTicks) {
        let ladder = self.ladder(side);
        ladder.fetch_tail(&pool.levels, &pool.orders, ladder.key(price));
    }

    /// The levels of one side, from the best price on.
    ///
    /// A level has at most `QTY_LOTS_MAX` lots: each of them holds at least one unit of the asset that its side pays
    /// with (a lot is worth something on both sides, and a price is above zero), no two orders hold the same unit, and
    /// custody has at most `UNITS_MAX`.
    pub fn depth<'a>(&'a self, pool: &'a Pool, side: Side) -> impl Iterator<Item = DepthLevel> + 'a {
        let ladder = self.ladder(side);
        self.levels(pool, side).map(move |best| {
            let mut level = DepthLevel { price: ladder.price(best.key), qty: QtyLots(0), order_count: 0 };
            for (_, order) in queue(pool, best) {
                level.qty.grow(order.leaves, "the orders of a level are covered by what is in custody");
                level.order_count += 1;
            }
            level
        })
    }

    /// The resting orders of one side, in the order in which they would trade.
    pub fn queue<'a>(&'a self, pool: &'a Pool, side: Side) -> impl Iterator<Item = (u32, &'a Order)> + 'a {
        self.levels(pool, side).flat_map(move |best| queue(pool, best))
    }

    fn levels<'a>(&'a self, pool: &'a Pool, side: Side) -> impl Iterator<Item = Best> + 'a {
        let ladder = self.ladder(side);
        std::iter::successors(ladder.best(), move |best| ladder.after(&pool.levels, best.key))
    }
}

/// One price of a book, with all that rests at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthLevel {
    pub price: PriceTicks,
    /// At most `QTY_LOTS_MAX`, as a single order; on the wire, in 1e-8, it may be more than 63 bits hold.
    pub qty: QtyLots,
    pub order_count: u32,
}

const _: () = assert!(UNITS_MAX <= QTY_LOTS_MAX, "the orders of a level are covered by what is in custody");
// Orders of a level are counted in 32 bits.
const _: () = assert!(ORDER_SLOTS_MAX < u32::MAX);

fn queue(pool: &Pool, best: Best) -> impl Iterator<Item = (u32, &Order)> {
    let mut at = pool.levels.head(best.level);
    std::iter::from_fn(move || {
        (at != NIL).then(|| {
            let slot = at;
            let order = pool.orders.get(slot);
            at = order.next;
            (slot, order)
        })
    })
}

fn youngest(pool: &Pool, best: Best) -> u32 {
    queue(pool, best).last().expect("a level holds an order").0
}

/// Trades as much as both orders have open: afterwards one of them is filled.
#[inline]
fn trade<M: MatchHandler>(ladder: &mut Ladder, pool: &mut Pool, slot: u32, taker: &mut Taker, handler: &mut M) {
    let maker = pool.orders.get_mut(slot);
    let qty = taker.leaves.min(maker.leaves);
    let totals = (maker.leaves.0 + maker.cum.0, taker.leaves.0 + taker.cum.0);
    maker.leaves.reduce(qty, "a fill is at most what the maker has open");
    maker.cum.grow(qty.planted(Mutation::FillNotCounted, |_| QtyLots(0)), "an order is filled at most to its quantity");
    taker.leaves.reduce(qty, "a fill is at most what the taker has open");
    taker.cum.grow(qty, "an order is filled at most to its quantity");
    assert!(
        (maker.leaves.0 + maker.cum.0, taker.leaves.0 + taker.cum.0) == totals,
        "a fill moves quantity from open to filled and loses none"
    );
    assert!(maker.leaves.0 == 0 || taker.leaves.0 == 0, "a trade fills one of its two orders");
    handler.fill(maker, taker, qty);
    if maker.leaves.0 == 0 {
        handler.maker_filled(slot, maker);
        remove(ladder, pool, slot);
    }
}

#[cold]
fn cancel_maker<M: MatchHandler>(ladder: &mut Ladder, pool: &mut Pool, slot: u32, handler: &mut M) {
    handler.maker_canceled(slot, pool.orders.get(slot));
    remove(ladder, pool, slot);
}

/// Takes the smaller quantity off both orders without a trade: afterwards one of them has nothing open.
#[cold]
fn decrement<M: MatchHandler>(ladder: &mut Ladder, pool: &mut Pool, slot: u32, taker: &mut Taker, handler: &mut M) {
    let maker = pool.orders.get_mut(slot);
    let qty = taker.leaves.min(maker.leaves);
    taker.leaves.reduce(qty, "a decrement is at most what the taker has open");
    handler.taker_reduced(taker, qty);
    if qty == maker.leaves {
        return cancel_maker(ladder, pool, slot, handler);
    }
    maker.leaves.reduce(qty, "a decrement is at most what the maker has open");
    assert!(0 < maker.leaves.0 && taker.leaves.0 == 0, "the order with less open is the one that ends");
    handler.maker_reduced(maker, qty);
}

/// Takes a maker out of its queue and frees its slot.
#[inline]
fn remove(ladder: &mut Ladder, pool: &mut Pool, slot: u32) {
    ladder.unlink(&mut pool.levels, &mut pool.orders, slot);
    pool.orders.remove(slot);
}
