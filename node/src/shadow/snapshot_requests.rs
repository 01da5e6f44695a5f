//! The snapshots that are due or asked for: one snapshot answers all of them.

use crate::replica::questions::SnapshotOutcome;
use tokio::sync::oneshot;
use wal::snapshot::SnapshotHeader;

/// Whether a snapshot is due, who waits for one, and the last one taken.
#[derive(Default)]
pub(super) struct SnapshotRequests {
    /// Due by the schedule, or because of a clean stop.
    pub due: bool,
    requests: Vec<oneshot::Sender<SnapshotOutcome>>,
    pub newest: Option<(SnapshotHeader, u64)>,
}

impl SnapshotRequests {
    pub(super) fn request(&mut self, reply: oneshot::Sender<SnapshotOutcome>) {
        self.requests.push(reply);
    }

    pub(super) fn requests_len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.due || !self.requests.is_empty()
    }

    pub(super) fn refuse(&mut self, why: &str) {
        self.answer(&Err(why.to_owned()));
    }

    /// One snapshot answers all pending requests.
    pub(super) fn answer(&mut self, outcome: &SnapshotOutcome) {
        self.due = false;
        for reply in self.requests.drain(..) {
            // The client may have disconnected meanwhile.
            let _ = reply.send(outcome.clone());
        }
    }
}
