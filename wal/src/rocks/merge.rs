//! Which small files of a family are merged next.
//!
//! RocksDB merges files whose keys overlap. A file that overlaps nothing it moves to the lowest level unchanged, and
//! never touches it again. The keys of the log only grow, so each flush would leave one more file for ever.
//!
//! ```text
//! a level in key order:  [full] [small] [full] [full] [small] [tiny] [tiny] [tiny]
//!                               closed run            open run: more files will follow
//! ```
//! Invariants: a full file is never merged again for its size; where nothing is due, a level below 0 holds at most
//! [`files_max`] files; a merge reads [`MERGE_BYTES_MAX`] of small files at most, so that it is short.

use std::collections::BTreeSet;

/// A file of this size or larger is full. A quarter of RocksDB's target for the files that it writes.
pub const FULL_FILE_BYTES: u64 = 16 << 20;
/// So many consecutive files that are not full are merged, wherever they are.
pub const RUN_FILES_MAX: usize = 32;

/// Files below this size are merged among themselves first, so that few bytes are written again and again.
const TINY_FILE_BYTES: u64 = 1 << 20;
const TINY_RUN_FILES_MAX: usize = 16;
/// The most bytes of small files in one merge: what fits makes a full file.
const MERGE_BYTES_MAX: u64 = 2 * FULL_FILE_BYTES;
/// The most bytes of other levels that a merge may rewrite for each small file. Those of the log overlap nothing.
const BESIDE_BYTES_PER_FILE: u64 = 1 << 20;
const _: () =
    assert!(RUN_FILES_MAX as u64 * TINY_FILE_BYTES > FULL_FILE_BYTES && 2 * FULL_FILE_BYTES <= MERGE_BYTES_MAX);

/// The most files of a level below 0 that together hold `bytes`, once nothing is due: between two full files there is
/// one that is not full, and after the last one there are fewer than [`RUN_FILES_MAX`].
pub const fn files_max(bytes: u64) -> u64 {
    2 * (bytes / FULL_FILE_BYTES) + RUN_FILES_MAX as u64
}

/// One of RocksDB's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableFile {
    pub name: String,
    pub level: i32,
    pub bytes: u64,
    /// Its first and its last key.
    pub first: Vec<u8>,
    pub last: Vec<u8>,
}

impl TableFile {
    fn overlaps(&self, first: &[u8], last: &[u8]) -> bool {
        self.first.as_slice() <= last && first <= self.last.as_slice()
    }
}

/// The consecutive files of one level to merge next, of all files of a family. Files that are `excluded` stay as they
/// are, and separate the files before them from those after them.
pub(super) fn due(mut files: Vec<TableFile>, excluded: &BTreeSet<String>) -> Option<Vec<TableFile>> {
    files.sort_by(|a, b| (a.level, &a.first).cmp(&(b.level, &b.first)));
    let levels = files.chunk_by(|a, b| a.level == b.level).filter(|level| level[0].level > 0);
    let found = levels.flat_map(|level| due_in_level(level, excluded)).find(|run| is_worth_it(run, &files));
    found.map(<[TableFile]>::to_vec)
}

fn due_in_level<'f>(level: &'f [TableFile], excluded: &BTreeSet<String>) -> Vec<&'f [TableFile]> {
    let mut runs: Vec<_> = level.split(|file| FULL_FILE_BYTES <= file.bytes || excluded.contains(&file.name)).collect();
    let open = runs.pop().and_then(due_in_open_run);
    let closed = runs.into_iter().filter(|run| run.len() > 1);
    closed.chain(open).map(limited).collect()
}

fn due_in_open_run(run: &[TableFile]) -> Option<&[TableFile]> {
    if RUN_FILES_MAX <= run.len() {
        return Some(run);
    }
    run.split(|file| TINY_FILE_BYTES <= file.bytes).find(|tiny| TINY_RUN_FILES_MAX <= tiny.len())
}

/// As many of the first files as one merge may read, and never fewer than two.
fn limited(run: &[TableFile]) -> &[TableFile] {
    let mut bytes = 0;
    let fits = run.iter().take_while(|file| {
        bytes += file.bytes;
        bytes <= MERGE_BYTES_MAX
    });
    &run[..fits.count()]
}

