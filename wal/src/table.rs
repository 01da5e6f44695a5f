//! Rows under the store: three families of keys and values in the order of their bytes.
//!
//! Invariants that every implementation keeps: a batch is there wholly or not at all; what a flush has made durable is a
//! prefix of the batches written, over all families together.

use thiserror::Error;

/// Rows that are walked by themselves.
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
    /// By its one owner.
    Writing,
    /// What has been flushed, beside a writer or without one.
    Reading,
}

/// One row's change.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    Put {
        family: Family,
        key: Vec<u8>,
        value: std::borrow::Cow<'a, [u8]>,
    },
    Delete {
        family: Family,
        key: Vec<u8>,
    },
    /// All keys from `from` up to, not including, `until`.
    DeleteRange {
        family: Family,
        from: Vec<u8>,
        until: Vec<u8>,
    },
}

/// What went wrong below, as far as a store tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFaultKind {
    Corrupt,
    /// Files of it are missing, or it is not a table at all.
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

/// An open table.
pub trait Table: Send + Sync {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, TableFault>;

    /// Not durable before [`Table::flush`].
    fn write(&self, changes: Vec<Change<'_>>) -> Result<(), TableFault>;

    /// Makes all that was written durable, in all families at once. Blocks on the disk.
    fn flush(&self) -> Result<(), TableFault>;

    /// Gives back at once what deleted rows from `from` up to and including `until` take on disk, as far as whole files
    /// hold nothing else. Unlike a range that is deleted this one includes its end, because RocksDB's files do. Only a matter of space: tables without files have nothing to do.
    fn reclaim(&self, _family: Family, _from: &[u8], _until: &[u8]) -> Result<(), TableFault> {
        Ok(())
    }

    /// A walk over what is there now.
    fn walk(&self, family: Family) -> Box<dyn Walk + '_>;
}

/// A place among the rows of a family.
pub trait Walk {
    /// To the first key that is not before `key`.
    fn seek(&mut self, key: &[u8]);

    /// To the last key that is not behind `key`.
    fn seek_for_prev(&mut self, key: &[u8]);

    fn seek_to_last(&mut self);

    fn next(&mut self);

    /// The row here; `None` behind the end, and after a fault.
    fn item(&self) -> Option<(&[u8], &[u8])>;

    fn status(&self) -> Result<(), TableFault>;
}
