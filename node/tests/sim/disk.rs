//! A disk in memory: what is not synced survives, tears or vanishes when the power goes.
//!
//! ```text
//!  file:   durable bytes | writes since the last sync, in order      power cut: each of them whole, gone, or by sectors
//!  table:  durable rows  | batches since the last flush, in order    power cut, kill: the first so many of them survive
//! ```
//! Invariant: what is read is what was written last, synced or not, until the power goes.

use book::workload::rng::Rng;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use wal::block::SECTOR_BYTES;
use wal::medium::{Medium, MediumFile};
use wal::segment::Access;
use wal::table::{Change, Family, OpenFor, Table, TableFault, TableFaultKind, Walk};

/// What every process that ever ran in this simulation left on disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, FileState>,
    rows: Rows,
    unflushed: Vec<Vec<Change<'static>>>,
    durable: Rows,
    /// Calls that still succeed; after them all fail, as if the process had been cut there.
    calls_left: Option<u32>,
    /// The next flush of the table fails.
    flush_fails: bool,
}

#[derive(Clone, Debug, Default)]
struct FileState {
    now: Vec<u8>,
    /// What each write since the last sync wrote over what, oldest first.
    unsynced: Vec<Unsynced>,
}

#[derive(Clone, Debug)]
struct Unsynced {
    offset: usize,
    before: Vec<u8>,
    after: Vec<u8>,
}

type Row = (Vec<u8>, Arc<[u8]>);
type Family2Rows = BTreeMap<Vec<u8>, Arc<[u8]>>;
type Rows = [Arc<Family2Rows>; 3];

/// How a process came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process is gone, the machine goes on: what was written to files is there.
    Killed,
    /// What was not synced survives, tears or vanishes.
    PowerCut,
}

impl Disk {
    pub fn add_file(&self, path: PathBuf, bytes: Vec<u8>) {
        self.lock().files.insert(path, FileState { now: bytes, unsynced: Vec::new() });
    }

    pub fn write(&self, path: &Path, offset: usize, bytes: &[u8]) {
        self.lock().file(path).expect("the simulation made it").write(offset, bytes);
    }

    pub fn sync(&self, path: &Path) {
        self.lock().file(path).expect("the simulation made it").unsynced.clear();
    }

    /// The next `calls` succeed, those after them fail.
    pub fn fail_after(&self, calls: Option<u32>) {
        self.lock().calls_left = calls;
    }

    pub fn fail_flush(&self) {
        self.lock().flush_fails = true;
    }

    /// Nothing fails from now on.
    pub fn heal(&self) {
        let state = &mut *self.lock();
        (state.calls_left, state.flush_fails) = (None, false);
    }

    /// A copy that has nothing to do with this one any more.
    pub fn image(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }

    /// Everything as it is on `image`.
    pub fn put_back(&self, image: &Self) {
        let state = image.lock().clone();
        *self.lock() = state;
    }

    /// Everything as it is on `image`, but for one file, which stays as it is.
    pub fn put_back_but(&self, image: &Self, path: &Path) {
        let mut state = image.lock().clone();
        let own = &mut *self.lock();
        if let Some(kept) = own.files.remove(path) {
            state.files.insert(path.to_owned(), kept);
        }
        *own = state;
    }

    pub fn end(&self, end: End, rng: &mut Rng) {
        let state = &mut *self.lock();
        (state.calls_left, state.flush_fails) = (None, false);
        if end == End::PowerCut {
            state.files.values_mut().for_each(|file| file.cut(rng));
        }
        // RocksDB flushes by itself now and then, so any first part of what came since the last flush may be there.
        let survive = rng.below(state.unflushed.len() as u32 + 1) as usize;
        let survivors = state.unflushed.drain(..).take(survive).collect::<Vec<_>>();
        survivors.into_iter().for_each(|batch| change(&mut state.durable, batch));
        state.rows = state.durable.clone();
    }

    /// Flips one bit of a file; false where there is no such place.
    pub fn flip_file_bit(&self, path: &Path, offset: usize, bit: u32) -> bool {
        let mut state = self.lock();
        let Some(byte) = state.file(path).and_then(|file| file.now.get_mut(offset)) else { return false };
        *byte ^= 1 << (bit % 8);
        true
    }

    /// Flips one bit of a row of the log; false where it has none.
    pub fn flip_row_bit(&self, rng: &mut Rng) -> bool {
        let state = &mut *self.lock();
        let log = Arc::make_mut(&mut state.durable[Family::Log as usize]);
        if log.is_empty() {
            return false;
        }
        let pick = rng.below(log.len() as u32) as usize;
        let value = log.values_mut().nth(pick).expect("it is one of them");
        let mut bytes = value.to_vec();
        let at = rng.below(bytes.len() as u32) as usize;
        bytes[at] ^= 1 << rng.below(8);
        *value = bytes.into();
        state.rows = state.durable.clone();
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the disk")
    }
}

impl State {
    fn file(&mut self, path: &Path) -> Option<&mut FileState> {
        self.files.get_mut(path)
    }