/// RocksDB merges a range of keys in all levels: into level 0 it must not reach, where files are still to be moved down
/// unchanged, and little of any other level may be rewritten with it.
fn is_worth_it(run: &[TableFile], files: &[TableFile]) -> bool {
    let ([first, ..], [.., last]) = (run, run) else { return false };
    let beside = || files.iter().filter(|file| file.level != first.level && file.overlaps(&first.first, &last.last));
    let bytes: u64 = beside().map(|file| file.bytes).sum();
    beside().all(|file| file.level > 0) && bytes <= run.len() as u64 * BESIDE_BYTES_PER_FILE
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTTOM: i32 = 6;

    /// Files one after the other in one level, of these sizes.
    fn level(level: i32, sizes: &[u64]) -> Vec<TableFile> {
        let file = |(idx, &bytes): (usize, &u64)| {
            let key = |end: u8| [&(idx as u32).to_be_bytes()[..], &[end]].concat();
            TableFile { name: format!("{level}/{idx}"), level, bytes, first: key(0), last: key(9) }
        };
        sizes.iter().enumerate().map(file).collect()
    }

    /// Which files of the level are merged, as `first..end`.
    fn check(files: Vec<TableFile>, excluded: &[&str], expected: Option<std::ops::Range<usize>>) {
        let excluded = excluded.iter().map(|&name| name.to_owned()).collect();
        let names: Option<Vec<String>> =
            due(files.clone(), &excluded).map(|run| run.into_iter().map(|file| file.name).collect());
        let expected = expected.map(|range| range.map(|idx| format!("{BOTTOM}/{idx}")).collect());
        assert_eq!(names, expected, "{files:?}");
    }

    const KB: u64 = 1 << 10;
    const MB: u64 = 1 << 20;

    #[test]
    fn tiny_files_are_merged_among_themselves() {
        check(level(BOTTOM, &[KB; 15]), &[], None);
        check(level(BOTTOM, &[KB; 16]), &[], Some(0..16));
        check(level(BOTTOM, &[[5 * MB].as_slice(), &[KB; 16]].concat()), &[], Some(1..17));
        check(level(BOTTOM, &[[5 * MB; 15].as_slice(), &[KB; 15]].concat()), &[], None);
        check(level(BOTTOM, &[[5 * MB; 17].as_slice(), &[KB; 15]].concat()), &[], Some(0..6));
        check(level(BOTTOM, &[10 * MB; 32]), &[], Some(0..3));
    }

    #[test]
    fn a_full_file_is_left_and_what_it_closes_becomes_one() {
        check(level(BOTTOM, &[20 * MB; 100]), &[], None);
        check(level(BOTTOM, &[20 * MB, 5 * MB, 20 * MB, 5 * MB, 20 * MB, KB]), &[], None);
        check(level(BOTTOM, &[20 * MB, 5 * MB, KB, 20 * MB, 5 * MB, KB]), &[], Some(1..3));
    }

    #[test]
    fn an_excluded_file_separates_runs() {
        check(level(BOTTOM, &[KB; 30]), &["6/20"], Some(0..20));
        check(level(BOTTOM, &[KB; 30]), &["6/0"], Some(1..30));
    }

    #[test]
    fn other_levels_are_rewritten_only_where_it_is_worth_it() {
        let with = |other: i32, bytes: u64| [level(BOTTOM, &[KB; 16]), level(other, &[bytes])].concat();
        check(with(0, KB), &[], None);
        check(with(5, 16 * MB), &[], Some(0..16));
        check(with(5, 17 * MB), &[], None);
    }

    /// Sizes of flushes in any order: the bound holds after each of them, and few bytes are written for each.
    #[test]
    fn any_order_of_flushes_stays_within_the_bound() {
        let mut seed = 1_u64;
        let mut draw = |limit: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % limit
        };
        for flushes in [[KB, KB], [KB, 3 * MB], [900 * KB, 2 * MB], [2 * MB, 30 * MB], [64 * KB, 15 * MB]] {
            let (mut files, mut flushed, mut written) = (Vec::new(), 0, 0);
            for idx in 0..1_500_u32 {
                let bytes = flushes[usize::from(draw(4) == 0)].max(draw(flushes[1]));
                let key = idx.to_be_bytes().to_vec();
                flushed += bytes;
                files.push(TableFile { name: idx.to_string(), level: 1, bytes, first: key.clone(), last: key });
                while let Some(run) = due(files.clone(), &BTreeSet::new()) {
                    let at = files.iter().position(|file| *file == run[0]).expect("it is one of them");
                    let bytes: u64 = run.iter().map(|file| file.bytes).sum();
                    written += bytes;
                    let merged = TableFile { bytes, last: run[run.len() - 1].last.clone(), ..run[0].clone() };
                    files.splice(at..at + run.len(), [merged]);
                }
                assert!(files.len() as u64 <= files_max(flushed), "{} files hold {flushed} bytes", files.len());
            }
            assert!(written <= 2 * flushed + 1_500 * 64 * KB, "{written} bytes were merged of {flushed} flushed");
        }
    }
}
