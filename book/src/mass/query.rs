//! Status queries: one order, or every open order of an account.
//!
//! A query for all orders counts them and reports them, oldest first. Under rules 2 it does so in parts, between which
//! other commands come: each order is reported as it is at its turn, and one that has ended by then is not. Invariants:
//! `remaining` falls by one from answer to answer, and the last answer says 0; it has no order when the last of those
//! that were counted has ended.

use super::{Part, Start};
use crate::accounts::Account;
use crate::command::{Query, Side, Unfinished};
use crate::engine::{CANCELS_PER_COMMAND_MAX, Engine};
use crate::event::{Event, OrderStatus, Sink};
use crate::ids::OrderId;
use crate::mutation::{Mutation, Planted};
use crate::rules::Rules;
use crate::session::Request;
use crate::slab::{NIL, Order};
use crate::units::{PriceTicks, QtyLots};
use crate::walks::Span;

impl Engine {
    pub(crate) fn query<S: Sink>(&mut self, query: &Query, sink: &mut S) {
        if self.asked(query).is_none() {
            sink.push(status_of(query, None, 0));
            return;
        }
        let target = &query.target;
        let wants_all = target.order_id.is_none() && target.cl_ord_id.0 == 0 && target.client_key.is_none();
        let request = if wants_all { Request::OverMany } else { Request::Small };
        if let Err(reason) = self.admit_request(query.session, request) {
            return sink.push(Event::Rejected(self.refused(query.session, query.request, reason)));
        }
        if !wants_all {
            match self.find_own(query.session, query.account, query.market, target) {
                Ok(slot) => sink.push(status_of(query, Some(self.pool.orders.get(slot)), 0)),
                Err(_) => sink.push(status_of(query, None, 0)),
            }
            return;
        }
        let in_parts = (Rules::Two <= self.rules).planted(Mutation::StatusEndsAfterOnePart, |_| false);
        if in_parts {
            self.count_open(query, Start::First, 0, sink);
        } else {
            self.tell_one_part(query, sink);
        }
    }

    /// The account whose orders are asked for. A drop copy may read what it may not trade, so `authorise` would be too
    /// strict here.
    fn asked(&self, query: &Query) -> Option<&Account> {
        let session = self.sessions.get(query.session);
        let own = query.session.is_none() || session.is_some_and(|s| s.account == query.account && !s.removed);
        self.accounts.get(query.account).filter(|_| own)
    }

    /// The answer of rules 1: the oldest orders, and how many there are.
    fn tell_one_part<S: Sink>(&self, query: &Query, sink: &mut S) {
        let account = self.accounts.at(query.account);
        let fits = |slot: &u32| fits(query, self.pool.orders.get(*slot));
        let total = self.open.of(account).filter(fits).count() as u32;
        if total == 0 {
            sink.push(status_of(query, None, 0));
        }
        let slots = self.open.of(account).filter(fits).take(CANCELS_PER_COMMAND_MAX as usize);
        for (idx, slot) in slots.enumerate() {
            sink.push(status_of(query, Some(self.pool.orders.get(slot)), total - 1 - idx as u32));
        }
    }

    /// Counts the orders that fit, beside the `before` of the parts before, and tells them once all are counted. Orders
    /// on all markets are counted already.
    pub(super) fn count_open<S: Sink>(&mut self, query: &Query, start: Start, before: u32, sink: &mut S) {
        if self.asked(query).is_none() {
            sink.push(status_of(query, None, 0));
            return;
        }
        let span = self.span_of(query.account, start);
        assert!(span.next == NIL || span.last != NIL, "who has a next order has a last one");
        let mut part = self.new_part(start);
        let mut total = if self.begins_again(query, start) { 0 } else { before };
        if query.market.is_none() {
            total = self.accounts.at(query.account).open_count;
        } else {
            self.walk(span, &mut part, |order, _| {
                total = total.saturating_add(u32::from(fits(query, order)));
                true
            });
        }
        if part.next.is_some() {
            return self.announce(Unfinished::Count(*query), total, &part, sink);
        }
        if total == 0 {
            return sink.push(status_of(query, None, 0));
        }
        let next = if span.last == NIL { NIL } else { self.accounts.at(query.account).open_head };
        let part = self.new_part(start);
        self.tell_span(query, Span { next, ..span }, part, total, sink);
    }

    /// Tells the orders that fit, from where the part before stopped.
    pub(super) fn tell_open<S: Sink>(&mut self, query: &Query, start: Start, remaining: u32, sink: &mut S) {
        if self.asked(query).is_none() || self.begins_again(query, start) {
            return self.count_open(query, Start::First, 0, sink);
        }
        let (span, part) = (self.span_of(query.account, start), self.new_part(start));
        self.tell_span(query, span, part, remaining, sink);
    }

    /// Whether the order at which the part before stopped has ended, and no walk knows what followed it: so it was with
    /// logs of before there were walks.
    fn begins_again(&self, query: &Query, start: Start) -> bool {
        let is_own =
            |at| self.pool.orders.find(at).is_some_and(|slot| self.pool.orders.get(slot).account == query.account);
        matches!(start, Start::After { at, span: None } if !is_own(at))
    }

    fn tell_span<S: Sink>(&mut self, query: &Query, span: Span, mut part: Part, mut remaining: u32, sink: &mut S) {
        self.walk(span, &mut part, |order, part| {
            if !fits(query, order) {
                return true;
            }
            if remaining == 0 || !part.takes(order) {
                return false;
            }
            remaining -= 1;
            sink.push(status_of(query, Some(order), remaining));
            remaining > 0
        });
        match part.next {
            Some(_) => self.announce(Unfinished::Tell(*query), remaining, &part, sink),
            None if remaining > 0 => sink.push(status_of(query, None, 0)),
            None => {}
        }
    }

    /// Visits the orders of a span, while `go_on` says so and the part may look at more.
    fn walk(&self, span: Span, part: &mut Part, mut go_on: impl FnMut(&Order, &mut Part) -> bool) {
        part.last = span.last;
        let mut at = span.next;
        while at != NIL {
            let order = self.pool.orders.get(at);
            if !part.visits(order) || !go_on(order, part) {
                return;
            }
            at = if at == span.last { NIL } else { self.open.younger(at) };
        }
    }
}

fn fits(query: &Query, order: &Order) -> bool {
    query.market.is_none() || order.market == query.market
}

/// The answer to a query. Without an order it says that there is none, or none any more.
fn status_of(query: &Query, order: Option<&Order>, remaining: u32) -> Event {
    Event::OrderStatus(OrderStatus {
        session: query.session,
        request: query.request,
        order_id: order.map_or(OrderId::NONE, |o| o.id),
        cl_ord_id: order.map_or(query.target.cl_ord_id, |o| o.cl_ord_id),
        account: query.account,
        market: order.map_or(query.market, |o| o.market),
        side: order.map_or(Side::Buy, |o| o.traits.side()),
        price: order.map_or(PriceTicks(0), |o| o.price),
        leaves: order.map_or(QtyLots(0), |o| o.leaves),
        cum: order.map_or(QtyLots(0), |o| o.cum),
        post_only: order.is_some_and(|o| o.traits.post_only()),
        remaining,
    })
}
