//! The naive twin: the same exchange in the plainest words, to compare the fast one with.
//!
//! Maps and queues instead of ladders and slabs; an order's meetings are planned first and carried out second; nothing
//! is ever held or released, because what an account has free is what it owns less what its open orders need.
//!
//! Left out, because it is not about orders: throttles, queries, the ledger's transfers, and the checks of
//! administrators' commands (whoever drives the twin gives it only those that were granted). Order ids are the running
//! numbers alone; the driver maps.

use crate::command::*;
use crate::engine::CANCELS_PER_COMMAND_MAX;
use crate::event::*;
use crate::ids::{AccountId, AssetId, ClOrdId, ClientKey, MarketId, OrderId, SessionId, TradeId};
use crate::order_book::FILLS_PER_COMMAND_MAX;
use crate::reject::RejectReason;
use crate::units::{FeeUnits, PriceTicks, QtyLots, Seq, Stamp, TsNs, UNITS_MAX, Units};
use std::collections::{BTreeMap, HashMap, VecDeque};

const DAY_NS: u64 = 86_400_000_000_000;

#[derive(Clone, Debug)]
struct Market {
    base: AssetId,
    quote: AssetId,
    quote_per_tick_lot: u128,
    base_per_lot: u128,
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
    last: ClOrdId,
    cod_mode: CodMode,
    cod_scope: CodScope,
}

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
    now: TsNs,
    seq: Seq,
    number: u64,
    scales: Vec<u8>,
    markets: Vec<Market>,
    accounts: Vec<Account>,
    sessions: Vec<Session>,
    /// What each account owns, free or not.
    owned: HashMap<(AccountId, AssetId), i128>,
    fees: HashMap<AssetId, i128>,
    /// Open orders; ids grow, so this is also their order of age.
    orders: BTreeMap<OrderId, Order>,
    names: HashMap<(AccountId, ClientKey), (TsNs, Seq, Result<OrderId, RejectReason>)>,
    /// Scales of maker and taker fees in ppm.
    tiers: HashMap<usize, (i128, i128)>,
    events: Vec<Event>,
}

impl Naive {
    pub fn apply(&mut self, stamp: Stamp, command: &Command, sink: &mut Vec<Event>) {
        self.now = stamp.ts;
        self.seq = stamp.seq;
        match command {
            Command::Place(place) => {
                if self.is_new(place.session, place.cl_ord_id) {
                    self.place(place);
                }
            }
            Command::Cancel(cancel) => self.cancel(cancel),
            Command::Amend(amend) => self.amend(amend),
            Command::CancelReplace(replace) => self.cancel_replace(replace),
            Command::MassCancel(mass) => self.mass_cancel(mass),
            Command::Refuse(refuse) => self.refuse(refuse),
            Command::Query(_) => {}
            Command::SetSession(set) => {
                if let Some(session) = at_mut(&mut self.sessions, set.session.0) {
                    (session.cod_mode, session.cod_scope) = (set.cod_mode, set.cod_scope);
                }
            }
            Command::SessionDown(down) => self.session_down(down),
            Command::Admin(admin) => self.administer(admin),
        }
        sink.append(&mut self.events);
    }

    /// Free and held, as the engine should have them.
    pub fn balance(&self, account: AccountId, asset: AssetId) -> (u128, u128) {
        let owned = self.owned.get(&(account, asset)).copied().unwrap_or(0);
        let held = self.held(account, asset);
        (u128::try_from(owned - held).expect("nobody holds more than is owned"), held as u128)
    }

    pub fn fees(&self, asset: AssetId) -> u128 {
        u128::try_from(self.fees.get(&asset).copied().unwrap_or(0)).expect("rebates never exceed fees")
    }

