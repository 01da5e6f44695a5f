//! Every check before an order may touch the book, in one place and in the precedence of `RejectReason`.
//!
//! `admit` gives either the reason to refuse or the proof of passing, `Admitted`, which has all that placing needs. It
//! changes nothing but the session's throttle. Invariant: what a market order will take and pay is computed exactly as
//! taking will do it, so that its hold covers it to the unit.

use crate::accounts::{Account, Accounts};
use crate::command::{OrderKind, PlaceOrder, Side, StpMode, Tif};
use crate::engine::{Engine, Market};
use crate::ids::{AccountId, SessionId};
use crate::instrument::{MarketRules, is_stale};
use crate::mutation::{self, Mutation, Planted};
use crate::order_book::{FILLS_PER_COMMAND_MAX, Pool, Treatment};
use crate::phases::{admit_account, admit_phase};
use crate::reject::RejectReason;
use crate::rules::Rules;
use crate::slab::Order;
use crate::units::{PriceTicks, QtyLots, Stamp, UNITS_MAX, Units};

/// The proof that an order may be placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admitted {
    pub limit: PriceTicks,
    pub qty: QtyLots,
    /// What the order holds: quote units for a buy, base units for a sell.
    pub hold: Units,
    /// The order is fill-or-kill and cannot be filled: it is accepted and ends at once.
    pub unfillable: bool,
}

/// The owner of an incoming order, as far as self-trade prevention needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub account: AccountId,
    /// The parent of the account, or the account itself when it has none.
    pub family: AccountId,
    pub stp: StpMode,
    pub group: u16,
}

impl Owner {
    pub(crate) fn new(accounts: &Accounts, account: AccountId, stp: StpMode, group: u16) -> Self {
        Self { account, family: family(accounts.at(account), account), stp, group }
    }

    /// What happens when this owner's order reaches that resting order.
    #[inline]
    pub(crate) fn treatment(&self, maker: &Order, accounts: &Accounts) -> Treatment {
        if self.stp == StpMode::None || !self.owns(maker, accounts) {
            return Treatment::Trade;
        }
        match self.stp {
            StpMode::None => Treatment::Trade,
            StpMode::CancelTaker => Treatment::CancelTaker,
            StpMode::CancelMaker => Treatment::CancelMaker,
            StpMode::CancelBoth => Treatment::CancelBoth,
            StpMode::Decrement => Treatment::Decrement,
        }
    }

    #[inline]
    fn owns(&self, maker: &Order, accounts: &Accounts) -> bool {
        maker.account == self.account
            || (self.group != 0
                && maker.stp_group == self.group
                && family(accounts.at(maker.account), maker.account) == self.family)
    }
}

fn family(account: &Account, id: AccountId) -> AccountId {
    if account.parent.is_none() { id } else { account.parent }
}

impl Engine {
    pub(crate) fn admit(&mut self, stamp: Stamp, order: &PlaceOrder) -> Result<Admitted, RejectReason> {
        let is_limit = matches!(order.kind, OrderKind::Limit { .. });
        if !is_limit && matches!(order.tif, Tif::Gtc | Tif::GtcPostOnly) {
            return Err(RejectReason::Malformed);
        }
        self.authorise(order.session, order.account)?;
        if is_stale(order.valid_until, stamp.ts) {
            return Err(RejectReason::StaleRequest);
        }
        self.admit_rate_and_status(stamp, order)?;
        self.intake.admit()?;
        let market = self.market(order.market).ok_or(RejectReason::UnknownInstrument)?;
        admit_phase(market.rules.status, order.tif)?;
        let terms = self.admit_terms(market, order)?;
        let account = self.accounts.at(order.account);
        // An order that cannot rest takes no place.
        let takes_place = self.rules < Rules::Two || matches!(order.tif, Tif::Gtc | Tif::GtcPostOnly);
        let takes_place = takes_place.planted(Mutation::FleetingTakesPlace, |_| true);
        if takes_place && account.open_count >= account.open_max {
            return Err(RejectReason::MaxOpenOrders);
        }
        if self.pool.orders.is_full() {
            return Err(RejectReason::OrdersFull);
        }
        if order.tif == Tif::GtcPostOnly && market.book.crosses(order.side, terms.limit) {
            return Err(RejectReason::PostOnlyWouldCross);
        }
        let available = account.available(market.rules.paid_in(order.side));
        let covered = (terms.hold <= available).planted(Mutation::FundsNotChecked, |_| true);
        if covered { Ok(terms) } else { Err(RejectReason::InsufficientFunds) }
    }

