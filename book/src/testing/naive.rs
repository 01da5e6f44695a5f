//! The naive twin: the same exchange in the plainest code, with which the fast one is compared.
//!
//! It has maps and queues instead of ladders and slabs. What an incoming order does is planned first and carried out
//! second. Nothing is held or released: what an account has available is what it owns less what its open orders need.
//!
//! It does without what is not about orders: the ledger's transfers, and the checks of administrators'
//! commands other than the rights of who acts (it must be given only those that were granted). Its order ids are the
//! running numbers alone, and the caller translates them.

mod change;
mod many;
mod meet;
mod names;
mod place;
mod rights;
mod session;

use crate::command::*;
use crate::event::*;
use crate::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use crate::intake::IntakeState;
use crate::reject::RejectReason;
use crate::rules::Rules;
use crate::units::{PriceTicks, QtyLots, Seq, Stamp, TsNs};
use std::collections::{BTreeMap, HashMap, VecDeque};

const DAY_NS: u64 = 86_400_000_000_000;

#[derive(Clone, Debug)]
struct Market {
    removed: bool,
    base: AssetId,
    quote: AssetId,
    quote_per_tick_lot: u128,
    base_per_lot: u128,
    fees_in_quote: bool,
    limits: MarketLimits,
    maker_ppm: i128,
    taker_ppm: i128,
    status: MarketStatus,
    last_price: Option<u32>,
    trade_count: u64,
    /// By `Side::idx`, then by price: order ids in order of arrival.
    queues: [BTreeMap<u32, VecDeque<OrderId>>; 2],
}

#[derive(Clone, Debug)]
struct Account {
    parent: AccountId,
    tier: usize,
    status: AccountStatus,
    blocked: bool,
    open_max: usize,
}

#[derive(Clone, Debug)]
struct Session {
    account: AccountId,
    drop_copy: bool,
    blocked: bool,
    /// An operator has blocked it, under rules 2.
    by_operator: bool,
    last: ClOrdId,
    cod_mode: CodMode,
    cod_scope: CodScope,
    window_ms: u32,
    /// Lives that it has begun by itself.
    lives: u32,
    removed: bool,
    throttle: Throttle,
    /// When all orders that the throttle has let through will have drained.
    drained_at: u128,
    /// The same for requests that are no orders.
    requests_drained_at: u128,
}

/// A command over many orders that is to be continued.
#[derive(Clone, Copy, Debug)]
struct Unended {
    of: Unfinished,
    at: OrderId,
    /// The oldest order that it has left to look at, or an older one.
    from: OrderId,
    /// The youngest order when it came.
    upto: OrderId,
}

/// Which part of a command over many orders this is.
#[derive(Clone, Copy, Debug)]
enum Turn {
    First,
    /// From this order on, or the one after it. Without a youngest one the log is of before parts were interrupted.
    Next(OrderId, Option<OrderId>),
}

#[derive(Clone, Debug)]
struct Key {
    spec: KeySpec,
    revoked: bool,
}

/// The first use of a client's name, and its outcome.
type Named = (TsNs, Seq, Result<OrderId, RejectReason>);

#[derive(Clone, Copy, Debug)]
struct Order {
    id: OrderId,
    session: SessionId,
    cl_ord_id: ClOrdId,
    account: AccountId,
    market: MarketId,
    side: Side,
    price: u32,
    leaves: u64,
    cum: u64,
    is_market: bool,
    post_only: bool,
    persist: bool,
    stp: StpMode,
    stp_group: u16,
    cancel_group: u8,
}

/// What an incoming order would do to one maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Trade,
    CancelMaker,
    Decrement,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    OutOfReach,
    SelfTrade,
    FillLimit,
}

/// All that an incoming order would do, in order.
#[derive(Debug)]
struct Plan {
    steps: Vec<(OrderId, Deed, u64)>,
    end: End,
}

#[derive(Debug, Default)]
pub struct Naive {
    rules: Rules,
    now: TsNs,
    seq: Seq,
    number: u64,
    skipped: u64,
    scales: Vec<u8>,
    markets: Vec<Market>,
    accounts: Vec<Account>,
    sessions: Vec<Session>,
    keys: Vec<Key>,
    /// What each account owns, free or not.
    owned: HashMap<(AccountId, AssetId), i128>,
    fees: HashMap<AssetId, i128>,
    /// Open orders; ids grow, so this is also their order of age.
    orders: BTreeMap<OrderId, Order>,
    /// Names taken under rules 1, and those of later rules.
    names: HashMap<(AccountId, ClientKey), Named>,
    order_names: names::Names,
    /// Scales of maker and taker fees in ppm.
    tiers: HashMap<usize, (i128, i128)>,
    events: Vec<Event>,
    intake: IntakeState,
    unended: Vec<Unended>,
}

