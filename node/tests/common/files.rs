//! Files of a data directory: finding and damaging them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use wal::directory::Directory;
use wal::frame::FrameHeader;

/// Frames begin at multiples of this size.
const BLOCK: usize = 4_096;

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp(1) is installed");
    assert!(copied.success());
}

/// Flips one bit of the byte at `offset`.
pub(crate) fn flip(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("the file exists");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("within the file");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("the file is writable");
}

/// Files of a directory with this extension, in the order of their size.
pub(crate) fn files_of(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .expect("the path is readable")
        .map(|entry| entry.expect("the path is readable").path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort_by_key(|path| fs::metadata(path).expect("the file exists").len());
    files
}

/// File and offset of every frame after the store's last one, in the order of the log.
pub(crate) fn frames_of_the_head_only(data_dir: &Path) -> Vec<(PathBuf, u64)> {
    let directory = Directory::open_read_only(data_dir).expect("it is a data directory");
    let stored = directory.store().expect("the store is intact").tail().seq;
    let mut found = BTreeMap::new();
    for segment in files_of(&directory.head_dir(), "seg") {
        let bytes = fs::read(&segment).expect("the path is readable");
        for at in (BLOCK..bytes.len()).step_by(BLOCK) {
            if let Some(header) = FrameHeader::peek(&bytes[at..]).filter(|header| header.seq_first.get() > stored.0) {
                found.insert(header.seq_first.get(), (segment.clone(), at as u64));
            }
        }
    }
    found.into_values().collect()
}

/// Whether the high-water mark is after the store's last frame, so that a log without the head's frames is too short.
pub(crate) fn mark_is_after_the_store(data_dir: &Path) -> bool {
    let directory = Directory::open_read_only(data_dir).expect("it is a data directory");
    let stored = directory.store().expect("the store is intact").tail().seq;
    stored < directory.mark_seq().expect("the mark is intact")
}
