//! Files of a data directory, looked at and damaged by tests.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use wal::directory::Directory;
use wal::frame::FrameHeader;

/// Frames begin at multiples of a block.
const BLOCK: usize = 4_096;

pub fn copy_dir(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp(1) is there");
    assert!(copied.success());
}

/// One bit of the byte there.
pub fn flip(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("within the file");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("writable");
}

/// Files of a directory with this extension, by size.
pub fn files_of(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort_by_key(|path| fs::metadata(path).expect("there").len());
    files
}

/// Where the frames lie that the store does not have, in the order of the log.
pub fn frames_of_the_head_only(data_dir: &Path) -> Vec<(PathBuf, u64)> {
    let directory = Directory::open_read_only(data_dir).expect("a data directory");
    let stored = directory.store().expect("a whole store").tail().seq;
    let mut found = BTreeMap::new();
    for segment in files_of(&directory.head_dir(), "seg") {
        let bytes = fs::read(&segment).expect("readable");
        for at in (BLOCK..bytes.len()).step_by(BLOCK) {
            if let Some(header) = FrameHeader::peek(&bytes[at..]).filter(|header| header.seq_first.get() > stored.0) {
                found.insert(header.seq_first.get(), (segment.clone(), at as u64));
            }
        }
    }
    found.into_values().collect()
}

/// Whether a log without what only the head has would be shorter than what was noted as acknowledged.
pub fn mark_is_behind_the_store(data_dir: &Path) -> bool {
    let directory = Directory::open_read_only(data_dir).expect("a data directory");
    let stored = directory.store().expect("a whole store").tail().seq;
    stored < directory.mark_seq().expect("whole")
}
