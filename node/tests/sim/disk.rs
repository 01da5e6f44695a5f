//! A disk in memory: what is not synced survives, tears or vanishes when the power goes.
//!
//! ```text
//!  file:   durable bytes | writes since the last sync, in order      power cut: each of them whole, gone, or by sectors
//!  names:  durable names | changes since the last sync, in order     power cut: the first so many of them survive
//!  table:  durable rows  | batches since the last flush, in order    power cut, kill: the first so many of them survive
//! ```
//! Invariant: what is read is what was written last, synced or not, until the power goes.

use book::workload::rng::Rng;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use wal::block::SECTOR_BYTES;
use wal::frame::Frame;
use wal::medium::{Medium, MediumFile, NewFile};
use wal::segment::Access;
use wal::table::{Change, Family, OpenFor, Table, TableFault, TableFaultKind, Walk};

/// What every process that ever ran in this simulation left on disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    files: BTreeMap<FileId, FileState>,
    file_last: FileId,
    names: BTreeMap<PathBuf, FileId>,
    renamings: Vec<Renaming>,
    names_durable: BTreeMap<PathBuf, FileId>,
    rows: Rows,
    unflushed: Vec<Vec<Change<'static>>>,
    durable: Rows,
    /// Calls that still succeed; after them all fail, as if the process had been cut there.
    calls_left: Option<u32>,
    /// The next flush of the table fails.
    flush_fails: bool,
}

type FileId = u32;

/// A name that was given to a file, or taken away.
type Renaming = (PathBuf, Option<FileId>);

#[derive(Clone, Debug, Default)]
struct FileState {
    now: Vec<u8>,
    /// Bytes of it that no power cut takes away; behind them it grew.
    len_synced: usize,
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
        let state = &mut *self.lock();
        let len_synced = bytes.len();
        let id = state.add(FileState { now: bytes, len_synced, unsynced: Vec::new() });
        state.names.insert(path.clone(), id);
        state.names_durable.insert(path, id);
    }

    pub fn write(&self, path: &Path, offset: usize, bytes: &[u8]) {
        self.lock().file(path).expect("the simulation made it").write(offset, bytes);
    }

    pub fn sync(&self, path: &Path) {
        self.lock().file(path).expect("the simulation made it").sync();
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
        if let (Some(kept), Some(place)) = (own.file(path).cloned(), state.file(path)) {
            *place = kept;
        }
        *own = state;
    }

    pub fn end(&self, end: End, rng: &mut Rng) {
        let state = &mut *self.lock();
        (state.calls_left, state.flush_fails) = (None, false);
        if end == End::PowerCut {
            state.files.values_mut().for_each(|file| file.cut(rng));
            let survive = rng.below(state.renamings.len() as u32 + 1) as usize;
            for (path, id) in state.renamings.drain(..).take(survive) {
                name(&mut state.names_durable, path, id);
            }
            state.names = state.names_durable.clone();
            let State { files, names, .. } = state;
            files.retain(|id, _| names.values().any(|named| named == id));
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

    /// One call of the process.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let state = &mut *self.lock();
        if state.call() { Ok(act(state)) } else { Err(cut()) }
    }

    /// Flips one bit of some file whose name ends so; false where there is none.
    pub fn flip_some_file_bit(&self, ending: &str, rng: &mut Rng) -> bool {
        let paths: Vec<PathBuf> = {
            let state = self.lock();
            state.names.keys().filter(|path| path.to_string_lossy().ends_with(ending)).cloned().collect()
        };
        let Some(path) = paths.get(rng.below(paths.len().max(1) as u32) as usize) else { return false };
        let len = self.lock().file(path).map_or(0, |file| file.now.len());
        0 < len && self.flip_file_bit(path, rng.below(len as u32) as usize, rng.below(8))
    }

    /// The last sequence of the log that a flush made durable.
    pub fn seq_flushed(&self) -> u64 {
        let state = self.lock();
        let last = state.durable[Family::Log as usize].values().next_back();
        last.and_then(|frame| Frame::decode(frame).ok()).map_or(0, |frame| frame.seq_last().0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the disk")
    }
}

impl State {
    fn file(&mut self, path: &Path) -> Option<&mut FileState> {
        self.files.get_mut(self.names.get(path)?)
    }

    fn add(&mut self, file: FileState) -> FileId {
        self.file_last += 1;
        self.files.insert(self.file_last, file);
        self.file_last
    }

    fn name(&mut self, path: &Path, id: Option<FileId>) {
        name(&mut self.names, path.to_owned(), id);
        self.renamings.push((path.to_owned(), id));
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

fn name(names: &mut BTreeMap<PathBuf, FileId>, path: PathBuf, id: Option<FileId>) {
    match id {
        Some(id) => drop(names.insert(path, id)),
        None => drop(names.remove(&path)),
    }
}

impl FileState {
    fn sync(&mut self) {
        self.unsynced.clear();
        self.len_synced = self.now.len();
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let place = &mut self.now[offset..offset + bytes.len()];
        self.unsynced.push(Unsynced { offset, before: place.to_vec(), after: bytes.to_vec() });
        place.copy_from_slice(bytes);
    }

    fn cut(&mut self, rng: &mut Rng) {
        if self.len_synced < self.now.len() {
            let grown = (self.now.len() - self.len_synced) as u32;
            self.now.truncate(self.len_synced + rng.below(grown + 1) as usize);
            self.len_synced = self.now.len();
        }
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
        if state.file(path).is_none() {
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

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        self.with(|state| {
            let id = state.add(FileState::default());
            state.name(path, Some(id));
            let file: Box<dyn NewFile> = Box::new(GrowingFile { disk: self.clone(), id });
            file
        })
    }

    fn read_file(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.with(|state| state.file(path).map(|file| file.now.clone()))?;
        Ok(Box::new(io::Cursor::new(bytes.ok_or(io::ErrorKind::NotFound)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        self.with(|state| {
            let here = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
            here.map(|(path, id)| (path.clone(), state.files[id].now.len() as u64)).collect()
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|state| {
            let id = state.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
            state.name(from, None);
            state.name(to, Some(id));
            Ok(())
        })?
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with(|state| state.name(path, None))
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.with(|state| {
            state.renamings.clear();
            state.names_durable = state.names.clone();
        })
    }
}

struct GrowingFile {
    disk: Disk,
    id: FileId,
}

impl NewFile for GrowingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.with(|state| {
            let file = state.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
            file.now.extend_from_slice(bytes);
            Ok(())
        })?
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.with(|state| {
            state.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?.sync();
            Ok(())
        })?
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
        self.with(FileState::sync)
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
