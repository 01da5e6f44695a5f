//! The requests of a load generator: seeded, bounded, of one of a few profiles.
//!
//! Invariant: a flow never counts more than `RESTING_MAX` orders as resting, so the book stays bounded however long it
//! runs. A flow does not read answers: that an order has traded shows when its cancel is refused, as in any real flow.

use api::binary::market::InstrumentDefinition;
use api::binary::orders::{CancelOrder, NewOrder, ReplaceOrder, TIF_IOC};
use api::binary::requests::Target;
use api::decimal::{PriceE9, QtyE8};
use book::command::{Side, StpMode};
use book::ids::{ClOrdId, MarketId};
use clap::ValueEnum;
use fastrand::Rng;
use std::collections::VecDeque;

/// Orders that one flow leaves in the book.
pub const RESTING_MAX: usize = 1_000;
/// Ticks between the middle and the farthest quote of a mixed flow.
const SPREAD_TICKS: u32 = 40;
/// Ticks between the middle and the nearest order of a flow whose orders only rest.
const FAR_TICKS: i64 = 10_000;
const LOTS_MAX: u32 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Orders far from the market that never trade, cancelled when there are many
    Rest,
    /// Quotes around a moving middle, amendments, cancels, takers
    Mixed,
}

impl Profile {
    pub fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Mixed => "mixed",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Request {
    New(NewOrder),
    Amend(ReplaceOrder),
    Cancel(CancelOrder),
}

/// The steps of prices and quantities of a market.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    pub market: MarketId,
    pub tick_e9: i64,
    /// The smallest quantity that the market accepts.
    pub qty_min_e8: i64,
}

impl Grid {
    pub fn of(definition: &InstrumentDefinition) -> Self {
        Self {
            market: MarketId(definition.instrument_id.get()),
            tick_e9: definition.tick_size_e9.get(),
            qty_min_e8: definition.min_qty_e8.get(),
        }
    }

    /// A price beyond the largest one of the wire becomes that one, which the node refuses.
    fn price(self, ticks: i64) -> PriceE9 {
        PriceE9(ticks.saturating_mul(self.tick_e9))
    }

    /// So many times the smallest quantity. One beyond the largest of the wire becomes that one, which the node
    /// refuses.
    fn qty(self, times: u32) -> QtyE8 {
        QtyE8(self.qty_min_e8.saturating_mul(times.into()))
    }
}

#[derive(Clone, Copy, Debug)]
struct Resting {
    cl_ord_id: ClOrdId,
    side: Side,
}

#[derive(Debug)]
pub struct Flow {
    profile: Profile,
    grid: Grid,
    rng: Rng,
    mid_ticks: i64,
    resting: VecDeque<Resting>,
    resting_max: usize,
}

impl Flow {
    pub fn new(profile: Profile, grid: Grid, mid_ticks: i64, resting_max: usize, seed: u64) -> Self {
        assert!(0 < resting_max && resting_max <= RESTING_MAX && 0 < mid_ticks);
        let resting = VecDeque::with_capacity(resting_max + 1);
        Self { profile, grid, rng: Rng::with_seed(seed), mid_ticks, resting, resting_max }
    }

    /// The next request, under this id.
    pub fn next(&mut self, cl_ord_id: ClOrdId) -> Request {
        if self.resting_max <= self.resting.len() {
            return self.cancel_oldest(cl_ord_id);
        }
        match self.profile {
            Profile::Rest => self.rest(cl_ord_id),
            Profile::Mixed => self.mixed(cl_ord_id),
        }
    }

    fn rest(&mut self, cl_ord_id: ClOrdId) -> Request {
        let side = self.side();
        let away = i64::from(self.rng.u32(..1_000));
        let ticks = match side {
            // Where the middle is near zero, bids get the lowest prices.
            Side::Buy => (self.mid_ticks - FAR_TICKS - away).max(1 + away),
            Side::Sell => self.mid_ticks + FAR_TICKS + 1_000 + away,
        };
        self.enter(cl_ord_id, side, ticks)
    }

    fn mixed(&mut self, cl_ord_id: ClOrdId) -> Request {
        let step = i64::from(self.rng.u32(..3)) - 1;
        if self.rng.u32(..8) == 0 {
            self.mid_ticks = (self.mid_ticks + step).max(2 * i64::from(SPREAD_TICKS));
        }
        match self.rng.u32(..100) {
            0..45 => self.quote(cl_ord_id),
            45..65 if !self.resting.is_empty() => self.amend(cl_ord_id),
            65..92 if !self.resting.is_empty() => self.cancel_any(cl_ord_id),
            92.. => self.take(cl_ord_id),
            _ => self.quote(cl_ord_id),
        }
    }

    fn quote(&mut self, cl_ord_id: ClOrdId) -> Request {
        let side = self.side();
        let ticks = self.quote_ticks(side);
        self.enter(cl_ord_id, side, ticks)
    }

