//! The amendment of a resting order: a smaller quantity keeps its place in the queue, anything else loses it.

use super::Incoming;
use crate::admit::{admit_limit_terms, admit_smaller};
use crate::command::{AmendOrder, AmendQty, Tif};
use crate::engine::{Engine, Market, canceled};
use crate::event::{Amended, CancelReason, CancelRejected, Event, Sink};
use crate::mutation::{Mutation, Planted};
use crate::order_book::TakeEnd;
use crate::phases::{admit_account, admit_phase, lets_out};
use crate::reject::RejectReason;
use crate::rules::Rules;
use crate::settle::Refund;
use crate::slab::Order;
use crate::units::{QtyLots, Stamp, Units};

/// An admitted amendment.
#[derive(Clone, Copy, Debug)]
struct Amendment {
    slot: u32,
    leaves: QtyLots,
    hold_before: Units,
    hold: Units,
    keeps_priority: bool,
}

impl Engine {
    pub(crate) fn amend<S: Sink>(&mut self, stamp: Stamp, amend: &AmendOrder, sink: &mut S) {
        let is_too_large = self.is_too_large(amend.cl_ord_id);
        if !is_too_large && !self.use_cl_ord_id(amend.session, amend.cl_ord_id) {
            return;
        }
        // The order gets this id once all checks have passed, some tens of nanoseconds from now.
        self.index.fetch(amend.session, amend.cl_ord_id);
        let admitted = if is_too_large { Err(RejectReason::Malformed) } else { self.admit_amend(stamp, amend) };
        match admitted {
            Ok(admitted) if admitted.keeps_priority => self.reduce(amend, &admitted, sink),
            Ok(admitted) => self.requeue(amend, &admitted, sink),
            Err(reason) => sink.push(Event::CancelRejected(CancelRejected {
                session: amend.session,
                cl_ord_id: amend.cl_ord_id,
                order_id: amend.target.order_id,
                target_cl_ord_id: amend.target.cl_ord_id,
                account: amend.account,
                market: amend.market,
                reason,
                amend: true,
            })),
        }
    }

    /// All checks of an amendment, in the same precedence as those of a new order.
    fn admit_amend(&mut self, stamp: Stamp, amend: &AmendOrder) -> Result<Amendment, RejectReason> {
        self.authorise(amend.session, amend.account)?;
        if let Some(session) = self.sessions.get_mut(amend.session)
            && !session.bucket.take(stamp.ts)
        {
            return Err(RejectReason::Throttled);
        }
        let slot = self.find_own(amend.session, amend.account, amend.market, &amend.target)?;
        let order = *self.pool.orders.get(slot);
        self.index.fetch(order.session, order.cl_ord_id);
        // An amendment renames the order in its own session, and only there the client can name it afterwards.
        let is_foreign = !amend.session.is_none() && order.session != amend.session;
        let is_foreign = is_foreign.planted(Mutation::ForeignAmended, |_| false);
        if Rules::Two <= self.rules && is_foreign {
            return Err(RejectReason::NotAuthorised);
        }
        let market = self.markets.at(order.market.idx());
        let filled = if amend.qty_means == AmendQty::Total { order.cum } else { QtyLots(0) };
        let leaves = QtyLots(amend.qty.0.saturating_sub(filled.0));
        let shrinks = amend.price == order.price && leaves <= order.leaves;
        self.admit_amend_phase(&order, market, shrinks)?;
        if amend.price.0 > 0 && amend.qty.0 > 0 && leaves.0 == 0 {
            return Err(RejectReason::TooLate);
        }
        let keeps_priority = shrinks && leaves.0 > 0;
        let side = order.traits.side();
        let hold_before = market.rules.hold(side, order.price, order.leaves);
        let hold = if keeps_priority {
            if (Rules::Two <= self.rules).planted(Mutation::AmendedUnmeasured, |_| false) {
                admit_smaller(market, order.price, QtyLots(leaves.0 + order.cum.0))?;
            }
            market.rules.hold(side, order.price, leaves)
        } else {
            admit_limit_terms(self.rules, market, side, amend.price, leaves, order.cum)?
        };
        if order.traits.post_only() && !keeps_priority && market.book.crosses(side, amend.price) {
            return Err(RejectReason::PostOnlyWouldCross);
        }
        let asset = market.rules.paid_in(side);
        if hold.0.saturating_sub(hold_before.0) > self.accounts.at(order.account).available(asset).0 {
            return Err(RejectReason::InsufficientFunds);
        }
        Ok(Amendment { slot, leaves, hold_before, hold, keeps_priority })
    }

