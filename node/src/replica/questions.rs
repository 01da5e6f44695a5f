//! The way to the shadow: questions about the state, answered from memory as of a sequence or later, and wishes for a
//! snapshot.
//!
//! A question names the sequence that it must see: who waited for the answer to a command and asks with its sequence
//! reads what that command wrote. A bounded number waits; more are refused at once.

use crate::replica::Replica;
use book::units::Seq;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::oneshot;
use wal::snapshot::SnapshotHeader;

/// Questions and wishes on their way to the shadow, and as many questions that wait there for their sequence.
pub const WISHES_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum ShadowPortError {
    #[error("too many questions wait for the shadow; try again")]
    Busy,
    #[error("the shadow answers no more: the node is stopping, or its state differs from the live one (see /health)")]
    Gone,
}

/// What a snapshot on demand came to: its header and its bytes on disk, or why there is none.
pub type Taken = Result<(SnapshotHeader, u64), String>;

type Question = Box<dyn FnOnce(&Replica) + Send>;

pub enum Wish {
    /// Run when the shadow has applied `seq`; with `history`, when that is written too.
    Ask {
        seq: Seq,
        history: bool,
        question: Question,
    },
    Snapshot {
        reply: oneshot::Sender<Taken>,
    },
}

/// The asking end.
#[derive(Clone)]
pub struct ShadowPort {
    wishes: SyncSender<Wish>,
}

/// The shadow's end.
pub struct ShadowInlet {
    pub wishes: Receiver<Wish>,
}

pub fn shadow_port() -> (ShadowPort, ShadowInlet) {
    let (wishes, inlet) = sync_channel(WISHES_MAX);
    (ShadowPort { wishes }, ShadowInlet { wishes: inlet })
}

impl ShadowPort {
    /// Asks about the state behind `seq` or a later command.
    pub async fn ask<A: Send + 'static>(
        &self,
        seq: Seq,
        question: impl FnOnce(&Replica) -> A + Send + 'static,
    ) -> Result<A, ShadowPortError> {
        self.send_question(seq, false, question)?.await.map_err(|_| ShadowPortError::Gone)
    }

    /// Returns when the history holds everything up to `seq`.
    pub async fn wait_for_history(&self, seq: Seq) -> Result<(), ShadowPortError> {
        self.send_question(seq, true, |_| ())?.await.map_err(|_| ShadowPortError::Gone)
    }

    /// The same, for threads that may block.
    pub fn block_for_history(&self, seq: Seq) -> Result<(), ShadowPortError> {
        self.send_question(seq, true, |_| ())?.blocking_recv().map_err(|_| ShadowPortError::Gone)
    }

    /// Takes a snapshot now.
    pub async fn snapshot(&self) -> Result<Taken, ShadowPortError> {
        let (reply, answer) = oneshot::channel();
        self.send(Wish::Snapshot { reply })?;
        answer.await.map_err(|_| ShadowPortError::Gone)
    }

    fn send_question<A: Send + 'static>(
        &self,
        seq: Seq,
        history: bool,
        question: impl FnOnce(&Replica) -> A + Send + 'static,
    ) -> Result<oneshot::Receiver<A>, ShadowPortError> {
        let (reply, answer) = oneshot::channel();
        let question = Box::new(move |replica: &Replica| {
            // Nobody waits any more when the client went away.
            let _ = reply.send(question(replica));
        });
        self.send(Wish::Ask { seq, history, question })?;
        Ok(answer)
    }

    fn send(&self, wish: Wish) -> Result<(), ShadowPortError> {
        self.wishes.try_send(wish).map_err(|error| match error {
            TrySendError::Full(_) => ShadowPortError::Busy,
            TrySendError::Disconnected(_) => ShadowPortError::Gone,
        })
    }
}
