//! However often a store is flushed, its files and handles are as few as its bytes need.

mod common;

use std::path::Path;
use std::process::Command;

use common::{NODE, Rng, TIMELINE, identity, new_directory};
use wal::directory::Directory;
use wal::frame::{FRAME_HEADER_BYTES, FrameSpec, put_record, seal};
use wal::rocks::merge::files_max;
use wal::rocks::options::{LEVEL0_FILES_SLOW, OPEN_FILES_MAX};
use wal::store::{Rows, Store};
use wal::table::Family;
use wal::units::{ChainHash, Lsn};

const RECORDS_PER_FRAME: u64 = 3;

/// Frames as a head writes them, one after the other.
struct Frames {
    next: Lsn,
    chain: ChainHash,
}

impl Frames {
    fn new() -> Self {
        Self { next: Lsn(1), chain: ChainHash::genesis(NODE, TIMELINE) }
    }

    fn next(&mut self, record_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; FRAME_HEADER_BYTES + RECORDS_PER_FRAME as usize * (record_bytes + 4)];
        let mut end = FRAME_HEADER_BYTES;
        for _ in 0..RECORDS_PER_FRAME {
            end = put_record(&mut bytes, end, record_bytes, |room| {
                room.fill(7);
                record_bytes
            });
        }
        let (seq_first, record_count) = (self.next, RECORDS_PER_FRAME as u32);
        let seq_durable = seq_first.prev();
        seal(
            &mut bytes,
            end,
            FrameSpec { timeline: TIMELINE, seq_first, seq_durable, record_count, chain_prev: self.chain },
        );
        bytes.truncate(end);
        self.chain = ChainHash::of(&bytes);
        self.next = Lsn(seq_first.0 + RECORDS_PER_FRAME);
        bytes
    }
}

/// The bound that docs/STORAGE.md states, for each family.
fn assert_bounded(store: &Store) -> u64 {
    let figures = store.figures().expect("read");
    for (family, found) in Family::ALL.into_iter().zip(&figures.families) {
        let (level0, below) = (found.files[0], &found.files[1..]);
        assert!(level0 < LEVEL0_FILES_SLOW / 2, "{family:?}: {found:?}");
        assert!(below.iter().all(|files| *files <= files_max(found.bytes)), "{family:?}: {found:?}");
    }
    assert!(!figures.is_stopped && figures.delayed_bytes_per_second == 0, "{figures:?}");
    figures.families.iter().map(|found| found.file_count()).sum()
}

fn count_frames(store: &Store, from: Lsn) -> u64 {
    let mut frames = store.frames(from).expect("intact");
    let mut count = 0;
    while frames.next_frame().expect("intact").is_some() {
        count += 1;
    }
    count
}

/// The files of `db/` that are tables.
fn tables(path: &Path) -> usize {
    let entries = std::fs::read_dir(path.join("db")).expect("listed");
    entries
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "sst")))
        .count()
}

/// History rows as the node writes them: some owners, each with its own growing keys.
fn rows(rng: &mut Rng, owners: u64, seq: u64) -> Rows {
    let mut rows = Rows::new();
    for kind in [b'F', b'O', b's'] {
        let owner = rng.below(owners) as u32;
        let key = [&[kind], &owner.to_be_bytes()[..], &seq.to_be_bytes()].concat();
        rows.put_history(key, vec![kind; 60]);
    }
    rows.put_meta("watermark", seq.to_be_bytes());
    rows
}

/// Flushes after every frame; every `truncate_every` flushes the log is cut to its last frames. Returns the most files
/// that there were.
fn flush_often(store: &Store, flushes: u64, owners: u64, truncate_every: Option<u64>) -> u64 {
    let (mut frames, mut rng, mut files_seen) = (Frames::new(), Rng(7), 0);
    for flush in 1..=flushes {
        let frame = frames.next(50 + rng.below(200) as usize);
        store.append_frames([frame.as_slice()]).expect("appended");
        store.commit(rows(&mut rng, owners, flush)).expect("written");
        store.flush().expect("flushed");
        if truncate_every.is_some_and(|every| flush.is_multiple_of(every)) {
            let keep_from = Lsn(frames.next.0.saturating_sub(100 * RECORDS_PER_FRAME).max(1));
            let base = store.truncate_before(keep_from).expect("truncated");
            store.flush().expect("flushed");
            store.reclaim().expect("reclaimed");
            assert_eq!(count_frames(store, base.seq.next()), flush.min(100), "after {base:?}");
        }
        while store.merge_small_files().expect("merged").is_some() {}
        files_seen = files_seen.max(assert_bounded(store));
    }
    let base = store.base().expect("intact").seq;
    assert_eq!(count_frames(store, base.next()) * RECORDS_PER_FRAME, store.tail().seq.0 - base.0);
    files_seen
}

