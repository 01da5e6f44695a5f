//! How RocksDB is opened: what it keeps in memory, when it merges, and when it would make a writer wait.
//!
//! Invariant: a writer waits for a merge only where merges do not keep up for long ([`LEVEL0_FILES_SLOW`],
//! [`PENDING_BYTES_SLOW`]), and what bounds a directory's files, handles and diagnostic texts is set here and in
//! [`super::merge`].

use rocksdb::{ColumnFamilyDescriptor, DBCompressionType, Options};

use crate::table::Family;

/// The most files of the table that a writer keeps open. Beyond that the one that was not read for longest is closed,
/// and its index leaves the memory.
pub const OPEN_FILES_MAX: i32 = 128;
/// Files besides tables: manifest, locks, text log, directories, and what a flush and the merges read and write.
const FILES_BESIDE_TABLES: u64 = 64;
/// The most files that an open database has open.
pub const FILES_MAX: u64 = OPEN_FILES_MAX as u64 + FILES_BESIDE_TABLES;
/// From so many files in level 0 of a family on, RocksDB delays writes; from twice as many on it stops them.
pub const LEVEL0_FILES_SLOW: u64 = 64;
/// From so many bytes that are to be merged in a family on, RocksDB delays writes; from four times as many on it stops
/// them.
pub const PENDING_BYTES_SLOW: u64 = 64 << 30;

/// Size of the log family's memtable: at this many bytes RocksDB flushes by itself.
const LOG_BUFFER_BYTES: usize = 32 << 20;
/// RocksDB's merges write files of at most this size.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// The log has no level between 0 and the lowest: its files overlap nothing, so there is nothing to merge step by step.
const LOG_LEVEL_BYTES: u64 = 1 << 50;
/// Size of the first level below 0 of the other families. A flush leaves a small file at level 0, and so many of them
/// are merged with all of that level: both numbers together keep small what a flush costs.
const ROWS_LEVEL_BYTES: u64 = 64 << 20;
const ROWS_LEVEL0_FILES: i32 = 16;
/// One flush, and three merges: a long one of the history delays neither a short one nor the log.
const BACKGROUND_JOBS: i32 = 4;
/// RocksDB's list of its files is written anew at this size, and a start reads all of it.
const MANIFEST_BYTES_MAX: usize = 16 << 20;
/// Size and number of RocksDB's diagnostic text logs, which are not the write-ahead log.
const TEXT_LOG_BYTES_MAX: usize = 16 << 20;
const TEXT_LOGS_MAX: usize = 4;
const _: () = assert!(4 * super::merge::FULL_FILE_BYTES <= FILE_BYTES_MAX, "what is merged is full at once");

pub(super) fn db_options() -> Options {
    let mut options = Options::default();
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    // Past the page cache: dirty pages that gather there are written in one burst and delay the journal's syncs.
    options.set_use_direct_io_for_flush_and_compaction(true);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_manifest_file_size(MANIFEST_BYTES_MAX);
    options.set_max_log_file_size(TEXT_LOG_BYTES_MAX);
    options.set_keep_log_file_num(TEXT_LOGS_MAX);
    options
}

/// For a reader beside a writer: it keeps every file open, because the writer may delete it.
pub(super) fn reader_options() -> Options {
    let mut options = db_options();
    options.set_max_open_files(-1);
    options
}

pub(super) fn families() -> Vec<ColumnFamilyDescriptor> {
    let mut log = family_options();
    log.set_write_buffer_size(LOG_BUFFER_BYTES);
    log.set_max_bytes_for_level_base(LOG_LEVEL_BYTES);
    let mut rows = family_options();
    rows.set_max_bytes_for_level_base(ROWS_LEVEL_BYTES);
    rows.set_level_zero_file_num_compaction_trigger(ROWS_LEVEL0_FILES);
    vec![
        ColumnFamilyDescriptor::new("default", rows.clone()),
        ColumnFamilyDescriptor::new(Family::Log.name(), log),
        ColumnFamilyDescriptor::new(Family::History.name(), rows.clone()),
        ColumnFamilyDescriptor::new(Family::Meta.name(), rows),
    ]
}

fn family_options() -> Options {
    let mut options = Options::default();
    // No compression library is linked; frames are small, and so are rows.
    options.set_compression_type(DBCompressionType::None);
    options.set_target_file_size_base(FILE_BYTES_MAX);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_level_zero_slowdown_writes_trigger(LEVEL0_FILES_SLOW as i32);
    options.set_level_zero_stop_writes_trigger(2 * LEVEL0_FILES_SLOW as i32);
    options.set_soft_pending_compaction_bytes_limit(PENDING_BYTES_SLOW as usize);
    options.set_hard_pending_compaction_bytes_limit(4 * PENDING_BYTES_SLOW as usize);
    options
}
