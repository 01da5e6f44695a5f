//! A disk in memory: writes that were not synced survive, vanish or are torn at a power cut.
//!
//! ```text
//!  file:   durable bytes | writes since the last sync, in order     power cut: each survives, vanishes or is torn
//!  names:  durable names | changes since the last sync, in order    power cut: a first part of them survives
//!  table:  durable rows  | batches since the last flush, in order  power cut, kill: a first part survives
//! ```
//! Invariant: until a power cut, a read returns the latest write, synced or not.

mod calls;
mod file;
mod rows;

pub(crate) use calls::Failures;

use book::testing::workload::rng::Rng;
use calls::{Calls, Fate};
use file::FileState;
use rows::{OpenTable, Rows};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use wal::frame::Frame;
use wal::medium::{Access, Existing, Medium, MediumFile, NewFile};
use wal::table::{Change, Family, OpenFor, Table, TableFault};

/// The disk of all processes of a simulation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

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
    calls: Calls,
}

type FileId = u32;

/// A name that was given to a file, or removed.
type Renaming = (PathBuf, Option<FileId>);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process ended and the machine continues: everything written to files is kept.
    Killed,
    /// Writes that were not synced survive, vanish or are torn.
    PowerCut,
}

impl Disk {
    pub(crate) fn add_file(&self, path: PathBuf, bytes: Vec<u8>) {
        let state = &mut *self.lock();
        let id = state.add(FileState::durable(bytes));
        state.names.insert(path.clone(), id);
        state.names_durable.insert(path, id);
    }

    pub(crate) fn write(&self, path: &Path, offset: usize, bytes: &[u8]) {
        self.lock().file(path).expect("the simulation created the file").write(offset, bytes);
    }

    pub(crate) fn sync(&self, path: &Path) {
        self.lock().file(path).expect("the simulation created the file").sync();
    }

    pub(crate) fn fail_to_sync(&self, path: &Path) {
        self.lock().file(path).expect("the simulation created the file").fail_to_sync();
    }

    // ---- faults to come

    /// The next `calls` succeed; the one after them ends the process.
    pub(crate) fn cut_after(&self, calls: Option<u32>) {
        self.lock().calls.cut_after(calls);
    }

    /// The next `calls` succeed; the one after them fails.
    pub(crate) fn fail_after(&self, calls: u32) {
        self.lock().calls.fail_after(calls);
    }

    pub(crate) fn fail_flush(&self) {
        self.lock().calls.fail_flush();
    }

    /// No call fails from now on.
    pub(crate) fn heal(&self) {
        self.lock().calls.heal();
    }

    /// Whether a call has ended the process.
    pub(crate) fn is_cut(&self) -> bool {
        self.lock().calls.is_cut()
    }

    pub(crate) fn failures(&self) -> Failures {
        self.lock().calls.failures()
    }

    // ---- copies

    /// An independent copy.
    pub(crate) fn image(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }

    /// Restores the state of `image`.
    pub(crate) fn restore(&self, image: &Self) {
        let state = image.lock().clone();
        self.lock().replace_state(state);
    }

    /// Restores the state of `image` except for one file, which keeps its content.
    pub(crate) fn restore_except(&self, image: &Self, path: &Path) {
        let mut state = image.lock().clone();
        let own = &mut *self.lock();
        if let (Some(kept), Some(file)) = (own.file(path).cloned(), state.file(path)) {
            *file = kept;
        }
        own.replace_state(state);
    }

    // ---- ends

    pub(crate) fn end(&self, end: End, rng: &mut Rng) {
        let state = &mut *self.lock();
        state.calls.heal();
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
        // RocksDB also flushes by itself, so any first part of the batches since the last flush may be durable.
        let survive = rng.below(state.unflushed.len() as u32 + 1) as usize;
        let survivors = state.unflushed.drain(..).take(survive).collect::<Vec<_>>();
        survivors.into_iter().for_each(|batch| rows::apply(&mut state.durable, batch));
        state.rows = state.durable.clone();
    }

    // ---- damage

    /// So many bytes of a file as they are now.
    pub(crate) fn file_bytes(&self, path: &Path, offset: usize, len: usize) -> Vec<u8> {
        let mut state = self.lock();
        let file = state.file(path).expect("the simulation created the file");
        file.bytes()[offset..offset + len].to_vec()
    }

    /// Flips one bit of a file; returns false where the file has no such byte.
    pub(crate) fn flip_file_bit(&self, path: &Path, offset: usize, bit: u32) -> bool {
        self.lock().file(path).is_some_and(|file| file.flip(offset, bit))
    }

    /// Flips one bit of a row of a family; returns false where it has no row.
    pub(crate) fn flip_row_bit(&self, family: Family, rng: &mut Rng) -> bool {
        let state = &mut *self.lock();
        let rows = Arc::make_mut(&mut state.durable[family as usize]);
        if rows.is_empty() {
            return false;
        }
        let pick = rng.below(rows.len() as u32) as usize;
        let value = rows.values_mut().nth(pick).expect("the pick is below the number of rows");
        let mut bytes = value.to_vec();
        if bytes.is_empty() {
            return false;
        }
        let at = rng.below(bytes.len() as u32) as usize;
        bytes[at] ^= 1 << rng.below(8);
        *value = bytes.into();
        state.rows = state.durable.clone();
        true
    }