#[test]
fn thousands_of_flushes_leave_few_files() {
    let (_temp, path) = new_directory();
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    let files_seen = flush_often(&store, 2_000, 1_000, None);
    println!("2000 flushes: at most {files_seen} files, now {} tables on disk", tables(&path));
    assert!(files_seen < 120, "{files_seen}");
    // Every sequence is found, wherever merges have put it.
    for seq in [1, 2, 3, 4, 2_999, 3_000, 5_999, 6_000] {
        let mut frames = store.frames(Lsn(seq)).expect("intact");
        let found = frames.next_frame().expect("intact").expect("there");
        assert!(found.seq_first() <= Lsn(seq) && Lsn(seq) <= found.seq_last(), "{seq}");
    }
}

#[test]
fn thousands_of_flushes_with_truncation_leave_few_files() {
    let (_temp, path) = new_directory();
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    let files_seen = flush_often(&store, 1_500, 1_000, Some(10));
    println!("1500 flushes: at most {files_seen} files, now {} tables on disk", tables(&path));
    assert!(files_seen < 120, "{files_seen}");
}

/// Rows of one owner only: nothing overlaps, in the history neither.
#[test]
fn a_history_of_one_owner_leaves_few_files() {
    let (_temp, path) = new_directory();
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    for flush in 0..1_000_u64 {
        let mut rows = Rows::new();
        rows.put_history([b"s", &flush.to_be_bytes()[..]].concat(), [7; 60]);
        store.commit(rows).expect("written");
        store.flush().expect("flushed");
        while store.merge_small_files().expect("merged").is_some() {}
        assert_bounded(&store);
    }
    let mut count = 0;
    let visit = |_: &[u8], _: &[u8]| {
        count += 1;
        std::ops::ControlFlow::Continue(())
    };
    store.history_scan(b"s", b"s", visit).expect("intact");
    assert_eq!(count, 1_000);
}

/// In a process of its own, which may open fewer files than the directory holds; the variable names it there.
#[test]
fn a_store_of_many_files_works_with_few_handles() {
    const DIRECTORY: &str = "PINION_TEST_FEW_HANDLES";
    if let Some(path) = std::env::var_os(DIRECTORY) {
        return read_and_merge(Path::new(&path));
    }
    let (_temp, path) = new_directory();
    {
        let directory = Directory::open(&path).expect("intact");
        let store = directory.store().expect("intact");
        let mut frames = Frames::new();
        for _ in 0..400 {
            store.append_frames([frames.next(100).as_slice()]).expect("appended");
            store.flush().expect("flushed");
        }
    }
    assert!(tables(&path) >= 400, "{} tables", tables(&path));
    let limit = OPEN_FILES_MAX + 40;
    let mut limited = Command::new("sh");
    limited.args([
        "-c",
        &format!("ulimit -n {limit} && exec \"$0\" --exact a_store_of_many_files_works_with_few_handles"),
    ]);
    let output = limited.arg(std::env::current_exe().expect("known")).env(DIRECTORY, &path).output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(tables(&path) < 40, "{} tables", tables(&path));
}

fn read_and_merge(path: &Path) {
    let directory = Directory::open(path).expect("intact");
    assert_eq!(*directory.identity(), identity());
    let store = directory.store().expect("intact");
    assert_eq!(count_frames(&store, Lsn(1)), 400);
    while store.merge_small_files().expect("merged").is_some() {}
    assert_bounded(&store);
    assert_eq!(count_frames(&store, Lsn(1)), 400);
}
