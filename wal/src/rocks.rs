//! The table in RocksDB; only this file calls it.
//!
//! RocksDB's own write-ahead log is off, because the head is that log. All families are flushed together, atomically,
//! so what is durable is a prefix of what was written.

use std::path::Path;

use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRawIterator, FlushOptions, Options, ReadOptions,
    WriteBatch, WriteOptions,
};

use crate::table::{Change, Family, OpenFor, Table, TableFault, TableFaultKind, Walk};

/// Size of the log family's memtable: at this many bytes RocksDB flushes by itself.
const LOG_BUFFER_BYTES: usize = 32 << 20;

/// Tables that RocksDB keeps open; beyond, the ones that were read least recently are closed, and reading one again
/// costs its footer and index. Its default is all of them, and their number grows with the log.
const TABLES_OPEN_MAX: i32 = 512;
/// Files besides tables: manifest, locks, text log, directories, and what a flush and two compactions read and write.
const FILES_BESIDE_TABLES: u64 = 64;
/// The most files that an open database has open.
pub const FILES_MAX: u64 = TABLES_OPEN_MAX as u64 + FILES_BESIDE_TABLES;

pub struct Rocks(DB);

impl Rocks {
    /// Makes an empty database. Fails where one exists.
    pub fn create(path: &Path) -> Result<(), TableFault> {
        let mut options = db_options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_error_if_exists(true);
        let db = DB::open_cf_descriptors(&options, path, families()).map_err(|error| fault(&error))?;
        drop(db);
        Ok(())
    }

    pub fn open(path: &Path, purpose: OpenFor) -> Result<Rocks, TableFault> {
        let opened = match purpose {
            OpenFor::Writing => DB::open_cf_descriptors(&db_options(), path, families()),
            OpenFor::Reading => DB::open_cf_descriptors_read_only(&db_options(), path, families(), false),
        };
        opened.map(Rocks).map_err(|error| fault(&error))
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        self.0.cf_handle(family.name()).expect("every family was opened with the database")
    }
}

impl Table for Rocks {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, TableFault> {
        self.0.get_cf_opt(self.family(family), key, &read_options()).map_err(|error| fault(&error))
    }

    fn write(&self, changes: Vec<Change<'_>>) -> Result<(), TableFault> {
        let mut batch = WriteBatch::default();
        for change in changes {
            match change {
                Change::Put { family, key, value } => batch.put_cf(self.family(family), key, value),
                Change::Delete { family, key } => batch.delete_cf(self.family(family), key),
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.0.write_opt(batch, &options).map_err(|error| fault(&error))
    }

    fn flush(&self) -> Result<(), TableFault> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families = Family::ALL.map(|family| self.family(family));
        self.0.flush_cfs_opt(&families, &options).map_err(|error| fault(&error))
    }

    fn reclaim(&self, family: Family, from: &[u8], until: &[u8]) -> Result<(), TableFault> {
        self.0.delete_file_in_range_cf(self.family(family), from, until).map_err(|error| fault(&error))
    }

    fn walk(&self, family: Family) -> Box<dyn Walk + '_> {
        let mut options = read_options();
        // Frames are read once, except by the scrubber, and that must see what the disk holds, not what a cache holds.
        options.fill_cache(family != Family::Log);
        Box::new(self.0.raw_iterator_cf_opt(self.family(family), options))
    }
}

impl Walk for DBRawIterator<'_> {
    fn seek(&mut self, key: &[u8]) {
        self.seek(key);
    }

    fn seek_for_prev(&mut self, key: &[u8]) {
        self.seek_for_prev(key);
    }

    fn seek_to_last(&mut self) {
        self.seek_to_last();
    }

    fn next(&mut self) {
        self.next();
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.item()
    }

    fn status(&self) -> Result<(), TableFault> {
        self.status().map_err(|error| fault(&error))
    }
}

fn db_options() -> Options {
    let mut options = Options::default();
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(2);
    options.set_max_open_files(TABLES_OPEN_MAX);
    // Past the page cache: dirty pages that gather there are written in one burst and delay the journal's syncs.
    options.set_use_direct_io_for_flush_and_compaction(true);
    // RocksDB's diagnostic text log, not the write-ahead log. The default keeps 1,000 files of it.
    options.set_keep_log_file_num(4);
    options
}

fn families() -> Vec<ColumnFamilyDescriptor> {
    let mut log = Options::default();
    log.set_compression_type(DBCompressionType::None);
    log.set_write_buffer_size(LOG_BUFFER_BYTES);
    let mut rows = Options::default();
    // No compression library is linked, and rows are small.
    rows.set_compression_type(DBCompressionType::None);
    vec![
        ColumnFamilyDescriptor::new("default", rows.clone()),
        ColumnFamilyDescriptor::new(Family::Log.name(), log),
        ColumnFamilyDescriptor::new(Family::History.name(), rows.clone()),
        ColumnFamilyDescriptor::new(Family::Meta.name(), rows),
    ]
}

fn read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}

fn fault(error: &rocksdb::Error) -> TableFault {
    let message = error.to_string();
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => TableFaultKind::Corrupt,
        rocksdb::ErrorKind::InvalidArgument => TableFaultKind::Incomplete,
        _ if message.contains("No such file") => TableFaultKind::Incomplete,
        _ if message.contains("No space left") => TableFaultKind::NoSpace,
        _ => TableFaultKind::Other,
    };
    TableFault { kind, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rocksdb::WaitForCompactOptions;

    const FILES: u8 = 8;

    fn key(idx: u8) -> Vec<u8> {
        vec![0, idx]
    }

    /// Files of one row each, which a compaction moves down unchanged: only such files can be deleted without
    /// rewriting.
    fn rows_in_files(dir: &Path) -> Rocks {
        Rocks::create(dir).expect("created");
        let table = Rocks::open(dir, OpenFor::Writing).expect("opened");
        for idx in 1..=FILES {
            let (family, value) = (Family::Log, vec![idx; 100].into());
            table.write(vec![Change::Put { family, key: key(idx), value }]).expect("written");
            table.flush().expect("flushed");
        }
        table.0.wait_for_compact(&WaitForCompactOptions::default()).expect("compacted");
        table
    }

    /// The number of tables grows with the log, and the descriptors of a process do not.
    #[test]
    fn the_number_of_open_tables_is_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("db");
        let _table = rows_in_files(&path);
        let entries = std::fs::read_dir(&path).expect("listed").map(|entry| entry.expect("an entry").path());
        let in_use =
            entries.filter(|path| path.to_string_lossy().contains("OPTIONS-")).max().expect("RocksDB writes it");
        let options = std::fs::read_to_string(in_use).expect("text");
        assert!(options.contains(&format!("max_open_files={TABLES_OPEN_MAX}\n")), "{options}");
    }

    #[test]
    fn reclaiming_deletes_the_end_of_the_range_and_nothing_after_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let table = rows_in_files(&dir.path().join("db"));
        let files = table.0.live_files().expect("listed");
        let end_of_file = |idx: u8| {
            files
                .iter()
                .any(|file| file.level > 0 && file.end_key == Some(key(idx)) && file.start_key == Some(key(idx)))
        };
        assert!(end_of_file(2) && end_of_file(3), "{files:?}");
        table.reclaim(Family::Log, &key(0), &key(2)).expect("reclaimed");
        let left: Vec<u8> =
            (1..=FILES).filter(|idx| table.get(Family::Log, &key(*idx)).expect("read").is_some()).collect();
        assert_eq!(left, (3..=FILES).collect::<Vec<_>>());
    }
}
