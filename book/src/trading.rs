//! Place, cancel, amend: what happens to one order, and to the money of both sides when it trades.

use crate::admit::{Admitted, Owner, admit_limit_terms, admit_phase};
use crate::client_ids::FirstUse;
use crate::command::{AccountStatus, AmendOrder, AmendQty, CancelOrder, CancelReplace, MarketStatus, OrderKind};
use crate::command::{OrderRef, PlaceOrder, ReplaceMode, Side, Tif};
use crate::engine::{Engine, Lists, Market, canceled};
use crate::event::{
    Accepted, Amended, CancelReason, CancelRejected, Canceled, Event, Rejected, Repeated, Rested, Sink,
};
use crate::ids::{AccountId, ClOrdId, MarketId, OrderId, SessionId};
use crate::order_book::{Stop, Taker};
use crate::reject::RejectReason;
use crate::settle::{Refund, Settlement};
use crate::slab::{NIL, Order, OrderTraits};
use crate::units::{PriceTicks, QtyLots, Stamp, Units};

impl Engine {
    pub(crate) fn place<S: Sink>(&mut self, stamp: Stamp, order: &PlaceOrder, sink: &mut S) {
        if !self.take_cl_ord_id(order.session, order.cl_ord_id) {
            return;
        }
        self.place_fresh(stamp, order, sink);
    }

    /// Places an order whose session id is known to be new.
    fn place_fresh<S: Sink>(&mut self, stamp: Stamp, order: &PlaceOrder, sink: &mut S) {
        if self.repeats(stamp, order, sink) {
            return;
        }
        let outcome = self.place_or_reject(stamp, order, sink);
        if !order.client_key.is_none() && outcome != Err(RejectReason::ClientIdMemoryFull) {
            let first = FirstUse { ts: stamp.ts, seq: stamp.seq, outcome };
            self.client_ids.remember(order.account, order.client_key, first);
        }
    }

    /// Answers with the first outcome when the client has used this name before.
    fn repeats<S: Sink>(&mut self, stamp: Stamp, order: &PlaceOrder, sink: &mut S) -> bool {
        let Some(first) = self.first_use(stamp, order) else { return false };
        sink.push(Event::Repeated(Repeated {
            account: order.account,
            market: order.market,
            client_key: order.client_key,
            seq_first: first.seq,
            outcome: first.outcome,
        }));
        true
    }

    fn place_or_reject<S: Sink>(
        &mut self,
        stamp: Stamp,
        order: &PlaceOrder,
        sink: &mut S,
    ) -> Result<OrderId, RejectReason> {
        let admitted = if !order.client_key.is_none() && self.client_ids.is_full() {
            Err(RejectReason::ClientIdMemoryFull)
        } else {
            self.admit(stamp, order)
        };
        match admitted {
            Ok(admitted) => Ok(self.enter(order, &admitted, sink)),
            Err(reason) => {
                sink.push(Event::Rejected(Rejected {
                    session: order.session,
                    cl_ord_id: order.cl_ord_id,
                    client_key: order.client_key,
                    account: order.account,
                    market: order.market,
                    reason,
                    template: 0,
                }));
                Err(reason)
            }
        }
    }

    /// Takes an admitted order in: hold, match, settle, and rest or cancel what is left.
    fn enter<S: Sink>(&mut self, order: &PlaceOrder, admitted: &Admitted, sink: &mut S) -> OrderId {
        let slot = self.pool.orders.insert(order_record(order, admitted));
        let order_id = self.pool.orders.get(slot).id;
        sink.push(Event::Accepted(Accepted {
            order_id,
            session: order.session,
            cl_ord_id: order.cl_ord_id,
            client_key: order.client_key,
            account: order.account,
            market: order.market,
            side: order.side,
            kind: order.kind,
            tif: order.tif,
            qty: admitted.qty,
            persist_on_disconnect: order.persist_on_disconnect,
        }));
        if admitted.unfillable {
            // Killed before any money moves, because nothing would say how much to give back.
            let record = *self.pool.orders.get(slot);
            sink.push(Event::Canceled(canceled(&record, CancelReason::Fok, false)));
            self.pool.orders.remove(slot);
            return order_id;
        }
        let market = &self.markets[order.market.idx()];
        let (base, quote) = (market.rules.base, market.rules.quote);
        let held_asset = market.rules.paid_in(order.side);
        self.accounts.open_rows(order.account, base, quote);
        self.accounts.hold(order.account, held_asset, admitted.hold, order_id, sink);
        let incoming = Incoming {
            slot,
            limit: admitted.limit,
            refund: if matches!(order.kind, OrderKind::Limit { .. }) { Refund::ToLimit } else { Refund::Nothing },
        };
        let stop = self.take(&incoming, sink);
        let rests = stop == Stop::Limit && matches!(order.tif, Tif::Gtc | Tif::GtcPostOnly);
        self.settle_remainder(slot, stop, rests, order, sink);
        order_id
    }