    /// False when the process is not to come any further.
    fn call(&mut self) -> bool {
        match &mut self.calls_left {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

impl FileState {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let place = &mut self.now[offset..offset + bytes.len()];
        self.unsynced.push(Unsynced { offset, before: place.to_vec(), after: bytes.to_vec() });
        place.copy_from_slice(bytes);
    }

    fn cut(&mut self, rng: &mut Rng) {
        let unsynced = std::mem::take(&mut self.unsynced);
        for write in unsynced.iter().rev() {
            self.now[write.offset..write.offset + write.before.len()].copy_from_slice(&write.before);
        }
        for write in unsynced {
            let sectors = write.after.chunks(SECTOR_BYTES).enumerate();
            let fate = rng.below(4);
            for (idx, sector) in sectors {
                let survives = match fate {
                    0 => true,
                    1 => false,
                    _ => rng.one_in(2),
                };
                let at = write.offset + idx * SECTOR_BYTES;
                if survives {
                    self.now[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
    }
}

fn change(rows: &mut Rows, batch: Vec<Change<'static>>) {
    for change in batch {
        match change {
            Change::Put { family, key, value } => {
                Arc::make_mut(&mut rows[family as usize]).insert(key, value.into_owned().into());
            }
            Change::Delete { family, key } => {
                Arc::make_mut(&mut rows[family as usize]).remove(&key);
            }
            Change::DeleteRange { family, from, until } => {
                Arc::make_mut(&mut rows[family as usize]).retain(|key, _| *key < from || until <= *key);
            }
        }
    }
}

fn owned(change: Change<'_>) -> Change<'static> {
    match change {
        Change::Put { family, key, value } => Change::Put { family, key, value: value.into_owned().into() },
        Change::Delete { family, key } => Change::Delete { family, key },
        Change::DeleteRange { family, from, until } => Change::DeleteRange { family, from, until },
    }
}

impl Medium for Disk {
    fn open_file(&self, path: &Path, _access: Access) -> io::Result<Box<dyn MediumFile>> {
        let mut state = self.lock();
        if !state.call() {
            return Err(cut());
        }
        if !state.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(OpenFile { disk: self.clone(), path: path.to_owned() }))
    }

    fn open_table(&self, _path: &Path, purpose: OpenFor) -> Result<Box<dyn Table>, TableFault> {
        let mut state = self.lock();
        if !state.call() {
            return Err(table_cut());
        }
        let seen = (purpose == OpenFor::Reading).then(|| state.durable.clone());
        Ok(Box::new(OpenTable { disk: self.clone(), seen }))
    }
}

fn cut() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

fn table_cut() -> TableFault {
    TableFault { kind: TableFaultKind::Other, message: "the simulation ends here".to_owned() }
}

#[derive(Debug)]
struct OpenFile {
    disk: Disk,
    path: PathBuf,
}

impl OpenFile {
    fn with<T>(&self, act: impl FnOnce(&mut FileState) -> T) -> io::Result<T> {
        let mut state = self.disk.lock();
        if !state.call() {
            return Err(cut());
        }
        state.file(&self.path).map(act).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl MediumFile for OpenFile {
    fn bytes_len(&self) -> io::Result<u64> {
        self.with(|file| file.now.len() as u64)
    }

    fn read_whole(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|file| bytes.copy_from_slice(&file.now[offset as usize..offset as usize + bytes.len()]))
    }

    fn write_whole(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|file| file.write(offset as usize, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|file| file.unsynced.clear())
    }

    fn into_file(self: Box<Self>) -> Option<File> {
        None
    }
}

struct OpenTable {
    disk: Disk,
    /// What was durable when a reader opened it; its owner sees everything.
    seen: Option<Rows>,
}

impl OpenTable {
    fn rows(&self, family: Family) -> Arc<Family2Rows> {
        match &self.seen {
            Some(seen) => Arc::clone(&seen[family as usize]),
            None => Arc::clone(&self.disk.lock().rows[family as usize]),
        }
    }
}

impl Table for OpenTable {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, TableFault> {
        Ok(self.rows(family).get(key).map(|value| value.to_vec()))
    }

    fn write(&self, changes: Vec<Change<'_>>) -> Result<(), TableFault> {
        let state = &mut *self.disk.lock();
        if !state.call() || self.seen.is_some() {
            return Err(table_cut());
        }
        let batch: Vec<_> = changes.into_iter().map(owned).collect();
        change(&mut state.rows, batch.clone());
        state.unflushed.push(batch);
        Ok(())
    }

    fn flush(&self) -> Result<(), TableFault> {
        let state = &mut *self.disk.lock();
        if !state.call() || std::mem::take(&mut state.flush_fails) {
            return Err(table_cut());
        }
        state.unflushed.clear();
        state.durable = state.rows.clone();
        Ok(())
    }

    fn walk(&self, family: Family) -> Box<dyn Walk + '_> {
        Box::new(RowWalk { rows: self.rows(family), at: None })
    }
}

struct RowWalk {
    rows: Arc<Family2Rows>,
    at: Option<Row>,
}

impl RowWalk {
    fn stand(&mut self, found: Option<Row>) {
        self.at = found;
    }
}

fn row((key, value): (&Vec<u8>, &Arc<[u8]>)) -> Row {
    (key.clone(), Arc::clone(value))
}

impl Walk for RowWalk {
    fn seek(&mut self, key: &[u8]) {
        let found = self.rows.range(key.to_vec()..).next().map(row);
        self.stand(found);
    }

    fn seek_for_prev(&mut self, key: &[u8]) {
        let found = self.rows.range(..=key.to_vec()).next_back().map(row);
        self.stand(found);
    }

    fn seek_to_last(&mut self) {
        let found = self.rows.iter().next_back().map(row);
        self.stand(found);
    }

    fn next(&mut self) {
        let Some((key, _)) = self.at.take() else { return };
        let behind = (std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded);
        let found = self.rows.range(behind).next().map(row);
        self.stand(found);
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.at.as_ref().map(|(key, value)| (key.as_slice(), &**value))
    }

    fn status(&self) -> Result<(), TableFault> {
        Ok(())
    }
}
