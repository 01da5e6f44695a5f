//! A population of accounts on any number of markets, with any number of orders at rest. The flow is of one kind, so
//! that two figures differ in that number alone.
//!
//! ```text
//! of 100 commands    5  take the best orders of the other side, immediate or cancel
//!                   40  amend: a quarter of them halve the quantity, the others change the price
//!                   55  add or cancel, whichever brings the number of orders at rest back to its target
//! ```
//! `book::testing::workload` moves the price of every market before each command and fills a book by its own mix, which
//! is too slow at ten thousand markets and at ten million orders; hence this flow, on the same random numbers.
//! Accounts, markets and orders are drawn evenly, the worst case for caches. Invariant: neither an add nor an amendment
//! reaches the other side, and no command is refused.

use crate::exchange::{Exchange, market_spec, session_spec, symbol};
use anyhow::Result;
use book::accounts::OPEN_ORDERS_MAX;
use book::command::{
    AccountKind, AccountSpec, Admin, AmendOrder, AmendQty, CancelOrder, Command, OrderKind, OrderRef, PlaceOrder, Side,
    StpMode, Tif,
};
use book::engine::{Capacity, Engine};
use book::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use book::slab::Order;
use book::testing::workload::rng::Rng;
use book::units::{PriceTicks, QtyLots, TsNs, UNITS_MAX, Units};

/// Bids lie below this price, asks above it.
const MIDDLE: u32 = 1 << 20;
const ORDERS_PER_LEVEL: u32 = 10;
/// Bounds of the number of price levels on one side of a market.
const LEVELS_MIN: u32 = 10;
const LEVELS_MAX: u32 = MIDDLE / 2;
const QTY_MAX: u32 = 100;

/// The size of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub markets: u32,
    /// Accounts, each with a session of its own and a balance of every asset.
    pub accounts: u32,
    /// Orders at rest, over all markets.
    pub orders: u32,
}

impl Shape {
    /// Makes the exchange as it is before its first order: assets, markets, accounts, sessions and balances.
    pub fn open(self) -> Result<Exchange<false>> {
        let mut exchange = Exchange::new(self.capacity());
        let (bases, quotes) = self.assets();
        for number in 1..=bases + quotes {
            exchange.admin(Admin::AddAsset { symbol: symbol(&format!("A{number}"))?, scale: 8 })?;
        }
        for number in 0..self.markets {
            let (base, quote) = (AssetId(number % bases + 1), AssetId(bases + number / bases + 1));
            exchange.admin(Admin::AddMarket(market_spec(&format!("M{number}"), base, quote)?))?;
        }
        for number in 1..=self.accounts {
            self.add_account(&mut exchange, number, bases + quotes)?;
        }
        Ok(exchange)
    }

    /// The numbers of base and of quote assets whose pairs are the markets: about the square root of the markets each.
    fn assets(self) -> (u32, u32) {
        let bases = self.markets.isqrt();
        (bases, self.markets.div_ceil(bases))
    }

    fn add_account(self, exchange: &mut Exchange<false>, number: u32, assets: u32) -> Result<()> {
        let (account, name) = (AccountId(number), format!("client {number}"));
        let spec = AccountSpec { name, kind: AccountKind::Client, parent: AccountId::NONE, fee_tier: 0 };
        exchange.admin(Admin::AddAccount(spec))?;
        // At some points a single account holds all orders at rest.
        exchange.admin(Admin::SetAccountLimits { account, open_orders_max: OPEN_ORDERS_MAX })?;
        exchange.admin(Admin::AddSession(session_spec(account, number)?))?;
        let amount = Units(UNITS_MAX / 2 / u64::from(self.accounts));
        (1..=assets).try_for_each(|asset| exchange.deposit(account, AssetId(asset), amount))
    }

    /// Room for everything from the start, so that no array is copied while the clock runs.
    fn capacity(self) -> Capacity {
        let leaves_per_side = self.levels() as usize / 64 + 2;
        let markets = self.markets as usize;
        Capacity { orders: self.orders as usize + 1_024, leaves: 2 * markets * leaves_per_side, markets, names: 1 }
    }

    fn levels(self) -> u32 {
        (self.orders / self.markets / 2 / ORDERS_PER_LEVEL).clamp(LEVELS_MIN, LEVELS_MAX)
    }
}

/// Makes the commands, one after the other: the same seed and the same engine give the same commands.
#[derive(Clone, Debug)]
pub struct Population {
    shape: Shape,
    levels: u32,
    rng: Rng,
    /// The latest client order id of each account.
    cl_ord_ids: Vec<u64>,
}