impl Naive {
    pub fn apply(&mut self, stamp: Stamp, command: &Command, sink: &mut Vec<Event>) {
        self.now = stamp.ts;
        self.seq = stamp.seq;
        match command {
            Command::Place(place) if self.is_out_of_range(place.cl_ord_id) => {
                self.rejected(place, RejectReason::Malformed);
            }
            Command::Place(place) => {
                if self.is_new(place.session, place.cl_ord_id) {
                    self.place(place);
                }
            }
            Command::Cancel(cancel) => self.cancel(cancel),
            Command::Amend(amend) => self.amend(amend),
            Command::CancelReplace(replace) => self.cancel_replace(replace),
            Command::MassCancel(mass) => self.mass_cancel(mass, Turn::First),
            Command::Refuse(refuse) => self.refuse(refuse),
            Command::Query(query) => self.query(query),
            Command::Continue(rest) => self.go_on(rest),
            Command::Check(_) | Command::Opened(_) => {}
            Command::SetSession(set) => self.set_session(set),
            Command::SessionDown(down) => self.session_down(down, Turn::First, 0),
            Command::ConnectionEnd(end) => self.connection_end(end),
            Command::Admin(admin) => self.administer(Actor::Ops, admin),
            Command::Acted(acted) => self.act(acted),
        }
        sink.append(&mut self.events);
    }

    /// Client order ids end at 2^63-1 under rules 2.
    fn is_out_of_range(&self, id: ClOrdId) -> bool {
        self.rules == Rules::Two && id.0 >= 1 << 63
    }

    /// Whether a client may cancel in this market.
    fn lets_cancel(&self, market: MarketId) -> bool {
        self.rules == Rules::Two || self.market(market).status != MarketStatus::Halt
    }

    /// What is available and what is held, as the engine should have them.
    pub fn balance(&self, account: AccountId, asset: AssetId) -> (u128, u128) {
        let owned = self.owned.get(&(account, asset)).copied().unwrap_or(0);
        let held = self.held(account, asset);
        (u128::try_from(owned - held).expect("an account holds at most what it owns"), held as u128)
    }

    pub fn fees(&self, asset: AssetId) -> u128 {
        u128::try_from(self.fees.get(&asset).copied().unwrap_or(0)).expect("rebates never exceed fees")
    }

    pub fn open_count(&self) -> usize {
        self.orders.len()
    }

    pub fn drop_copies(&self, account: AccountId) -> usize {
        let sessions = self.sessions.iter().filter(|session| session.drop_copy && !session.removed);
        sessions.filter(|session| session.account == account).count()
    }

    fn held(&self, account: AccountId, asset: AssetId) -> i128 {
        let own = self.orders.values().filter(|o| o.account == account);
        own.filter(|o| self.pays_in(o) == asset).map(|o| self.need(o.market, o.side, o.price, o.leaves) as i128).sum()
    }

    fn free(&self, account: AccountId, asset: AssetId) -> u128 {
        self.balance(account, asset).0
    }

    fn market(&self, id: MarketId) -> &Market {
        &self.markets[id.0 as usize - 1]
    }

    fn market_mut(&mut self, id: MarketId) -> &mut Market {
        &mut self.markets[id.0 as usize - 1]
    }

    fn account(&self, id: AccountId) -> &Account {
        &self.accounts[id.0 as usize - 1]
    }

    fn pays_in(&self, order: &Order) -> AssetId {
        let market = self.market(order.market);
        if order.side == Side::Buy { market.quote } else { market.base }
    }

    /// What an order needs: quote units for a buy, base units for a sell.
    fn need(&self, market: MarketId, side: Side, price: u32, qty: u64) -> u128 {
        let market = self.market(market);
        match side {
            Side::Buy => {
                let lot = u128::from(price) * market.quote_per_tick_lot;
                let rate = market.maker_ppm.max(market.taker_ppm).max(0).unsigned_abs();
                let fee = if market.fees_in_quote { (lot * rate).div_ceil(1_000_000) } else { 0 };
                (lot + fee) * u128::from(qty)
            }
            Side::Sell => u128::from(qty) * market.base_per_lot,
        }
    }

    /// Price times quantity.
    fn worth(&self, market: MarketId, price: u32, qty: u64) -> u128 {
        u128::from(price) * u128::from(qty) * self.market(market).quote_per_tick_lot
    }

