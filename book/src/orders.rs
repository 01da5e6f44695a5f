//! What happens to one order: it is placed, takes from the book, rests, is amended, cancelled or replaced.
//!
//! The files below this one are the four commands; here are the steps that they share. Invariant: between two commands
//! an order is in its book, on its account's list and, with a session, in the index of client order ids, or it is in
//! none of them and its slot is free.

mod amend;
mod cancel;
mod place;
mod replace;

use crate::admit::Owner;
use crate::command::OrderRef;
use crate::engine::{Engine, Market};
use crate::event::{Event, Rested, Sink};
use crate::ids::{AccountId, ClientKey, MarketId, OrderId, SessionId};
use crate::open_orders::Lists;
use crate::order_book::{TakeEnd, Taker};
use crate::reject::RejectReason;
use crate::settle::{Refund, Settlement};
use crate::slab::Order;
use crate::units::{PriceTicks, QtyLots, Seq};

/// An order that has a name, and the command that placed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    pub order_id: OrderId,
    pub seq: Seq,
}

/// An order that is about to take from the other side.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    slot: u32,
    limit: PriceTicks,
    refund: Refund,
}

impl Engine {
    /// Lets the order in `slot` take from the other side of its book, and settles each fill as it happens.
    #[inline]
    fn take<S: Sink>(&mut self, incoming: &Incoming, sink: &mut S) -> TakeEnd {
        let order = *self.pool.orders.get(incoming.slot);
        let side = order.traits.side();
        let Market { rules, book, tape } = self.markets.at_mut(order.market.idx());
        if order.leaves.0 == 0 {
            return TakeEnd::Filled;
        }
        if !book.crosses(side, incoming.limit) {
            return TakeEnd::Limit;
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
            names: &mut self.names,
            now: self.stamp.ts,
            tiers: &self.fee_tiers,
            version: self.rules,
            trade_ids_skipped: self.run.skipped,
            owner,
            taker_order: order,
            refund: incoming.refund,
            sink,
        };
        let end = book.take(&mut self.pool, &mut taker, &mut settlement);
        let order = self.pool.orders.get_mut(incoming.slot);
        order.leaves = taker.leaves;
        order.cum = taker.cum;
        end
    }

    /// Puts an order at the end of its queue and reports that it rests.
    fn rest_in_book<S: Sink>(&mut self, slot: u32, sink: &mut S) {
        let order = *self.pool.orders.get(slot);
        let book = &mut self.markets.at_mut(order.market.idx()).book;
        assert!(!book.crosses(order.traits.side(), order.price), "a resting order never crosses the book");
        book.rest(&mut self.pool, slot);
        sink.push(Event::Rested(Rested {
            order_id: order.id,
            market: order.market,
            side: order.traits.side(),
            price: order.price,
            qty: order.leaves,
        }));
    }

    /// Releases what `qty` of an order holds at the order's own price.
    fn release<S: Sink>(&mut self, order: &Order, qty: QtyLots, sink: &mut S) {
        let rules = &self.markets.at(order.market.idx()).rules;
        let side = order.traits.side();
        let amount = rules.hold(side, order.price, qty);
        self.accounts.release(order.account, rules.paid_in(side), amount, order.id, sink);
    }

    /// Puts an order that starts to rest on the lists that name it.
    fn list(&mut self, slot: u32) {
        let order = *self.pool.orders.get(slot);
        self.lists().add(slot, &order);
        self.markets.at_mut(order.market.idx()).tape.count_opened();
    }

    /// Takes an open order off the lists that name it. It stays in its book and in its slot.
    #[inline]
    fn delist(&mut self, slot: u32) {
        let order = *self.pool.orders.get(slot);
        let now = self.stamp.ts;
        self.lists().remove(slot, &order, now);
        self.markets.at_mut(order.market.idx()).tape.count_closed();
    }

    #[inline]
    fn lists(&mut self) -> Lists<'_> {
        Lists {
            accounts: &mut self.accounts,
            sessions: &mut self.sessions,
            open: &mut self.open,
            index: &mut self.index,
            names: &mut self.names,
        }
    }

    /// The accepted order that has this name. A name of before rules 2 counts for as long as it was said to.
    pub(crate) fn named(&self, account: AccountId, key: ClientKey) -> Option<Named> {
        let now = self.stamp.ts;
        if let Some(name) = self.names.find(now, account, key) {
            return Some(Named { order_id: name.order_id, seq: name.seq });
        }
        let first = self.client_ids.find(now, account, key)?;
        Some(Named { order_id: first.outcome.ok()?, seq: first.seq })
    }

    /// Finds an open order of this account. Another account's order is answered like one that does not exist.
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
            self.named(account, target.client_key).and_then(|first| self.pool.orders.find(first.order_id))
        };
        let is_own = |slot: &u32| {
            let order = self.pool.orders.get(*slot);
            order.account == account && (market.is_none() || order.market == market)
        };
        found.filter(is_own).ok_or(RejectReason::UnknownOrder)
    }
}
