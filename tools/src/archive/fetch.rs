//! Makes a data directory from a backup, with which a restore and a drill begin.
//!
//! The directory belongs to the backup's own node and timeline, and has no room for a node's journal: it is to be read,
//! and to restore from. A node goes on from a restored one, in a new timeline. Invariant: the directory gets its name
//! when all of it is on disk, every object in it is proved, and every link of the log.

use super::again::again_where_pruned;
use super::catalog::{Catalog, Route, StartPoint, TimelineObjects, ranges_text};
use super::destination::Destination;
use super::error::{BackupError, Result, file_error};
use super::key::Key;
use super::proof::{piece_key, prove_snapshot, read_identity, read_lineage, read_piece, read_quarantine};
use super::shipped_config;
use crate::offline::new_directory::NewDirectory;
use node::faults::mutation::{Mutation, Planted};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use wal::directory::Directory;
use wal::durable_file::sync_dir;
use wal::identity::Identity;
use wal::piece::Piece;
use wal::segment::Geometry;
use wal::snapshot::SnapshotHeader;
use wal::store::Store;
use wal::units::{ChainHash, Lsn, NodeId, Tail, Timeline};

/// The journal of a fetched directory, whose log is in the store.
const HEAD: Geometry = Geometry { segment_count: 2, segment_bytes: 1 << 20 };

/// Proved pieces that wait to be appended. Each has up to 32 MiB of frames.
const PIECES_AHEAD: usize = 1;

/// The configuration as it was in the backup. `pinion init --config-only` makes one for the new directory from it.
pub const CONFIG_FROM_BACKUP: &str = "pinion.toml.from-backup";

/// The result of a fetch.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub node_id: NodeId,
    pub timeline: Timeline,
    /// The journal of the node that was backed up. The fetched directory has a small one, because it is only read.
    pub geometry: Geometry,
    /// The snapshot after which the directory's log begins; none where it begins with the first command.
    pub snapshot: Option<SnapshotHeader>,
    /// The end of the directory's log: the sequence asked for, or the end of the frame that has it.
    pub tail: Tail,
    /// The last sequence that the backup has of that timeline.
    pub backup_end: Lsn,
    pub pieces: u64,
    pub bytes: u64,
    /// Messages about damaged snapshots; another snapshot was used instead.
    pub damaged_snapshots: Vec<String>,
    /// Sequences before the directory's first state that the backup began to hold and has not: first and last of each.
    pub past_missing: Vec<(Lsn, Lsn)>,
    /// Commands that the backup has after `tail`.
    pub commands_left: u64,
}

/// What a fetch does where the backup lacks a part of the past before the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// It is refused before anything is fetched.
    Required,
    /// It is reported.
    Optional,
}

/// What is fetched of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The state's sequence, or none for the newest.
    pub until: Option<Lsn>,
    pub start: StartPoint,
    pub past: Past,
}

impl Selection {
    /// The state at `until`, or the newest, from the nearest start, whatever past it has.
    pub fn state(until: Option<Lsn>) -> Self {
        Self { until, start: StartPoint::Nearest, past: Past::Optional }
    }

    /// The newest state with all of its past, or none.
    pub fn everything() -> Self {
        Self { until: None, start: StartPoint::Oldest, past: Past::Required }
    }
}

/// Fetches the state that `selection` names into `into`, which must be absent or an empty directory.
///
/// A backup has no history; it can be computed from the log after the start that the fetch uses. Where an object
/// vanishes because `pinion backup prune` runs meanwhile, the backup is listed again.
pub fn fetch(destination: &Destination, into: &Path, selection: Selection) -> Result<Fetched> {
    again_where_pruned(destination, || fetch_once(destination, into, selection))
}