    /// Flips one bit of a file whose name has this ending; returns its path.
    pub(crate) fn flip_some_file_bit(&self, ending: &str, rng: &mut Rng) -> Option<PathBuf> {
        let state = &mut *self.lock();
        let named: Vec<(&PathBuf, &FileId)> =
            state.names.iter().filter(|(path, _)| path.to_string_lossy().ends_with(ending)).collect();
        let &(path, id) = named.get(rng.below(named.len().max(1) as u32) as usize)?;
        let file = state.files.get_mut(id).expect("every name belongs to a file");
        let len = file.bytes().len() as u32;
        (0 < len && file.flip(rng.below(len) as usize, rng.below(8))).then(|| path.clone())
    }

    /// The last sequence of the log that a flush has made durable.
    pub(crate) fn seq_flushed(&self) -> u64 {
        let state = self.lock();
        let last = state.durable[Family::Log as usize].values().next_back();
        last.and_then(|frame| Frame::decode(frame).ok()).map_or(0, |frame| frame.seq_last().0)
    }

    /// Makes one call of the process, which has no effect when it fails.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let state = &mut *self.lock();
        if state.calls.next() == Fate::Done { act(state) } else { Err(fault()) }
    }

    /// Makes one call that writes `bytes`; half of them are written when the call ends the process.
    fn with_bytes(&self, bytes: &[u8], act: impl FnOnce(&mut State, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let state = &mut *self.lock();
        match state.calls.next() {
            Fate::Done => act(state, bytes),
            Fate::Cut => act(state, &bytes[..bytes.len() / 2]).and(Err(fault())),
            Fate::Failed | Fate::Gone => Err(fault()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic happens while the disk is locked")
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

    /// Takes over another state; the counts of failures stay, because they belong to the run.
    fn replace_state(&mut self, other: State) {
        let calls = std::mem::take(&mut self.calls);
        *self = State { calls, ..other };
    }
}

fn name(names: &mut BTreeMap<PathBuf, FileId>, path: PathBuf, id: Option<FileId>) {
    match id {
        Some(id) => drop(names.insert(path, id)),
        None => drop(names.remove(&path)),
    }
}

fn sync_file(state: &mut State, fate: Fate, file: impl FnOnce(&mut State) -> Option<&mut FileState>) -> io::Result<()> {
    let file = file(state).ok_or(io::ErrorKind::NotFound)?;
    match fate {
        Fate::Done => file.sync(),
        Fate::Failed => file.fail_to_sync(),
        Fate::Cut | Fate::Gone => {}
    }
    if fate == Fate::Done { Ok(()) } else { Err(fault()) }
}

fn fault() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

impl Medium for Disk {
    fn open_file(&self, path: &Path, _access: Access) -> io::Result<Box<dyn MediumFile>> {
        self.with(|state| {
            state.file(path).ok_or(io::ErrorKind::NotFound)?;
            let file: Box<dyn MediumFile> = Box::new(OpenFile { disk: self.clone(), path: path.to_owned() });
            Ok(file)
        })
    }

    fn open_table(&self, _path: &Path, purpose: OpenFor) -> Result<Box<dyn Table>, TableFault> {
        let mut state = self.lock();
        if state.calls.next() != Fate::Done {
            return Err(rows::fault());
        }
        let seen = (purpose == OpenFor::Reading).then(|| state.durable.clone());
        Ok(Box::new(OpenTable { disk: self.clone(), seen }))
    }

    /// Names of files are all that this disk has.
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        self.with(|_| Ok(()))
    }

    fn create_file(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn NewFile>> {
        self.with(|state| {
            if existing == Existing::Refused && state.names.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let id = state.add(FileState::default());
            state.name(path, Some(id));
            let file: Box<dyn NewFile> = Box::new(GrowingFile { disk: self.clone(), id });
            Ok(file)
        })
    }

    fn read_file(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        self.with(|state| {
            let file = state.file(path).ok_or(io::ErrorKind::NotFound)?;
            let bytes: Box<dyn Read + Send> = Box::new(io::Cursor::new(file.bytes().to_vec()));
            Ok(bytes)
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        self.with(|state| {
            let here = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
            Ok(here.map(|(path, id)| (path.clone(), state.files[id].bytes().len() as u64)).collect())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|state| {
            let id = state.names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
            state.name(from, None);
            state.name(to, Some(id));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with(|state| {
            state.name(path, None);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.with(|state| {
            let State { renamings, names_durable, .. } = state;
            for (path, id) in renamings.extract_if(.., |(path, _)| path.parent() == Some(dir)) {
                name(names_durable, path, id);
            }
            Ok(())
        })
    }
}

struct GrowingFile {
    disk: Disk,
    id: FileId,
}

impl NewFile for GrowingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.with_bytes(bytes, |state, bytes| {
            state.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?.append(bytes);
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let state = &mut *self.disk.lock();
        let fate = state.calls.next();
        sync_file(state, fate, |state| state.files.get_mut(&self.id))
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: Disk,
    path: PathBuf,
}

impl OpenFile {
    fn with<T>(&self, act: impl FnOnce(&mut FileState) -> T) -> io::Result<T> {
        self.disk.with(|state| state.file(&self.path).map(act).ok_or_else(|| io::ErrorKind::NotFound.into()))
    }
}

impl MediumFile for OpenFile {
    fn bytes_len(&self) -> io::Result<u64> {
        self.with(|file| file.bytes().len() as u64)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|file| bytes.copy_from_slice(&file.bytes()[offset as usize..offset as usize + bytes.len()]))
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.with_bytes(bytes, |state, bytes| {
            state.file(&self.path).ok_or(io::ErrorKind::NotFound)?.write(offset as usize, bytes);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.lock();
        let fate = state.calls.next();
        sync_file(state, fate, |state| state.file(&self.path))
    }

    fn into_file(self: Box<Self>) -> Option<File> {
        None
    }
}
