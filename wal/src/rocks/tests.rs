use super::*;
#[cfg(feature = "mutation")]
use crate::rocks::options::LEVEL0_FILES_SLOW;
use rocksdb::{ColumnFamilyDescriptor, Options, WaitForCompactOptions};

fn key(idx: u32) -> Vec<u8> {
    idx.to_be_bytes().to_vec()
}

fn put(family: Family, key: Vec<u8>, value: Vec<u8>) -> Change<'static> {
    Change::Put { family, key, value: value.into() }
}

/// A table with one file of one row for each number, moved down unchanged.
fn rows_in_files(dir: &Path, family: Family, count: u32) -> Rocks {
    Rocks::create(dir).expect("created");
    let table = Rocks::open(dir, OpenFor::Writing).expect("opened");
    for idx in 1..=count {
        table.write(vec![put(family, key(idx), vec![idx as u8; 100])]).expect("written");
        table.flush().expect("flushed");
    }
    settle(&table);
    table
}

fn settle(table: &Rocks) {
    table.db.wait_for_compact(&WaitForCompactOptions::default()).expect("compacted");
}

fn rows(table: &Rocks, family: Family) -> Vec<Vec<u8>> {
    let mut walk = table.walk(family);
    let mut found = Vec::new();
    walk.seek(&[]);
    while let Some((key, _)) = walk.item() {
        found.push(key.to_vec());
        walk.next();
    }
    walk.status().expect("read");
    found
}

fn merge_all(table: &Rocks) {
    while table.merge_small_files().expect("merged").is_some() {}
    settle(table);
}

fn file_count(table: &Rocks, family: Family) -> u64 {
    table.figures().expect("read").families[family as usize].file_count()
}

#[test]
fn reclaiming_deletes_the_end_of_the_range_and_nothing_after_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let table = rows_in_files(&dir.path().join("db"), Family::Log, 8);
    let files = table.files().expect("listed");
    let is_own_file =
        |idx: u32| files.iter().any(|(_, file)| file.level > 0 && file.first == key(idx) && file.last == key(idx));
    assert!(is_own_file(2) && is_own_file(3), "{files:?}");
    table.reclaim(Family::Log, &key(0), &key(2)).expect("reclaimed");
    assert_eq!(rows(&table, Family::Log), (3..=8).map(key).collect::<Vec<_>>());
}

#[test]
fn reclaiming_takes_no_row_that_a_merge_has_put_beside_later_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let table = rows_in_files(&dir.path().join("db"), Family::Log, 40);
    merge_all(&table);
    table.reclaim(Family::Log, &key(0), &key(20)).expect("reclaimed");
    let left = rows(&table, Family::Log);
    assert!(left.ends_with(&(21..=40).map(key).collect::<Vec<_>>()), "{left:?}");
}

#[test]
fn small_files_that_overlap_nothing_are_merged() {
    let dir = tempfile::tempdir().expect("a directory");
    for family in Family::ALL {
        let table = rows_in_files(&dir.path().join(family.name()), family, 100);
        // Below the number at which the history's level 0 is merged, nothing is due.
        merge_all(&table);
        assert!(file_count(&table, family) < 40, "{:?}", table.figures());
        assert_eq!(rows(&table, family), (1..=100).map(key).collect::<Vec<_>>());
    }
}

/// A directory of an earlier build: hundreds of small files, in several levels.
#[test]
fn a_directory_with_hundreds_of_small_files_heals() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    Rocks::create(&path).expect("created");
    let mut small_levels = Options::default();
    small_levels.set_max_bytes_for_level_base(20_000);
    let descriptors =
        ["default", "log", "history", "meta"].map(|name| ColumnFamilyDescriptor::new(name, small_levels.clone()));
    let mut earlier = Options::default();
    earlier.set_atomic_flush(true);
    let mut table = Rocks {
        db: DB::open_cf_descriptors(&earlier, &path, descriptors).expect("opened"),
        unreadable: Mutex::default(),
    };
    for idx in 1..=400 {
        table.write(vec![put(Family::Log, key(idx), vec![idx as u8; 500])]).expect("written");
        table.flush().expect("flushed");
    }
    settle(&table);
    let levels = table.figures().expect("read").families[Family::Log as usize].files;
    assert!(file_count(&table, Family::Log) > 300 && levels[..6].iter().any(|files| *files > 0), "{levels:?}");
    drop(table);
    table = Rocks::open(&path, OpenFor::Writing).expect("opened");
    settle(&table);
    merge_all(&table);
    let figures = table.figures().expect("read").families[Family::Log as usize];
    assert!(figures.file_count() <= merge::files_max(figures.bytes) + 4, "{figures:?}");
    assert_eq!(rows(&table, Family::Log), (1..=400).map(key).collect::<Vec<_>>());
}

#[test]
fn a_reader_keeps_the_files_that_a_merge_deletes() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    let table = rows_in_files(&path, Family::Log, 200);
    let reader = Rocks::open(&path, OpenFor::Reading).expect("opened");
    merge_all(&table);
    assert!(file_count(&table, Family::Log) < 40);
    assert_eq!(rows(&reader, Family::Log), (1..=200).map(key).collect::<Vec<_>>());
}

/// Changes a byte of the first row of some file in the middle of the log, and returns the file's name.
fn damage_a_file(path: &Path, table: Rocks) -> String {
    let mut files = table.files().expect("listed");
    files.sort_by(|(_, a), (_, b)| a.first.cmp(&b.first));
    let name = files[7].1.name.clone();
    drop(table);
    let file = path.join(name.trim_start_matches('/'));
    let mut bytes = std::fs::read(&file).expect("read");
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    name
}

fn write_more(table: &Rocks) -> Result<(), TableFault> {
    table.write(vec![put(Family::Log, key(1_000), vec![1; 100])])?;
    table.flush()
}

#[test]
fn a_damaged_file_is_reported_and_left_while_others_are_merged() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    let name = damage_a_file(&path, rows_in_files(&path, Family::Log, 60));
    let table = Rocks::open(&path, OpenFor::Writing).expect("opened");
    let fault = table.merge_small_files().expect_err("damaged");
    assert!(fault.kind == TableFaultKind::Corrupt && fault.message.starts_with(&name), "{fault}");
    write_more(&table).expect("the rest works");
    merge_all(&table);
    write_more(&table).expect("the rest works");
    let files = table.files().expect("listed");
    assert!(files.len() < 20 && files.iter().any(|(_, file)| file.name == name), "{files:?}");
}

#[cfg(feature = "mutation")]
#[test]
fn merging_without_reading_first_ends_every_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("db");
    damage_a_file(&path, rows_in_files(&path, Family::Log, 60));
    let table = Rocks::open(&path, OpenFor::Writing).expect("opened");
    crate::mutation::plant(Some(crate::mutation::Mutation::MergedUnread));
    let merged = table.merge_small_files();
    crate::mutation::plant(None);
    assert!(merged.is_err() && write_more(&table).is_err(), "{merged:?}");
}

#[cfg(feature = "mutation")]
#[test]
fn a_store_whose_small_files_stay_grows_without_bound() {
    let dir = tempfile::tempdir().expect("a directory");
    let table = rows_in_files(&dir.path().join("db"), Family::Log, 200);
    crate::mutation::plant(Some(crate::mutation::Mutation::SmallFilesKept));
    merge_all(&table);
    crate::mutation::plant(None);
    let figures = table.figures().expect("read").families[Family::Log as usize];
    assert!(merge::files_max(figures.bytes) + LEVEL0_FILES_SLOW < figures.file_count(), "{figures:?}");
}