    fn side(&mut self) -> Side {
        if self.rng.bool() { Side::Buy } else { Side::Sell }
    }

    /// More often near the middle than far from it.
    fn quote_ticks(&mut self, side: Side) -> i64 {
        let away = 1 + i64::from(self.rng.u32(..SPREAD_TICKS).min(self.rng.u32(..SPREAD_TICKS)));
        match side {
            Side::Buy => self.mid_ticks - away,
            Side::Sell => self.mid_ticks + away,
        }
    }

    fn enter(&mut self, cl_ord_id: ClOrdId, side: Side, ticks: i64) -> Request {
        self.resting.push_back(Resting { cl_ord_id, side });
        let qty = self.grid.qty(self.times());
        Request::New(self.limit(cl_ord_id, side, ticks, qty))
    }

    fn take(&mut self, cl_ord_id: ClOrdId) -> Request {
        let side = self.side();
        let reach = i64::from(SPREAD_TICKS) / 4;
        let ticks = if side == Side::Buy { self.mid_ticks + reach } else { self.mid_ticks - reach };
        let qty = self.grid.qty(2 * self.times());
        Request::New(NewOrder { tif: TIF_IOC, ..self.limit(cl_ord_id, side, ticks, qty) })
    }

    fn amend(&mut self, cl_ord_id: ClOrdId) -> Request {
        let at = self.rng.usize(..self.resting.len());
        let before = self.resting[at];
        let ticks = self.quote_ticks(before.side);
        self.resting[at] = Resting { cl_ord_id, ..before };
        let (price, qty) = (self.grid.price(ticks), self.grid.qty(self.times()));
        let target = Target::ClOrdId(before.cl_ord_id);
        Request::Amend(ReplaceOrder::open(cl_ord_id, target, self.grid.market, price, qty))
    }

    fn cancel_any(&mut self, cl_ord_id: ClOrdId) -> Request {
        let at = self.rng.usize(..self.resting.len());
        // The order of the remaining ones is arbitrary, because the flow picks at random.
        let gone = self.resting.swap_remove_back(at).expect("an index below the length");
        self.cancel(cl_ord_id, gone)
    }

    fn cancel_oldest(&mut self, cl_ord_id: ClOrdId) -> Request {
        let gone = self.resting.pop_front().expect("the flow is full");
        self.cancel(cl_ord_id, gone)
    }

    fn cancel(&self, cl_ord_id: ClOrdId, gone: Resting) -> Request {
        Request::Cancel(CancelOrder::new(cl_ord_id, Target::ClOrdId(gone.cl_ord_id), self.grid.market))
    }

    fn times(&mut self) -> u32 {
        1 + self.rng.u32(..LOTS_MAX)
    }

    fn limit(&self, cl_ord_id: ClOrdId, side: Side, ticks: i64, qty: QtyE8) -> NewOrder {
        let price = self.grid.price(ticks);
        // One generator may be both sides of the market, so its orders must be able to trade with each other.
        NewOrder { stp_mode: StpMode::None as u8, ..NewOrder::limit(cl_ord_id, self.grid.market, side, price, qty) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(profile: Profile) -> Flow {
        let grid = Grid { market: MarketId(1), tick_e9: 10, qty_min_e8: 5 };
        Flow::new(profile, grid, 50_000, 100, 7)
    }

    #[test]
    fn the_book_stays_bounded_and_prices_on_the_grid() {
        for profile in [Profile::Rest, Profile::Mixed] {
            let mut flow = flow(profile);
            let (mut news, mut cancels) = (0, 0);
            for id in 1..=20_000 {
                match flow.next(ClOrdId(id)) {
                    Request::New(order) => {
                        news += 1;
                        assert!(0 < order.price_e9.get() && order.price_e9.get() % 10 == 0);
                        assert!(0 < order.qty_e8.get() && order.qty_e8.get() % 5 == 0);
                    }
                    Request::Amend(_) => {}
                    Request::Cancel(_) => cancels += 1,
                }
                assert!(flow.resting.len() <= 100);
            }
            assert!(4_000 < news && 4_000 < cancels, "{news} and {cancels}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let (mut first, mut second) = (flow(Profile::Mixed), flow(Profile::Mixed));
        for id in (1..=1_000).map(ClOrdId) {
            assert_eq!(format!("{:?}", first.next(id)), format!("{:?}", second.next(id)));
        }
    }

    #[test]
    fn a_resting_flow_never_trades_with_itself() {
        let mut flow = flow(Profile::Rest);
        for id in 1..=1_000 {
            if let Request::New(order) = flow.next(ClOrdId(id)) {
                let ticks = order.price_e9.get() / 10;
                assert!(ticks <= 40_000 || 60_000 < ticks, "{ticks}");
            }
        }
    }
}
