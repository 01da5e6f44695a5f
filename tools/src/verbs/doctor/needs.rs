//! The memory, cores, files and limits that a node needs, computed from its configuration.

use node::config::{Config, Threads};
use node::topology::MARKET_READERS_MAX;
use std::path::{Path, PathBuf};

/// Open files besides connections, segments and tables: rings, logs, listeners, and those of RocksDB itself.
const FILES_BESIDE: u64 = 256;
/// Memory of a resting order, 410 bytes where that was measured (docs/PERFORMANCE.md), with room for events and
/// answers.
const ORDER_BYTES: u64 = 512;
/// Memory of everything else in a small exchange: RocksDB, streams of sessions, the process itself.
const MEMORY_BESIDE_BYTES: u64 = 1 << 30;

#[derive(Clone, Debug)]
pub(super) struct Needs {
    /// Each pinned thread's core, the journal's first.
    pub cores: Vec<usize>,
    /// `None` where neither a configuration nor `--data-dir` names it.
    pub data_dir: Option<PathBuf>,
    pub head_bytes: u64,
    pub ballast_bytes: u64,
    pub memory_bytes: u64,
    pub files: u64,
}

impl Needs {
    /// `core` takes precedence over the configuration.
    pub(super) fn of(config: &Config, core: Option<usize>) -> Self {
        let first = core.unwrap_or(config.node.core);
        let cores = match config.node.threads {
            Threads::Single => vec![first],
            Threads::Pipeline => vec![first, first + 1],
        };
        let (journal, limits) = (&config.journal, &config.limits);
        let connections = limits.connections_max + limits.ops_connections_max + usize::from(MARKET_READERS_MAX);
        let stored = store_files(&config.node.data_dir);
        Self {
            cores,
            data_dir: Some(config.node.data_dir.clone()),
            head_bytes: u64::from(journal.segments) * journal.segment_bytes,
            ballast_bytes: config.store.ballast_bytes,
            memory_bytes: MEMORY_BESIDE_BYTES + ORDER_BYTES * config.node.orders_capacity as u64,
            files: connections as u64 + u64::from(journal.segments) + stored + FILES_BESIDE,
        }
    }

    /// Each pinned thread has a ring, and so has the feed.
    pub(super) fn rings(&self) -> usize {
        self.cores.len() + 1
    }

    /// The core of the thread that writes the journal.
    pub(super) fn journal_core(&self) -> usize {
        *self.cores.first().expect("a node has at least one pinned thread")
    }
}

/// RocksDB keeps each of its tables open.
fn store_files(data_dir: &Path) -> u64 {
    std::fs::read_dir(data_dir.join("db")).map_or(0, |entries| entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_needs_two_cores_and_many_connections_need_files() {
        let mut config = Config::of_defaults(Path::new("/nonexistent"));
        let needs = Needs::of(&config, None);
        assert_eq!((needs.cores.as_slice(), needs.head_bytes, needs.ballast_bytes), (&[1][..], 256 << 20, 64 << 20));
        assert_eq!(needs.files, 1_024 + 64 + 256 + 4 + FILES_BESIDE);

        config.node.threads = Threads::Pipeline;
        config.limits.connections_max = 10_000;
        let needs = Needs::of(&config, Some(4));
        assert_eq!((needs.cores.as_slice(), needs.journal_core(), needs.rings()), (&[4, 5][..], 4, 3));
        assert!(10_000 < needs.files);
    }
}