    /// A smaller quantity is allowed wherever a cancel is; anything else needs an open market and an unblocked account.
    fn admit_amend_phase(&self, order: &Order, market: &Market, shrinks: bool) -> Result<(), RejectReason> {
        let status = market.rules.status;
        if shrinks {
            return if lets_out(self.rules, status) { Ok(()) } else { Err(RejectReason::NotTrading) };
        }
        let session_blocked = self.sessions.get(order.session).is_some_and(|session| session.blocked.is_set());
        admit_account(self.accounts.at(order.account), session_blocked)?;
        self.intake.admit()?;
        admit_phase(status, if order.traits.post_only() { Tif::GtcPostOnly } else { Tif::Gtc })
    }

    /// The same price and no more quantity: the order stays where it is.
    fn reduce<S: Sink>(&mut self, amend: &AmendOrder, admitted: &Amendment, sink: &mut S) {
        let slot = admitted.slot;
        let before = *self.pool.orders.get(slot);
        assert!(admitted.leaves <= before.leaves, "only a smaller quantity keeps its place in the queue");
        self.rename(slot, &before, amend);
        let order = self.pool.orders.get_mut(slot);
        order.leaves = admitted.leaves;
        sink.push(Event::Amended(amended(&before, order, amend, true)));
        self.move_hold(&before, admitted, sink);
    }

    /// Takes the order out of its queue, lets it take under its new terms, and puts the rest at the end of a queue.
    fn requeue<S: Sink>(&mut self, amend: &AmendOrder, admitted: &Amendment, sink: &mut S) {
        let slot = admitted.slot;
        let before = *self.pool.orders.get(slot);
        self.markets.at_mut(before.market.idx()).book.unlink(&mut self.pool, slot);
        self.rename(slot, &before, amend);
        let order = self.pool.orders.get_mut(slot);
        order.leaves = admitted.leaves;
        order.price = amend.price;
        sink.push(Event::Amended(amended(&before, order, amend, false)));
        self.move_hold(&before, admitted, sink);
        let end = self.take(&Incoming { slot, limit: amend.price, refund: Refund::ToLimit }, sink);
        self.end_or_rest(slot, end, sink);
    }

    /// Changes what the order holds from the old terms to the new ones.
    fn move_hold<S: Sink>(&mut self, before: &Order, admitted: &Amendment, sink: &mut S) {
        let asset = self.markets.at(before.market.idx()).rules.paid_in(before.traits.side());
        let Amendment { hold_before, hold, .. } = *admitted;
        if hold_before < hold {
            let more = hold.minus(hold_before, "the new terms hold more");
            self.accounts.hold(before.account, asset, more, before.id, sink);
        } else {
            let less = hold_before.minus(hold, "the new terms hold no more");
            self.accounts.release(before.account, asset, less, before.id, sink);
        }
    }

    /// The amended order rests again, or it is filled, or self-trade prevention or the fill limit cancels its
    /// remainder.
    fn end_or_rest<S: Sink>(&mut self, slot: u32, end: TakeEnd, sink: &mut S) {
        let order = *self.pool.orders.get(slot);
        if end == TakeEnd::Limit && order.leaves.0 > 0 {
            return self.rest_in_book(slot, sink);
        }
        self.delist(slot);
        if order.leaves.0 > 0 || end == TakeEnd::SelfTrade {
            let reason = if end == TakeEnd::FillLimit { CancelReason::FillLimit } else { CancelReason::SelfTrade };
            sink.push(Event::Canceled(canceled(&order, reason, false)));
            self.release(&order, order.leaves, sink);
        }
        self.pool.orders.remove(slot);
    }

    /// Gives the order the amendment's client order id when the amendment came through the order's own session.
    fn rename(&mut self, slot: u32, before: &Order, amend: &AmendOrder) {
        if before.session != amend.session || amend.session.is_none() {
            return;
        }
        self.index.remove(before.session, before.cl_ord_id, slot);
        self.index.insert(before.session, amend.cl_ord_id, slot);
        self.pool.orders.get_mut(slot).cl_ord_id = amend.cl_ord_id;
    }
}

fn amended(before: &Order, after: &Order, amend: &AmendOrder, kept_priority: bool) -> Amended {
    Amended {
        order_id: after.id,
        session: after.session,
        cl_ord_id: after.cl_ord_id,
        cl_ord_id_before: before.cl_ord_id,
        request_session: amend.session,
        request_cl_ord_id: amend.cl_ord_id,
        account: after.account,
        market: after.market,
        side: after.traits.side(),
        price: after.price,
        price_before: before.price,
        leaves: after.leaves,
        leaves_before: before.leaves,
        cum: after.cum,
        qty_means: amend.qty_means,
        kept_priority,
    }
}
