//! A new order: admitted or rejected, then held, matched and settled, and at last resting, filled or cancelled.

use super::Incoming;
use crate::admit::Admitted;
use crate::client_ids::FirstUse;
use crate::command::{OrderKind, PlaceOrder, Side, Tif};
use crate::engine::{Engine, canceled};
use crate::event::{Accepted, CancelReason, Event, Rejected, Repeated, Sink};
use crate::ids::OrderId;
use crate::mutation::{Mutation, Planted};
use crate::names::Name;
use crate::order_book::TakeEnd;
use crate::reject::RejectReason;
use crate::rules::Rules;
use crate::settle::Refund;
use crate::slab::{NIL, Order, OrderTraits};
use crate::units::{QtyLots, Stamp, Units};

impl Engine {
    pub(crate) fn place<S: Sink>(&mut self, stamp: Stamp, order: &PlaceOrder, sink: &mut S) {
        if self.is_too_large(order.cl_ord_id) {
            return sink.push(Event::Rejected(rejected(order, RejectReason::Malformed)));
        }
        if self.use_cl_ord_id(order.session, order.cl_ord_id) {
            self.place_once(stamp, order, sink);
        }
    }

    /// Places an order whose client order id is new, unless its client key was used before.
    pub(super) fn place_once<S: Sink>(&mut self, stamp: Stamp, order: &PlaceOrder, sink: &mut S) {
        if self.answer_repeat(stamp, order, sink) {
            return;
        }
        let outcome = self.place_or_reject(stamp, order, sink);
        let remembers_refusals = self.rules < Rules::Two && outcome != Err(RejectReason::ClientIdMemoryFull);
        if !order.client_key.is_none() && remembers_refusals {
            let first = FirstUse { ts: stamp.ts, seq: stamp.seq, outcome };
            self.client_ids.remember(order.account, order.client_key, first);
        }
    }

    /// Answers with the first outcome when the order has a name that is taken. From rules 2 on only who may act for the
    /// account learns of it.
    pub(super) fn answer_repeat<S: Sink>(&mut self, stamp: Stamp, order: &PlaceOrder, sink: &mut S) -> bool {
        if order.client_key.is_none() {
            return false;
        }
        self.client_ids.expire(stamp.ts);
        let (seq_first, outcome) = if self.rules < Rules::Two {
            let Some(first) = self.client_ids.find(stamp.ts, order.account, order.client_key) else { return false };
            (first.seq, first.outcome)
        } else {
            let may_ask =
                self.authorise(order.session, order.account).is_ok().planted(Mutation::NameShownToAll, |_| true);
            let Some(first) = self.named(order.account, order.client_key).filter(|_| may_ask) else { return false };
            (first.seq, Ok(first.order_id))
        };
        let PlaceOrder { account, market, client_key, .. } = *order;
        sink.push(Event::Repeated(Repeated { account, market, client_key, seq_first, outcome }));
        true
    }

    fn place_or_reject<S: Sink>(
        &mut self,
        stamp: Stamp,
        order: &PlaceOrder,
        sink: &mut S,
    ) -> Result<OrderId, RejectReason> {
        let has_room = order.client_key.is_none() || Rules::Two <= self.rules || !self.client_ids.is_full();
        let admitted = if !has_room { Err(RejectReason::ClientIdMemoryFull) } else { self.admit(stamp, order) };
        match admitted {
            Ok(admitted) => Ok(self.accept(order, &admitted, sink)),
            Err(reason) => {
                sink.push(Event::Rejected(rejected(order, reason)));
                Err(reason)
            }
        }
    }

