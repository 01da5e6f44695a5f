//! The store merger: merges the small files that flushes leave in RocksDB, so that their number is bounded.
//!
//! Invariants: neither a loop nor a flush waits for it; it works half of the time at most; what fails here is tried
//! again later and stops nothing, because trading does not depend on the number of files.

use crate::faults::fault::PanicFault;
use crate::host::clock::Clock;
use crate::status::Status;
use crate::status::lifecycle::Lifecycle;
use std::sync::Arc;
use std::time::Duration;
use wal::error::{ErrorKind, WalError};
use wal::store::Store;
use wal::table::{Merged, TableFigures};

/// Pause after a round without a merge.
const IDLE: Duration = Duration::from_millis(100);
/// Rounds without a merge after one that failed: about a minute.
const ROUNDS_AFTER_FAILURE: u32 = 600;

/// The store merger's loop. `poll` blocks on the disk, so it has a thread of its own.
pub struct StoreMerger {
    store: Arc<Store>,
    status: Arc<Status>,
    /// The files at the last round in which nothing was due: until they change, nothing is.
    settled: Option<TableFigures>,
    /// Rounds until the next attempt.
    rounds_left: u32,
}

impl StoreMerger {
    pub fn new(store: Arc<Store>, status: Arc<Status>) -> Self {
        Self { store, status, settled: None, rounds_left: 0 }
    }

    /// Merges a few files if that is due. True if it did.
    pub fn poll(&mut self) -> bool {
        match self.try_merge() {
            Ok(Some(merged)) => {
                self.status.store_merges.add(1);
                self.status.store_merged_bytes.add(merged.bytes);
                self.status.store_merges_failed_in_a_row.set(0);
                tracing::debug!(files = merged.files, bytes = merged.bytes, "merged small files of the store");
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.note_failure(&error);
                false
            }
        }
    }

    fn try_merge(&mut self) -> Result<Option<Merged>, WalError> {
        self.rounds_left = self.rounds_left.saturating_sub(1);
        if self.rounds_left > 0 {
            return Ok(None);
        }
        let figures = self.store.figures()?;
        if self.settled == Some(figures) {
            return Ok(None);
        }
        PanicFault::strike("store_merger");
        let merged = self.store.merge_small_files()?;
        self.settled = merged.is_none().then_some(figures);
        Ok(merged)
    }

    /// A damaged file is left as it is from now on, so the next attempt can merge others at once.
    fn note_failure(&mut self, error: &WalError) {
        if error.kind() == ErrorKind::Damaged {
            return self.status.note_damage(error.to_string());
        }
        self.rounds_left = ROUNDS_AFTER_FAILURE;
        self.status.store_merges_failed_in_a_row.add(1);
        tracing::error!(%error, "merging small files of the store failed; tried again in about a minute");
    }

    /// Runs until the node stops. What is due then is merged after the next start.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own leaves the disk to others between two merges")]
    pub fn run(mut self, clock: &mut Clock, lifecycle: &Lifecycle) {
        while !lifecycle.is_stopping() {
            let started = clock.now().0;
            let pause = if self.poll() { Duration::from_nanos(clock.now().0 - started) } else { IDLE };
            std::thread::sleep(pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::pin::KeptOff;
    use crate::status::watermarks::watermarks;
    use book::units::Seq;
    use rustix::thread::{CpuSet, Pid, sched_getaffinity};
    use std::path::Path;
    use wal::directory::Directory;
    use wal::identity::{FORMAT_NEWEST, Identity};
    use wal::segment::Geometry;
    use wal::store::Rows;
    use wal::units::{Lsn, NodeId, Timeline};

    fn new_store(path: &Path) -> Store {
        let geometry = Geometry { segment_count: 2, segment_bytes: 8 * 4096 };
        let identity = Identity {
            format: FORMAT_NEWEST,
            node_id: NodeId([1; 16]),
            timeline: Timeline(1),
            seq_base: Lsn::ZERO,
            geometry,
        };
        Directory::create(path, &identity, 0).expect("made");
        Directory::open(path).expect("intact").store().expect("intact")
    }

    /// Leaves a file whose row overlaps nothing.
    fn flush_row(store: &Store, number: u64) {
        let mut rows = Rows::new();
        rows.put_history(number.to_be_bytes(), [7; 40]);
        store.commit(rows).expect("written");
        store.flush().expect("flushed");
    }

    /// Whether any thread of RocksDB may run on this core; `None` where there is no such thread.
    fn rocksdb_may_run_on(core: usize) -> Option<bool> {
        let tasks = std::fs::read_dir("/proc/self/task").expect("this is Linux").filter_map(Result::ok);
        let of_rocksdb = tasks.filter(|task| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("rocksdb:"))
        });
        let may_run = |task: std::fs::DirEntry| {
            let id = task.file_name().to_str().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
            sched_getaffinity(id).is_ok_and(|cores| cores.is_set(core))
        };
        of_rocksdb.map(may_run).reduce(|a, b| a || b)
    }

    #[test]
    fn small_files_are_merged_off_the_pinned_core() {
        let dir = tempfile::tempdir().expect("a directory");
        let cores = sched_getaffinity(None).expect("a thread knows where it may run");
        let pinned = (0..CpuSet::MAX_CPU).rfind(|&core| cores.is_set(core)).expect("it may run somewhere");
        let status = Arc::new(Status::new(watermarks(Seq(0)).1));
        // As `topology::start` does; nothing is left to check on a machine of one core.
        let kept_off = KeptOff::from(&[pinned]);
        let store = Arc::new(new_store(&dir.path().join("data")));
        let mut merger = StoreMerger::new(Arc::clone(&store), Arc::clone(&status));
        let merged_at = (0..500).find(|flush| {
            flush_row(&store, *flush);
            merger.poll()
        });
        assert!(merged_at.is_some() && 0 < status.store_merged_bytes.get(), "{:?}", store.figures());
        if kept_off.is_some() {
            assert_eq!(rocksdb_may_run_on(pinned), Some(false));
        }
    }
}