    pub fn open_count(&self) -> usize {
        self.orders.len()
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

    /// What stands behind an order: quote units of a buy, base units of a sell.
    fn need(&self, market: MarketId, side: Side, price: u32, qty: u64) -> u128 {
        let market = self.market(market);
        match side {
            Side::Buy => u128::from(price) * u128::from(qty) * market.quote_per_tick_lot,
            Side::Sell => u128::from(qty) * market.base_per_lot,
        }
    }

    fn is_new(&mut self, session: SessionId, id: ClOrdId) -> bool {
        let Some(session) = at_mut(&mut self.sessions, session.0) else { return true };
        let new = id > session.last;
        session.last = session.last.max(id);
        new
    }

    // ---- place

    fn place(&mut self, place: &PlaceOrder) {
        let name = (place.account, place.client_key);
        if !self.repeats(place) {
            let outcome = self.place_new(place);
            if let Err(reason) = outcome {
                self.events.push(Event::Rejected(Rejected {
                    session: place.session,
                    cl_ord_id: place.cl_ord_id,
                    client_key: place.client_key,
                    account: place.account,
                    market: place.market,
                    reason,
                    template: 0,
                }));
            }
            if place.client_key != ClientKey::NONE {
                self.names.insert(name, (self.now, self.seq, outcome));
            }
        }
    }

    /// Answers with the first outcome when the order's name was used within a day.
    fn repeats(&mut self, place: &PlaceOrder) -> bool {
        let Some((seq_first, outcome)) = self.named(place.account, place.client_key) else { return false };
        self.events.push(Event::Repeated(Repeated {
            account: place.account,
            market: place.market,
            client_key: place.client_key,
            seq_first,
            outcome,
        }));
        true
    }

    fn named(&self, account: AccountId, key: ClientKey) -> Option<(Seq, Result<OrderId, RejectReason>)> {
        let (ts, seq, outcome) = *self.names.get(&(account, key))?;
        (self.now.0 - ts.0 < DAY_NS).then_some((seq, outcome))
    }

    fn place_new(&mut self, place: &PlaceOrder) -> Result<OrderId, RejectReason> {
        let mut order = self.admit(place)?;
        self.number += 1;
        order.id = OrderId(self.number);
        self.events.push(Event::Accepted(Accepted {
            order_id: order.id,
            session: place.session,
            cl_ord_id: place.cl_ord_id,
            client_key: place.client_key,
            account: place.account,
            market: place.market,
            side: place.side,
            kind: place.kind,
            tif: place.tif,
            qty: QtyLots(order.leaves),
            persist_on_disconnect: place.persist_on_disconnect,
        }));
        let plan = self.plan(&order, order.leaves, u128::MAX);
        let killed = place.tif == Tif::Fok && self.is_short(&plan, place, &order);
        let end = if killed { End::OutOfReach } else { self.carry_out(&mut order, &plan) };
        let rests = end == End::OutOfReach && matches!(place.tif, Tif::Gtc | Tif::GtcPostOnly);
        if rests {
            self.rest(&order);
        } else if end != End::Done || order.cum == 0 {
            let reason = match (end, place.tif, place.kind) {
                (End::SelfTrade, _, _) => CancelReason::SelfTrade,
                (End::FillLimit, _, _) => CancelReason::FillLimit,
                (_, Tif::Fok, _) => CancelReason::Fok,
                (_, _, OrderKind::Limit { .. }) => CancelReason::Ioc,
                _ => CancelReason::NoLiquidity,
            };
            self.canceled(&order, reason, false, (SessionId::NONE, ClOrdId(0)));
        }
        Ok(order.id)
    }

    fn admit(&self, place: &PlaceOrder) -> Result<Order, RejectReason> {
        let is_limit = matches!(place.kind, OrderKind::Limit { .. });
        if !is_limit && matches!(place.tif, Tif::Gtc | Tif::GtcPostOnly) {
            return Err(RejectReason::Malformed);
        }
        self.admit_door(place.session, place.account)?;
        if place.valid_until.0 > 0 && place.valid_until < self.now {
            return Err(RejectReason::StaleRequest);
        }
        self.admit_account(place.session, place.account)?;
        let market = at(&self.markets, place.market.0).ok_or(RejectReason::UnknownInstrument)?;
        admit_phase(market.status, place.tif == Tif::GtcPostOnly)?;
        let mut order = Order {
            id: OrderId::NONE,
            session: place.session,
            cl_ord_id: place.cl_ord_id,
            account: place.account,
            market: place.market,
            side: place.side,
            price: 0,
            leaves: 0,
            cum: 0,
            post_only: place.tif == Tif::GtcPostOnly,
            persist: place.persist_on_disconnect,
            stp: place.stp,
            stp_group: place.stp_group,
            cancel_group: place.cancel_group,
        };
        let need = match place.kind {
            OrderKind::Limit { price, qty } => {
                (order.price, order.leaves) = (price.0, qty.0);
                self.admit_limit(&order)?
            }
            OrderKind::Market { qty } => self.admit_market(&mut order, qty.0)?,
            OrderKind::MarketByQuote { quote } => self.admit_by_quote(&mut order, quote)?,
        };
        if self.orders.values().filter(|o| o.account == place.account).count() >= self.account(place.account).open_max {
            return Err(RejectReason::MaxOpenOrders);
        }
        if order.post_only && self.crosses(&order) {
            return Err(RejectReason::PostOnlyWouldCross);
        }
        if self.free(place.account, self.pays_in(&order)) < need {
            return Err(RejectReason::InsufficientFunds);
        }
        Ok(order)
    }

    /// Whether this door leads to this account.
    fn admit_door(&self, session: SessionId, account: AccountId) -> Result<(), RejectReason> {
        let known = at(&self.accounts, account.0).is_some();
        let open =
            session.is_none() || at(&self.sessions, session.0).is_some_and(|s| s.account == account && !s.drop_copy);
        if known && open { Ok(()) } else { Err(RejectReason::NotAuthorised) }
    }

    fn admit_account(&self, session: SessionId, account: AccountId) -> Result<(), RejectReason> {
        if self.account(account).status != AccountStatus::Active {
            return Err(RejectReason::AccountNotTrading);
        }
        let session_blocked = at(&self.sessions, session.0).is_some_and(|s| s.blocked);
        if session_blocked || self.account(account).blocked { Err(RejectReason::KillSwitch) } else { Ok(()) }
    }

    /// The limit, quantity and price checks of a limit order that may be filled in part; gives what it needs.
    fn admit_limit(&self, order: &Order) -> Result<u128, RejectReason> {
        let market = self.market(order.market);
        if order.price == 0 {
            return Err(RejectReason::PriceTick);
        }
        let total = u128::from(order.leaves) + u128::from(order.cum);
        if order.leaves == 0 || !qty_in_range(market, total) {
            return Err(RejectReason::QtyRange);
        }
        let notional = self.need(order.market, Side::Buy, order.price, order.leaves);
        let too_small = order.cum == 0 && notional < u128::from(market.limits.notional_min.0);
        if too_small || notional > u128::from(UNITS_MAX) {
            return Err(RejectReason::Notional);
        }
        let (low, high) = band(market);
        if order.price < low || high < order.price {
            return Err(RejectReason::PriceBand);
        }
        Ok(self.need(order.market, order.side, order.price, order.leaves))
    }

    fn admit_market(&self, order: &mut Order, qty: u64) -> Result<u128, RejectReason> {
        let market = self.market(order.market);
        if !qty_in_range(market, u128::from(qty)) {
            return Err(RejectReason::QtyRange);
        }
        order.price = reach(market, order.side);
        order.leaves = qty;
        let plan = self.plan(order, qty, u128::MAX);
        let cost = self.cost(&plan);
        let whole = traded(&plan) == qty;
        if cost > u128::from(UNITS_MAX) || (whole && cost < u128::from(market.limits.notional_min.0)) {
            return Err(RejectReason::Notional);
        }
        Ok(if order.side == Side::Buy { cost } else { self.need(order.market, Side::Sell, 0, qty) })
    }

    fn admit_by_quote(&self, order: &mut Order, quote: Units) -> Result<u128, RejectReason> {
        let market = self.market(order.market);
        if quote.0 == 0 || quote < market.limits.notional_min {
            return Err(RejectReason::Notional);
        }
        order.price = reach(market, order.side);
        let plan = self.plan(order, u64::MAX, u128::from(quote.0));
        let cost = self.cost(&plan);
        order.leaves = plan.steps.iter().filter(|s| s.1 != Deed::CancelMaker).map(|s| s.2).sum();
        let buys_nothing = order.leaves == 0 && plan.end == End::Done;
        if buys_nothing || cost > u128::from(UNITS_MAX) {
            return Err(RejectReason::Notional);
        }
        if order.leaves > 0 && !qty_in_range(market, u128::from(order.leaves)) {
            return Err(RejectReason::QtyRange);
        }
        Ok(if order.side == Side::Buy { cost } else { self.need(order.market, Side::Sell, 0, order.leaves) })
    }

    // ---- meet

    fn crosses(&self, order: &Order) -> bool {
        let queues = &self.market(order.market).queues[order.side.opposite().idx()];
        match order.side {
            Side::Buy => queues.keys().next().is_some_and(|&ask| ask <= order.price),
            Side::Sell => queues.keys().next_back().is_some_and(|&bid| bid >= order.price),
        }
    }

    /// The other side's orders from the best price on, oldest first.
    fn makers(&self, order: &Order) -> Vec<OrderId> {
        let queues = &self.market(order.market).queues[order.side.opposite().idx()];
        match order.side {
            Side::Buy => queues.range(..=order.price).flat_map(|(_, q)| q).copied().collect(),
            Side::Sell => queues.range(order.price..).rev().flat_map(|(_, q)| q).copied().collect(),
        }
    }

    /// What an order does until `qty` or `quote` is used up. `End::Done` also when the next lot costs more than is left.
    fn plan(&self, order: &Order, qty: u64, quote: u128) -> Plan {
        let (mut qty_left, mut quote_left) = (qty, quote);
        let mut plan = Plan { steps: Vec::new(), end: End::Done };
        for id in self.makers(order) {
            let maker = self.orders[&id];
            let lot_cost = self.need(order.market, Side::Buy, maker.price, 1);
            let affordable = u64::try_from(quote_left / lot_cost).unwrap_or(u64::MAX);
            let meets = maker.leaves.min(qty_left).min(affordable);
            if qty_left == 0 || quote_left == 0 {
                return plan;
            }
            if plan.steps.len() == FILLS_PER_COMMAND_MAX as usize {
                return Plan { end: End::FillLimit, ..plan };
            }
            let deed = if self.is_own(order, &maker) { order.stp } else { StpMode::None };
            match deed {
                StpMode::CancelTaker => return Plan { end: End::SelfTrade, ..plan },
                StpMode::CancelMaker => plan.steps.push((id, Deed::CancelMaker, 0)),
                StpMode::CancelBoth => {
                    plan.steps.push((id, Deed::CancelMaker, 0));
                    return Plan { end: End::SelfTrade, ..plan };
                }
                StpMode::None | StpMode::Decrement if meets == 0 => return plan,
                StpMode::None | StpMode::Decrement => {
                    let deed = if deed == StpMode::None { Deed::Trade } else { Deed::Decrement };
                    plan.steps.push((id, deed, meets));
                    qty_left -= meets;
                    quote_left -= lot_cost * u128::from(meets);
                    if deed == Deed::Decrement && qty_left == 0 {
                        return Plan { end: End::SelfTrade, ..plan };
                    }
                }
            }
            if meets < maker.leaves && deed != StpMode::CancelMaker {
                return plan;
            }
        }
        plan.end = if qty_left == 0 || quote_left == 0 { End::Done } else { End::OutOfReach };
        plan
    }

    fn is_own(&self, order: &Order, maker: &Order) -> bool {
        let family = |id: AccountId| if self.account(id).parent.is_none() { id } else { self.account(id).parent };
        let group = order.stp_group != 0 && order.stp_group == maker.stp_group;
        order.account == maker.account || (group && family(order.account) == family(maker.account))
    }

    fn cost(&self, plan: &Plan) -> u128 {
        let trades = plan.steps.iter().filter(|step| step.1 == Deed::Trade);
        trades.map(|&(id, _, qty)| self.need(self.orders[&id].market, Side::Buy, self.orders[&id].price, qty)).sum()
    }

    fn carry_out(&mut self, order: &mut Order, plan: &Plan) -> End {
        for &(id, deed, qty) in &plan.steps {
            match deed {
                Deed::Trade => self.trade(order, id, qty),
                Deed::CancelMaker => self.remove_maker(id),
                Deed::Decrement => {
                    order.leaves -= qty;
                    self.reduced(order, qty, false);
                    if self.orders[&id].leaves == qty {
                        self.remove_maker(id);
                    } else {
                        let maker = self.orders.get_mut(&id).expect("a planned maker is open");
                        maker.leaves -= qty;
                        let maker = *maker;
                        self.reduced(&maker, qty, true);
                    }
                }
            }
        }
        plan.end
    }

    fn remove_maker(&mut self, id: OrderId) {
        let maker = self.take_out(id);
        self.canceled(&maker, CancelReason::SelfTrade, true, (SessionId::NONE, ClOrdId(0)));
    }

    fn trade(&mut self, taker: &mut Order, maker_id: OrderId, qty: u64) {
        let maker = self.orders.get_mut(&maker_id).expect("a planned maker is open");
        maker.leaves -= qty;
        maker.cum += qty;
        taker.leaves -= qty;
        taker.cum += qty;
        let maker = *maker;
        let base_units = self.need(taker.market, Side::Sell, 0, qty) as i128;
        let quote_units = self.need(taker.market, Side::Buy, maker.price, qty) as i128;
        let market = self.market_mut(taker.market);
        market.last_price = Some(maker.price);
        market.trade_count += 1;
        let (base, quote, trade_id) = (market.base, market.quote, TradeId(market.trade_count));
        let (buyer, seller) =
            if taker.side == Side::Buy { (taker.account, maker.account) } else { (maker.account, taker.account) };
        self.move_money(seller, buyer, base, base_units);
        self.move_money(buyer, seller, quote, quote_units);
        let (taker_gets, maker_gets) = if taker.side == Side::Buy {
            ((base, base_units), (quote, quote_units))
        } else {
            ((quote, quote_units), (base, base_units))
        };
        let (taker_fee, maker_fee) = self.charge(taker, &maker, taker_gets, maker_gets);
        let side_of = |order: &Order, fee: i128| FillSide {
            order_id: order.id,
            cl_ord_id: order.cl_ord_id,
            account: order.account,
            session: order.session,
            leaves: QtyLots(order.leaves),
            cum: QtyLots(order.cum),
            fee: FeeUnits(fee as i64),
        };
        self.events.push(Event::Fill(Fill {
            trade_id,
            market: taker.market,
            price: PriceTicks(maker.price),
            qty: QtyLots(qty),
            taker_side: taker.side,
            maker: side_of(&maker, maker_fee),
            taker: side_of(taker, taker_fee),
        }));
        if maker.leaves == 0 {
            self.take_out(maker_id);
        }
    }

    fn move_money(&mut self, from: AccountId, to: AccountId, asset: AssetId, amount: i128) {
        *self.owned.entry((from, asset)).or_default() -= amount;
        *self.owned.entry((to, asset)).or_default() += amount;
    }

    /// A fee is rounded up and paid from what was received; a rebate is rounded down and paid from the other's fee.
    fn charge(
        &mut self,
        taker: &Order,
        maker: &Order,
        taker_gets: (AssetId, i128),
        maker_gets: (AssetId, i128),
    ) -> (i128, i128) {
        let market = self.market(taker.market);
        let scale = |ppm: i128, scale: i128| if ppm > 0 { div_up(ppm * scale, 1_000_000) } else { ppm };
        let tier = |id: AccountId| *self.tiers.get(&self.account(id).tier).unwrap_or(&(1_000_000, 1_000_000));
        let maker_ppm = scale(market.maker_ppm, tier(maker.account).0);
        let taker_ppm = scale(market.taker_ppm, tier(taker.account).1);
        let fee = |gets: i128, ppm: i128| div_up(gets * ppm.max(0), 1_000_000);
        let rebate = |gets: i128, ppm: i128, paid: i128| (gets * (-ppm).max(0) / 1_000_000).min(paid);
        let taker_fee = fee(taker_gets.1, taker_ppm);
        let maker_fee = fee(maker_gets.1, maker_ppm);
        let to_maker = rebate(taker_gets.1, maker_ppm, taker_fee);
        let to_taker = rebate(maker_gets.1, taker_ppm, maker_fee);
        self.pay_house(taker.account, taker_gets.0, taker_fee);
        self.pay_house(maker.account, maker_gets.0, maker_fee);
        self.pay_house(taker.account, maker_gets.0, -to_taker);
        self.pay_house(maker.account, taker_gets.0, -to_maker);
        (taker_fee - to_taker, maker_fee - to_maker)
    }

    fn pay_house(&mut self, account: AccountId, asset: AssetId, amount: i128) {
        *self.owned.entry((account, asset)).or_default() -= amount;
        *self.fees.entry(asset).or_default() += amount;
    }

    /// Whether a fill-or-kill order would stay short of its quantity or leave some of its amount that buys a lot.
    fn is_short(&self, plan: &Plan, place: &PlaceOrder, order: &Order) -> bool {
        let OrderKind::MarketByQuote { quote } = place.kind else { return traded(plan) < order.leaves };
        let spending = self.plan(order, u64::MAX, u128::from(quote.0));
        spending.end != End::Done || spending.steps.iter().any(|step| step.1 == Deed::Decrement)
    }

    // ---- rest and end

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

    /// Off the book and off the list of open orders.
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
        self.events.push(Event::Reduced(Reduced {
            order_id: order.id,
            session: order.session,
            cl_ord_id: order.cl_ord_id,
            account: order.account,
            market: order.market,
            side: order.side,
            price: PriceTicks(order.price),
            qty: QtyLots(qty),
            leaves: QtyLots(order.leaves),
            cum: QtyLots(order.cum),
            was_resting,
        }));
    }

