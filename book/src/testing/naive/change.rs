//! Cancels, replacements and amendments.

use super::{End, Naive, Order, admit_phase, qty_in_range};
use crate::command::*;
use crate::event::*;
use crate::ids::*;
use crate::reject::RejectReason;
use crate::rules::Rules;
use crate::units::*;

impl Naive {
    pub(super) fn find(
        &self,
        session: SessionId,
        account: AccountId,
        market: MarketId,
        target: &OrderRef,
    ) -> Option<OrderId> {
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

    pub(super) fn admit_cancel(&self, cancel: &CancelOrder) -> Result<OrderId, RejectReason> {
        self.authorise(cancel.session, cancel.account)?;
        let found = self.find(cancel.session, cancel.account, cancel.market, &cancel.target);
        let id = found.ok_or(RejectReason::UnknownOrder)?;
        if self.lets_cancel(self.orders[&id].market) { Ok(id) } else { Err(RejectReason::NotTrading) }
    }

    pub(super) fn cancel(&mut self, cancel: &CancelOrder) {
        match self.admit_cancel(cancel) {
            Ok(id) => {
                let order = self.take_out(id);
                self.name_ends(id);
                self.canceled(&order, CancelReason::User, true, (cancel.session, cancel.cl_ord_id));
            }
            Err(reason) => self.cancel_rejected(cancel, reason, false),
        }
    }

    pub(super) fn cancel_rejected(&mut self, cancel: &CancelOrder, reason: RejectReason, amend: bool) {
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

    pub(super) fn cancel_replace(&mut self, replace: &CancelReplace) {
        let place = &replace.place;
        if self.is_out_of_range(place.cl_ord_id) {
            return self.rejected(place, RejectReason::Malformed);
        }
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
                self.name_ends(id);
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

    pub(super) fn amend(&mut self, amend: &AmendOrder) {
        let out_of_range = self.is_out_of_range(amend.cl_ord_id);
        if !out_of_range && !self.is_new(amend.session, amend.cl_ord_id) {
            return;
        }
        let admitted = if out_of_range { Err(RejectReason::Malformed) } else { self.admit_amend(amend) };
        let (before, mut order, keeps) = match admitted {
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
            End::Done => self.name_ends(order.id),
            End::OutOfReach => self.rest(&order),
            end => {
                self.name_ends(order.id);
                let reason = if end == End::FillLimit { CancelReason::FillLimit } else { CancelReason::SelfTrade };
                self.canceled(&order, reason, false, (SessionId::NONE, ClOrdId(0)));
            }
        }
    }

    /// The order before, the order after, and whether it keeps its place.
    pub(super) fn admit_amend(&mut self, amend: &AmendOrder) -> Result<(Order, Order, bool), RejectReason> {
        self.authorise(amend.session, amend.account)?;
        if !self.passes_throttle(amend.session) {
            return Err(RejectReason::Throttled);
        }
        let found = self.find(amend.session, amend.account, amend.market, &amend.target);
        let before = self.orders[&found.ok_or(RejectReason::UnknownOrder)?];
        let is_own = amend.session.is_none() || before.session == amend.session;
        if self.rules == Rules::Two && !is_own {
            return Err(RejectReason::NotAuthorised);
        }
        let off = if amend.qty_means == AmendQty::Total { before.cum } else { 0 };
        let leaves = amend.qty.0.saturating_sub(off);
        let shrinks = amend.price.0 == before.price && leaves <= before.leaves;
        let status = self.market(before.market).status;
        if shrinks {
            if !self.lets_cancel(before.market) {
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
            if self.rules == Rules::Two {
                if !qty_in_range(self.market(order.market), u128::from(leaves + order.cum)) {
                    return Err(RejectReason::QtyRange);
                }
                if self.is_too_small(&order) {
                    return Err(RejectReason::Notional);
                }
            }
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
}
