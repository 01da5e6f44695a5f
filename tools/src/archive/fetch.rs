//! Makes a data directory from a backup: what a restore and a drill begin with.
//!
//! The directory is of the backup's own node and timeline, so it is to be looked at or restored from, never served
//! beside its source: a node that goes on from it needs a new timeline. Invariant: nothing bears the directory's name
//! before all of it is there, durable; every object is proved on the way, and the log link by link.

use super::catalog::{Begin, Catalog, Kept, KeptPiece, Route};
use super::destination::Destination;
use super::error::{BackupError, Result};
use super::key::Key;
use crate::offline::new_directory::NewPlace;
use std::path::Path;
use wal::directory::Directory;
use wal::durable_file::sync_dir;
use wal::identity::Identity;
use wal::lineage::Lineage;
use wal::piece::{PIECE_HEADER_BYTES, Piece, PieceHeader};
use wal::quarantine::Quarantine;
use wal::snapshot::{SnapshotHeader, SnapshotReader};
use wal::store::Store;
use wal::units::{ChainHash, Lsn, NodeId, Tail, Timeline};

/// What was fetched.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub node_id: NodeId,
    pub timeline: Timeline,
    /// Where the directory's log begins, if not at the origin.
    pub snapshot: Option<SnapshotHeader>,
    /// Where it ends: at what was asked for or, frames being whole, a little behind it.
    pub tail: Tail,
    /// The last sequence that the backup reaches on that timeline.
    pub reach: Lsn,
    pub pieces: u64,
    pub bytes: u64,
    /// Snapshots that were damaged, newest first, and how; an older one was taken instead.
    pub passed_over: Vec<String>,
}

/// Fetches the state at `until`, or the newest, into `into`, which must be absent or an empty directory.
pub fn fetch(destination: &Destination, into: &Path, until: Option<Lsn>) -> Result<Fetched> {
    fetch_from(destination, into, until, Begin::Nearest)
}

/// The same with as much of the log before it as leads there. A backup holds no history; who restores can write it anew
/// from there on.
pub fn fetch_with_past(destination: &Destination, into: &Path, until: Option<Lsn>) -> Result<Fetched> {
    fetch_from(destination, into, until, Begin::Oldest)
}

fn fetch_from(destination: &Destination, into: &Path, until: Option<Lsn>, begin: Begin) -> Result<Fetched> {
    let (catalog, place) = (Catalog::read(destination)?, destination.to_string());
    // Settled once: what turns out to be damaged on the way makes the way longer and never the goal nearer.
    let until = until.or_else(|| catalog.newest_point()).ok_or_else(|| catalog.outside(&place, Lsn(1)))?;
    let (timeline, mut route) = catalog.route(&place, until, begin)?;
    let mut kept = catalog.of(timeline).expect("the route is one of the catalog's").clone();
    let reach = kept.newest_point().expect("a state of it can be reached");
    let mut passed_over = Vec::new();
    loop {
        let new = NewPlace::begin(into).map_err(BackupError::Tool)?;
        let fetching = Fetching { destination, timeline, route: &route, directory: new.path() };
        match fetching.run(catalog.node_id, &kept) {
            Ok(fetched) => {
                new.finish().map_err(BackupError::Tool)?;
                return Ok(Fetched { reach, passed_over, ..fetched });
            }
            Err(Failed::Snapshot { seq, error }) => {
                passed_over.push(error.to_string());
                kept.snapshots.retain(|snapshot| snapshot.seq != seq);
                // With no other way there, the damage is what has to be told.
                let Some(around) = kept.route(until, begin) else { return Err(error) };
                route = around;
            }
            Err(Failed::Other(error)) => return Err(error),
        }
    }
}

/// Why an attempt ended: only a damaged snapshot leaves another way.
enum Failed {
    Snapshot { seq: Lsn, error: BackupError },
    Other(BackupError),
}

impl<E: Into<BackupError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

struct Fetching<'f> {
    destination: &'f Destination,
    timeline: Timeline,
    route: &'f Route,
    directory: &'f Path,
}