    // ---- cancel, amend

    fn find(&self, session: SessionId, account: AccountId, market: MarketId, target: &OrderRef) -> Option<OrderId> {
        let id = if target.order_id != OrderId::NONE {
            target.order_id
        } else if target.cl_ord_id.0 != 0 {
            let named = |o: &&Order| !session.is_none() && o.session == session && o.cl_ord_id == target.cl_ord_id;
            self.orders.values().find(named)?.id
        } else {
            self.named(account, target.client_key)?.1.ok()?
        };
        let order = self.orders.get(&id)?;
        (order.account == account && (market.is_none() || order.market == market)).then_some(id)
    }

    fn admit_cancel(&self, cancel: &CancelOrder) -> Result<OrderId, RejectReason> {
        self.admit_door(cancel.session, cancel.account)?;
        let found = self.find(cancel.session, cancel.account, cancel.market, &cancel.target);
        let id = found.ok_or(RejectReason::UnknownOrder)?;
        let halted = self.market(self.orders[&id].market).status == MarketStatus::Halt;
        if halted { Err(RejectReason::NotTrading) } else { Ok(id) }
    }

    fn cancel(&mut self, cancel: &CancelOrder) {
        match self.admit_cancel(cancel) {
            Ok(id) => {
                let order = self.take_out(id);
                self.canceled(&order, CancelReason::User, true, (cancel.session, cancel.cl_ord_id));
            }
            Err(reason) => self.cancel_rejected(cancel, reason, false),
        }
    }