    /// The account exists and the session may act for it. Administrators and REST clients come without a session.
    pub(crate) fn authorise(&self, session: SessionId, account: AccountId) -> Result<(), RejectReason> {
        let is_own = || self.sessions.get(session).is_some_and(|session| session.may_act_for(account));
        let may_act = session.is_none() || is_own() && !self.open.walks.is_ending(session);
        if may_act && self.accounts.get(account).is_some() { Ok(()) } else { Err(RejectReason::NotAuthorised) }
    }

    fn admit_rate_and_status(&mut self, stamp: Stamp, order: &PlaceOrder) -> Result<(), RejectReason> {
        let mut session_blocked = false;
        if let Some(session) = self.sessions.get_mut(order.session) {
            let fits = session.bucket.take(stamp.ts);
            let fits = fits.planted(Mutation::ClockInApply, |fits| fits && !mutation::reached().is_multiple_of(32));
            if !fits {
                return Err(RejectReason::Throttled);
            }
            session_blocked = session.blocked.is_set();
        }
        admit_account(self.accounts.at(order.account), session_blocked)
    }

    /// The limit, the quantity and the hold of an order, by its kind.
    fn admit_terms(&self, market: &Market, order: &PlaceOrder) -> Result<Admitted, RejectReason> {
        match order.kind {
            OrderKind::Limit { price, qty } => self.admit_limit(market, order, price, qty),
            OrderKind::Market { qty } => self.admit_market(market, order, qty),
            OrderKind::MarketByQuote { quote } => self.admit_market_by_quote(market, order, quote),
        }
    }

    fn admit_limit(
        &self,
        market: &Market,
        order: &PlaceOrder,
        price: PriceTicks,
        qty: QtyLots,
    ) -> Result<Admitted, RejectReason> {
        let hold = admit_limit_terms(self.rules, market, order.side, price, qty, QtyLots(0))?;
        let mut unfillable = false;
        if order.tif == Tif::Fok {
            let found = self.probe(market, order, price, Want::lots(qty))?;
            unfillable = !found.is_complete();
        }
        Ok(Admitted { limit: price, qty, hold, unfillable })
    }

    fn admit_market(&self, market: &Market, order: &PlaceOrder, qty: QtyLots) -> Result<Admitted, RejectReason> {
        let rules = &market.rules;
        admit_qty(rules, qty)?;
        let limit = market_limit(self.rules, market, order.side);
        let found = self.probe(market, order, limit, Want::lots(qty))?;
        if found.qty == qty && found.worth < rules.limits.notional_min {
            return Err(RejectReason::Notional);
        }
        let hold = match order.side {
            Side::Buy => found.cost,
            Side::Sell => qty.base_units(rules.base_per_lot).ok_or(RejectReason::QtyRange)?,
        };
        Ok(Admitted { limit, qty, hold, unfillable: order.tif == Tif::Fok && !found.is_complete() })
    }