impl Fetching<'_> {
    fn run(&self, node_id: NodeId, kept: &Kept) -> std::result::Result<Fetched, Failed> {
        let identity = self.identity(node_id)?;
        // Ballast is for a node that serves; making it would only cost time here.
        Directory::create(self.directory, &identity, 0)?;
        let directory = Directory::open(self.directory)?;
        self.fetch_quarantine(kept.quarantined())?;
        if kept.lineage {
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
        for kept in &self.route.pieces {
            let piece = read_piece(self.destination, node_id, self.timeline, kept)?;
            tail = self.append(&piece, &store, tail)?;
            bytes += kept.bytes;
        }
        if tail.seq < self.route.end {
            let (place, first, last) = (self.destination.to_string(), tail.seq.next(), self.route.end);
            return Err(BackupError::MissingPieces { place, first, last }.into());
        }
        store.flush()?;
        directory.mark()?.advance(tail.seq)?;
        let pieces = self.route.pieces.len() as u64;
        let (reach, passed_over) = (tail.seq, Vec::new());
        Ok(Fetched { node_id, timeline: self.timeline, snapshot, tail, reach, pieces, bytes, passed_over })
    }

    fn identity(&self, node_id: NodeId) -> Result<Identity> {
        let key = Key::Identity(self.timeline);
        let object = self.destination.name_of(key);
        let text = self.destination.get(key)?;
        let text = String::from_utf8(text).map_err(|_| damaged(&object, "not text"))?;
        let identity = Identity::parse(Path::new(&object), &text)?;
        if identity.node_id != node_id || identity.timeline != self.timeline {
            return Err(damaged(&object, "it is another node's, or of another timeline"));
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
    ) -> std::result::Result<SnapshotHeader, Failed> {
        let key = Key::Snapshot { timeline: self.timeline, seq };
        let object = self.destination.name_of(key);
        let path = directory.snapshots_dir().join(format!("{:010}-{:020}.snap", self.timeline.0, seq.0));
        *bytes += self.destination.get_file(key, &path)?;
        let proved = prove_snapshot(&path, &object, identity.node_id, (self.timeline, seq));
        let header = proved.map_err(|error| Failed::Snapshot { seq, error })?;
        sync_dir(&directory.snapshots_dir())?;
        Ok(header)
    }

    /// Appends what of a piece lies behind `tail`.
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

/// Reads a snapshot's file to its end; it must be of the state that its name says.
pub(crate) fn prove_snapshot(
    file: &Path,
    object: &str,
    node_id: NodeId,
    named: (Timeline, Lsn),
) -> Result<SnapshotHeader> {
    let proved = SnapshotReader::open(file).and_then(SnapshotReader::prove);
    let header = proved.map_err(|cause| BackupError::Object { object: object.to_owned(), cause })?;
    check_state(object, node_id, named, &header)?;
    Ok(header)
}

/// A whole snapshot under another's name would be taken for a state that is not there.
pub(crate) fn check_state(
    object: &str,
    node_id: NodeId,
    named: (Timeline, Lsn),
    header: &SnapshotHeader,
) -> Result<()> {
    if header.node_id != node_id || (header.timeline, header.tail.seq) != named {
        return Err(damaged(object, "its header names another state than its key"));
    }
    Ok(())
}

/// A piece, proved, that is what its name says.
pub(crate) fn read_piece(
    destination: &Destination,
    node_id: NodeId,
    timeline: Timeline,
    kept: &KeptPiece,
) -> Result<Piece> {
    let key = Key::Piece { timeline, seq_first: kept.seq_first, seq_last: kept.seq_last };
    let (object, bytes) = (destination.name_of(key), destination.get(key)?);
    let piece = Piece::open(Path::new(&object), &bytes);
    let piece = piece.map_err(|cause| BackupError::Object { object: object.clone(), cause })?;
    check_named(&object, key, node_id, piece.header())?;
    Ok(piece)
}

/// What a piece says about itself, which must be what its name says; proved by its header's own checksum.
pub(crate) fn peek_piece(
    destination: &Destination,
    node_id: NodeId,
    timeline: Timeline,
    kept: &KeptPiece,
) -> Result<PieceHeader> {
    let key = Key::Piece { timeline, seq_first: kept.seq_first, seq_last: kept.seq_last };
    let object = destination.name_of(key);
    // A store refuses to read past an object's end, which would look like a store that cannot be reached.
    if kept.bytes < PIECE_HEADER_BYTES as u64 {
        return Err(damaged(&object, "shorter than a header"));
    }
    let bytes = destination.get_start(key, PIECE_HEADER_BYTES)?;
    let header = Piece::peek(Path::new(&object), &bytes);
    let header = header.map_err(|cause| BackupError::Object { object: object.clone(), cause })?;
    check_named(&object, key, node_id, &header)?;
    Ok(header)
}

/// The piece's name that says what its header does.
pub(crate) fn piece_key(header: &PieceHeader) -> Key {
    Key::Piece { timeline: header.timeline, seq_first: header.seq_first(), seq_last: header.seq_last() }
}

/// A whole piece under another's name would be taken for frames that are not there.
fn check_named(object: &str, key: Key, node_id: NodeId, header: &PieceHeader) -> Result<()> {
    if header.node_id != node_id || piece_key(header) != key {
        return Err(damaged(object, "its header names other frames than its key"));
    }
    Ok(())
}

/// The list of ancestors, proved.
pub(crate) fn read_lineage(destination: &Destination, timeline: Timeline) -> Result<Lineage> {
    let key = Key::Lineage(timeline);
    let parsed = Lineage::parse(&destination.get(key)?);
    parsed.ok_or_else(|| damaged(&destination.name_of(key), "not a whole list of ancestors"))
}

/// A list of left-out records, proved.
pub(crate) fn read_quarantine(destination: &Destination, timeline: Timeline, entry_count: u32) -> Result<Quarantine> {
    let key = Key::Quarantine { timeline, entry_count };
    let bytes = destination.get(key)?;
    let parsed = std::str::from_utf8(&bytes).ok().and_then(Quarantine::parse);
    parsed.ok_or_else(|| damaged(&destination.name_of(key), "not a whole list of left-out records"))
}

pub(crate) fn damaged(object: &str, why: &'static str) -> BackupError {
    BackupError::Damaged { object: object.to_owned(), why }
}
