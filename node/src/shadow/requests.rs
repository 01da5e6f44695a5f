//! Requests to the shadow: receives them, and answers questions once their sequence is applied.

use super::Shadow;
use crate::replica::questions::{SHADOW_REQUESTS_MAX, ShadowRequest};
use book::units::Seq;
use wal::units::Lsn;

impl Shadow {
    /// Receives requests, up to `SHADOW_REQUESTS_MAX` waiting ones. Further requests stay in the channel, which refuses
    /// more when it is full too.
    pub(super) fn take_requests(&mut self) {
        while self.questions.len() + self.snapshots.requests_len() < SHADOW_REQUESTS_MAX {
            let Ok(request) = self.wiring.inlet.requests.try_recv() else { break };
            match request {
                ShadowRequest::Ask { .. } => self.questions.push(request),
                ShadowRequest::Snapshot { seq, reply } => self.snapshots.request(Lsn(seq.0), reply),
            }
        }
    }

    /// Answers every question whose sequence is applied, or written to the history if it asks for that.
    pub(super) fn answer_questions(&mut self) {
        let (applied, written) = (Seq(self.tail.seq.0), self.history.watermark());
        let is_ready = |request: &mut ShadowRequest| match request {
            ShadowRequest::Ask { seq, history, .. } => *seq <= if *history { written } else { applied },
            ShadowRequest::Snapshot { .. } => false,
        };
        for request in self.questions.extract_if(.., is_ready) {
            if let ShadowRequest::Ask { question, .. } = request {
                question(&self.replica);
            }
        }
    }

    /// Whether a question waits for the history of a command that is applied.
    pub(super) fn is_asked_for_history(&self) -> bool {
        let applied = Seq(self.tail.seq.0);
        self.questions.iter().any(|request| match request {
            ShadowRequest::Ask { seq, history, .. } => *history && *seq <= applied,
            ShadowRequest::Snapshot { .. } => false,
        })
    }
}