    /// Turns the quote amount into the quantity that the book offers for it now. From there on it is a market order.
    fn admit_market_by_quote(
        &self,
        market: &Market,
        order: &PlaceOrder,
        quote: Units,
    ) -> Result<Admitted, RejectReason> {
        let rules = &market.rules;
        if quote.0 == 0 || quote < rules.limits.notional_min {
            return Err(RejectReason::Notional);
        }
        let limit = market_limit(self.rules, market, order.side);
        let found = self.probe(market, order, limit, Want::quote(quote))?;
        // Self-trade prevention takes quantity off the order too, so the order needs that much more.
        let qty = QtyLots(found.qty.0.checked_add(found.decremented.0).ok_or(RejectReason::QtyRange)?);
        if qty.0 == 0 && found.used_up {
            return Err(RejectReason::Notional);
        }
        if qty.0 > 0 {
            admit_qty(rules, qty)?;
        }
        let hold = match order.side {
            Side::Buy => found.cost,
            Side::Sell => qty.base_units(rules.base_per_lot).ok_or(RejectReason::QtyRange)?,
        };
        Ok(Admitted { limit, qty, hold, unfillable: order.tif == Tif::Fok && !found.is_complete() })
    }

    /// Walks over what the order would take, exactly as taking does, and changes nothing.
    fn probe(&self, market: &Market, order: &PlaceOrder, limit: PriceTicks, want: Want) -> Result<Found, RejectReason> {
        let owner = Owner::new(&self.accounts, order.account, order.stp, order.stp_group);
        probe(&self.pool, market, &owner, order.side, limit, want, &self.accounts).ok_or(RejectReason::Notional)
    }
}

/// What a probe looks for: up to so many lots, for up to so much of the quote asset.
#[derive(Clone, Copy, Debug)]
struct Want {
    lots: Option<QtyLots>,
    quote: Option<Units>,
}

impl Want {
    /// An order by quantity has no quote budget. With one of 2^64 units a probe would end where own orders that the
    /// order meets are worth that much in all, and the hold would not cover what it then pays to others.
    fn lots(lots: QtyLots) -> Self {
        Self { lots: Some(lots), quote: None.planted(Mutation::BudgetSpentByOwn, |_| Some(Units(u64::MAX))) }
    }

    fn quote(quote: Units) -> Self {
        Self { lots: None, quote: Some(quote) }
    }
}

/// What a probe found in the book.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// Lots that would trade.
    qty: QtyLots,
    /// What they are worth in all, and what a buyer holds for them: the same, and its fee where fees are paid in quote.
    worth: Units,
    cost: Units,
    /// Lots that self-trade prevention would take off without a trade.
    decremented: QtyLots,
    /// Nothing remains of what was wanted, or too little of the quote amount to buy one more lot.
    used_up: bool,
}

impl Found {
    /// Whether a fill-or-kill order is filled completely.
    fn is_complete(&self) -> bool {
        self.used_up && self.decremented.0 == 0
    }
}

/// What an order would find; `None` when the cost is larger than can be counted.
fn probe(
    pool: &Pool,
    market: &Market,
    owner: &Owner,
    side: Side,
    limit: PriceTicks,
    want: Want,
    accounts: &Accounts,
) -> Option<Found> {
    let rules = &market.rules;
    let cost_of = |price, qty| match side {
        Side::Buy => rules.hold_checked(Side::Buy, price, qty),
        Side::Sell => rules.worth(price, qty),
    };
    let ladder = market.book.ladder(side.opposite());
    let reach = ladder.key(limit);
    let mut found = Found::default();
    let mut lots_left = want.lots.map_or(u64::MAX, |lots| lots.0);
    let mut quote_left = want.quote.map(|quote| quote.0);
    let reached_max = FILLS_PER_COMMAND_MAX.planted(Mutation::HoldOneOrderTooWide, |max| max + 1);
    for (reached_count, (_, maker)) in market.book.queue(pool, side.opposite()).enumerate() {
        if ladder.key(maker.price) > reach {
            break;
        }
        if reached_count as u32 == reached_max {
            break;
        }
        let own = owner.treatment(maker, accounts);
        match own {
            Treatment::CancelMaker => continue,
            Treatment::CancelTaker | Treatment::CancelBoth => break,
            Treatment::Trade | Treatment::Decrement => {}
        }
        let lot_cost = cost_of(maker.price, QtyLots(1))?;
        let affordable = quote_left.map_or(u64::MAX, |left| left / lot_cost.0);
        let qty = maker.leaves.0.min(lots_left).min(affordable);
        if qty == 0 {
            found.used_up = true;
            break;
        }
        let cost = cost_of(maker.price, QtyLots(qty))?;
        lots_left -= qty;
        quote_left = quote_left.map(|left| left - cost.0);
        // A decrement uses quantity up without a trade, so nothing is paid.
        if own == Treatment::Decrement {
            found.decremented.0 = found.decremented.0.checked_add(qty)?;
        } else {
            found.qty.0 = found.qty.0.checked_add(qty)?;
            found.cost.0 = found.cost.0.checked_add(cost.0).filter(|&cost| cost <= UNITS_MAX)?;
            // Never above the cost.
            found.worth.0 += rules.worth(maker.price, QtyLots(qty))?.0;
        }
        if qty < maker.leaves.0 || lots_left == 0 || quote_left == Some(0) {
            found.used_up = true;
            break;
        }
    }
    assert!(want.lots.is_none_or(|lots| found.qty <= lots), "a probe finds at most the quantity that is wanted");
    assert!(want.quote.is_none_or(|quote| found.cost <= quote), "a probe spends at most the amount that is given");
    Some(found)
}