    /// After taking: a filled order ends, a resting one joins the book, any other remainder is cancelled.
    fn settle_remainder<S: Sink>(&mut self, slot: u32, stop: Stop, rests: bool, placed: &PlaceOrder, sink: &mut S) {
        let order = *self.pool.orders.get(slot);
        if rests {
            self.rest(slot, sink);
            return;
        }
        let filled = stop == Stop::Filled && order.cum.0 > 0;
        if !filled {
            sink.push(Event::Canceled(canceled(&order, remainder_reason(stop, placed), false)));
            // A market buy holds exactly what it pays: nothing is left behind what it did not find.
            let is_limit = matches!(placed.kind, OrderKind::Limit { .. });
            if order.leaves.0 > 0 && (is_limit || placed.side == Side::Sell) {
                self.release(&order, order.leaves, sink);
            }
        }
        self.pool.orders.remove(slot);
    }

    /// Gives back what stands behind `qty` of an order at its own price.
    pub(crate) fn release<S: Sink>(&mut self, order: &Order, qty: QtyLots, sink: &mut S) {
        let rules = &self.markets[order.market.idx()].rules;
        let side = order.traits.side();
        let amount = rules.hold(side, order.price, qty);
        self.accounts.release(order.account, rules.paid_in(side), amount, order.id, sink);
    }

    /// Puts an order into the book and on the lists that name it.
    fn rest<S: Sink>(&mut self, slot: u32, sink: &mut S) {
        let order = *self.pool.orders.get(slot);
        debug_assert!(order.leaves.0 > 0);
        let market = &mut self.markets[order.market.idx()];
        market.book.rest(&mut self.pool, slot);
        market.tape.open_count += 1;
        self.lists().add(slot, &order);
        sink.push(Event::Rested(Rested {
            order_id: order.id,
            market: order.market,
            side: order.traits.side(),
            price: order.price,
            qty: order.leaves,
        }));
    }

