//! The table in RocksDB; only this file calls it.
//!
//! RocksDB's own write-ahead log is off, because the head is that log. All families are flushed together, atomically,
//! so what is durable is a prefix of what was written.
//!
//! Invariants: the number of files and of open handles is bounded by the bytes that are stored, whatever the number of
//! flushes ([`merge`], [`options`]); a file is read completely before RocksDB merges it, because damage that RocksDB
//! itself finds ends every write.

pub mod merge;
pub mod options;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, CompactOptions, DB, DBRawIterator, FlushOptions, ReadOptions, WriteBatch,
    WriteOptions, properties,
};

use crate::mutation::planted;
use crate::rocks::merge::TableFile;
use crate::rocks::options::{db_options, families, reader_options};
use crate::table::{
    Change, Family, FamilyFigures, LEVELS, Merged, OpenFor, Table, TableFault, TableFaultKind, TableFigures, Walk,
};

/// How often a reader tries to open a table whose writer deletes files meanwhile.
const READER_OPENS_MAX: usize = 8;

pub struct Rocks {
    db: DB,
    /// Names of files that could not be read. They are never merged.
    unreadable: Mutex<BTreeSet<String>>,
}

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
            OpenFor::Writing => DB::open_cf_descriptors(&db_options(), path, families()).map_err(|error| fault(&error)),
            OpenFor::Reading => open_reader(path),
        };
        Ok(Rocks { db: opened?, unreadable: Mutex::default() })
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("every family was opened with the database")
    }

    fn files(&self) -> Result<Vec<(String, TableFile)>, TableFault> {
        let files = self.db.live_files().map_err(|error| fault(&error))?;
        let file = |file: rocksdb::LiveFile| {
            let (first, last) = (file.start_key.unwrap_or_default(), file.end_key.unwrap_or_default());
            let (name, level, bytes) = (file.name, file.level, file.size as u64);
            (file.column_family_name, TableFile { name, level, bytes, first, last })
        };
        Ok(files.into_iter().map(file).collect())
    }

    /// Merges these files of one level and what other levels hold between their keys.
    fn merge(&self, family: Family, run: &[TableFile]) -> Result<Merged, TableFault> {
        let ([first, ..], [.., last]) = (run, run) else { return Ok(Merged::default()) };
        for file in run {
            if let Err(fault) = self.read_through(family, file) {
                self.lock_unreadable().insert(file.name.clone());
                let message = format!("{} of {}: {}", file.name, family.name(), fault.message);
                return Err(TableFault { message, ..fault });
            }
        }
        let mut options = CompactOptions::default();
        // RocksDB's own merges go on beside it.
        options.set_exclusive_manual_compaction(false);
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        self.db.compact_range_cf_opt(self.family(family), Some(&first.first), Some(&last.last), &options);
        // RocksDB does not report how it went.
        if self.files()?.iter().any(|(_, file)| file.name == first.name) {
            let message = format!("RocksDB has not merged {} and the files after it", first.name);
            return Err(TableFault { kind: TableFaultKind::Other, message });
        }
        Ok(Merged { files: run.len() as u64, bytes: run.iter().map(|file| file.bytes).sum() })
    }

    /// Reads every row between the file's keys, so that RocksDB verifies every checksum.
    fn read_through(&self, family: Family, file: &TableFile) -> Result<(), TableFault> {
        planted!(MergedUnread, return Ok(()));
        let mut options = read_options();
        options.fill_cache(false);
        // The first key after the file's last one: the file that follows is not touched.
        options.set_iterate_upper_bound([&file.last[..], &[0]].concat());
        let mut rows = self.db.raw_iterator_cf_opt(self.family(family), options);
        rows.seek(&file.first);
        while rows.valid() {
            rows.next();
        }
        rows.status().map_err(|error| fault(&error))
    }

    fn number(&self, family: Family, property: &properties::PropName) -> Result<u64, TableFault> {
        let found = self.db.property_int_value_cf(self.family(family), property).map_err(|error| fault(&error))?;
        Ok(found.unwrap_or(0))
    }

    fn family_figures(&self, family: Family) -> Result<FamilyFigures, TableFault> {
        let mut files = [0; LEVELS];
        for (level, files) in files.iter_mut().enumerate() {
            let property = properties::num_files_at_level(level);
            let found = self.db.property_value_cf(self.family(family), &property).map_err(|error| fault(&error))?;
            *files = found.and_then(|text| text.parse().ok()).unwrap_or(0);
        }
        let bytes = self.number(family, properties::LIVE_SST_FILES_SIZE)?;
        let pending_bytes = self.number(family, properties::ESTIMATE_PENDING_COMPACTION_BYTES)?;
        Ok(FamilyFigures { files, bytes, pending_bytes })
    }

    fn lock_unreadable(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader opens every file at once, so that it keeps what a writer deletes later. Between the moments at which it
/// lists the files and opens them, a writer may have deleted one: then the list has changed as well.
fn open_reader(path: &Path) -> Result<DB, TableFault> {
    let open = || DB::open_cf_descriptors_read_only(&reader_options(), path, families(), false);
    let mut opened = open();
    for _ in 1..READER_OPENS_MAX {
        if !opened.as_ref().is_err_and(is_missing_file) {
            break;
        }
        opened = open();
    }
    opened.map_err(|error| fault(&error))
}

fn is_missing_file(error: &rocksdb::Error) -> bool {
    error.to_string().contains("No such file")
}

impl Table for Rocks {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, TableFault> {
        self.db.get_cf_opt(self.family(family), key, &read_options()).map_err(|error| fault(&error))
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
        self.db.write_opt(batch, &options).map_err(|error| fault(&error))
    }

    fn flush(&self) -> Result<(), TableFault> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families = Family::ALL.map(|family| self.family(family));
        self.db.flush_cfs_opt(&families, &options).map_err(|error| fault(&error))
    }

    fn reclaim(&self, family: Family, from: &[u8], until: &[u8]) -> Result<(), TableFault> {
        self.db.delete_file_in_range_cf(self.family(family), from, until).map_err(|error| fault(&error))
    }

    fn merge_small_files(&self) -> Result<Option<Merged>, TableFault> {
        planted!(SmallFilesKept, return Ok(None));
        let files = self.files()?;
        for family in Family::ALL {
            let own = files.iter().filter(|(name, _)| name == family.name()).map(|(_, file)| file.clone()).collect();
            let run = merge::due(own, &self.lock_unreadable());
            if let Some(run) = run {
                return self.merge(family, &run).map(Some);
            }
        }
        Ok(None)
    }

    fn figures(&self) -> Result<TableFigures, TableFault> {
        let [log, history, meta] = Family::ALL.map(|family| self.family_figures(family));
        // Of the whole database, whichever family is asked.
        let delayed_bytes_per_second = self.number(Family::Log, properties::ACTUAL_DELAYED_WRITE_RATE)?;
        let is_stopped = self.number(Family::Log, properties::IS_WRITE_STOPPED)? > 0;
        Ok(TableFigures { families: [log?, history?, meta?], delayed_bytes_per_second, is_stopped })
    }

    fn walk(&self, family: Family) -> Box<dyn Walk + '_> {
        let mut options = read_options();
        // Frames are read once, except by the scrubber, and that must see what the disk holds, not what a cache holds.
        options.fill_cache(family != Family::Log);
        Box::new(self.db.raw_iterator_cf_opt(self.family(family), options))
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
        _ if is_missing_file(error) => TableFaultKind::Incomplete,
        _ if message.contains("No space left") => TableFaultKind::NoSpace,
        _ => TableFaultKind::Other,
    };
    TableFault { kind, message }
}

#[cfg(test)]
mod tests;