/// Checks the price and the quantity of a limit order, of which `cum` is filled, and gives what it has to hold.
pub(crate) fn admit_limit_terms(
    version: Rules,
    market: &Market,
    side: Side,
    price: PriceTicks,
    leaves: QtyLots,
    cum: QtyLots,
) -> Result<Units, RejectReason> {
    let rules = &market.rules;
    if price.0 == 0 {
        return Err(RejectReason::PriceTick);
    }
    let total = leaves.0.checked_add(cum.0).ok_or(RejectReason::QtyRange)?;
    if leaves.0 == 0 {
        return Err(RejectReason::QtyRange);
    }
    admit_qty(rules, QtyLots(total))?;
    rules.worth(price, leaves).ok_or(RejectReason::Notional)?;
    let is_measured = Rules::Two <= version || cum.0 == 0;
    if is_measured && is_below_notional(rules, price, QtyLots(total)) {
        return Err(RejectReason::Notional);
    }
    // Before the band, whose reason comes after these.
    let uncountable = if side == Side::Buy { RejectReason::Notional } else { RejectReason::QtyRange };
    let hold = rules.hold_checked(side, price, leaves).ok_or(uncountable)?;
    let (low, high) = rules.price_band(version, market.tape.last_price);
    if price < low || high < price {
        return Err(RejectReason::PriceBand);
    }
    assert!(0 < hold.0, "an order that may rest holds something");
    Ok(hold)
}

/// Checks the quantity of an order that only gets smaller: `total` with what is filled.
pub(crate) fn admit_smaller(market: &Market, price: PriceTicks, total: QtyLots) -> Result<(), RejectReason> {
    admit_qty(&market.rules, total)?;
    if is_below_notional(&market.rules, price, total) { Err(RejectReason::Notional) } else { Ok(()) }
}

/// Whether so much is worth less than the market's minimum. What cannot be counted is worth more.
fn is_below_notional(rules: &MarketRules, price: PriceTicks, qty: QtyLots) -> bool {
    rules.worth(price, qty).is_some_and(|notional| notional < rules.limits.notional_min)
}

fn admit_qty(rules: &MarketRules, qty: QtyLots) -> Result<(), RejectReason> {
    let ok = qty.0 > 0 && rules.limits.qty_min <= qty && qty <= rules.limits.qty_max;
    if ok { Ok(()) } else { Err(RejectReason::QtyRange) }
}

/// The worst price of a market order: the end of the band around the reference price, or of all prices.
fn market_limit(version: Rules, market: &Market, side: Side) -> PriceTicks {
    let (low, high) = market.rules.price_band(version, market.tape.last_price);
    assert!(0 < low.0 && low <= high, "a band allows a price");
    match side {
        Side::Buy => high,
        Side::Sell => low,
    }
}