    fn lists(&mut self) -> Lists<'_> {
        Lists {
            accounts: &mut self.accounts,
            sessions: &mut self.sessions,
            open: &mut self.open,
            index: &mut self.index,
        }
    }

    /// Lets the order in `slot` take from the other side of its book.
    #[inline]
    fn take<S: Sink>(&mut self, incoming: &Incoming, sink: &mut S) -> Stop {
        let order = *self.pool.orders.get(incoming.slot);
        let side = order.traits.side();
        let Market { rules, book, tape } = &mut self.markets[order.market.idx()];
        if order.leaves.0 == 0 {
            return Stop::Filled;
        }
        if !book.crosses(side, incoming.limit) {
            return Stop::Limit;
        }
        let owner = Owner::new(&self.accounts, order.account, order.traits.stp(), order.stp_group);
        let mut taker =
            Taker { slot: incoming.slot, side, limit: incoming.limit, leaves: order.leaves, cum: order.cum };
        let mut settlement = Settlement {
            rules,
            tape,
            accounts: &mut self.accounts,
            sessions: &mut self.sessions,
            open: &mut self.open,
            index: &mut self.index,
            tiers: &self.fee_tiers,
            owner,
            taker_order: order,
            refund: incoming.refund,
            sink,
        };
        let stop = book.take(&mut self.pool, &mut taker, &mut settlement);
        let order = self.pool.orders.get_mut(incoming.slot);
        order.leaves = taker.leaves;
        order.cum = taker.cum;
        stop
    }

    pub(crate) fn cancel<S: Sink>(&mut self, cancel: &CancelOrder, sink: &mut S) {
        match self.admit_cancel(cancel) {
            Ok(slot) => {
                let by = (cancel.session, cancel.cl_ord_id);
                self.cancel_slot(slot, CancelReason::User, by, sink);
            }
            Err(reason) => sink.push(Event::CancelRejected(CancelRejected {
                session: cancel.session,
                cl_ord_id: cancel.cl_ord_id,
                order_id: cancel.target.order_id,
                target_cl_ord_id: cancel.target.cl_ord_id,
                account: cancel.account,
                market: cancel.market,
                reason,
                amend: false,
            })),
        }
    }

    /// The order to cancel, when it exists, is the account's own, and its market lets orders go.
    fn admit_cancel(&self, cancel: &CancelOrder) -> Result<u32, RejectReason> {
        self.admit_door(cancel.session, cancel.account)?;
        let slot = self.find_own(cancel.session, cancel.account, cancel.market, &cancel.target)?;
        let market = self.pool.orders.get(slot).market;
        if self.markets[market.idx()].rules.status == MarketStatus::Halt {
            return Err(RejectReason::NotTrading);
        }
        Ok(slot)
    }

    /// The account exists and the session may act for it; administrators and the REST door come without a session.
    pub(crate) fn admit_door(&self, session: SessionId, account: AccountId) -> Result<(), RejectReason> {
        let may_act = session.is_none()
            || self.sessions.get(session).is_some_and(|session| session.account == account && !session.drop_copy);
        if may_act && self.accounts.get(account).is_some() { Ok(()) } else { Err(RejectReason::NotAuthorised) }
    }

    /// Finds an open order of this account. Somebody else's order looks the same as none.
    pub(crate) fn find_own(
        &self,
        session: SessionId,
        account: AccountId,
        market: MarketId,
        target: &OrderRef,
    ) -> Result<u32, RejectReason> {
        let found = if !target.order_id.is_none() {
            self.pool.orders.find(target.order_id)
        } else if target.cl_ord_id.0 != 0 {
            self.index.find(&self.pool.orders, session, target.cl_ord_id)
        } else {
            let first = self.client_ids.find(self.stamp.ts, account, target.client_key);
            first.and_then(|f| f.outcome.ok()).and_then(|id| self.pool.orders.find(id))
        };
        let own = |slot: &u32| {
            let order = self.pool.orders.get(*slot);
            order.account == account && (market.is_none() || order.market == market)
        };
        found.filter(own).ok_or(RejectReason::UnknownOrder)
    }

    /// Ends a resting order and gives back what it holds.
    pub(crate) fn cancel_slot<S: Sink>(
        &mut self,
        slot: u32,
        reason: CancelReason,
        by: (SessionId, ClOrdId),
        sink: &mut S,
    ) {
        let order = *self.pool.orders.get(slot);
        self.markets[order.market.idx()].book.unlink(&mut self.pool, slot);
        self.delist(slot);
        sink.push(Event::Canceled(Canceled {
            request_session: by.0,
            request_cl_ord_id: by.1,
            ..canceled(&order, reason, true)
        }));
        self.release(&order, order.leaves, sink);
        self.pool.orders.remove(slot);
    }

    pub(crate) fn amend<S: Sink>(&mut self, stamp: Stamp, amend: &AmendOrder, sink: &mut S) {
        if !self.take_cl_ord_id(amend.session, amend.cl_ord_id) {
            return;
        }
        // The order will go by this name: its place is needed when everything is checked, some tens of nanoseconds from now.
        self.index.fetch(amend.session, amend.cl_ord_id);
        match self.admit_amend(stamp, amend) {
            Ok(change) if change.keeps_priority => self.reduce(amend, &change, sink),
            Ok(change) => self.reprice(amend, &change, sink),
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

    /// All checks of an amendment; the precedence is that of a new order.
    fn admit_amend(&mut self, stamp: Stamp, amend: &AmendOrder) -> Result<Change, RejectReason> {
        self.admit_door(amend.session, amend.account)?;
        if let Some(session) = self.sessions.get_mut(amend.session)
            && !session.bucket.take(stamp.ts)
        {
            return Err(RejectReason::Throttled);
        }
        let slot = self.find_own(amend.session, amend.account, amend.market, &amend.target)?;
        let order = *self.pool.orders.get(slot);
        self.index.fetch(order.session, order.cl_ord_id);
        let market = &self.markets[order.market.idx()];
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
            market.rules.hold(side, order.price, leaves)
        } else {
            admit_limit_terms(market, side, amend.price, leaves, order.cum)?
        };
        if order.traits.post_only() && !keeps_priority && market.book.crosses(side, amend.price) {
            return Err(RejectReason::PostOnlyWouldCross);
        }
        let asset = market.rules.paid_in(side);
        if hold.0.saturating_sub(hold_before.0) > self.accounts.at(order.account).available(asset).0 {
            return Err(RejectReason::InsufficientFunds);
        }
        Ok(Change { slot, leaves, hold_before, hold, keeps_priority })
    }

    /// Reducing risk is allowed where cancelling is; anything else needs an open market and an unblocked account.
    fn admit_amend_phase(&self, order: &Order, market: &Market, shrinks: bool) -> Result<(), RejectReason> {
        let status = market.rules.status;
        if shrinks {
            return if status == MarketStatus::Halt { Err(RejectReason::NotTrading) } else { Ok(()) };
        }
        let account = self.accounts.at(order.account);
        if account.status != AccountStatus::Active {
            return Err(RejectReason::AccountNotTrading);
        }
        if account.blocked || self.sessions.get(order.session).is_some_and(|s| s.blocked) {
            return Err(RejectReason::KillSwitch);
        }
        admit_phase(status, if order.traits.post_only() { Tif::GtcPostOnly } else { Tif::Gtc })
    }

    /// The same price and no more quantity: the order stays where it is.
    fn reduce<S: Sink>(&mut self, amend: &AmendOrder, change: &Change, sink: &mut S) {
        let before = *self.pool.orders.get(change.slot);
        self.rename(change.slot, &before, amend);
        let order = self.pool.orders.get_mut(change.slot);
        order.leaves = change.leaves;
        sink.push(Event::Amended(amended(&before, order, amend, true)));
        let asset = self.markets[before.market.idx()].rules.paid_in(before.traits.side());
        let less = Units(change.hold_before.0 - change.hold.0);
        self.accounts.release(before.account, asset, less, before.id, sink);
    }

    /// Out of the book, under its new terms against the other side, and back to the end of the queue.
    fn reprice<S: Sink>(&mut self, amend: &AmendOrder, change: &Change, sink: &mut S) {
        let slot = change.slot;
        let before = *self.pool.orders.get(slot);
        let market = &mut self.markets[before.market.idx()];
        market.book.unlink(&mut self.pool, slot);
        let asset = market.rules.paid_in(before.traits.side());
        self.rename(slot, &before, amend);
        let order = self.pool.orders.get_mut(slot);
        order.leaves = change.leaves;
        order.price = amend.price;
        sink.push(Event::Amended(amended(&before, order, amend, false)));
        if change.hold >= change.hold_before {
            let more = Units(change.hold.0 - change.hold_before.0);
            self.accounts.hold(before.account, asset, more, before.id, sink);
        } else {
            let less = Units(change.hold_before.0 - change.hold.0);
            self.accounts.release(before.account, asset, less, before.id, sink);
        }
        let incoming = Incoming { slot, limit: amend.price, refund: Refund::ToLimit };
        let stop = self.take(&incoming, sink);
        self.settle_repriced(slot, stop, sink);
    }

    /// The amended order rests again, is filled, or loses its remainder to self-trade prevention or the fill bound.
    fn settle_repriced<S: Sink>(&mut self, slot: u32, stop: Stop, sink: &mut S) {
        let order = *self.pool.orders.get(slot);
        if stop == Stop::Limit && order.leaves.0 > 0 {
            self.markets[order.market.idx()].book.rest(&mut self.pool, slot);
            sink.push(Event::Rested(Rested {
                order_id: order.id,
                market: order.market,
                side: order.traits.side(),
                price: order.price,
                qty: order.leaves,
            }));
            return;
        }
        self.delist(slot);
        if order.leaves.0 > 0 || stop == Stop::SelfTrade {
            let reason = if stop == Stop::FillLimit { CancelReason::FillLimit } else { CancelReason::SelfTrade };
            sink.push(Event::Canceled(canceled(&order, reason, false)));
            self.release(&order, order.leaves, sink);
        }
        self.pool.orders.remove(slot);
    }

    /// From now on the order goes by the amendment's client id (when it came through a session that numbers them).
    fn rename(&mut self, slot: u32, before: &Order, amend: &AmendOrder) {
        if before.session != amend.session || amend.session.is_none() {
            return;
        }
        self.index.remove(before.session, before.cl_ord_id, slot);
        self.index.insert(before.session, amend.cl_ord_id, slot);
        self.pool.orders.get_mut(slot).cl_ord_id = amend.cl_ord_id;
    }

    /// One step: nobody can come between the cancel and the new order, and with `StopOnFailure` neither happens alone
    /// when the old order is gone.
    pub(crate) fn cancel_replace<S: Sink>(&mut self, stamp: Stamp, replace: &CancelReplace, sink: &mut S) {
        let place = &replace.place;
        // A resend must not cancel anything either, so the name is looked up before the first half.
        if !self.take_cl_ord_id(place.session, place.cl_ord_id) || self.repeats(stamp, place, sink) {
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
            Ok(slot) => {
                self.cancel_slot(slot, CancelReason::Replaced, (place.session, place.cl_ord_id), sink);
                self.place_fresh(stamp, place, sink);
            }
            Err(reason) => {
                sink.push(Event::CancelRejected(CancelRejected {
                    session: place.session,
                    cl_ord_id: place.cl_ord_id,
                    order_id: replace.target.order_id,
                    target_cl_ord_id: replace.target.cl_ord_id,
                    account: place.account,
                    market: place.market,
                    reason,
                    amend: false,
                }));
                if replace.mode == ReplaceMode::AllowFailure {
                    self.place_fresh(stamp, place, sink);
                }
            }
        }
    }
}

