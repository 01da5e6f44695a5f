//! The log's body, the history and the metadata, in a table: RocksDB, where nothing is simulated.
//!
//! ```text
//! log      key: timeline u32 BE | seq_first u64 BE      value: frame (header and payload, without padding)
//! history  key, value: the caller's
//! meta     key: 0x00 | ours, 0x01 | the caller's        value: opaque
//! ```
//!
//! Invariants: what a flush has made durable is a prefix of what was appended; all families are flushed together, so rows
//! and the cursor that counts them never part. RocksDB notices neither a missing file's worth of keys nor an old copy of
//! itself, so every frame is proved again when read.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::error::{Action, Damage, Result, WalError};
use crate::frame::{FRAME_VERSION, Frame, FrameFault};
use crate::medium::{FileSystem, Medium};
use crate::mutation::planted;
use crate::rocks::Rocks;
use crate::table::{Change, Family, OpenFor, Table, TableFault, TableFaultKind, Walk};
use crate::units::{ChainHash, Lsn, NodeId, Tail, Timeline};

const META_OURS: u8 = 0;
const META_CALLERS: u8 = 1;
const META_BASE: &[u8] = &[META_OURS, b'b', b'a', b's', b'e'];

/// Bytes of a key in `log`.
pub const LOG_KEY_BYTES: usize = 12;

/// Where a timeline's log begins: after which sequence, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOrigin {
    pub node_id: NodeId,
    pub timeline: Timeline,
    pub seq_base: Lsn,
}

impl LogOrigin {
    /// What the first frame follows.
    pub fn tail(self) -> Tail {
        Tail { seq: self.seq_base, chain: ChainHash::genesis(self.node_id, self.timeline) }
    }
}

/// The ends of the log as this handle knows them. Changed under one lock, off the ack path.
#[derive(Clone, Copy)]
struct Ends {
    appended: Tail,
    stored: Lsn,
    /// After a failed write RocksDB may or may not hold it; only a restart can tell.
    failed: bool,
}

/// An open database. May be shared between threads; only one of them appends.
pub struct Store {
    table: Box<dyn Table>,
    path: PathBuf,
    origin: LogOrigin,
    ends: Mutex<Ends>,
}

impl Store {
    /// Makes an empty database where there is none.
    pub fn create(path: &Path) -> Result<()> {
        Rocks::create(path).map_err(|fault| store_error(Action::Create, path, Lsn::ZERO, fault))
    }

    /// Opens a database that [`Store::create`] made and finds the end of its log. Never makes one.
    pub fn open(path: &Path, origin: LogOrigin) -> Result<Store> {
        Store::open_on(&FileSystem, path, origin, OpenFor::Writing)
    }

    /// Opens what has been flushed, beside a running writer or without one. Writes nothing; appending panics.
    pub fn open_read_only(path: &Path, origin: LogOrigin) -> Result<Store> {
        Store::open_on(&FileSystem, path, origin, OpenFor::Reading)
    }

    /// Opens what lies on `medium`.
    pub fn open_on(medium: &dyn Medium, path: &Path, origin: LogOrigin, purpose: OpenFor) -> Result<Store> {
        let table = medium.open_table(path, purpose).map_err(|fault| open_error(path, fault))?;
        let ends = Ends { appended: origin.tail(), stored: origin.seq_base, failed: false };
        let store = Store { table, path: path.to_owned(), origin, ends: Mutex::new(ends) };
        let tail = store.find_tail()?;
        *store.lock_ends() = Ends { appended: tail, stored: tail.seq, failed: false };
        Ok(store)
    }

