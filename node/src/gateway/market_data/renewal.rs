//! How the feed goes on where its items are not complete: the ring was full, or a panic left its state half changed.
//!
//! ```text
//!  items   ... 7 8 | lost 9..12 | 13 14 15 16 ...
//!                               '--- kept while the shadow is asked for the state after 12 or later
//!  answer: the state after 14  ->  13 and 14 are in it, 15 and 16 are published next
//! ```
//! The shadow computes the feed's state from the log. Items that it contains are not published again, so each message
//! has the number that the log gives it. Readers of the live stream whose next message is not in memory are
//! disconnected and recover by snapshot; those of the best levels get the changes at once. Invariants: while the shadow
//! is asked nothing is published, and the ring is emptied all the same, so the engine finds room for new items and an
//! answer that takes long is not too early; at most `KEPT_MAX` items are kept, and where there are more the shadow is
//! asked once again, for the state after them.

use super::{Answer, ITEMS_PER_CYCLE_MAX, MarketData, Renewal};
use crate::faults::mutation::{Mutation, Planted};
use crate::replica::Replica;
use crate::replica::public_feed::PublicFeed;
use book::units::Seq;
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

/// Items that wait for the state before them. A second of more than any measured load.
const KEPT_MAX: usize = 1 << 19;

impl MarketData {
    /// Whether the feed waits for its state.
    pub fn is_renewing(&self) -> bool {
        !matches!(self.renewal, Renewal::None)
    }

    /// One step. Returns the work done.
    #[cold]
    pub(super) fn renew(&mut self) -> usize {
        let kept = self.keep();
        kept + match std::mem::replace(&mut self.renewal, Renewal::Due) {
            Renewal::None => {
                self.status.feed_gaps.add(1);
                let lost_upto = self.items.lost_upto().0;
                tracing::warn!(
                    lost_upto,
                    "market data lags: its ring was full, and its state is taken from the shadow"
                );
                1
            }
            Renewal::Due => self.ask(),
            Renewal::Asked { answer } => self.look_for(answer),
        }
    }

    /// The last command whose items are not all there.
    fn missing_upto(&self) -> Seq {
        self.items.lost_upto().max(self.dropped_upto)
    }

    fn ask(&mut self) -> usize {
        let question =
            |replica: &Replica| (PublicFeed::resume(&replica.engine, &replica.positions), replica.engine.stamp().seq);
        // Where too many requests wait, or the shadow is beginning again itself, the next cycle asks.
        let Ok(answer) = self.shadow.ask_later(self.missing_upto(), question) else { return 0 };
        self.renewal = Renewal::Asked { answer };
        1
    }

    fn look_for(&mut self, mut answer: Receiver<Answer>) -> usize {
        match answer.try_recv() {
            Ok((state, upto)) if self.missing_upto() <= upto => {
                self.state = state;
                self.state_upto = upto.planted(Mutation::ItemsPublishedTwice, |_| Seq(0));
                self.renewal = Renewal::None;
                self.snapshots.forget();
                self.mark_all();
                1
            }
            // The step after this one asks again.
            Ok(_) | Err(TryRecvError::Closed) => 1,
            Err(TryRecvError::Empty) => {
                self.renewal = Renewal::Asked { answer };
                0
            }
        }
    }

    /// Moves released items from the ring to the end of the kept ones, as many as one cycle takes. Returns how many.
    pub(super) fn keep(&mut self) -> usize {
        let released = self.released.get();
        let mut count = 0;
        while count < ITEMS_PER_CYCLE_MAX
            && let Some(item) = self.items.pop(released)
        {
            count += 1;
            if self.kept.len() == KEPT_MAX {
                self.dropped_upto = self.kept.back().map_or(self.dropped_upto, |last| last.stamp.seq);
                self.kept.clear();
            }
            // Of a command that was dropped in part nothing is of use.
            let is_complete = (self.dropped_upto < item.stamp.seq).planted(Mutation::ItemsDiscarded, |_| false);
            if is_complete {
                self.kept.push_back(item);
            } else {
                self.dropped_upto = item.stamp.seq;
            }
        }
        count
    }
}
