//! The book of one market: two ladders over shared pools, and the loop in which an order takes from the other side.
//!
//! It knows prices, quantities and time, nothing of money: whoever drives it (the engine, or a bench with the book
//! alone) hears of every fill through `MatchHandler`.

use crate::command::Side;
use crate::ladder::{Best, Ladder, Levels};
use crate::mutation::{Mutation, Planted};
use crate::slab::{NIL, Order, Orders};
use crate::units::{PriceTicks, QtyLots};

/// Orders that one command may meet. The remainder of an order that would meet more is cancelled, so that no command
/// holds the engine for longer than this many fills take.
pub const FILLS_PER_COMMAND_MAX: u32 = 2048;

/// What the books of all markets share.
#[derive(Debug)]
pub struct Pool {
    pub orders: Orders,
    pub levels: Levels,
}

#[derive(Debug)]
pub struct OrderBook {
    /// By `Side::idx`.
    sides: [Ladder; 2],
}

/// The incoming order, as far as matching changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taker {
    pub slot: u32,
    pub side: Side,
    pub limit: PriceTicks,
    pub leaves: QtyLots,
    pub cum: QtyLots,
}

/// What to do when the taker meets an order of its own owner.
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
    /// Nothing (more) on the other side within the limit.
    Limit,
    /// Self-trade prevention ended the taker, with or without something left.
    SelfTrade,
    FillLimit,
}

/// Hears what happens while an order takes.
pub trait MatchHandler {
    /// How to treat this maker: anything but `Trade` is self-trade prevention.
    fn treatment(&mut self, slot: u32, maker: &Order) -> Treatment;
    /// Both sides already have their quantities after the fill.
    fn fill(&mut self, maker: &Order, taker: &Taker, qty: QtyLots);
    /// A maker is gone from the book, filled; its slot is freed right after.
    fn maker_filled(&mut self, slot: u32, maker: &Order);
    /// A maker is gone from the book by self-trade prevention; its slot is freed right after.
    fn maker_canceled(&mut self, slot: u32, maker: &Order);
    /// Self-trade prevention took `qty` off a maker that keeps the rest.
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

    /// Whether an order of `side` at `price` would find somebody to trade with.
    #[inline]
    pub fn crosses(&self, side: Side, price: PriceTicks) -> bool {
        let other = self.ladder(side.opposite());
        other.best().is_some_and(|best| best.key <= other.key(price))
    }

    /// Puts an order at the end of the queue of its price.
    #[inline]
    pub fn rest(&mut self, pool: &mut Pool, slot: u32) {
        let side = pool.orders.get(slot).traits.side();
        debug_assert!(!self.crosses(side, pool.orders.get(slot).price), "a resting order never crosses the book");
        self.sides[side.idx()].append(&mut pool.levels, &mut pool.orders, slot);
    }

    #[inline]
    pub fn unlink(&mut self, pool: &mut Pool, slot: u32) {
        let side = pool.orders.get(slot).traits.side();
        self.sides[side.idx()].unlink(&mut pool.levels, &mut pool.orders, slot);
    }

    /// Takes from the other side, best price first and oldest first, until filled, blocked or out of reach.
    #[inline]
    pub fn take<M: MatchHandler>(&mut self, pool: &mut Pool, taker: &mut Taker, handler: &mut M) -> TakeEnd {
        let ladder = &mut self.sides[taker.side.opposite().idx()];
        let reach = ladder.key(taker.limit);
        let mut met_count = 0;
        while taker.leaves.0 > 0 {
            let Some(best) = ladder.best().filter(|best| best.key <= reach) else { return TakeEnd::Limit };
            if met_count == FILLS_PER_COMMAND_MAX {
                return TakeEnd::FillLimit;
            }
            met_count += 1;
            let slot = pool.levels.head(best.level).planted(Mutation::YoungestFirst, |_| youngest(pool, best));
            let maker = pool.orders.get(slot);
            // Whoever takes all of this maker meets the one behind it next.
            if maker.next != NIL {
                pool.orders.fetch(maker.next);
            }
            match handler.treatment(slot, maker) {
                Treatment::Trade => trade(ladder, pool, slot, taker, handler),
                Treatment::CancelTaker => return TakeEnd::SelfTrade,
                Treatment::CancelMaker => cancel_maker(ladder, pool, slot, handler),
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

    /// Brings into the cache what taking the order in `slot` out of its queue will touch; its own line should be there.
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

    /// Brings the youngest order of a price into the cache; the level itself should be there.
    #[inline]
    pub fn fetch_tail(&self, pool: &Pool, side: Side, price: PriceTicks) {
        let ladder = self.ladder(side);
        ladder.fetch_tail(&pool.levels, &pool.orders, ladder.key(price));
    }

    /// Levels of one side from the best price on: price, quantity, number of orders.
    pub fn depth<'a>(&'a self, pool: &'a Pool, side: Side) -> impl Iterator<Item = DepthLevel> + 'a {
        let ladder = self.ladder(side);
        self.levels(pool, side).map(move |best| {
            let mut level = DepthLevel { price: ladder.price(best.key), qty: QtyLots(0), order_count: 0 };
            for (_, order) in queue(pool, best) {
                level.qty.0 += order.leaves.0;
                level.order_count += 1;
            }
            level
        })
    }

    /// Resting orders of one side in the order in which they would trade.
    pub fn queue<'a>(&'a self, pool: &'a Pool, side: Side) -> impl Iterator<Item = (u32, &'a Order)> + 'a {
        self.levels(pool, side).flat_map(move |best| queue(pool, best))
    }

    fn levels<'a>(&'a self, pool: &'a Pool, side: Side) -> impl Iterator<Item = Best> + 'a {
        let ladder = self.ladder(side);
        std::iter::successors(ladder.best(), move |best| ladder.after(&pool.levels, best.key))
    }
}

/// One price of a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthLevel {
    pub price: PriceTicks,
    pub qty: QtyLots,
    pub order_count: u32,
}

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

#[inline]
fn trade<M: MatchHandler>(ladder: &mut Ladder, pool: &mut Pool, slot: u32, taker: &mut Taker, handler: &mut M) {
    let maker = pool.orders.get_mut(slot);
    let qty = QtyLots(taker.leaves.0.min(maker.leaves.0));
    maker.leaves.0 -= qty.0;
    maker.cum.0 += qty.0;
    taker.leaves.0 -= qty.0;
    taker.cum.0 += qty.0;
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

#[cold]
fn decrement<M: MatchHandler>(ladder: &mut Ladder, pool: &mut Pool, slot: u32, taker: &mut Taker, handler: &mut M) {
    let maker = pool.orders.get_mut(slot);
    let qty = QtyLots(taker.leaves.0.min(maker.leaves.0));
    taker.leaves.0 -= qty.0;
    handler.taker_reduced(taker, qty);
    if qty == maker.leaves {
        cancel_maker(ladder, pool, slot, handler);
    } else {
        maker.leaves.0 -= qty.0;
        handler.maker_reduced(maker, qty);
    }
}

#[inline]
fn remove(ladder: &mut Ladder, pool: &mut Pool, slot: u32) {
    ladder.unlink(&mut pool.levels, &mut pool.orders, slot);
    pool.orders.remove(slot);
}
