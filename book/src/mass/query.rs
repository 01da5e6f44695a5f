//! Status queries: one order, or every open order of an account.
//!
//! A query for all orders counts them and tells them, oldest first. Under rules 2 it does so in parts, before any
//! command of a client, so its answers are of one moment. Invariants: `remaining` falls by one from answer to answer,
//! and the last one says 0; one command looks at no more than `VISITS_PER_COMMAND_MAX` orders to count and as many to
//! tell.

use super::Part;
use crate::accounts::Account;
use crate::command::{Query, Rest, Side, Unfinished};
use crate::engine::{CANCELS_PER_COMMAND_MAX, Engine};
use crate::event::{Event, OrderStatus, Sink};
use crate::ids::OrderId;
use crate::mutation::{Mutation, Planted};
use crate::rules::Rules;
use crate::slab::{NIL, Order};
use crate::units::{PriceTicks, QtyLots};

impl Engine {
    pub(crate) fn query<S: Sink>(&self, query: &Query, sink: &mut S) {
        let Some(account) = self.asked(query) else {
            sink.push(status_of(query, None, 0));
            return;
        };
        let target = &query.target;
        let wants_all = target.order_id.is_none() && target.cl_ord_id.0 == 0 && target.client_key.is_none();
        if !wants_all {
            match self.find_own(query.session, query.account, query.market, target) {
                Ok(slot) => sink.push(status_of(query, Some(self.pool.orders.get(slot)), 0)),
                Err(_) => sink.push(status_of(query, None, 0)),
            }
            return;
        }
        let in_parts = (Rules::Two <= self.rules).planted(Mutation::StatusEndsAfterOnePart, |_| false);
        if in_parts {
            self.count_open(query, &Rest { of: Unfinished::Count(*query), at: OrderId::NONE, count: 0 }, sink);
        } else {
            self.tell_one_part(query, account, sink);
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
    fn tell_one_part<S: Sink>(&self, query: &Query, account: &Account, sink: &mut S) {
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

    /// Counts the orders that fit, from the one at which the part before stopped, and tells them once all are counted.
    /// Orders on all markets are counted already.
    pub(super) fn count_open<S: Sink>(&self, query: &Query, rest: &Rest, sink: &mut S) {
        let Some(account) = self.asked(query) else {
            sink.push(status_of(query, None, 0));
            return;
        };
        let from = self.place_of(query, rest.at);
        let (mut part, mut total) = (self.new_part(), if from.is_none() { 0 } else { rest.count });
        if query.market.is_none() {
            total = account.open_count;
        } else {
            self.walk(from.unwrap_or(account.open_head), &mut part, |order, _| {
                total = total.saturating_add(u32::from(fits(query, order)));
                true
            });
        }
        match part.next {
            Some(at) => sink.push(Event::Unfinished(Rest { of: Unfinished::Count(*query), at, count: total })),
            None if total == 0 => sink.push(status_of(query, None, 0)),
            None => self.tell_from(query, account.open_head, total, sink),
        }
    }

    /// Tells the orders that fit, from the one at which the part before stopped. If that one has ended, all of them are
    /// counted and reported again.
    pub(super) fn tell_open<S: Sink>(&self, query: &Query, rest: &Rest, sink: &mut S) {
        match self.place_of(query, rest.at) {
            Some(slot) => self.tell_from(query, slot, rest.count, sink),
            None => self.count_open(query, &Rest { at: OrderId::NONE, ..*rest }, sink),
        }
    }

    /// The slot of this order, if it is an open one of the account.
    fn place_of(&self, query: &Query, at: OrderId) -> Option<u32> {
        self.asked(query)?;
        self.pool.orders.find(at).filter(|slot| self.pool.orders.get(*slot).account == query.account)
    }

    fn tell_from<S: Sink>(&self, query: &Query, slot: u32, mut remaining: u32, sink: &mut S) {
        let mut part = self.new_part();
        self.walk(slot, &mut part, |order, part| {
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
            Some(at) => sink.push(Event::Unfinished(Rest { of: Unfinished::Tell(*query), at, count: remaining })),
            // An order has ended since they were counted, which no command of a client can do.
            None if remaining > 0 => sink.push(status_of(query, None, 0)),
            None => {}
        }
    }

    /// Visits an account's orders from this one on, while `go_on` says so and the part may look at more.
    fn walk(&self, mut at: u32, part: &mut Part, mut go_on: impl FnMut(&Order, &mut Part) -> bool) {
        while at != NIL {
            let order = self.pool.orders.get(at);
            if !part.visits(order) || !go_on(order, part) {
                return;
            }
            at = self.open.younger(at);
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
