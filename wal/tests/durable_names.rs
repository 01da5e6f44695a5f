//! Files that are made, replaced and deleted: when the call returns, no power cut can undo it, and no name ever refers
//! to bytes that are not durable.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use common::{BALLAST_BYTES, NODE, TIMELINE, identity};
use tempfile::TempDir;
use wal::directory::{Ballast, Directory};
use wal::identity::{FORMAT_NEWEST, FORMAT_OLDEST, Identity};
use wal::lineage::{Ancestor, Lineage};
use wal::medium::{Access, Existing, FileSystem, Medium, MediumFile, NewFile};
use wal::quarantine::{Quarantine, Quarantined};
use wal::snapshot::{SNAPSHOT_VERSION_OLDEST, SnapshotHeader, SnapshotWriter, list_on, remove_on};
use wal::table::{OpenFor, Table, TableFault};
use wal::units::{ChainHash, Lsn, Tail};

/// The file system, and what a power cut could undo now.
#[derive(Clone, Debug, Default)]
struct Watched(Arc<Mutex<Pending>>);

#[derive(Debug, Default)]
struct Pending {
    /// Names that were given or removed since the last sync of their directory.
    names: BTreeSet<PathBuf>,
    /// New files that were not synced since their last byte was written.
    contents: BTreeSet<PathBuf>,
    /// Files that got their final name too early.
    early: Vec<PathBuf>,
}

impl Watched {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().expect("no panic happens while it is locked")
    }

    fn assert_durable(&self) {
        let pending = self.pending();
        assert!(pending.early.is_empty(), "named before they were durable: {:?}", pending.early);
        assert!(pending.names.is_empty(), "their names can be lost: {:?}", pending.names);
        assert!(pending.contents.is_empty(), "their bytes can be lost: {:?}", pending.contents);
    }
}

impl Medium for Watched {
    fn open_file(&self, path: &Path, access: Access) -> io::Result<Box<dyn MediumFile>> {
        FileSystem.open_file(path, access)
    }

    fn open_table(&self, path: &Path, purpose: OpenFor) -> Result<Box<dyn Table>, TableFault> {
        FileSystem.open_table(path, purpose)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        FileSystem.create_dir(path)?;
        self.pending().names.insert(path.to_owned());
        Ok(())
    }

    fn create_file(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn NewFile>> {
        let file = FileSystem.create_file(path, existing)?;
        let mut pending = self.pending();
        pending.names.insert(path.to_owned());
        pending.contents.insert(path.to_owned());
        Ok(Box::new(WatchedFile { watched: self.clone(), path: path.to_owned(), file }))
    }

    fn read_file(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        FileSystem.read_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
        FileSystem.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileSystem.rename(from, to)?;
        let mut pending = self.pending();
        let is_unsynced = pending.contents.remove(from);
        // IDENTITY states that everything below its directory is complete.
        let dir = to.parent().expect("a file in a directory");
        let is_other = |path: &&PathBuf| path.starts_with(dir) && *path != dir && *path != from;
        let others = pending.names.iter().filter(is_other).count() + pending.contents.len();
        if is_unsynced || (to.ends_with("IDENTITY") && others > 0) {
            pending.early.push(to.to_owned());
        }
        pending.names.extend([from.to_owned(), to.to_owned()]);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        FileSystem.remove(path)?;
        self.pending().names.insert(path.to_owned());
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        FileSystem.sync_dir(dir)?;
        self.pending().names.retain(|path| path.parent() != Some(dir));
        Ok(())
    }
}

struct WatchedFile {
    watched: Watched,
    path: PathBuf,
    file: Box<dyn NewFile>,
}

impl NewFile for WatchedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.watched.pending().contents.insert(self.path.clone());
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.watched.pending().contents.remove(&self.path);
        Ok(())
    }
}

/// A data directory made on the watched file system. Its database is made by RocksDB, which syncs its own files.
fn made(format: u32) -> (TempDir, Watched, Directory) {
    let (temp, watched) = (TempDir::new().expect("a temporary directory can be made"), Watched::default());
    let (path, identity) = (temp.path().join("data"), Identity { format, ..identity() });
    Directory::create_on(&watched, &path, &identity, BALLAST_BYTES).expect("made");
    watched.assert_durable();
    let directory = Directory::on(Arc::new(watched.clone()), &path, identity);
    (temp, watched, directory)
}

