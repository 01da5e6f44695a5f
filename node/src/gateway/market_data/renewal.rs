//! How the feed goes on where its items are not complete: the ring was full, or a panic left its state half changed.
//!
//! ```text
//!  Due --asks the shadow for the state after every item that was taken or lost--> Asked --answer--> None
//!   ^-------------------- an answer that is too early, or none ---------------------'
//! ```
//! The shadow computes the feed's state from the log. Items that it contains are taken from the ring and not published
//! again, so each message has the number that the log gives it. Readers of the live stream whose next message is not in
//! memory are disconnected and recover by snapshot; those of the best levels get the changes at once. Invariant: while
//! the shadow is asked nothing is published, and the engine finds room for new items.

use super::{Answer, MarketData, Renewal};
use crate::faults::mutation::{Mutation, Planted};
use crate::replica::Replica;
use crate::replica::public_feed::PublicFeed;
use book::units::Seq;
use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

impl MarketData {
    /// Whether the feed waits for its state.
    pub fn is_renewing(&self) -> bool {
        !matches!(self.renewal, Renewal::None)
    }

    /// One step. Returns the work done.
    #[cold]
    pub(super) fn renew(&mut self) -> usize {
        match std::mem::replace(&mut self.renewal, Renewal::Due) {
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
            Renewal::Asked { answer, taken } => self.look_for(answer, taken),
        }
    }

    fn ask(&mut self) -> usize {
        let taken = self.discard().max(self.items.lost_upto());
        let question =
            |replica: &Replica| (PublicFeed::resume(&replica.engine, &replica.positions), replica.engine.stamp().seq);
        // Where too many requests wait, or the shadow is beginning again itself, the next cycle asks.
        let Ok(answer) = self.shadow.ask_later(taken, question) else { return 0 };
        self.renewal = Renewal::Asked { answer, taken };
        1
    }

    fn look_for(&mut self, mut answer: Receiver<Answer>, taken: Seq) -> usize {
        match answer.try_recv() {
            Ok((state, upto)) if taken <= upto && self.items.lost_upto() <= upto => {
                self.state = state;
                self.state_upto = upto.planted(Mutation::ItemsPublishedTwice, |_| Seq(0));
                self.renewal = Renewal::None;
                1
            }
            // The step after this one asks again.
            Ok(_) | Err(TryRecvError::Closed) => 1,
            Err(TryRecvError::Empty) => {
                let taken = if self.items.is_half_full() { self.discard() } else { taken };
                self.renewal = Renewal::Asked { answer, taken };
                0
            }
        }
    }

    /// Takes every released item from the ring, and returns the last command whose items may be among them.
    fn discard(&mut self) -> Seq {
        let released = self.released.get();
        while self.items.pop(released).is_some() {}
        released
    }
}