    fn cancel_rejected(&mut self, cancel: &CancelOrder, reason: RejectReason, amend: bool) {
        self.events.push(Event::CancelRejected(CancelRejected {
            session: cancel.session,
            cl_ord_id: cancel.cl_ord_id,
            order_id: cancel.target.order_id,
            target_cl_ord_id: cancel.target.cl_ord_id,
            account: cancel.account,
            market: cancel.market,
            reason,
            amend,
        }));
    }

    fn cancel_replace(&mut self, replace: &CancelReplace) {
        let place = &replace.place;
        if !self.is_new(place.session, place.cl_ord_id) || self.repeats(place) {
            return;
        }
        let cancel = CancelOrder {
            session: place.session,
            cl_ord_id: place.cl_ord_id,
            account: place.account,
            market: place.market,
            target: replace.target,
        };
        match self.admit_cancel(&cancel) {
            Ok(id) => {
                let order = self.take_out(id);
                self.canceled(&order, CancelReason::Replaced, true, (place.session, place.cl_ord_id));
            }
            Err(reason) => {
                self.cancel_rejected(&cancel, reason, false);
                if replace.mode == ReplaceMode::StopOnFailure {
                    return;
                }
            }
        }
        self.place(place);
    }

    fn amend(&mut self, amend: &AmendOrder) {
        if !self.is_new(amend.session, amend.cl_ord_id) {
            return;
        }
        let (before, mut order, keeps) = match self.admit_amend(amend) {
            Ok(admitted) => admitted,
            Err(reason) => {
                let cancel = CancelOrder {
                    session: amend.session,
                    cl_ord_id: amend.cl_ord_id,
                    account: amend.account,
                    market: amend.market,
                    target: amend.target,
                };
                return self.cancel_rejected(&cancel, reason, true);
            }
        };
        if !amend.session.is_none() && amend.session == before.session {
            order.cl_ord_id = amend.cl_ord_id;
        }
        self.events.push(Event::Amended(Amended {
            order_id: order.id,
            session: order.session,
            cl_ord_id: order.cl_ord_id,
            cl_ord_id_before: before.cl_ord_id,
            request_session: amend.session,
            request_cl_ord_id: amend.cl_ord_id,
            account: order.account,
            market: order.market,
            side: order.side,
            price: PriceTicks(order.price),
            price_before: PriceTicks(before.price),
            leaves: QtyLots(order.leaves),
            leaves_before: QtyLots(before.leaves),
            cum: QtyLots(order.cum),
            qty_means: amend.qty_means,
            kept_priority: keeps,
        }));
        if keeps {
            self.orders.insert(order.id, order);
            return;
        }
        self.take_out(order.id);
        let plan = self.plan(&order, order.leaves, u128::MAX);
        match self.carry_out(&mut order, &plan) {
            End::Done => {}
            End::OutOfReach => self.rest(&order),
            end => {
                let reason = if end == End::FillLimit { CancelReason::FillLimit } else { CancelReason::SelfTrade };
                self.canceled(&order, reason, false, (SessionId::NONE, ClOrdId(0)));
            }
        }
    }

