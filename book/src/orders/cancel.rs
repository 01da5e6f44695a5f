//! The cancel of one order, and the end of a resting order that every other cancel uses too.

use crate::command::CancelOrder;
use crate::engine::{Engine, canceled};
use crate::event::{CancelReason, CancelRejected, Canceled, Event, Sink};
use crate::ids::{ClOrdId, SessionId};
use crate::mutation::{Mutation, Planted};
use crate::phases::lets_out;
use crate::reject::RejectReason;
use crate::units::QtyLots;

impl Engine {
    pub(crate) fn cancel<S: Sink>(&mut self, cancel: &CancelOrder, sink: &mut S) {
        match self.admit_cancel(cancel) {
            Ok(slot) => {
                let by = (cancel.session, cancel.cl_ord_id);
                self.cancel_slot(slot, CancelReason::User, by, sink);
            }
            Err(reason) => sink.push(Event::CancelRejected(cancel_rejected(cancel, reason))),
        }
    }

    /// The slot of the order to cancel: it exists, belongs to the account, and its market allows cancels.
    pub(super) fn admit_cancel(&self, cancel: &CancelOrder) -> Result<u32, RejectReason> {
        self.authorise(cancel.session, cancel.account)?;
        let slot = self.find_own(cancel.session, cancel.account, cancel.market, &cancel.target)?;
        let market = self.pool.orders.get(slot).market;
        let status = self.markets.at(market.idx()).rules.status;
        if lets_out(self.rules, status) { Ok(slot) } else { Err(RejectReason::NotTrading) }
    }

    /// Ends a resting order and releases what it holds. `by` is the request that asked for it, or none.
    pub(crate) fn cancel_slot<S: Sink>(
        &mut self,
        slot: u32,
        reason: CancelReason,
        by: (SessionId, ClOrdId),
        sink: &mut S,
    ) {
        let order = *self.pool.orders.get(slot);
        self.markets.at_mut(order.market.idx()).book.unlink(&mut self.pool, slot);
        self.delist(slot);
        sink.push(Event::Canceled(Canceled {
            request_session: by.0,
            request_cl_ord_id: by.1,
            ..canceled(&order, reason, true)
        }));
        let qty = order.leaves.planted(Mutation::ReleasedTwice, |leaves| QtyLots(2 * leaves.0));
        self.release(&order, qty, sink);
        self.pool.orders.remove(slot);
    }
}

pub(super) fn cancel_rejected(cancel: &CancelOrder, reason: RejectReason) -> CancelRejected {
    CancelRejected {
        session: cancel.session,
        cl_ord_id: cancel.cl_ord_id,
        order_id: cancel.target.order_id,
        target_cl_ord_id: cancel.target.cl_ord_id,
        account: cancel.account,
        market: cancel.market,
        reason,
        amend: false,
    }
}