    /// Appends frames that follow the log's end. Not durable before [`Store::flush`].
    pub fn append_frames<'a>(&self, frames: impl IntoIterator<Item = &'a [u8]>) -> Result<Lsn> {
        let mut ends = self.lock_ends();
        let mut tail = ends.appended;
        let mut batch = Vec::new();
        for bytes in frames {
            let frame = self.prove(bytes, tail.seq.next())?;
            self.check_follows(&frame, tail)?;
            let key = log_key(self.origin.timeline, frame.seq_first());
            batch.push(put(Family::Log, key, frame.bytes()));
            tail = frame.tail();
        }
        self.write(&mut ends, batch, tail.seq)?;
        ends.appended = tail;
        Ok(tail.seq)
    }

    /// Makes an empty log begin behind `tail`: a state that is kept elsewhere stands for what came before. Durable with
    /// the next flush.
    pub fn begin_behind(&self, tail: Tail) -> Result<()> {
        let mut ends = self.lock_ends();
        assert!(ends.appended == self.origin.tail(), "only a log without a frame can be told where to begin");
        assert!(self.origin.seq_base <= tail.seq, "a timeline's log does not begin before the timeline");
        let value = base_value(tail);
        self.write(&mut ends, vec![put(Family::Meta, META_BASE, &value)], tail.seq)?;
        ends.appended = tail;
        Ok(())
    }

    /// Makes everything appended and committed so far durable; returns the last such sequence. Blocks on the disk.
    pub fn flush(&self) -> Result<Lsn> {
        let seq = {
            let ends = self.lock_ends();
            self.still_whole(&ends)?;
            ends.appended.seq
        };
        planted!(FlushSkipped, return Ok(self.advance_stored(seq)));
        self.table.flush().map_err(|fault| {
            self.lock_ends().failed = true;
            store_error(Action::Flush, &self.path, seq, fault)
        })?;
        Ok(self.advance_stored(seq))
    }

    fn advance_stored(&self, seq: Lsn) -> Lsn {
        let mut ends = self.lock_ends();
        ends.stored = ends.stored.max(seq);
        assert!(ends.stored <= ends.appended.seq);
        ends.stored
    }

    /// Everything up to here survives a power cut without the head.
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

    /// The first retained sequence is the one after this.
    pub fn base(&self) -> Result<Tail> {
        let Some(value) = self.get(Family::Meta, META_BASE)? else { return Ok(self.origin.tail()) };
        let (seq, chain) = value.split_first_chunk::<8>().ok_or_else(|| self.malformed("base is too short"))?;
        let chain: [u8; 32] = chain.try_into().map_err(|_| self.malformed("base has the wrong length"))?;
        Ok(Tail { seq: Lsn(u64::from_le_bytes(*seq)), chain: ChainHash(chain) })
    }

    /// Frames in order, from the one that holds `from`, each proved and held against its predecessor.
    pub fn frames(&self, from: Lsn) -> Result<FrameCursor<'_>> {
        let base = self.base()?;
        if from <= base.seq {
            let (wanted, begins) = (from, base.seq.next());
            return Err(WalError::NotRetained { path: self.path.clone(), wanted, begins });
        }
        let mut iter = self.log_walk();
        let start = self.seek_at_or_before(&mut *iter, from)?;
        let expected = match start {
            Some(seq_first) if seq_first > base.seq.next() => {
                self.seek_at_or_before(&mut *iter, seq_first.prev())?;
                self.frame_at(&*iter, seq_first)?.map_or(base, |before| before.tail())
            }
            _ => base,
        };
        iter.seek(&log_key(self.origin.timeline, start.unwrap_or(Lsn::ZERO)));
        Ok(FrameCursor { store: self, iter, expected, from, moved: true })
    }

    /// Forgets whole frames before the one that holds `seq`. Durable with the next flush, together with the new base.
    pub fn truncate_before(&self, seq: Lsn) -> Result<Tail> {
        let before = {
            let mut cursor = self.frames(seq)?;
            cursor.next_frame()?.map(|frame| Tail { seq: frame.seq_first().prev(), chain: frame.chain_prev() })
        };
        let Some(base) = before else { return self.base() };
        let (timeline, value) = (self.origin.timeline, base_value(base));
        let (from, until) = (log_key(timeline, Lsn::ZERO).into(), log_key(timeline, base.seq.next()).into());
        let batch =
            vec![put(Family::Meta, META_BASE, &value), Change::DeleteRange { family: Family::Log, from, until }];
        self.write(&mut self.lock_ends(), batch, base.seq)?;
        Ok(base)
    }

    /// Gives back the disk space of what is truncated. After the flush that made the truncation durable: files go at once.
    pub fn reclaim(&self) -> Result<()> {
        let (timeline, base) = (self.origin.timeline, self.base()?);
        // The last key that may go: both ends are included.
        let (from, until) = (log_key(timeline, Lsn::ZERO), log_key(timeline, base.seq));
        let reclaimed = self.table.reclaim(Family::Log, &from, &until);
        reclaimed.map_err(|fault| store_error(Action::Remove, &self.path, base.seq, fault))
    }

    /// Writes rows of history and metadata together. Durable with the next flush.
    pub fn commit(&self, rows: Rows) -> Result<()> {
        let changes = rows.0.into_iter().map(|row| match row {
            Row::History { key, value } => Change::Put { family: Family::History, key, value: Cow::Owned(value) },
            Row::HistoryGone { key } => Change::Delete { family: Family::History, key },
            Row::Meta { key, value } => {
                Change::Put { family: Family::Meta, key: callers_key(&key), value: Cow::Owned(value) }
            }
        });
        let batch = changes.collect();
        let mut ends = self.lock_ends();
        let seq = ends.appended.seq;
        self.write(&mut ends, batch, seq)
    }

    pub fn history(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get(Family::History, key)
    }

    pub fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get(Family::Meta, &callers_key(key))
    }

    /// History rows whose key begins with `prefix`, in key order from `from` on, until `visit` breaks.
    pub fn history_scan(
        &self,
        prefix: &[u8],
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut iter = self.table.walk(Family::History);
        iter.seek(prefix.max(from));
        while let Some((key, value)) = iter.item() {
            if !key.starts_with(prefix) || visit(key, value).is_break() {
                return Ok(());
            }
            iter.next();
        }
        self.check_walk(&*iter, Lsn::ZERO)
    }

    /// The last history key that begins with `prefix` and is not behind `key`.
    pub fn history_floor(&self, prefix: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut walk = self.table.walk(Family::History);
        walk.seek_for_prev(key);
        self.check_walk(walk.as_ref(), Lsn::ZERO)?;
        Ok(walk.item().map(|(found, _)| found.to_vec()).filter(|found| found.starts_with(prefix)))
    }

    fn find_tail(&self) -> Result<Tail> {
        let mut iter = self.log_walk();
        iter.seek_to_last();
        self.check_walk(&*iter, Lsn::ZERO)?;
        let last = iter.item().and_then(|(key, _)| split_key(key));
        if let Some((found, _)) = last.filter(|(found, _)| *found > self.origin.timeline) {
            return Err(WalError::TimelineDiffers { path: self.path.clone(), have: self.origin.timeline, found });
        }
        self.seek_at_or_before(&mut *iter, Lsn(u64::MAX))?;
        match self.frame_at(&*iter, Lsn::ZERO)? {
            Some(frame) => Ok(frame.tail()),
            None => self.base(),
        }
    }

    fn log_walk(&self) -> Box<dyn Walk + '_> {
        self.table.walk(Family::Log)
    }

    /// Moves to the last frame of this timeline whose key is at or before `seq`; its first sequence, if there is one.
    fn seek_at_or_before(&self, iter: &mut dyn Walk, seq: Lsn) -> Result<Option<Lsn>> {
        iter.seek_for_prev(&log_key(self.origin.timeline, seq));
        self.check_walk(iter, seq)?;
        let key = iter.item().and_then(|(key, _)| split_key(key));
        Ok(key.filter(|(timeline, _)| *timeline == self.origin.timeline).map(|(_, seq_first)| seq_first))
    }

    /// The proved frame under the iterator, if it is one of this timeline.
    fn frame_at<'i>(&self, iter: &'i dyn Walk, seq: Lsn) -> Result<Option<Frame<'i>>> {
        self.check_walk(iter, seq)?;
        let Some((key, value)) = iter.item() else { return Ok(None) };
        let (timeline, seq_first) = split_key(key).ok_or_else(|| self.malformed("a log key of another length"))?;
        if timeline != self.origin.timeline {
            return Ok(None);
        }
        let frame = self.prove(value, seq_first)?;
        if frame.seq_first() != seq_first || frame.bytes().len() != value.len() {
            return Err(WalError::damaged(&self.path, 0, seq_first, Damage::KeyDiffers));
        }
        Ok(Some(frame))
    }

    fn prove<'f>(&self, bytes: &'f [u8], seq: Lsn) -> Result<Frame<'f>> {
        let frame = Frame::decode(bytes).map_err(|fault| match fault {
            FrameFault::VersionUnknown(version) => {
                let (found, known) = (u32::from(version), u32::from(FRAME_VERSION));
                WalError::UnknownFormat { path: self.path.clone(), found, known }
            }
            fault => WalError::damaged(&self.path, 0, seq, Damage::Frame(fault)),
        })?;
        if frame.timeline() != self.origin.timeline {
            let (have, found) = (self.origin.timeline, frame.timeline());
            return Err(WalError::TimelineDiffers { path: self.path.clone(), have, found });
        }
        Ok(frame)
    }

    fn check_follows(&self, frame: &Frame<'_>, tail: Tail) -> Result<()> {
        let seq = tail.seq.next();
        if frame.seq_first() != seq {
            return Err(WalError::damaged(&self.path, 0, seq, Damage::SeqGap { found: frame.seq_first() }));
        }
        if frame.chain_prev() != tail.chain {
            return Err(WalError::damaged(&self.path, 0, seq, Damage::ChainBroken));
        }
        Ok(())
    }

    fn check_walk(&self, walk: &dyn Walk, seq: Lsn) -> Result<()> {
        walk.status().map_err(|fault| store_error(Action::Read, &self.path, seq, fault))
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.table.get(family, key).map_err(|fault| store_error(Action::Read, &self.path, Lsn::ZERO, fault))
    }

    fn write(&self, ends: &mut Ends, batch: Vec<Change<'_>>, seq: Lsn) -> Result<()> {
        self.still_whole(ends)?;
        self.table.write(batch).map_err(|fault| {
            ends.failed = true;
            store_error(Action::Write, &self.path, seq, fault)
        })
    }

    fn still_whole(&self, ends: &Ends) -> Result<()> {
        if ends.failed {
            return Err(WalError::FailedEarlier { path: self.path.clone() });
        }
        Ok(())
    }

    fn lock_ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().expect("no thread panics while it holds the ends")
    }

    fn malformed(&self, what: &'static str) -> WalError {
        WalError::damaged(&self.path, 0, Lsn::ZERO, Damage::Malformed(what))
    }
}