    /// The order before, the order after, and whether it keeps its place.
    fn admit_amend(&self, amend: &AmendOrder) -> Result<(Order, Order, bool), RejectReason> {
        self.admit_door(amend.session, amend.account)?;
        let found = self.find(amend.session, amend.account, amend.market, &amend.target);
        let before = self.orders[&found.ok_or(RejectReason::UnknownOrder)?];
        let off = if amend.qty_means == AmendQty::Total { before.cum } else { 0 };
        let leaves = amend.qty.0.saturating_sub(off);
        let shrinks = amend.price.0 == before.price && leaves <= before.leaves;
        let status = self.market(before.market).status;
        if shrinks {
            if status == MarketStatus::Halt {
                return Err(RejectReason::NotTrading);
            }
        } else {
            self.admit_account(before.session, before.account)?;
            admit_phase(status, before.post_only)?;
        }
        let order = Order { price: amend.price.0, leaves, ..before };
        if amend.price.0 > 0 && amend.qty.0 > 0 && leaves == 0 {
            return Err(RejectReason::TooLate);
        }
        if shrinks && leaves > 0 {
            return Ok((before, order, true));
        }
        let need = self.admit_limit(&order)?;
        if order.post_only && self.crosses(&order) {
            return Err(RejectReason::PostOnlyWouldCross);
        }
        let need_before = self.need(before.market, before.side, before.price, before.leaves);
        if need > need_before + self.free(before.account, self.pays_in(&before)) {
            return Err(RejectReason::InsufficientFunds);
        }
        Ok((before, order, false))
    }