fn fetch_once(destination: &Destination, into: &Path, selection: Selection) -> Result<Fetched> {
    let Selection { until, start, past } = selection;
    let (catalog, place) = (Catalog::read(destination)?, destination.to_string());
    // Resolved before the loop: a snapshot that proves damaged changes the route, and never the target.
    let until = until.map_or_else(|| newest_state(&catalog, &place, past), Ok)?;
    let (timeline, mut route) = catalog.route(&place, until, start)?;
    let mut objects = catalog.of(timeline).expect("the route is one of the catalog's").clone();
    let backup_end = objects.newest_restorable().expect("the route shows that a state can be restored");
    let first_start = route.snapshot;
    let mut damaged_snapshots = Vec::new();
    loop {
        let mut past_missing = objects.past_missing(route.snapshot);
        // Only the log before a damaged snapshot is there: nothing leads into it.
        past_missing.extend(skipped(first_start, route.snapshot).filter(|_| start == StartPoint::Oldest));
        if past == Past::Required && !past_missing.is_empty().planted(Mutation::PastDropped, |_| true) {
            let begins = route.snapshot.unwrap_or(Lsn::ZERO);
            let (missing, with_past) = (ranges_text(&past_missing), objects.newest_with_past());
            let with_past = with_past.filter(|with_past| *with_past < until && damaged_snapshots.is_empty());
            return Err(BackupError::PastMissing { place, wanted: until, missing, begins, with_past });
        }
        let new = NewDirectory::begin(into).map_err(BackupError::Other)?;
        let attempt = Attempt { destination, timeline, route: &route, directory: new.path() };
        match attempt.run(catalog.node_id, &objects) {
            Ok(fetched) => {
                new.finish().map_err(BackupError::Other)?;
                let commands_left = objects.commands_after(fetched.tail.seq);
                return Ok(Fetched { backup_end, damaged_snapshots, past_missing, commands_left, ..fetched });
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

/// The newest state. Where the past is required, that is the end of everything that the backup has.
fn newest_state(catalog: &Catalog, place: &str, past: Past) -> Result<Lsn> {
    let newest = catalog.newest_restorable();
    let objects = catalog.newest().filter(|_| past == Past::Required);
    let end = objects.and_then(TimelineObjects::newest_piece).map(|piece| piece.seq_last);
    match (objects, end) {
        (Some(objects), Some(end)) if objects.newest_restorable() < Some(end) => {
            let stretches = ranges_text(&objects.ranges_without_start());
            Err(BackupError::NewestUnreachable { place: place.to_owned(), end, stretches, newest })
        }
        _ => newest.ok_or_else(|| catalog.outside(place, Lsn(1))),
    }
}

/// The log between the start of a first route and that of a later one.
fn skipped(first: Option<Lsn>, used: Option<Lsn>) -> impl Iterator<Item = (Lsn, Lsn)> {
    let (first, used) = (first.unwrap_or(Lsn::ZERO), used.unwrap_or(Lsn::ZERO));
    (first < used).then_some((first.next(), used)).into_iter()
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
        let identity = read_identity(self.destination, node_id, self.timeline)?;
        // A ballast and a journal are for a node that serves; here they would only cost time.
        Directory::create(self.directory, &Identity { geometry: HEAD, ..identity }, 0)?;
        let directory = Directory::open(self.directory)?;
        self.fetch_quarantine(objects.quarantined())?;
        if let Some(&version) = objects.configs.last() {
            self.fetch_config(version)?;
        }
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
        (tail, bytes) = self.append_pieces(node_id, &store, tail, bytes)?;
        if tail.seq < self.route.end {
            let (place, first, last) = (self.destination.to_string(), tail.seq.next(), self.route.end);
            return Err(BackupError::MissingPieces { place, first, last }.into());
        }
        store.flush()?;
        directory.mark()?.advance(tail.seq)?;
        let pieces = self.route.pieces.len() as u64;
        Ok(Fetched {
            node_id,
            timeline: self.timeline,
            geometry: identity.geometry,
            snapshot,
            tail,
            backup_end: tail.seq,
            pieces,
            bytes,
            damaged_snapshots: Vec::new(),
            past_missing: Vec::new(),
            commands_left: 0,
        })
    }

    fn fetch_quarantine(&self, entry_count: Option<u32>) -> Result<()> {
        let Some(entry_count) = entry_count else { return Ok(()) };
        let quarantine = read_quarantine(self.destination, self.timeline, entry_count)?;
        Ok(quarantine.write(self.directory)?)
    }

    /// A damaged configuration is reported, and does not keep the state from being restored.
    fn fetch_config(&self, version: u32) -> Result<()> {
        let text = match shipped_config::read(self.destination, self.timeline, version) {
            Err(error) if error.is_damage() => {
                eprintln!("pinion: warning: the configuration in the backup is not restored: {error}");
                return Ok(());
            }
            text => text?,
        };
        write_private(&self.directory.join(CONFIG_FROM_BACKUP), &text)
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

    /// Appends the pieces of the route in order; while one is appended, the next one is read and proved. Returns the
    /// end, and `bytes` with those that were read.
    fn append_pieces(&self, node_id: NodeId, store: &Store, mut tail: Tail, mut bytes: u64) -> Result<(Tail, u64)> {
        let Self { destination, timeline, route, .. } = *self;
        std::thread::scope(|scope| {
            let (proved, pieces) = sync_channel(PIECES_AHEAD);
            scope.spawn(move || {
                for listed in &route.pieces {
                    let piece = read_piece(destination, node_id, timeline, listed);
                    // The other end is closed after an error there.
                    if proved.send(piece).is_err() {
                        break;
                    }
                }
            });
            for (piece, listed) in pieces.iter().zip(&route.pieces) {
                tail = self.append(&piece?, store, tail)?;
                bytes += listed.bytes;
            }
            Ok((tail, bytes))
        })
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

/// Writes a file that only its owner may read, durably.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|source| file_error("writing", path, source))
}