impl Population {
    pub fn new(shape: Shape, seed: u64) -> Self {
        let cl_ord_ids = vec![0; shape.accounts as usize];
        Self { shape, levels: shape.levels(), rng: Rng::new(seed), cl_ord_ids }
    }

    /// An order that rests in any state of the book.
    pub fn add(&mut self) -> Command {
        let side = self.side();
        let price = self.price(side);
        self.place(side, price, Tif::Gtc)
    }

    /// Makes the next command from the orders at rest in `engine`, to which every command before this one was applied.
    pub fn next_command(&mut self, engine: &Engine) -> Command {
        match self.rng.below(100) {
            0..5 => self.take(),
            5..45 => match self.resting(engine) {
                Some(order) => self.amend(&order),
                None => self.add(),
            },
            _ if engine.pool().orders.len() < self.shape.orders as usize => self.add(),
            _ => match self.resting(engine) {
                Some(order) => self.cancel(&order),
                None => self.add(),
            },
        }
    }

    fn take(&mut self) -> Command {
        let side = self.side();
        let far = match side {
            Side::Buy => MIDDLE + self.levels,
            Side::Sell => MIDDLE - self.levels,
        };
        self.place(side, PriceTicks(far), Tif::Ioc)
    }

    fn place(&mut self, side: Side, price: PriceTicks, tif: Tif) -> Command {
        let account = AccountId(1 + self.rng.below(self.shape.accounts));
        let market = MarketId(1 + self.rng.below(self.shape.markets));
        let qty = QtyLots(1 + u64::from(self.rng.below(QTY_MAX)));
        Command::Place(PlaceOrder {
            session: SessionId(account.0),
            cl_ord_id: self.cl_ord_id(account),
            client_key: ClientKey::NONE,
            account,
            market,
            side,
            kind: OrderKind::Limit { price, qty },
            tif,
            // With a single account every trade is one with itself.
            stp: StpMode::None,
            stp_group: 0,
            cancel_group: 0,
            persist_on_disconnect: true,
            valid_until: TsNs(0),
        })
    }

    fn cancel(&mut self, order: &Order) -> Command {
        Command::Cancel(CancelOrder {
            session: order.session,
            cl_ord_id: ClOrdId(0),
            account: order.account,
            market: order.market,
            target: self.target(order),
        })
    }

    fn amend(&mut self, order: &Order) -> Command {
        let (price, qty) = match self.rng.one_in(4) {
            true => (order.price, QtyLots(order.leaves.0.div_ceil(2))),
            false => (self.price(order.traits.side()), order.leaves),
        };
        Command::Amend(AmendOrder {
            session: order.session,
            cl_ord_id: self.cl_ord_id(order.account),
            account: order.account,
            market: order.market,
            target: self.target(order),
            price,
            qty,
            qty_means: AmendQty::Open,
        })
    }

    /// Names half of the orders by the exchange's id and half by the client's, through the hash index.
    fn target(&mut self, order: &Order) -> OrderRef {
        let (order_id, cl_ord_id) = match self.rng.one_in(2) {
            true => (order.id, ClOrdId(0)),
            false => (OrderId::NONE, order.cl_ord_id),
        };
        OrderRef { order_id, cl_ord_id, client_key: ClientKey::NONE }
    }

    /// One of the orders at rest, each equally likely.
    fn resting(&mut self, engine: &Engine) -> Option<Order> {
        let orders = &engine.pool().orders;
        if orders.is_empty() {
            return None;
        }
        // Few draws are repeated: nearly every slot holds an order, because slots were made for their target number.
        loop {
            let order = orders.get(self.rng.below(orders.slots_len() as u32));
            if !order.id.is_none() {
                return Some(*order);
            }
        }
    }

    fn side(&mut self) -> Side {
        self.rng.pick(&[Side::Buy, Side::Sell])
    }

    /// A price on the side's own half, more often near the middle, where orders gather.
    fn price(&mut self, side: Side) -> PriceTicks {
        let reach = 1 + self.rng.below(self.levels);
        let away = 1 + self.rng.below(reach);
        PriceTicks(if side == Side::Buy { MIDDLE - away } else { MIDDLE + away })
    }

    fn cl_ord_id(&mut self, account: AccountId) -> ClOrdId {
        let last = &mut self.cl_ord_ids[account.0 as usize - 1];
        *last += 1;
        ClOrdId(*last)
    }
}