    // ---- many orders at once

    fn mass_cancel(&mut self, mass: &MassCancel) {
        let account = match self.admit_mass(mass) {
            Ok(account) => account,
            Err(reason) => {
                return self.events.push(Event::Rejected(Rejected {
                    session: mass.session,
                    cl_ord_id: mass.cl_ord_id,
                    client_key: ClientKey::NONE,
                    account: mass.account,
                    market: mass.market,
                    reason,
                    template: 0,
                }));
            }
        };
        let block = match mass.scope {
            MassScope::Session => at_mut(&mut self.sessions, mass.session.0).map(|s| &mut s.blocked),
            MassScope::Account => at_mut(&mut self.accounts, account.0).map(|a| &mut a.blocked),
            MassScope::Market => None,
        };
        let blocked = block.is_some_and(|block| {
            *block = match mass.block {
                BlockChange::Keep => *block,
                BlockChange::Set => true,
                BlockChange::Lift => false,
            };
            *block
        });
        let by_market = mass.scope == MassScope::Market;
        let by = if by_market { (SessionId::NONE, ClOrdId(0)) } else { (mass.session, mass.cl_ord_id) };
        let reason = match (by_market, mass.block) {
            (true, _) => CancelReason::Admin,
            (_, BlockChange::Set) => CancelReason::KillSwitch,
            _ => CancelReason::MassCancel,
        };
        let spares_halted = reason == CancelReason::MassCancel && !mass.session.is_none();
        let mut fits: Vec<Order> = self.orders.values().copied().collect();
        fits.retain(|o| {
            (by_market || o.account == account)
                && (mass.scope != MassScope::Session || o.session == mass.session)
                && (mass.market.is_none() || o.market == mass.market)
                && mass.side.is_none_or(|side| o.side == side)
                && mass.price_min.is_none_or(|min| min.0 <= o.price)
                && mass.price_max.is_none_or(|max| o.price <= max.0)
                && (mass.cancel_group == 0 || o.cancel_group == mass.cancel_group)
                && !(spares_halted && self.market(o.market).status == MarketStatus::Halt)
        });
        if by_market {
            fits = self.in_book_order(mass.market, &fits);
        }
        let (count, more) = self.cancel_all(&fits, reason, by);
        self.events.push(Event::MassCanceled(MassCanceled {
            session: mass.session,
            cl_ord_id: mass.cl_ord_id,
            account,
            market: mass.market,
            scope: mass.scope,
            count,
            blocked,
            more,
        }));
    }

