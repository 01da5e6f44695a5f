//! Snapshots of the shadow's state, and the deletion of older snapshots and log once there is a new one.

use super::{Shadow, ShadowError};
use crate::replica::questions::SnapshotOutcome;
use crate::replica::snapshots;
use crate::shadow::pacer::Pacer;
use crate::shadow::retention::{self, Candidate, LogEnds};
use crate::status::lifecycle::Lifecycle;
use book::units::{Seq, TsNs};
use std::time::Instant;
use wal::error::WalError;
use wal::snapshot::SnapshotHeader;

impl Shadow {
    /// Takes a snapshot of the state as it is now, unless the last one is of the same sequence, and answers the
    /// requests that it covers.
    pub(super) fn take_snapshot(&mut self, now: TsNs) -> Result<(), ShadowError> {
        self.wiring.schedule.tried(self.tail.seq, now);
        let is_current = |newest: &&(SnapshotHeader, u64)| newest.0.tail == self.tail;
        let outcome = match self.snapshots.newest.as_ref().filter(is_current) {
            Some(newest) => Ok(newest.clone()),
            None => {
                self.commit_history(now)?;
                self.try_snapshot()?
            }
        };
        self.snapshots.answer(self.tail.seq, &outcome);
        Ok(())
    }

    /// The inner error does not stop the node, because trading does not depend on snapshots: it is logged, and the next
    /// attempt is made when a snapshot is due again.
    pub(super) fn try_snapshot(&mut self) -> Result<SnapshotOutcome, ShadowError> {
        self.wiring.store.flush()?;
        let started = Instant::now();
        let Self { wiring, replica, tail, pacer, .. } = self;
        let lifecycle = &wiring.lifecycle;
        let taken = snapshots::take(&wiring.directory, replica, *tail, &mut || pause(pacer, lifecycle));
        let took = started.elapsed();
        let status = &wiring.status;
        match taken {
            Ok((file, header)) => {
                wiring.watermarks.snapshot.advance(Seq(tail.seq.0));
                status.snapshots.add(1);
                status.snapshots_failed_in_a_row.set(0);
                status.snapshot_ns.set(took.as_nanos() as u64);
                status.snapshot_bytes.set(file.bytes);
                tracing::info!(
                    seq = header.tail.seq.0,
                    bytes = file.bytes,
                    ms = took.as_millis() as u64,
                    "took a snapshot"
                );
                self.scrubber.note_intact(file.seq);
                self.snapshots.newest = Some((header.clone(), file.bytes));
                if let Err(error) = self.prune() {
                    // More is kept than configured, and the next snapshot tries again. If the store itself has failed,
                    // the store writer ends the node.
                    tracing::error!(%error, "deleting old snapshots and log failed; retried after the next snapshot");
                }
                Ok(Ok((header, file.bytes)))
            }
            Err(error) => {
                status.snapshots_failed.add(1);
                status.snapshots_failed_in_a_row.add(1);
                tracing::error!(%error, "taking a snapshot failed; retried when the next one is due");
                Ok(Err(error.to_string()))
            }
        }
    }

    /// Deletes what retention no longer keeps: first the log, whose new beginning is durable before an older snapshot
    /// is deleted. Only intact snapshots count as kept, so they are verified first.
    fn prune(&mut self) -> Result<(), WalError> {
        let Self { wiring, scrubber, pacer, .. } = self;
        let (directory, store, lifecycle) = (&wiring.directory, &wiring.store, &wiring.lifecycle);
        let files = snapshots::list(directory)?;
        scrubber.forget_all_but(&files);
        let candidates: Vec<Candidate> = files
            .iter()
            .filter(|file| scrubber.is_intact(file, &mut || pause(pacer, lifecycle)))
            .filter_map(|file| snapshots::open(directory, file).ok())
            .map(|reader| candidate(reader.header()))
            .collect();
        let (stamp, log_bytes) = (self.replica.engine.stamp(), self.replica.positions.log_bytes());
        let end = Candidate { seq: self.tail.seq, time_ns: stamp.ts.0, log_bytes };
        let log = LogEnds { base: store.base()?.seq, releasable: store.seq_stored(), end };
        let plan = retention::plan(&candidates, &log, &wiring.retention);
        if let Some(seq) = plan.cut_at.filter(|seq| log.base < *seq) {
            let base = store.truncate_before(seq.next())?;
            store.flush()?;
            store.reclaim()?;
            assert!(base.seq <= store.seq_stored(), "only what the store has flushed leaves the log");
            wiring.watermarks.truncated.advance(Seq(base.seq.0));
            tracing::info!(begins = base.seq.0 + 1, "truncated the log up to the oldest kept snapshot");
        }
        for file in files.iter().filter(|file| plan.drop.contains(&file.seq)) {
            wal::snapshot::remove_on(&**directory.medium(), file)?;
        }
        Ok(())
    }
}

/// Pauses only while the node serves: a node that stops has no trading to leave the processor to.
fn pause(pacer: &mut Pacer, lifecycle: &Lifecycle) {
    if !lifecycle.is_stopping() {
        pacer.pause();
    }
}

fn candidate(header: &SnapshotHeader) -> Candidate {
    Candidate { seq: header.tail.seq, time_ns: header.time, log_bytes: header.log_bytes }
}