/// An order about to take.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    slot: u32,
    limit: PriceTicks,
    refund: Refund,
}

/// An admitted amendment.
#[derive(Clone, Copy, Debug)]
struct Change {
    slot: u32,
    leaves: QtyLots,
    hold_before: Units,
    hold: Units,
    keeps_priority: bool,
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

fn order_record(order: &PlaceOrder, admitted: &Admitted) -> Order {
    let post_only = order.tif == Tif::GtcPostOnly;
    Order {
        id: OrderId::NONE,
        leaves: admitted.qty,
        cum: QtyLots(0),
        cl_ord_id: order.cl_ord_id,
        prev: NIL,
        next: NIL,
        level: NIL,
        account: order.account,
        session: order.session,
        market: order.market,
        price: admitted.limit,
        stp_group: order.stp_group,
        traits: OrderTraits::new(order.side, post_only, order.persist_on_disconnect, order.stp),
        cancel_group: order.cancel_group,
    }
}

/// Why the remainder of an order that does not rest was cancelled.
fn remainder_reason(stop: Stop, placed: &PlaceOrder) -> CancelReason {
    match (stop, placed.kind, placed.tif) {
        (Stop::SelfTrade, _, _) => CancelReason::SelfTrade,
        (Stop::FillLimit, _, _) => CancelReason::FillLimit,
        (_, _, Tif::Fok) => CancelReason::Fok,
        (_, OrderKind::Limit { .. }, _) => CancelReason::Ioc,
        _ => CancelReason::NoLiquidity,
    }
}
