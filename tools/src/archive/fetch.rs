//! Makes a data directory from a backup, with which a restore and a drill begin.
//!
//! The directory belongs to the backup's own node and timeline, so it is for reading or restoring; a node that goes on
//! from it needs a new timeline. Invariant: the directory gets its name when all of it is on disk, every object in it
//! is proved, and every link of the log.

use super::catalog::{Catalog, Route, StartPoint, TimelineObjects};
use super::destination::Destination;
use super::error::{BackupError, Result, damaged};
use super::key::Key;
use super::proof::{piece_key, prove_snapshot, read_lineage, read_piece, read_quarantine};
use crate::offline::new_directory::NewDirectory;
use std::path::Path;
use wal::directory::Directory;
use wal::durable_file::sync_dir;
use wal::identity::Identity;
use wal::piece::Piece;
use wal::snapshot::SnapshotHeader;
use wal::store::Store;
use wal::units::{ChainHash, Lsn, NodeId, Tail, Timeline};

/// The result of a fetch.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub node_id: NodeId,
    pub timeline: Timeline,
    /// The snapshot after which the directory's log begins; none where it begins with the first command.
    pub snapshot: Option<SnapshotHeader>,
    /// The end of the directory's log: the sequence asked for, or the end of the frame that has it.
    pub tail: Tail,
    /// The last sequence that the backup has of that timeline.
    pub backup_end: Lsn,
    pub pieces: u64,
    pub bytes: u64,
    /// Messages about damaged snapshots, newest first; an older snapshot was used instead.
    pub damaged_snapshots: Vec<String>,
}

/// Fetches the state at `until`, or the newest one, into `into`, which must be absent or an empty directory.
///
/// A backup has no history; it can be computed from the log after the `start` that the fetch uses.
pub fn fetch(destination: &Destination, into: &Path, until: Option<Lsn>, start: StartPoint) -> Result<Fetched> {
    let (catalog, place) = (Catalog::read(destination)?, destination.to_string());
    // Resolved before the loop: a snapshot that proves damaged changes the route, and never the target.
    let until = until.or_else(|| catalog.newest_restorable()).ok_or_else(|| catalog.outside(&place, Lsn(1)))?;
    let (timeline, mut route) = catalog.route(&place, until, start)?;
    let mut objects = catalog.of(timeline).expect("the route is one of the catalog's").clone();
    let backup_end = objects.newest_restorable().expect("the route shows that a state can be restored");
    let mut damaged_snapshots = Vec::new();
    loop {
        let new = NewDirectory::begin(into).map_err(BackupError::Other)?;
        let attempt = Attempt { destination, timeline, route: &route, directory: new.path() };
        match attempt.run(catalog.node_id, &objects) {
            Ok(fetched) => {
                new.finish().map_err(BackupError::Other)?;
                return Ok(Fetched { backup_end, damaged_snapshots, ..fetched });
            }
            Err(AttemptError::Snapshot { seq, error }) => {
                damaged_snapshots.push(error.to_string());
                objects.snapshots.retain(|snapshot| snapshot.seq != seq);
                // Without another route, the damage is what has to be reported.
                let Some(other) = objects.route(until, start) else { return Err(error) };
                route = other;
            }
            Err(AttemptError::Other(error)) => return Err(error),
        }
    }
}

/// Why an attempt failed: only after a damaged snapshot another route may succeed.
enum AttemptError {
    Snapshot { seq: Lsn, error: BackupError },
    Other(BackupError),
}

impl<E: Into<BackupError>> From<E> for AttemptError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// One attempt to fetch along one route.
struct Attempt<'f> {
    destination: &'f Destination,
    timeline: Timeline,
    route: &'f Route,
    directory: &'f Path,
}

impl Attempt<'_> {
    fn run(&self, node_id: NodeId, objects: &TimelineObjects) -> std::result::Result<Fetched, AttemptError> {
        let identity = self.identity(node_id)?;
        // A ballast is for a node that serves; here it would only cost time.
        Directory::create(self.directory, &identity, 0)?;
        let directory = Directory::open(self.directory)?;
        self.fetch_quarantine(objects.quarantined())?;
        if objects.lineage {
            read_lineage(self.destination, self.timeline)?.write_new(self.directory)?;
        }
        let mut bytes = 0;
        let snapshot = match self.route.snapshot {
            Some(seq) => Some(self.fetch_snapshot(&identity, seq, &directory, &mut bytes)?),
            None => None,
        };
        let store = directory.store()?;
        let origin = Tail { seq: Lsn::ZERO, chain: ChainHash::genesis(node_id, self.timeline) };
        let mut tail = snapshot.as_ref().map_or(origin, |header| header.tail);
        if snapshot.is_some() {
            store.begin_after(tail)?;
        }
        for listed in &self.route.pieces {
            let piece = read_piece(self.destination, node_id, self.timeline, listed)?;
            tail = self.append(&piece, &store, tail)?;
            bytes += listed.bytes;
        }
        if tail.seq < self.route.end {
            let (place, first, last) = (self.destination.to_string(), tail.seq.next(), self.route.end);
            return Err(BackupError::MissingPieces { place, first, last }.into());
        }
        store.flush()?;
        directory.mark()?.advance(tail.seq)?;
        let pieces = self.route.pieces.len() as u64;
        let (backup_end, damaged_snapshots) = (tail.seq, Vec::new());
        Ok(Fetched { node_id, timeline: self.timeline, snapshot, tail, backup_end, pieces, bytes, damaged_snapshots })
    }

    fn identity(&self, node_id: NodeId) -> Result<Identity> {
        let key = Key::Identity(self.timeline);
        let object = self.destination.name_of(key);
        let text = self.destination.get(key)?;
        let text = String::from_utf8(text).map_err(|_| damaged(&object, "not text"))?;
        let identity = Identity::parse(Path::new(&object), &text)?;
        if identity.node_id != node_id || identity.timeline != self.timeline {
            return Err(damaged(&object, "it belongs to another node or timeline"));
        }
        Ok(identity)
    }

    fn fetch_quarantine(&self, entry_count: Option<u32>) -> Result<()> {
        let Some(entry_count) = entry_count else { return Ok(()) };
        let quarantine = read_quarantine(self.destination, self.timeline, entry_count)?;
        Ok(quarantine.write(self.directory)?)
    }

    fn fetch_snapshot(
        &self,
        identity: &Identity,
        seq: Lsn,
        directory: &Directory,
        bytes: &mut u64,
    ) -> std::result::Result<SnapshotHeader, AttemptError> {
        let key = Key::Snapshot { timeline: self.timeline, seq };
        let object = self.destination.name_of(key);
        let path = directory.snapshots_dir().join(format!("{:010}-{:020}.snap", self.timeline.0, seq.0));
        *bytes += self.destination.get_file(key, &path)?;
        let proved = prove_snapshot(&path, &object, identity.node_id, (self.timeline, seq));
        let header = proved.map_err(|error| AttemptError::Snapshot { seq, error })?;
        sync_dir(&directory.snapshots_dir())?;
        Ok(header)
    }

    /// Appends the frames of a piece that are after `tail`.
    fn append(&self, piece: &Piece, store: &Store, tail: Tail) -> Result<Tail> {
        let wanted = self.route.end;
        let frames = piece.frames().filter(|frame| tail.seq < frame.seq_last() && frame.seq_first() <= wanted);
        let appended = store.append_frames(frames.map(|frame| frame.bytes()));
        appended.map_err(|cause| {
            let key = piece_key(piece.header());
            BackupError::Object { object: self.destination.name_of(key), cause }
        })?;
        Ok(store.tail())
    }
}
