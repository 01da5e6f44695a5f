//! The older frames of the log, the history and the metadata, in a table: RocksDB, except in the simulator.
//!
//! ```text
//! log      key: timeline u32 BE | seq_first u64 BE          value: frame (header and payload, without padding)
//! history  key, value: the caller's
//! meta     key: 0x00 | the store's own, 0x01 | the caller's   value: the base of the log; the caller's
//! ```
//!
//! Invariants: what a flush has made durable is a prefix of what was appended; all families are flushed together, so
//! history rows and the cursor that counts them are durable together or not at all; every frame is proved again when
//! read; no frame at or before the base is read, wherever its row still is.

mod fault;
mod frame_cursor;
mod keys;
mod log_reader;
mod rows;

pub use frame_cursor::FrameCursor;
pub use keys::{LOG_KEY_BYTES, log_key};
pub use rows::Rows;

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Action, Damage, Result, WalError};
use crate::medium::Medium;
use crate::mutation::planted;
use crate::rocks::Rocks;
use crate::store::fault::{open_error, store_error};
use crate::store::keys::{META_BASE, base_value, caller_key, parse_base};
use crate::store::log_reader::{LogReader, check_follows, prove};
use crate::table::{Change, Family, Merged, OpenFor, Table, TableFigures, Walk};
use crate::units::{LogOrigin, Lsn, Tail};

/// The ends of the log as this handle knows them. Changed under one lock, off the acknowledgement path.
#[derive(Clone, Copy)]
struct Ends {
    appended: Tail,
    stored: Lsn,
    /// Set by a failed write. RocksDB may or may not hold that write; only a restart can find out.
    failed: bool,
}

/// An open database. Threads may share it; only one of them appends.
pub struct Store {
    table: Box<dyn Table>,
    path: PathBuf,
    origin: LogOrigin,
    ends: Mutex<Ends>,
}

impl Store {
    /// Makes an empty database. Fails where one exists.
    pub fn create(path: &Path) -> Result<()> {
        Rocks::create(path).map_err(|fault| store_error(Action::Create, path, Lsn::ZERO, fault))
    }

    /// Opens a database that [`Store::create`] made and finds the end of its log. Never makes one. A store that is
    /// opened for reading shows what has been flushed and must not be appended to; a writer may run at the same time.
    pub fn open_on(medium: &dyn Medium, path: &Path, origin: LogOrigin, purpose: OpenFor) -> Result<Store> {
        let table = medium.open_table(path, purpose).map_err(|fault| open_error(path, fault))?;
        let ends = Ends { appended: origin.tail(), stored: origin.seq_base, failed: false };
        let store = Store { table, path: path.to_owned(), origin, ends: Mutex::new(ends) };
        let tail = store.find_tail()?;
        *store.lock_ends() = Ends { appended: tail, stored: tail.seq, failed: false };
        Ok(store)
    }