    /// Gives an admitted order its slot and id, holds its money, lets it take, and deals with the remainder.
    fn accept<S: Sink>(&mut self, order: &PlaceOrder, admitted: &Admitted, sink: &mut S) -> OrderId {
        let slot = self.pool.orders.insert(order_record(order, admitted));
        let order_id = self.pool.orders.get(slot).id;
        sink.push(Event::Accepted(accepted(order_id, order, admitted)));
        if Rules::Two <= self.rules && !order.client_key.is_none() {
            self.take_name(slot, order);
        }
        if admitted.unfillable {
            // Killed before any money is held, because a partly found quantity would not say how much to release.
            let record = *self.pool.orders.get(slot);
            sink.push(Event::Canceled(canceled(&record, CancelReason::Fok, false)));
            self.free_unlisted(slot);
            return order_id;
        }
        let rules = &self.markets.at(order.market.idx()).rules;
        let (base, quote, held_asset) = (rules.base, rules.quote, rules.paid_in(order.side));
        self.accounts.open_rows(order.account, base, quote);
        let hold = admitted.hold.planted(Mutation::HoldTooSmall, |hold| Units(hold.0.saturating_sub(1)));
        self.accounts.hold(order.account, held_asset, hold, order_id, sink);
        let refund = if is_limit(order) { Refund::ToLimit } else { Refund::Nothing };
        let end = self.take(&Incoming { slot, limit: admitted.limit, refund }, sink);
        if end == TakeEnd::Limit && matches!(order.tif, Tif::Gtc | Tif::GtcPostOnly) {
            self.list(slot);
            self.rest_in_book(slot, sink);
        } else {
            self.end_unrested(slot, end, order, sink);
        }
        order_id
    }

    /// Ends an order that does not rest: it is filled, or its remainder is cancelled and released.
    fn end_unrested<S: Sink>(&mut self, slot: u32, end: TakeEnd, placed: &PlaceOrder, sink: &mut S) {
        let order = *self.pool.orders.get(slot);
        let filled = end == TakeEnd::Filled && order.cum.0 > 0;
        assert!(!filled || order.leaves.0 == 0, "a filled order has nothing open");
        if !filled {
            sink.push(Event::Canceled(canceled(&order, remainder_reason(end, placed), false)));
            // A market buy held exactly what it paid, so its remainder holds nothing.
            if order.leaves.0 > 0 && (is_limit(placed) || placed.side == Side::Sell) {
                self.release(&order, order.leaves, sink);
            }
        }
        self.free_unlisted(slot);
    }

    /// Frees the slot of an order that was on no list.
    fn free_unlisted(&mut self, slot: u32) {
        if self.pool.orders.get(slot).traits.is_named() {
            self.names.end(slot, self.stamp.ts);
        }
        self.pool.orders.remove(slot);
    }

    #[cold]
    fn take_name(&mut self, slot: u32, placed: &PlaceOrder) {
        let order = self.pool.orders.get_mut(slot);
        order.traits.set_named();
        let name = Name::open(order.account, placed.client_key, order.id, self.stamp.seq);
        self.names.take(name, slot);
    }
}

pub(super) fn rejected(order: &PlaceOrder, reason: RejectReason) -> Rejected {
    Rejected {
        session: order.session,
        cl_ord_id: order.cl_ord_id,
        client_key: order.client_key,
        account: order.account,
        market: order.market,
        reason,
        template: 0,
    }
}

fn is_limit(order: &PlaceOrder) -> bool {
    matches!(order.kind, OrderKind::Limit { .. })
}

fn accepted(order_id: OrderId, order: &PlaceOrder, admitted: &Admitted) -> Accepted {
    Accepted {
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

/// Why the remainder of an order that does not rest is cancelled.
fn remainder_reason(end: TakeEnd, placed: &PlaceOrder) -> CancelReason {
    match (end, placed.kind, placed.tif) {
        (TakeEnd::SelfTrade, _, _) => CancelReason::SelfTrade,
        (TakeEnd::FillLimit, _, _) => CancelReason::FillLimit,
        (_, _, Tif::Fok) => CancelReason::Fok,
        (_, OrderKind::Limit { .. }, _) => CancelReason::Ioc,
        _ => CancelReason::NoLiquidity,
    }
}