#[test]
fn a_new_directory_is_durable() {
    let (_temp, _watched, directory) = made(FORMAT_NEWEST);
    let opened = Directory::open(directory.path()).expect("complete");
    assert_eq!(opened.identity(), &identity());
}

#[test]
fn a_raised_format_is_durable() {
    let (_temp, watched, mut directory) = made(FORMAT_OLDEST);
    directory.raise_format(FORMAT_NEWEST).expect("written");
    watched.assert_durable();
    let opened = Directory::open(directory.path()).expect("complete");
    assert_eq!(opened.identity().format, FORMAT_NEWEST);
}

#[test]
fn a_decision_to_skip_a_record_is_durable() {
    let (_temp, watched, directory) = made(FORMAT_NEWEST);
    let mut list = Quarantine::default();
    assert!(list.add(Lsn(7), Quarantined { until: Lsn(9), time_ns: 1, reason: "ticket 12".to_owned() }));
    list.write_on(&watched, directory.path()).expect("written");
    watched.assert_durable();
    assert_eq!(Quarantine::read(directory.path()).expect("intact"), list);
}

#[test]
fn a_new_lineage_is_durable() {
    let (_temp, watched, directory) = made(FORMAT_NEWEST);
    let lineage = Lineage(vec![Ancestor { node_id: NODE, timeline: TIMELINE, seq: Lsn(4_711), time_ns: 17 }]);
    lineage.write_new_on(&watched, directory.path()).expect("written");
    watched.assert_durable();
    lineage.write_new_on(&watched, directory.path()).expect_err("never written over");
    assert_eq!(Lineage::read(directory.path()).expect("intact"), lineage);
}

#[test]
fn a_ballast_that_is_written_again_is_durable() {
    let (_temp, watched, directory) = made(FORMAT_NEWEST);
    fs::remove_file(directory.path().join("BALLAST")).expect("deleted");
    assert_eq!(directory.restore_ballast(BALLAST_BYTES, 1 << 40).expect("written"), Ballast::Recreated);
    watched.assert_durable();
}

#[test]
fn a_snapshot_and_its_removal_are_durable() {
    let (_temp, watched, directory) = made(FORMAT_NEWEST);
    let header = SnapshotHeader {
        version: SNAPSHOT_VERSION_OLDEST,
        node_id: NODE,
        timeline: TIMELINE,
        tail: Tail { seq: Lsn(42), chain: ChainHash([7; 32]) },
        time: 1,
        log_bytes: 2,
        state_hash: [9; 32],
        build: String::new(),
    };
    let dir = directory.snapshots_dir();
    let mut writer = SnapshotWriter::create_on(Arc::new(watched.clone()), &dir, header).expect("created");
    writer.piece(1, &[3; 100]).expect("written");
    let file = writer.finish().expect("written");
    watched.assert_durable();
    remove_on(&watched, &file).expect("removed");
    watched.assert_durable();
    assert_eq!(list_on(&watched, &dir).expect("readable"), []);
}

#[cfg(feature = "mutation")]
#[test]
fn syncs_that_are_skipped_are_noticed() {
    use wal::mutation::Mutation::*;
    for fault in [SegmentUnsynced, SegmentNamesUnsynced, MarkUnsynced, EntriesUnsynced, DirectoryNameUnsynced] {
        common::assert_noticed(fault, a_new_directory_is_durable);
    }
    for fault in [ReplacedUnsynced, ReplacedNameUnsynced] {
        common::assert_noticed(fault, a_new_directory_is_durable);
        common::assert_noticed(fault, a_raised_format_is_durable);
        common::assert_noticed(fault, a_decision_to_skip_a_record_is_durable);
    }
    for fault in [CreatedUnsynced, CreatedNameUnsynced] {
        common::assert_noticed(fault, a_new_lineage_is_durable);
    }
    common::assert_noticed(BallastNameUnsynced, a_ballast_that_is_written_again_is_durable);
    for fault in [SnapshotUnsynced, DirectorySyncSkipped, RemovalUnsynced] {
        common::assert_noticed(fault, a_snapshot_and_its_removal_are_durable);
    }
}
