//! Snapshots of the shadow's state, and what of older ones and of the log goes when there is a new one.

use super::{Shadow, ShadowError};
use crate::replica::questions::Taken;
use crate::replica::snapshots;
use crate::shadow::pacer::Pacer;
use crate::shadow::retention::{self, Candidate, LogEnds};
use crate::status::lifecycle::Lifecycle;
use book::units::{Seq, TsNs};
use std::time::Instant;
use tokio::sync::oneshot;
use wal::error::WalError;
use wal::snapshot::SnapshotHeader;

/// What is wanted, by whom, and what was taken last.
#[derive(Default)]
pub(super) struct Snapshots {
    /// By the schedule, or by a clean stop.
    pub due: bool,
    wishes: Vec<oneshot::Sender<Taken>>,
    newest: Option<(SnapshotHeader, u64)>,
}

impl Snapshots {
    pub fn wish(&mut self, reply: oneshot::Sender<Taken>) {
        self.wishes.push(reply);
    }

    pub fn wished_for(&self) -> usize {
        self.wishes.len()
    }

    pub fn is_wanted(&self) -> bool {
        self.due || !self.wishes.is_empty()
    }

    pub fn refuse(&mut self, why: &str) {
        self.answer(&Err(why.to_owned()));
    }

    /// One snapshot is for all who waited for one.
    fn answer(&mut self, taken: &Taken) {
        self.due = false;
        for reply in self.wishes.drain(..) {
            // Nobody waits any more when the client went away.
            let _ = reply.send(taken.clone());
        }
    }
}

impl Shadow {
    /// Keeps the state as it is now, for all who want it.
    pub(super) fn take_snapshot(&mut self, now: TsNs) -> Result<(), ShadowError> {
        self.wiring.schedule.tried(self.tail.seq, now);
        let is_there = |newest: &&(SnapshotHeader, u64)| newest.0.tail == self.tail;
        let taken = match self.snapshots.newest.as_ref().filter(is_there) {
            Some(newest) => Ok(newest.clone()),
            None => {
                self.commit_history(now)?;
                self.try_snapshot()?
            }
        };
        self.snapshots.answer(&taken);
        Ok(())
    }

    /// The inner error is one that the node lives with: it is told and tried again when a snapshot is due again, because
    /// trading does not depend on it.
    pub(super) fn try_snapshot(&mut self) -> Result<Taken, ShadowError> {
        self.wiring.store.flush()?;
        let started = Instant::now();
        let Self { wiring, replica, tail, pacer, .. } = self;
        let lifecycle = &wiring.lifecycle;
        let taken = snapshots::take(&wiring.directory, replica, *tail, &mut || rest(pacer, lifecycle));
        let took = started.elapsed();
        let status = &wiring.status;
        match taken {
            Ok((file, header)) => {
                wiring.watermarks.snapshot.advance(Seq(tail.seq.0));
                status.snapshots.add(1);
                status.snapshots_failed_in_a_row.set(0);
                status.snapshot_ns.set(took.as_nanos() as u64);
                status.snapshot_bytes.set(file.bytes);
                tracing::info!(seq = header.tail.seq.0, bytes = file.bytes, ms = took.as_millis() as u64, "snapshot");
                self.scrubber.note_whole(file.seq);
                self.snapshots.newest = Some((header.clone(), file.bytes));
                if let Err(error) = self.prune() {
                    // More is kept than was asked for; the next one tries again. A store that failed ends the keeper.
                    tracing::error!(%error, "what is kept no longer could not be taken away");
                }
                Ok(Ok((header, file.bytes)))
            }
            Err(error) => {
                status.snapshots_failed.add(1);
                status.snapshots_failed_in_a_row.add(1);
                tracing::error!(%error, "no snapshot could be taken");
                Ok(Err(error.to_string()))
            }
        }
    }

    /// Takes away what is kept no longer: first the log, whose new beginning is durable before an older snapshot goes.
    /// What justifies it is proved first: a snapshot that cannot be read keeps nothing alive.
    fn prune(&mut self) -> Result<(), WalError> {
        let Self { wiring, scrubber, pacer, .. } = self;
        let (directory, store, lifecycle) = (&wiring.directory, &wiring.store, &wiring.lifecycle);
        let files = snapshots::list(directory)?;
        scrubber.forget_all_but(&files);
        let candidates: Vec<Candidate> = files
            .iter()
            .filter(|file| scrubber.is_whole(file, &mut || rest(pacer, lifecycle)))
            .filter_map(|file| snapshots::open(directory, file).ok())
            .map(|reader| candidate(reader.header()))
            .collect();
        let (stamp, log_bytes) = (self.replica.engine.stamp(), self.replica.numbers.log_bytes());
        let end = Candidate { seq: self.tail.seq, time_ns: stamp.ts.0, log_bytes };
        let log = LogEnds { base: store.base()?.seq, releasable: store.seq_stored(), end };
        let plan = retention::plan(&candidates, &log, &wiring.retention);
        if let Some(seq) = plan.cut_at.filter(|seq| log.base < *seq) {
            let base = store.truncate_before(seq.next())?;
            store.flush()?;
            store.reclaim()?;
            assert!(base.seq <= store.seq_stored(), "only what the store has flushed leaves the log");
            wiring.watermarks.truncated.advance(Seq(base.seq.0));
            tracing::info!(begins = base.seq.0 + 1, "the log behind the oldest kept snapshot is gone");
        }
        for file in files.iter().filter(|file| plan.drop.contains(&file.seq)) {
            wal::snapshot::remove_on(&**directory.medium(), file)?;
        }
        Ok(())
    }
}

/// A node that stops serves nobody, and waits for nothing.
fn rest(pacer: &mut Pacer, lifecycle: &Lifecycle) {
    if !lifecycle.is_stopping() {
        pacer.rest();
    }
}

fn candidate(header: &SnapshotHeader) -> Candidate {
    Candidate { seq: header.tail.seq, time_ns: header.time, log_bytes: header.log_bytes }
}
