//! Cancel-replace: the cancel of one order and the placing of another as one step.

use super::cancel::cancel_rejected;
use super::place::rejected;
use crate::command::{CancelOrder, CancelReplace, ReplaceMode};
use crate::engine::Engine;
use crate::event::{CancelReason, Event, Sink};
use crate::reject::RejectReason;
use crate::units::Stamp;

impl Engine {
    /// No other command can come between the cancel and the new order. With `StopOnFailure` the new order is placed
    /// only when the old one was there to be cancelled.
    pub(crate) fn cancel_replace<S: Sink>(&mut self, stamp: Stamp, replace: &CancelReplace, sink: &mut S) {
        let place = &replace.place;
        if self.is_too_large(place.cl_ord_id) {
            return sink.push(Event::Rejected(rejected(place, RejectReason::Malformed)));
        }
        // A resend must not cancel anything either, so both names are looked up before the first half.
        if !self.use_cl_ord_id(place.session, place.cl_ord_id) || self.answer_repeat(stamp, place, sink) {
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
                self.place_once(stamp, place, sink);
            }
            Err(reason) => {
                sink.push(Event::CancelRejected(cancel_rejected(&cancel, reason)));
                if replace.mode == ReplaceMode::AllowFailure {
                    self.place_once(stamp, place, sink);
                }
            }
        }
    }
}