    fn admit_mass(&self, mass: &MassCancel) -> Result<AccountId, RejectReason> {
        let session = at(&self.sessions, mass.session.0);
        let account = match session {
            Some(session) => {
                let own = mass.account.is_none() || mass.account == session.account;
                (own && !session.drop_copy && mass.scope != MassScope::Market).then_some(session.account)
            }
            None if !mass.session.is_none() || mass.scope == MassScope::Session => None,
            None if mass.scope == MassScope::Market => Some(AccountId::NONE),
            None => at(&self.accounts, mass.account.0).map(|_| mass.account),
        };
        let account = account.ok_or(RejectReason::NotAuthorised)?;
        let needs_market = mass.scope == MassScope::Market || !mass.market.is_none();
        if needs_market {
            let market = at(&self.markets, mass.market.0).ok_or(RejectReason::UnknownInstrument)?;
            if session.is_some() && mass.block != BlockChange::Set && market.status == MarketStatus::Halt {
                return Err(RejectReason::NotTrading);
            }
        }
        Ok(account)
    }

    /// Buys from the highest, then sells from the lowest.
    fn in_book_order(&self, market: MarketId, fits: &[Order]) -> Vec<Order> {
        let queues = &self.market(market).queues;
        let buys = queues[Side::Buy.idx()].values().rev().flatten();
        let sells = queues[Side::Sell.idx()].values().flatten();
        buys.chain(sells).filter_map(|id| fits.iter().find(|o| o.id == *id)).copied().collect()
    }

    fn cancel_all(&mut self, orders: &[Order], reason: CancelReason, by: (SessionId, ClOrdId)) -> (u32, bool) {
        let max = CANCELS_PER_COMMAND_MAX as usize;
        for order in orders.iter().take(max) {
            self.take_out(order.id);
            self.canceled(order, reason, true, by);
        }
        (orders.len().min(max) as u32, orders.len() > max)
    }

    fn session_down(&mut self, down: &SessionDown) {
        let Some(session) = at(&self.sessions, down.session.0) else { return };
        let takes_effect = match session.cod_mode {
            CodMode::Off => false,
            CodMode::OnDisconnect => down.cause == DownCause::Disconnect,
            CodMode::OnLogout => down.cause == DownCause::Logout,
            CodMode::Both => true,
        };
        let (account, by_session) = (session.account, session.cod_scope == CodScope::Session);
        let own = |o: &&Order| o.account == account && (!by_session || o.session == down.session) && !o.persist;
        let fits: Vec<Order> = self.orders.values().filter(own).copied().collect();
        if !takes_effect || fits.is_empty() {
            return;
        }
        let (count, more) = self.cancel_all(&fits, CancelReason::Disconnect, (SessionId::NONE, ClOrdId(0)));
        self.events.push(Event::MassCanceled(MassCanceled {
            session: down.session,
            cl_ord_id: ClOrdId(0),
            account,
            market: MarketId::NONE,
            scope: if by_session { MassScope::Session } else { MassScope::Account },
            count,
            blocked: false,
            more,
        }));
    }

