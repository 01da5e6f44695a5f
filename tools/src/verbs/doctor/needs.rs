//! The memory, cores, files and limits that a node needs, computed from its configuration.

use node::config::{Config, Threads};
use node::host::descriptors::Descriptors;
use std::path::PathBuf;

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
        let journal = &config.journal;
        Self {
            cores,
            data_dir: Some(config.node.data_dir.clone()),
            head_bytes: u64::from(journal.segments) * journal.segment_bytes,
            ballast_bytes: config.store.ballast_bytes,
            memory_bytes: MEMORY_BESIDE_BYTES + ORDER_BYTES * config.node.orders_capacity as u64,
            files: Descriptors::of(config, journal.segments).sum(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_pipeline_needs_two_cores_and_many_connections_need_files() {
        let mut config = Config::of_defaults(Path::new("/nonexistent"));
        let needs = Needs::of(&config, None);
        assert_eq!((needs.cores.as_slice(), needs.head_bytes, needs.ballast_bytes), (&[1][..], 256 << 20, 64 << 20));
        assert!((1_024 + 256 + 64..4_096).contains(&needs.files), "{} files", needs.files);

        config.node.threads = Threads::Pipeline;
        config.limits.connections_max = 10_000;
        let needs = Needs::of(&config, Some(4));
        assert_eq!((needs.cores.as_slice(), needs.journal_core(), needs.rings()), (&[4, 5][..], 4, 3));
        assert!(10_000 < needs.files);
    }
}