    /// Appends frames that follow the log's end; a frame that does not is refused and nothing is appended. Durable
    /// after the next [`Store::flush`].
    pub fn append_frames<'a>(&self, frames: impl IntoIterator<Item = &'a [u8]>) -> Result<Lsn> {
        let mut ends = self.lock_ends();
        let mut tail = ends.appended;
        let mut batch = Vec::new();
        for bytes in frames {
            let frame = prove(&self.path, self.origin.timeline, bytes, tail.seq.next())?;
            check_follows(&self.path, &frame, tail)?;
            let key = log_key(self.origin.timeline, frame.seq_first());
            batch.push(put(Family::Log, key, frame.bytes()));
            tail = frame.tail();
        }
        assert!(ends.appended.seq <= tail.seq, "the end of the log never falls");
        self.write(&mut ends, batch, tail.seq)?;
        ends.appended = tail;
        Ok(tail.seq)
    }

    /// Makes an empty log begin after `tail`: a state that is kept elsewhere replaces the records before. Durable after
    /// the next flush.
    pub fn begin_after(&self, tail: Tail) -> Result<()> {
        let mut ends = self.lock_ends();
        assert!(ends.appended == self.origin.tail(), "only a log without a frame can begin elsewhere");
        assert!(self.origin.seq_base <= tail.seq, "a timeline's log does not begin before the timeline");
        let value = base_value(tail);
        self.write(&mut ends, vec![put(Family::Meta, META_BASE, &value)], tail.seq)?;
        ends.appended = tail;
        Ok(())
    }

    /// Makes everything appended and committed so far durable and returns the last such sequence. Blocks on the disk.
    pub fn flush(&self) -> Result<Lsn> {
        let seq = {
            let ends = self.lock_ends();
            self.check_not_failed(&ends)?;
            ends.appended.seq
        };
        planted!(FlushSkipped, return Ok(self.advance_stored(seq)));
        self.table.flush().map_err(|fault| {
            self.lock_ends().failed = true;
            store_error(Action::Flush, &self.path, seq, fault)
        })?;
        Ok(self.advance_stored(seq))
    }

    /// Every record up to here is durable without the head.
    pub fn seq_stored(&self) -> Lsn {
        self.lock_ends().stored
    }

    /// The end of what has been appended.
    pub fn tail(&self) -> Tail {
        self.lock_ends().appended
    }

    pub fn origin(&self) -> LogOrigin {
        self.origin
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tail that the first retained frame follows.
    pub fn base(&self) -> Result<Tail> {
        let Some(value) = self.get(Family::Meta, META_BASE)? else { return Ok(self.origin.tail()) };
        let malformed = Damage::Malformed("the base of the log has a wrong length");
        parse_base(&value).ok_or_else(|| WalError::damaged(&self.path, 0, Lsn::ZERO, malformed))
    }

    /// The frames from the one that holds `from` on, in order, each proved and compared with the frame before it.
    pub fn frames(&self, from: Lsn) -> Result<FrameCursor<'_>> {
        let base = self.base()?;
        if from <= base.seq {
            let (wanted, begins) = (from, base.seq.next());
            return Err(WalError::NotRetained { path: self.path.clone(), wanted, begins });
        }
        let mut reader = self.log_reader();
        // Rows of truncated frames stay where they share a file with later ones.
        let retained = |seq_first: &Lsn| base.seq < *seq_first;
        let start = reader.seek_at_or_before(from)?.filter(retained);
        let expected = match start {
            Some(seq_first) if seq_first > base.seq.next() => {
                let before = reader.seek_at_or_before(seq_first.prev())?.filter(retained);
                let frame = if before.is_some() { reader.frame(seq_first)? } else { None };
                frame.map_or(base, |frame| frame.tail())
            }
            _ => base,
        };
        reader.seek(start.unwrap_or(base.seq.next()));
        Ok(FrameCursor::new(reader, expected, from))
    }

    /// Lets the log begin with the frame that holds `seq` and returns the new base, which is durable after the next
    /// flush. Frames before it are not read any more; their space is free after [`Store::reclaim`].
    ///
    /// They are not deleted as rows: a deletion lies in one file with the newest frames, and that file would overlap,
    /// and so rewrite, the complete log between them.
    pub fn truncate_before(&self, seq: Lsn) -> Result<Tail> {
        let before = {
            let mut cursor = self.frames(seq)?;
            cursor.next_frame()?.map(|frame| Tail { seq: frame.seq_first().prev(), chain: frame.chain_prev() })
        };
        let Some(base) = before else { return self.base() };
        assert!(base.seq < seq, "the record that is named stays");
        let value = base_value(base);
        self.write(&mut self.lock_ends(), vec![put(Family::Meta, META_BASE, &value)], base.seq)?;
        Ok(base)
    }

    /// Frees the disk space of truncated frames. Only after the flush that made the truncation durable: deleting files
    /// does not wait for one. A file that holds later frames too stays until these are truncated.
    pub fn reclaim(&self) -> Result<()> {
        let (timeline, base) = (self.origin.timeline, self.base()?);
        let (from, until) = (log_key(timeline, Lsn::ZERO), log_key(timeline, base.seq));
        let reclaimed = self.table.reclaim(Family::Log, &from, &until);
        reclaimed.map_err(|fault| store_error(Action::Remove, &self.path, base.seq, fault))
    }

    /// Merges some of the small files that flushes have left; `None` where nothing is due. Blocks on the disk, and
    /// nothing else waits for it. An error leaves everything readable as it was.
    pub fn merge_small_files(&self) -> Result<Option<Merged>> {
        let merged = self.table.merge_small_files();
        merged.map_err(|fault| store_error(Action::Merge, &self.path, Lsn::ZERO, fault))
    }

    /// The table's files as they are now.
    pub fn figures(&self) -> Result<TableFigures> {
        self.table.figures().map_err(|fault| store_error(Action::Read, &self.path, Lsn::ZERO, fault))
    }

    /// Writes rows of history and metadata together. Durable after the next flush.
    pub fn commit(&self, rows: Rows) -> Result<()> {
        let batch = rows.into_changes();
        let mut ends = self.lock_ends();
        let seq = ends.appended.seq;
        self.write(&mut ends, batch, seq)
    }

    pub fn history(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get(Family::History, key)
    }

    pub fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get(Family::Meta, &caller_key(key))
    }

    /// History rows whose key begins with `prefix`, in key order from `from` on, until `visit` breaks.
    pub fn history_scan(
        &self,
        prefix: &[u8],
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut rows = self.table.walk(Family::History);
        rows.seek(prefix.max(from));
        while let Some((key, value)) = rows.item() {
            if !key.starts_with(prefix) || visit(key, value).is_break() {
                return Ok(());
            }
            rows.next();
        }
        self.check_rows(&*rows)
    }

    /// The last history key that begins with `prefix` and is at or before `key`.
    pub fn history_floor(&self, prefix: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut rows = self.table.walk(Family::History);
        rows.seek_for_prev(key);
        self.check_rows(&*rows)?;
        Ok(rows.item().map(|(found, _)| found.to_vec()).filter(|found| found.starts_with(prefix)))
    }

    fn find_tail(&self) -> Result<Tail> {
        let mut reader = self.log_reader();
        reader.seek_to_last()?;
        match reader.frame(Lsn::ZERO)? {
            Some(frame) => Ok(frame.tail()),
            None => self.base(),
        }
    }

    fn log_reader(&self) -> LogReader<'_> {
        LogReader::new(&*self.table, &self.path, self.origin.timeline)
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.table.get(family, key).map_err(|fault| store_error(Action::Read, &self.path, Lsn::ZERO, fault))
    }

    fn write(&self, ends: &mut Ends, batch: Vec<Change<'_>>, seq: Lsn) -> Result<()> {
        self.check_not_failed(ends)?;
        self.table.write(batch).map_err(|fault| {
            ends.failed = true;
            store_error(Action::Write, &self.path, seq, fault)
        })
    }

    fn advance_stored(&self, seq: Lsn) -> Lsn {
        let mut ends = self.lock_ends();
        // Two threads may flush at once; the later end counts.
        ends.stored = ends.stored.max(seq);
        assert!(ends.stored <= ends.appended.seq, "only what was appended is stored");
        ends.stored
    }

    fn check_not_failed(&self, ends: &Ends) -> Result<()> {
        if ends.failed {
            return Err(WalError::FailedEarlier { path: self.path.clone() });
        }
        Ok(())
    }

    fn check_rows(&self, rows: &dyn Walk) -> Result<()> {
        rows.status().map_err(|fault| store_error(Action::Read, &self.path, Lsn::ZERO, fault))
    }

    fn lock_ends(&self) -> MutexGuard<'_, Ends> {
        // A thread that panicked in here changed nothing: the ends change at once, after the write that they describe.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put(family: Family, key: impl Into<Vec<u8>>, value: &[u8]) -> Change<'_> {
    Change::Put { family, key: key.into(), value: Cow::Borrowed(value) }
}
