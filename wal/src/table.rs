//! What the store needs of a database: three families of keys and values, each sorted by the bytes of its keys.
//!
//! Invariants that every implementation keeps: a batch is applied entirely or not at all; what a flush has made durable
//! is a prefix of the batches written, over all families together.

use thiserror::Error;

/// A set of rows with its own order of keys (RocksDB: a column family).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Log,
    History,
    Meta,
}

impl Family {
    pub const ALL: [Family; 3] = [Family::Log, Family::History, Family::Meta];

    pub fn name(self) -> &'static str {
        match self {
            Family::Log => "log",
            Family::History => "history",
            Family::Meta => "meta",
        }
    }
}

/// What a table is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFor {
    /// By the one process that may write.
    Writing,
    /// To see what has been flushed. A writer may run at the same time.
    Reading,
}

/// One row's change.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    Put { family: Family, key: Vec<u8>, value: std::borrow::Cow<'a, [u8]> },
    Delete { family: Family, key: Vec<u8> },
}

/// Kinds of failure that a store reports differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFaultKind {
    Corrupt,
    /// Some of its files are missing, or the directory holds no table.
    Incomplete,
    NoSpace,
    Other,
}

#[derive(Clone, Debug, Error)]
#[error("{message}")]
pub struct TableFault {
    pub kind: TableFaultKind,
    pub message: String,
}

/// Levels of a family's files: a flush leaves its file at level 0, and merges move rows down.
pub const LEVELS: usize = 7;

/// The files of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyFigures {
    /// Number of files in each level.
    pub files: [u64; LEVELS],
    pub bytes: u64,
    /// Bytes that are still to be rewritten until every level has its size.
    pub pending_bytes: u64,
}

impl FamilyFigures {
    pub fn file_count(&self) -> u64 {
        self.files.iter().sum()
    }
}

/// The files of a table, and whether it makes a writer wait because merges do not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableFigures {
    /// In the order of [`Family::ALL`].
    pub families: [FamilyFigures; Family::ALL.len()],
    /// The rate to which writes are held down; zero where they are not.
    pub delayed_bytes_per_second: u64,
    /// Writes wait until a merge has ended.
    pub is_stopped: bool,
}

/// Small files that have become one or a few.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    pub files: u64,
    pub bytes: u64,
}

/// An open table.
pub trait Table: Send + Sync {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, TableFault>;

    /// Applies all changes, or none of them. They are durable after the next [`Table::flush`].
    fn write(&self, changes: Vec<Change<'_>>) -> Result<(), TableFault>;

    /// Makes everything written so far durable, in all families together. Blocks on the disk.
    fn flush(&self) -> Result<(), TableFault>;

    /// Deletes the files that hold only rows from `from` up to and including `until`, which nothing reads any more, so
    /// that their space is free at once. Rows of that range in a file with others stay until a later call.
    fn reclaim(&self, family: Family, from: &[u8], until: &[u8]) -> Result<(), TableFault>;

    /// Merges some of the small files that flushes have left, where that is due; `None` where nothing is due. Blocks on
    /// the disk, and neither reads, writes nor flushes wait for it. A table without files has nothing to do.
    fn merge_small_files(&self) -> Result<Option<Merged>, TableFault> {
        Ok(None)
    }

    /// The files as they are now; zeros for a table without files.
    fn figures(&self) -> Result<TableFigures, TableFault> {
        Ok(TableFigures::default())
    }

    /// A cursor over the rows as they are now; later writes do not show in it.
    fn walk(&self, family: Family) -> Box<dyn Walk + '_>;
}

/// A cursor over the rows of a family.
pub trait Walk {
    /// Moves to the first key at or after `key`.
    fn seek(&mut self, key: &[u8]);

    /// Moves to the last key at or before `key`.
    fn seek_for_prev(&mut self, key: &[u8]);

    fn seek_to_last(&mut self);

    fn next(&mut self);

    /// The current row; `None` after the last one, and after a fault.
    fn item(&self) -> Option<(&[u8], &[u8])>;

    fn status(&self) -> Result<(), TableFault>;
}