/// A walk over the log's frames. Lends each frame, so that nothing is copied.
pub struct FrameCursor<'s> {
    store: &'s Store,
    iter: Box<dyn Walk + 's>,
    expected: Tail,
    from: Lsn,
    /// True where the iterator stands on a frame that has not been lent yet.
    moved: bool,
}

impl FrameCursor<'_> {
    /// The next frame that holds `from` or comes after it; `None` at the end of what was there when the walk began.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>> {
        Ok(if self.step()? { self.frame() } else { None })
    }

    /// Moves on to that frame; false at the end.
    pub(crate) fn step(&mut self) -> Result<bool> {
        loop {
            if !self.moved {
                self.iter.next();
            }
            self.moved = false;
            let seq = self.expected.seq.next();
            let Some(frame) = self.store.frame_at(&*self.iter, seq)? else { return Ok(false) };
            self.store.check_follows(&frame, self.expected)?;
            self.expected = frame.tail();
            if self.expected.seq >= self.from {
                return Ok(true);
            }
        }
    }

    /// The frame that [`FrameCursor::step`] has moved to and proved.
    pub(crate) fn frame(&self) -> Option<Frame<'_>> {
        self.iter.item().map(|(_, value)| Frame::proved_before(value))
    }

    /// What the next frame must follow.
    pub fn tail(&self) -> Tail {
        self.expected
    }
}