    fn refuse(&mut self, refuse: &Refuse) {
        let consumes = refuse.consumes_id && refuse.cl_ord_id.0 != 0;
        if consumes && !self.is_new(refuse.session, refuse.cl_ord_id) {
            return;
        }
        self.events.push(Event::Rejected(Rejected {
            session: refuse.session,
            cl_ord_id: refuse.cl_ord_id,
            client_key: ClientKey::NONE,
            account: at(&self.sessions, refuse.session.0).map_or(AccountId::NONE, |s| s.account),
            market: refuse.market,
            reason: refuse.reason,
            template: refuse.template,
        }));
    }

    // ---- administration, as granted

    fn administer(&mut self, admin: &Admin) {
        match admin {
            Admin::AddAsset { scale, .. } => self.scales.push(*scale),
            Admin::AddMarket(spec) => self.add_market(spec),
            Admin::SetMarketStatus { market, status } => self.market_mut(*market).status = *status,
            Admin::SetMarketFees { market, maker_fee, taker_fee } => {
                let market = self.market_mut(*market);
                (market.maker_ppm, market.taker_ppm) = (i128::from(maker_fee.0), i128::from(taker_fee.0));
            }
            Admin::SetMarketLimits { market, limits } => self.market_mut(*market).limits = *limits,
            Admin::SetFeeTier { tier, fees } => {
                let scales = (i128::from(fees.maker_scale.0), i128::from(fees.taker_scale.0));
                self.tiers.insert(usize::from(*tier), scales);
            }
            Admin::AddAccount(spec) => self.accounts.push(Account {
                parent: spec.parent,
                tier: usize::from(spec.fee_tier),
                status: AccountStatus::Active,
                blocked: false,
                open_max: crate::accounts::OPEN_ORDERS_DEFAULT as usize,
            }),
            Admin::SetAccountStatus { account, status } => self.account_mut(*account).status = *status,
            Admin::SetAccountFeeTier { account, tier } => self.account_mut(*account).tier = usize::from(*tier),
            Admin::SetAccountLimits { account, open_orders_max } => {
                self.account_mut(*account).open_max = *open_orders_max as usize;
            }
            Admin::SetAccountBlock { account, blocked } => self.account_mut(*account).blocked = *blocked,
            Admin::AddSession(spec) => self.sessions.push(Session {
                account: spec.account,
                drop_copy: spec.drop_copy,
                blocked: false,
                last: ClOrdId(0),
                cod_mode: spec.cod_mode,
                cod_scope: spec.cod_scope,
            }),
            Admin::SetSessionBlock { session, blocked } => self.sessions[session.0 as usize - 1].blocked = *blocked,
            Admin::Deposit(funds) => {
                *self.owned.entry((funds.account, funds.asset)).or_default() += i128::from(funds.amount.0);
            }
            Admin::Withdraw(funds) => {
                *self.owned.entry((funds.account, funds.asset)).or_default() -= i128::from(funds.amount.0);
            }
            Admin::SetSessionThrottle { .. } | Admin::AddKey(_) | Admin::RevokeKey { .. } => {}
        }
    }

    fn account_mut(&mut self, id: AccountId) -> &mut Account {
        &mut self.accounts[id.0 as usize - 1]
    }

    fn add_market(&mut self, spec: &MarketSpec) {
        let scale = |asset: AssetId| 10u128.pow(u32::from(self.scales[asset.0 as usize - 1]));
        self.markets.push(Market {
            base: spec.base,
            quote: spec.quote,
            quote_per_tick_lot: u128::from(spec.tick_e9) * u128::from(spec.lot_e8) * scale(spec.quote) / 10u128.pow(17),
            base_per_lot: u128::from(spec.lot_e8) * scale(spec.base) / 10u128.pow(8),
            limits: spec.limits,
            maker_ppm: i128::from(spec.maker_fee.0),
            taker_ppm: i128::from(spec.taker_fee.0),
            status: spec.status,
            last_price: None,
            trade_count: 0,
            queues: Default::default(),
        });
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
fn band(market: &Market) -> (u32, u32) {
    let ppm = market.limits.price_band.0 as u64;
    match market.last_price {
        Some(last) if ppm > 0 => {
            let width = u128::from(last) * u128::from(ppm) / 1_000_000;
            let low = u128::from(last).saturating_sub(width).max(1);
            let high = (u128::from(last) + width).min(u128::from(u32::MAX));
            (low as u32, high as u32)
        }
        _ => (1, u32::MAX),
    }
}

/// How far a market order goes.
fn reach(market: &Market, side: Side) -> u32 {
    let (low, high) = band(market);
    if side == Side::Buy { high } else { low }
}

fn traded(plan: &Plan) -> u64 {
    plan.steps.iter().filter(|step| step.1 == Deed::Trade).map(|step| step.2).sum()
}

fn div_up(amount: i128, by: i128) -> i128 {
    (amount + by - 1) / by
}
