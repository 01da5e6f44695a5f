//! What the tests share: a small directory, a deterministic source of numbers, records that name their sequence.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use wal::blocking::BlockingHead;
use wal::directory::Directory;
use wal::head::{HeadConfig, HeadPosition};
use wal::identity::{FORMAT_NEWEST, Identity};
use wal::medium::Access;
use wal::recover::{Recovered, recover};
use wal::segment::Geometry;
use wal::store::Store;
use wal::units::{Lsn, NodeId, Timeline};

pub(crate) const NODE: NodeId = NodeId([0xab; 16]);
pub(crate) const TIMELINE: Timeline = Timeline(1);
/// Four segments of a header block and seven blocks of frames each.
pub(crate) const GEOMETRY: Geometry = Geometry { segment_count: 4, segment_bytes: 8 * 4096 };
pub(crate) const BALLAST_BYTES: u64 = 4096;

pub(crate) fn identity() -> Identity {
    Identity { format: FORMAT_NEWEST, node_id: NODE, timeline: TIMELINE, seq_base: Lsn::ZERO, geometry: GEOMETRY }
}

pub(crate) fn config() -> HeadConfig {
    HeadConfig { timeline: TIMELINE, geometry: GEOMETRY, frame_bytes_max: 2 * 4096, frames_in_flight_max: 4 }
}

/// Asserts that `test` fails with this fault planted. It must pass without.
#[cfg(feature = "mutation")]
pub(crate) fn assert_noticed(fault: wal::mutation::Mutation, test: fn()) {
    test();
    wal::mutation::plant(Some(fault));
    let outcome = std::panic::catch_unwind(test);
    wal::mutation::plant(None);
    assert!(outcome.is_err(), "{fault:?} is not noticed");
}

pub(crate) fn new_directory() -> (TempDir, PathBuf) {
    let temp = TempDir::new().expect("a temporary directory can be made");
    let path = temp.path().join("data");
    Directory::create(&path, &identity(), BALLAST_BYTES).expect("a data directory can be made in an absent place");
    (temp, path)
}

/// The record of a sequence: its number first, then filler of a length that depends on it.
pub(crate) fn record(seq: Lsn) -> Vec<u8> {
    let mut bytes = seq.0.to_le_bytes().to_vec();
    bytes.resize(8 + (seq.0 % 29) as usize, seq.0 as u8);
    bytes
}

/// Records as a start showed them.
pub(crate) type Shown = Vec<(Lsn, Vec<u8>)>;

/// Recovers for writing and returns every record shown.
pub(crate) fn recover_all(directory: &Directory, store: &Store) -> wal::error::Result<(Recovered, Shown)> {
    let mut shown = Vec::new();
    let recovered = recover(directory, store, Lsn(1), |seq, record| {
        shown.push((seq, record.to_vec()));
        Ok(())
    })?;
    Ok((recovered, shown))
}

/// Records 1 to the end, each the one that its sequence calls for.
pub(crate) fn assert_records(shown: &[(Lsn, Vec<u8>)], seq_last: Lsn) {
    let expected: Vec<_> = (1..=seq_last.0).map(|seq| (Lsn(seq), record(Lsn(seq)))).collect();
    assert!(shown == expected, "shown {} records, expected {}", shown.len(), expected.len());
}

/// Writes `frames` frames of `records` records each through the blocking driver; everything stays in the head.
pub(crate) fn write_frames(path: &Path, frames: usize, records: usize) -> Lsn {
    let directory = Directory::open(path).expect("the directory is intact");
    let store = directory.store().expect("the store is intact");
    let (recovered, _) = recover_all(&directory, &store).expect("the log is intact");
    let mut head = open_head(&directory, recovered.position);
    for _ in 0..frames {
        for _ in 0..records {
            let next = head.head().seq_next();
            assert_eq!(head.append(&record(next)).expect("the disk works"), Some(next), "the head has room");
        }
        head.commit().expect("the disk works");
        head.release_durable();
    }
    head.head().seq_durable()
}

pub(crate) fn open_head(directory: &Directory, at: HeadPosition) -> BlockingHead {
    let segments = directory.segments(Access::ReadWrite).expect("the segments are intact");
    BlockingHead::new(config(), at, segments).expect("the configuration is valid")
}

/// Numbers from a seed (splitmix64): the same on every machine.
pub(crate) struct Rng(pub u64);

impl Rng {
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.draw() % limit
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
