//! From the events of one command to the answers of sessions and the items of the public feed: the same for the live
//! engine and for recovery, so that streams come out byte for byte the same.

use crate::feed::FeedItem;
use api::encode::{EncodeContext, ExecIds, answers};
use api::instruments::Instruments;
use book::event::Event;
use book::ids::SessionId;
use book::units::Stamp;

/// What a command's events were, for counters and for mass cancels that go on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub fills: u64,
    pub rejects: u64,
    /// The command met more orders than one command may cancel: it has to be continued.
    pub more: bool,
}

/// Where translated events go.
pub trait Outlet {
    fn answer(&mut self, session: SessionId, bytes: &[u8]);
    fn public(&mut self, item: FeedItem);
}

/// Nothing of the clock goes in but the command's own time, hence a replay gives the same bytes.
pub fn translate(stamp: Stamp, events: &[Event], instruments: &mut Instruments, outlet: &mut impl Outlet) -> Summary {
    let mut summary = Summary::default();
    let public_last = events.iter().rposition(FeedItem::is_public);
    let mut exec_ids = ExecIds::of_command(stamp.seq);
    for (idx, event) in events.iter().enumerate() {
        instruments.apply(event);
        let Some(exec_id) = exec_ids.next(event) else { continue };
        let context = EncodeContext { stamp, exec_id, gateway_in: stamp.ts };
        answers(event, instruments, &context, &mut |session, bytes| outlet.answer(session, bytes));
        if FeedItem::is_public(event) {
            outlet.public(FeedItem { stamp, event: *event, last: public_last == Some(idx) });
        }
        match event {
            Event::Fill(_) => summary.fills += 1,
            Event::Rejected(_) | Event::CancelRejected(_) => summary.rejects += 1,
            Event::MassCanceled(mass) => summary.more |= mass.more,
            _ => {}
        }
    }
    summary
}