/// Rows to be written together.
#[derive(Clone, Debug, Default)]
pub struct Rows(Vec<Row>);

#[derive(Clone, Debug)]
enum Row {
    History { key: Vec<u8>, value: Vec<u8> },
    HistoryGone { key: Vec<u8> },
    Meta { key: Vec<u8>, value: Vec<u8> },
}

impl Rows {
    pub fn new() -> Rows {
        Rows::default()
    }

    pub fn put_history(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push(Row::History { key: key.into(), value: value.into() });
    }

    pub fn delete_history(&mut self, key: impl Into<Vec<u8>>) {
        self.0.push(Row::HistoryGone { key: key.into() });
    }

    pub fn put_meta(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.push(Row::Meta { key: key.into(), value: value.into() });
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Big-endian, so that byte order is sequence order.
pub fn log_key(timeline: Timeline, seq_first: Lsn) -> [u8; LOG_KEY_BYTES] {
    let mut key = [0; LOG_KEY_BYTES];
    key[..4].copy_from_slice(&timeline.0.to_be_bytes());
    key[4..].copy_from_slice(&seq_first.0.to_be_bytes());
    key
}

fn split_key(key: &[u8]) -> Option<(Timeline, Lsn)> {
    let (timeline, seq) = key.split_first_chunk::<4>()?;
    let seq: [u8; 8] = seq.try_into().ok()?;
    Some((Timeline(u32::from_be_bytes(*timeline)), Lsn(u64::from_be_bytes(seq))))
}

fn base_value(base: Tail) -> [u8; 40] {
    let mut value = [0; 40];
    value[..8].copy_from_slice(&base.seq.0.to_le_bytes());
    value[8..].copy_from_slice(&base.chain.0);
    value
}

fn callers_key(key: &[u8]) -> Vec<u8> {
    [&[META_CALLERS], key].concat()
}

fn put(family: Family, key: impl Into<Vec<u8>>, value: &[u8]) -> Change<'_> {
    Change::Put { family, key: key.into(), value: Cow::Borrowed(value) }
}

fn store_error(action: Action, path: &Path, seq: Lsn, fault: TableFault) -> WalError {
    let TableFault { kind, message } = fault;
    if kind == TableFaultKind::Corrupt {
        return WalError::damaged(path, 0, seq, Damage::Store(message));
    }
    let no_space = kind == TableFaultKind::NoSpace;
    WalError::Store { action, path: path.to_owned(), seq, message, no_space }
}

/// A database that IDENTITY promises and that is not there, or not whole, is damage.
fn open_error(path: &Path, fault: TableFault) -> WalError {
    if fault.kind == TableFaultKind::Incomplete {
        return WalError::damaged(path, 0, Lsn::ZERO, Damage::Store(fault.message));
    }
    store_error(Action::Open, path, Lsn::ZERO, fault)
}
