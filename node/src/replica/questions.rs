//! Requests to the shadow: questions about the state, and snapshots.
//!
//! A question names a sequence, and is answered from a state that contains that command: a client that asks with the
//! sequence of its own answered command reads its own write. At most `SHADOW_REQUESTS_MAX` requests wait in the channel
//! and as many at the shadow; more are refused at once.

use crate::replica::Replica;
use book::units::Seq;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::oneshot;
use wal::snapshot::SnapshotHeader;

/// Requests in the channel to the shadow; as many more may wait at the shadow for their sequence.
pub const SHADOW_REQUESTS_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum ShadowPortError {
    #[error("too many requests wait for the shadow; try again")]
    Busy,
    #[error(
        "the shadow does not answer: the node is stopping, the shadow was started again, or its state differs from the \
         live one (see /health)"
    )]
    Gone,
}

/// The outcome of a snapshot on demand: its header and its size in bytes, or why it could not be taken.
pub type SnapshotOutcome = Result<(SnapshotHeader, u64), String>;

type Question = Box<dyn FnOnce(&Replica) + Send>;

/// A request, answered on the shadow's thread.
pub enum ShadowRequest {
    /// Runs `question` once the shadow has applied `seq`; with `history`, once the history is written up to it too.
    Ask { seq: Seq, history: bool, question: Question },
    /// Takes a snapshot once the shadow has applied `seq` and a check has confirmed the state.
    Snapshot { seq: Seq, reply: oneshot::Sender<SnapshotOutcome> },
}

/// The end that sends requests. Cheap to clone.
#[derive(Clone)]
pub struct ShadowPort {
    requests: SyncSender<ShadowRequest>,
}

/// The shadow's end.
pub struct ShadowInlet {
    pub requests: Receiver<ShadowRequest>,
}

pub fn shadow_port() -> (ShadowPort, ShadowInlet) {
    let (requests, inlet) = sync_channel(SHADOW_REQUESTS_MAX);
    (ShadowPort { requests }, ShadowInlet { requests: inlet })
}

impl ShadowPort {
    /// Asks about the state after `seq` or a later command.
    pub async fn ask<A: Send + 'static>(
        &self,
        seq: Seq,
        question: impl FnOnce(&Replica) -> A + Send + 'static,
    ) -> Result<A, ShadowPortError> {
        self.ask_later(seq, question)?.await.map_err(|_| ShadowPortError::Gone)
    }

    /// The same, for threads that look for the answer now and then.
    pub fn ask_later<A: Send + 'static>(
        &self,
        seq: Seq,
        question: impl FnOnce(&Replica) -> A + Send + 'static,
    ) -> Result<oneshot::Receiver<A>, ShadowPortError> {
        self.send_question(seq, false, question)
    }

    /// Asks once the history is written up to and including `seq`.
    pub fn ask_history_later<A: Send + 'static>(
        &self,
        seq: Seq,
        question: impl FnOnce(&Replica) -> A + Send + 'static,
    ) -> Result<oneshot::Receiver<A>, ShadowPortError> {
        self.send_question(seq, true, question)
    }

    /// Returns once the history is written up to and including `seq`.
    pub async fn wait_for_history(&self, seq: Seq) -> Result<(), ShadowPortError> {
        self.ask_history_later(seq, |_| ())?.await.map_err(|_| ShadowPortError::Gone)
    }

    /// The same, for threads that may block.
    pub fn block_for_history(&self, seq: Seq) -> Result<(), ShadowPortError> {
        self.ask_history_later(seq, |_| ())?.blocking_recv().map_err(|_| ShadowPortError::Gone)
    }

    /// Returns once a snapshot of the state after `seq` or a later command has been taken, or has failed.
    pub async fn snapshot(&self, seq: Seq) -> Result<SnapshotOutcome, ShadowPortError> {
        let (reply, answer) = oneshot::channel();
        self.send(ShadowRequest::Snapshot { seq, reply })?;
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
            // The client may have disconnected meanwhile.
            let _ = reply.send(question(replica));
        });
        self.send(ShadowRequest::Ask { seq, history, question })?;
        Ok(answer)
    }

    fn send(&self, request: ShadowRequest) -> Result<(), ShadowPortError> {
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => ShadowPortError::Busy,
            TrySendError::Disconnected(_) => ShadowPortError::Gone,
        })
    }
}
