//! The snapshots that are due or asked for: one snapshot answers every request that it covers.

use crate::replica::questions::SnapshotOutcome;
use tokio::sync::oneshot;
use wal::snapshot::SnapshotHeader;
use wal::units::Lsn;

/// Whether a snapshot is due, who waits for one, and the last one taken.
#[derive(Default)]
pub(super) struct SnapshotRequests {
    /// Due by the schedule, or because of a clean stop.
    pub due: bool,
    requests: Vec<SnapshotRequest>,
    pub newest: Option<(SnapshotHeader, u64)>,
}

/// A client that waits for a snapshot of the state after `seq` or a later command.
struct SnapshotRequest {
    seq: Lsn,
    reply: oneshot::Sender<SnapshotOutcome>,
}

impl SnapshotRequests {
    pub(super) fn request(&mut self, seq: Lsn, reply: oneshot::Sender<SnapshotOutcome>) {
        self.requests.push(SnapshotRequest { seq, reply });
    }

    pub(super) fn requests_len(&self) -> usize {
        self.requests.len()
    }

    /// Whether a client waits for a snapshot at `tail` or earlier.
    pub(super) fn is_asked_at(&self, tail: Lsn) -> bool {
        self.requests.iter().any(|request| request.seq <= tail)
    }

    pub(super) fn is_wanted_at(&self, tail: Lsn) -> bool {
        self.due || self.is_asked_at(tail)
    }

    pub(super) fn refuse_all(&mut self, why: &str) {
        self.answer(Lsn(u64::MAX), &Err(why.to_owned()));
    }

    /// Answers every request that a snapshot at `tail` covers.
    pub(super) fn answer(&mut self, tail: Lsn, outcome: &SnapshotOutcome) {
        self.due = false;
        for request in self.requests.extract_if(.., |request| request.seq <= tail) {
            // The client may have disconnected meanwhile.
            let _ = request.reply.send(outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_before_the_sequence_asked_for_is_no_answer() {
        let mut requests = SnapshotRequests::default();
        let (reply, mut answer) = oneshot::channel();
        requests.request(Lsn(7), reply);
        assert!(!requests.is_wanted_at(Lsn(6)) && requests.is_wanted_at(Lsn(7)));
        let refused: SnapshotOutcome = Err("test".to_owned());
        requests.answer(Lsn(6), &refused);
        assert!(answer.try_recv().is_err() && requests.requests_len() == 1);
        requests.answer(Lsn(7), &refused);
        assert!(answer.try_recv().is_ok() && requests.requests_len() == 0);
    }
}
