//! New orders: admission in the precedence of the reasons, and the end of the remainder.

use super::{DAY_NS, Deed, End, Naive, Order, admit_phase, at, band, qty_in_range, reach, traded};
use crate::command::*;
use crate::event::*;
use crate::ids::*;
use crate::intake::IntakeState;
use crate::reject::RejectReason;
use crate::rules::Rules;
use crate::units::*;

impl Naive {
    pub(super) fn place(&mut self, place: &PlaceOrder) {
        let name = (place.account, place.client_key);
        if !self.repeats(place) {
            let outcome = self.place_new(place);
            if let Err(reason) = outcome {
                self.rejected(place, reason);
            }
            if place.client_key != ClientKey::NONE && self.rules == Rules::One {
                self.names.insert(name, (self.now, self.seq, outcome));
            }
        }
    }

    pub(super) fn name_ends(&mut self, order: OrderId) {
        self.order_names.end(order, self.now);
    }

    pub(super) fn rejected(&mut self, place: &PlaceOrder, reason: RejectReason) {
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

    /// Answers with the first outcome when the order's name was used within a day.
    pub(super) fn repeats(&mut self, place: &PlaceOrder) -> bool {
        if self.rules != Rules::One && self.authorise(place.session, place.account).is_err() {
            return false;
        }
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

    pub(super) fn named(&self, account: AccountId, key: ClientKey) -> Option<(Seq, Result<OrderId, RejectReason>)> {
        if let Some(taken) = self.order_names.find(self.now, account, key) {
            return Some((taken.seq, Ok(taken.order)));
        }
        let (ts, seq, outcome) = *self.names.get(&(account, key))?;
        let counts = self.now.0 - ts.0 < DAY_NS && (self.rules == Rules::One || outcome.is_ok());
        counts.then_some((seq, outcome))
    }

    pub(super) fn place_new(&mut self, place: &PlaceOrder) -> Result<OrderId, RejectReason> {
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
        if self.rules != Rules::One && place.client_key != ClientKey::NONE {
            self.order_names.take(place.account, place.client_key, order.id, self.seq);
        }
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
        if !rests {
            self.name_ends(order.id);
        }
        Ok(order.id)
    }

    pub(super) fn admit(&mut self, place: &PlaceOrder) -> Result<Order, RejectReason> {
        let is_limit = matches!(place.kind, OrderKind::Limit { .. });
        if !is_limit && matches!(place.tif, Tif::Gtc | Tif::GtcPostOnly) {
            return Err(RejectReason::Malformed);
        }
        self.authorise(place.session, place.account)?;
        if place.valid_until.0 > 0 && place.valid_until < self.now {
            return Err(RejectReason::StaleRequest);
        }
        if !self.passes_throttle(place.session) {
            return Err(RejectReason::Throttled);
        }
        self.admit_account(place.session, place.account)?;
        let market = at(&self.markets, place.market.0).filter(|market| !market.removed);
        let market = market.ok_or(RejectReason::UnknownInstrument)?;
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
            is_market: !is_limit,
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
        let open_count = self.orders.values().filter(|o| o.account == place.account).count();
        let may_rest = matches!(place.tif, Tif::Gtc | Tif::GtcPostOnly) || self.rules == Rules::One;
        if may_rest && open_count >= self.account(place.account).open_max {
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

    /// Whether the session may act for the account.
    pub(super) fn authorise(&self, session: SessionId, account: AccountId) -> Result<(), RejectReason> {
        let known = at(&self.accounts, account.0).is_some();
        let own = |s: &super::Session| s.account == account && !s.drop_copy && !s.removed;
        let is_ending =
            |unended: &super::Unended| matches!(unended.of, Unfinished::EndLife(end) if end.session == session);
        let is_own = at(&self.sessions, session.0).is_some_and(own) && !self.unended.iter().any(is_ending);
        let open = session.is_none() || is_own;
        if known && open { Ok(()) } else { Err(RejectReason::NotAuthorised) }
    }

    pub(super) fn admit_account(&self, session: SessionId, account: AccountId) -> Result<(), RejectReason> {
        if self.account(account).status != AccountStatus::Active {
            return Err(RejectReason::AccountNotTrading);
        }
        let session_blocked = at(&self.sessions, session.0).is_some_and(|s| s.blocked);
        if session_blocked || self.account(account).blocked {
            return Err(RejectReason::KillSwitch);
        }
        if self.intake == IntakeState::All { Ok(()) } else { Err(RejectReason::IntakeStopped) }
    }

    /// The limit, quantity and price checks of a limit order that may be filled in part; gives what it needs.
    pub(super) fn admit_limit(&self, order: &Order) -> Result<u128, RejectReason> {
        let market = self.market(order.market);
        if order.price == 0 {
            return Err(RejectReason::PriceTick);
        }
        let total = u128::from(order.leaves) + u128::from(order.cum);
        if order.leaves == 0 || !qty_in_range(market, total) {
            return Err(RejectReason::QtyRange);
        }
        let notional = self.worth(order.market, order.price, order.leaves);
        let too_small = match self.rules {
            Rules::One => order.cum == 0 && notional < u128::from(market.limits.notional_min.0),
            Rules::Two => self.is_too_small(order),
        };
        let need = self.need(order.market, order.side, order.price, order.leaves);
        if too_small || notional.max(need) > u128::from(UNITS_MAX) {
            return Err(RejectReason::Notional);
        }
        let (low, high) = band(self.rules, market);
        if order.price < low || high < order.price {
            return Err(RejectReason::PriceBand);
        }
        Ok(need)
    }

    /// Whether all of the order, filled or not, is worth less than the market's minimum.
    pub(super) fn is_too_small(&self, order: &Order) -> bool {
        let minimum = u128::from(self.market(order.market).limits.notional_min.0);
        self.worth(order.market, order.price, order.leaves + order.cum) < minimum
    }

    pub(super) fn admit_market(&self, order: &mut Order, qty: u64) -> Result<u128, RejectReason> {
        let market = self.market(order.market);
        if !qty_in_range(market, u128::from(qty)) {
            return Err(RejectReason::QtyRange);
        }
        order.price = reach(self.rules, market, order.side);
        order.leaves = qty;
        let plan = self.plan(order, qty, u128::MAX);
        let (cost, worth) = (self.cost(order, &plan), self.worth_of(&plan));
        let complete = traded(&plan) == qty;
        if cost > u128::from(UNITS_MAX) || (complete && worth < u128::from(market.limits.notional_min.0)) {
            return Err(RejectReason::Notional);
        }
        Ok(if order.side == Side::Buy { cost } else { self.need(order.market, Side::Sell, 0, qty) })
    }

    pub(super) fn admit_by_quote(&self, order: &mut Order, quote: Units) -> Result<u128, RejectReason> {
        let market = self.market(order.market);
        if quote.0 == 0 || quote < market.limits.notional_min {
            return Err(RejectReason::Notional);
        }
        order.price = reach(self.rules, market, order.side);
        let plan = self.plan(order, u64::MAX, u128::from(quote.0));
        let cost = self.cost(order, &plan);
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
}