    /// What a taker pays or gets for so many lots, as far as its budget counts it.
    fn spent(&self, taker: &Order, price: u32, qty: u64) -> u128 {
        match taker.side {
            Side::Buy => self.need(taker.market, Side::Buy, price, qty),
            Side::Sell => self.worth(taker.market, price, qty),
        }
    }

    fn is_new(&mut self, session: SessionId, id: ClOrdId) -> bool {
        let Some(session) = at_mut(&mut self.sessions, session.0) else { return true };
        let new = id > session.last;
        session.last = session.last.max(id);
        new
    }

    fn rest(&mut self, order: &Order) {
        let queues = &mut self.market_mut(order.market).queues[order.side.idx()];
        queues.entry(order.price).or_default().push_back(order.id);
        self.orders.insert(order.id, *order);
        self.events.push(Event::Rested(Rested {
            order_id: order.id,
            market: order.market,
            side: order.side,
            price: PriceTicks(order.price),
            qty: QtyLots(order.leaves),
        }));
    }

    /// Takes an order off the book and off the list of open orders.
    fn take_out(&mut self, id: OrderId) -> Order {
        let order = self.orders.remove(&id).expect("only open orders are taken out");
        let queues = &mut self.market_mut(order.market).queues[order.side.idx()];
        let queue = queues.get_mut(&order.price).expect("an open order is in its queue");
        queue.retain(|&other| other != id);
        if queue.is_empty() {
            queues.remove(&order.price);
        }
        order
    }

    fn canceled(&mut self, order: &Order, reason: CancelReason, was_resting: bool, by: (SessionId, ClOrdId)) {
        self.events.push(Event::Canceled(Canceled {
            order_id: order.id,
            session: order.session,
            cl_ord_id: order.cl_ord_id,
            request_session: by.0,
            request_cl_ord_id: by.1,
            account: order.account,
            market: order.market,
            side: order.side,
            qty: QtyLots(order.leaves),
            cum: QtyLots(order.cum),
            reason,
            was_resting,
        }));
    }

    fn reduced(&mut self, order: &Order, qty: u64, was_resting: bool) {
        let has_price = self.rules == Rules::One || !order.is_market;
        self.events.push(Event::Reduced(Reduced {
            order_id: order.id,
            session: order.session,
            cl_ord_id: order.cl_ord_id,
            account: order.account,
            market: order.market,
            side: order.side,
            price: PriceTicks(if has_price { order.price } else { 0 }),
            qty: QtyLots(qty),
            leaves: QtyLots(order.leaves),
            cum: QtyLots(order.cum),
            was_resting,
        }));
    }
}

/// The thing with this id; ids count from one.
fn at<T>(things: &[T], id: u32) -> Option<&T> {
    things.get((id as usize).checked_sub(1)?)
}

fn at_mut<T>(things: &mut [T], id: u32) -> Option<&mut T> {
    things.get_mut((id as usize).checked_sub(1)?)
}

fn admit_phase(status: MarketStatus, post_only: bool) -> Result<(), RejectReason> {
    match status {
        MarketStatus::Trading => Ok(()),
        MarketStatus::PostOnly if post_only => Ok(()),
        MarketStatus::PostOnly => Err(RejectReason::PostOnlyPhase),
        MarketStatus::Halt | MarketStatus::CancelOnly | MarketStatus::Closed => Err(RejectReason::NotTrading),
    }
}

fn qty_in_range(market: &Market, qty: u128) -> bool {
    u128::from(market.limits.qty_min.0) <= qty && qty <= u128::from(market.limits.qty_max.0)
}

/// Lowest and highest price allowed now.
fn band(rules: Rules, market: &Market) -> (u32, u32) {
    let ppm = market.limits.price_band.0 as u64;
    match market.last_price {
        Some(last) if ppm > 0 => {
            let width = u128::from(last) * u128::from(ppm) / 1_000_000;
            let width = if rules == Rules::Two { width.max(1) } else { width };
            let low = u128::from(last).saturating_sub(width).max(1);
            let high = (u128::from(last) + width).min(u128::from(u32::MAX));
            (low as u32, high as u32)
        }
        _ => (1, u32::MAX),
    }
}

/// How far a market order goes.
fn reach(rules: Rules, market: &Market, side: Side) -> u32 {
    let (low, high) = band(rules, market);
    if side == Side::Buy { high } else { low }
}

fn traded(plan: &Plan) -> u64 {
    plan.steps.iter().filter(|step| step.1 == Deed::Trade).map(|step| step.2).sum()
}
