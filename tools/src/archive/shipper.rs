//! Brings what a data directory has and a backup lacks to the backup, round by round, beside a running node or without.
//!
//! ```text
//!  QUARANTINE   log: frames that are durable beyond doubt --> pieces   snapshots: the newest, when it is new
//! ```
//! Invariants: only what no power cut can take back is shipped, so a backup never runs ahead of its node; pieces
//! continue the backup's log link by link, or begin anew behind a gap that is told; what a round did not finish, the
//! next one does.

use super::catalog::{Catalog, Kept};
use super::claim;
use super::destination::{Destination, Put, file_error};
use super::error::{BackupError, Result};
use super::fetch::{peek_piece, piece_key};
use super::key::Key;
use crate::terminal::clock::unix_ns;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use wal::directory::Directory;
use wal::error::{Damage, WalError};
use wal::follow::Follower;
use wal::frame::Frame;
use wal::identity::Identity;
use wal::lineage::{LINEAGE_FILE, Lineage};
use wal::piece::{Piece, PieceBuilder, PieceHeader};
use wal::quarantine::Quarantine;
use wal::recover::Inspection;
use wal::snapshot::{self, SnapshotFile, SnapshotReader};
use wal::units::{Lsn, NodeId, Tail, Timeline};
use wal::walk::Start;

/// Frames of one piece. Small enough that a lost upload costs little, large enough that catching up takes few.
const PIECE_RAW_BYTES: usize = 8 << 20;
const _: () = assert!(PIECE_RAW_BYTES <= wal::piece::PIECE_RAW_BYTES_MAX);

/// Rounds in a row that only follow the head as far as the node's mark says that it is durable. A look at the whole log
/// reads the whole head, and opens the store; it alone sees frames that the mark of a node that died does not know of,
/// and whether somebody else ships to the same place.
const FOLLOWED_MAX: u32 = 15;

pub struct Shipper<'d> {
    data_dir: PathBuf,
    destination: &'d Destination,
    /// What the backup has, as far as this process knows; asked for again after a failure.
    position: Option<Position>,
    /// The log's end at the last look, where it was not yet durable beyond doubt.
    doubtful: Option<Tail>,
    /// Goes on behind what was shipped, since the last look at the whole log.
    follower: Option<Follower>,
    /// Rounds since then.
    followed: u32,
}

struct Position {
    identity: Identity,
    /// The end of the newest piece.
    shipped: Option<Tail>,
    /// Its name, or the one before all pieces of the timeline.
    newest: Key,
    /// Time of its last command.
    time_ns: u64,
    snapshot: Option<Lsn>,
    /// Snapshots that were found damaged and told, so that this is done once; as many as the directory has at most.
    damaged: BTreeSet<Lsn>,
    quarantined: u32,
}

/// Whether a log that nobody writes to is waited for, or settled at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// There will be another round.
    Later,
    Now,
}

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    pub timeline: u32,
    /// The newest sequence in the backup, and in the node's log when it was looked at.
    pub seq_shipped: Lsn,
    pub seq_node: Lsn,
    pub commands: u64,
    pub pieces: u64,
    pub bytes: u64,
    /// How long the oldest command of this round was in the node's log only: what a loss of the machine would have
    /// cost.
    pub lag_ms: u64,
    /// The snapshots that this round stored.
    pub snapshots: Vec<Lsn>,
    /// Snapshot files that were not stored because they are damaged.
    pub passed_over: Vec<PathBuf>,
    /// Sequences that the node had forgotten before they were shipped: first and last.
    pub gap: Option<(Lsn, Lsn)>,
}

impl<'d> Shipper<'d> {
    pub fn new(data_dir: &Path, destination: &'d Destination) -> Self {
        Self { data_dir: data_dir.to_owned(), destination, position: None, doubtful: None, follower: None, followed: 0 }
    }

    /// Ships what is new. After an error the next call takes nothing for granted.
    pub fn round(&mut self, haste: Haste) -> Result<Round> {
        let known = self.position.take();
        let directory = Directory::open_read_only(&self.data_dir)?;
        let mut position = match known {
            // A restore in the same place begins another timeline.
            Some(position) if position.identity == *directory.identity() => position,
            _ => {
                // Whether the log goes on where the backup ends, only the whole log can say.
                self.follower = None;
                self.find_position(&directory)?
            }
        };
        let mut round = Round { timeline: directory.identity().timeline.0, ..Round::default() };
        self.ship_quarantine(&mut position)?;
        if haste == Haste::Now || !self.follow(&directory, &mut position, &mut round)? {
            self.look(&directory, haste, &mut position, &mut round)?;
        }
        // Behind the log: a snapshot takes longer, and the log leads on without it.
        self.ship_newest_snapshot(&directory, &mut position, &mut round)?;
        round.seq_shipped = position.shipped.map_or(Lsn::ZERO, |tail| tail.seq);
        self.position = Some(position);
        Ok(round)
    }

    /// Ships what the head got since the last round; false where that takes a look at the whole log.
    fn follow(&mut self, directory: &Directory, position: &mut Position, round: &mut Round) -> Result<bool> {
        let Some(mut follower) = self.follower.take().filter(|_| self.followed < FOLLOWED_MAX) else {
            return Ok(false);
        };
        let until = directory.mark_seq()?;
        let mut packing = self.packing(position, follower.tail());
        while let Some(frame) = follower.next_frame(until)? {
            packing.take(&frame, position, round)?;
        }
        packing.finish(position, round)?;
        let shipped = follower.tail().seq;
        (self.follower, self.followed) = (Some(follower), self.followed + 1);
        round.seq_node = until.max(shipped);
        // Where the mark comes to cover what was in doubt, the node lives. Where it does not, somebody has to look.
        self.doubtful = self.doubtful.filter(|tail| shipped < tail.seq);
        // Having less than the mark says means that the ring has gone round since the last look.
        Ok(until <= shipped && self.doubtful.is_none())
    }

    /// Ships what the whole log has, from where the backup ends.
    fn look(&mut self, directory: &Directory, haste: Haste, position: &mut Position, round: &mut Round) -> Result<()> {
        if self.has_company(position)? {
            *position = self.find_position(directory)?;
        }
        let inspection = Inspection::open(directory)?;
        let begin = self.begin(directory, &inspection, position, round)?;
        self.ship_log(&inspection, begin, haste, position, round)?;
        round.seq_node = inspection.tail().seq;
        let shipped = position.shipped.expect("set where the log begins");
        (self.follower, self.followed) = (inspection.follow(shipped)?, 0);
        Ok(())
    }

    /// Whether somebody else ships to this place too: another shipper of this directory, of a copy that goes on by
    /// itself, or of a restore from it. Which of them, `find_position` and the log tell.
    fn has_company(&self, position: &Position) -> Result<bool> {
        let timeline = position.identity.timeline;
        let behind = self.destination.list_behind(position.newest)?;
        Ok(behind.iter().any(|listed| match listed.key {
            Key::Piece { .. } => true,
            key => key.timeline().is_some_and(|found| timeline < found),
        }))
    }

    /// Makes the place this node's, or learns what it has of this timeline.
    fn find_position(&self, directory: &Directory) -> Result<Position> {
        let (identity, destination) = (*directory.identity(), self.destination);
        claim::make(destination, identity.node_id)?;
        let catalog = Catalog::read(destination)?;
        check_timeline(destination, &catalog, identity.timeline)?;
        let key = Key::Identity(identity.timeline);
        self.put_same(key, identity.to_text().into_bytes())?;
        if !Lineage::read(&self.data_dir)?.0.is_empty() {
            let path = self.data_dir.join(LINEAGE_FILE);
            let bytes = std::fs::read(&path).map_err(|source| file_error("reading", &path, source))?;
            self.put_same(Key::Lineage(identity.timeline), bytes)?;
        }
        let kept = catalog.of(identity.timeline);
        let last = kept.map(|kept| last_piece(destination, identity.node_id, kept)).transpose()?.flatten();
        Ok(Position {
            identity,
            shipped: last.map(|header| header.after),
            newest: last.as_ref().map_or(key, piece_key),
            time_ns: last.map_or(0, |header| header.time_last),
            snapshot: kept.and_then(|kept| kept.snapshots.last()).map(|snapshot| snapshot.seq),
            damaged: BTreeSet::new(),
            quarantined: kept.and_then(Kept::quarantined).unwrap_or(0),
        })
    }

    fn ship_quarantine(&self, position: &mut Position) -> Result<()> {
        let quarantine = Quarantine::read(&self.data_dir)?;
        let entry_count = quarantine.entries().count() as u32;
        if position.quarantined < entry_count {
            let key = Key::Quarantine { timeline: position.identity.timeline, entry_count };
            let text = quarantine.to_text().into_bytes();
            self.put_same(key, text)?;
            position.quarantined = entry_count;
        }
        Ok(())
    }

    /// Where the log goes on: behind what was shipped, or, where the node does not have that any more, at its
    /// beginning.
    fn begin(
        &self,
        directory: &Directory,
        inspection: &Inspection<'_>,
        position: &mut Position,
        round: &mut Round,
    ) -> Result<Tail> {
        let base = inspection.base()?;
        match position.shipped {
            Some(shipped) if base.seq <= shipped.seq => {
                check_continues(self.destination, inspection, shipped)?;
                return Ok(shipped);
            }
            Some(shipped) => {
                let (timeline, seq_first, seq_last) = (position.identity.timeline, shipped.seq.next(), base.seq);
                // Told in the backup too: a hole that nobody accounts for is damage.
                self.put_same(Key::Gap { timeline, seq_first, seq_last }, Vec::new())?;
                round.gap = Some((seq_first, seq_last));
            }
            None => {}
        }
        // A log that begins behind a state is worth nothing without it.
        if base.seq != Lsn::ZERO {
            self.ship_first_snapshot(directory, base.seq, position, round)?;
        }
        position.shipped = Some(base);
        Ok(base)
    }

    fn ship_log(
        &mut self,
        inspection: &Inspection<'_>,
        begin: Tail,
        haste: Haste,
        position: &mut Position,
        round: &mut Round,
    ) -> Result<()> {
        let until = self.settled(inspection, haste)?;
        let mut walk = inspection.frames(begin)?;
        let mut packing = self.packing(position, begin);
        while let Some((frame, _)) = walk.next_frame()?.filter(|(frame, _)| frame.seq_last() <= until) {
            packing.take(&frame, position, round)?;
        }
        packing.finish(position, round)
    }

    fn packing(&self, position: &Position, begin: Tail) -> Packing<'d> {
        let Identity { node_id, timeline, .. } = position.identity;
        let (destination, piece) = (self.destination, PieceBuilder::new(node_id, timeline, begin));
        Packing { destination, identity: position.identity, piece, time_ns: position.time_ns, time_oldest_ns: None }
    }

    /// Up to where the log is durable. At its very end only a later frame or the node's own note says so; where neither
    /// comes, because the node is idle or gone, what was seen is synced here.
    fn settled(&mut self, inspection: &Inspection<'_>, haste: Haste) -> Result<Lsn> {
        let (durable, tail) = (inspection.seq_durable()?, inspection.tail());
        if durable == tail.seq {
            self.doubtful = None;
            return Ok(durable);
        }
        if haste == Haste::Now || self.doubtful == Some(tail) {
            inspection.sync()?;
            self.doubtful = None;
            return Ok(tail.seq);
        }
        self.doubtful = Some(tail);
        Ok(durable)
    }

    fn put_same(&self, key: Key, bytes: Vec<u8>) -> Result<()> {
        if self.destination.put_new(key, bytes.clone())? == Put::There && self.destination.get(key)? != bytes {
            return Err(BackupError::Differs { object: self.destination.name_of(key) });
        }
        Ok(())
    }

    /// The oldest whole snapshot from which a log that begins behind `base` leads on.
    fn ship_first_snapshot(
        &self,
        directory: &Directory,
        base: Lsn,
        position: &mut Position,
        round: &mut Round,
    ) -> Result<()> {
        for file in own_snapshots(directory)?.into_iter().filter(|file| base <= file.seq) {
            if self.ship_snapshot(&file, position, round)? {
                position.snapshot = position.snapshot.max(Some(file.seq));
                return Ok(());
            }
        }
        Err(BackupError::NoSnapshot { base })
    }

    fn ship_newest_snapshot(&self, directory: &Directory, position: &mut Position, round: &mut Round) -> Result<()> {
        for file in own_snapshots(directory)?.into_iter().rev() {
            if position.snapshot.is_some_and(|shipped| file.seq <= shipped) {
                break;
            }
            if self.ship_snapshot(&file, position, round)? {
                position.snapshot = Some(file.seq);
                break;
            }
        }
        Ok(())
    }

    /// Stores a snapshot that is whole; false for one that is not, or that the node has taken away meanwhile.
    fn ship_snapshot(&self, file: &SnapshotFile, position: &mut Position, round: &mut Round) -> Result<bool> {
        if position.damaged.contains(&file.seq) {
            return Ok(false);
        }
        match SnapshotReader::open(&file.path).and_then(SnapshotReader::prove) {
            Ok(_) => {}
            Err(WalError::Damaged { damage: Damage::FileMissing, .. }) => return Ok(false),
            Err(WalError::Damaged { .. }) => {
                position.damaged.insert(file.seq);
                round.passed_over.push(file.path.clone());
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        let key = Key::Snapshot { timeline: file.timeline, seq: file.seq };
        match self.destination.put_file(key, &file.path) {
            Ok(Put::Stored) => {
                round.snapshots.push(file.seq);
                round.bytes += file.bytes;
                Ok(true)
            }
            Ok(Put::There) => Ok(true),
            Err(BackupError::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A timeline that a restore has superseded is not shipped any more.
pub(crate) fn check_timeline(destination: &Destination, catalog: &Catalog, have: Timeline) -> Result<()> {
    match catalog.newest().map(|newest| newest.timeline) {
        Some(found) if have < found => Err(BackupError::NewerTimeline { place: destination.to_string(), have, found }),
        _ => Ok(()),
    }
}

pub(crate) fn last_piece(destination: &Destination, node_id: NodeId, kept: &Kept) -> Result<Option<PieceHeader>> {
    let last = kept.last_piece();
    last.map(|piece| peek_piece(destination, node_id, kept.timeline, &piece)).transpose()
}

/// The log must hold the very frame that ends the backup.
pub(crate) fn check_continues(destination: &Destination, inspection: &Inspection<'_>, shipped: Tail) -> Result<()> {
    let (place, tail) = (destination.to_string(), inspection.tail());
    if tail.seq < shipped.seq {
        return Err(BackupError::Shorter { place, have: tail.seq, shipped: shipped.seq });
    }
    let found = if tail.seq == shipped.seq {
        tail
    } else {
        let mut walk = inspection.frames(Start::At(shipped.seq.next()))?;
        let next = walk.next_frame()?;
        next.map_or(tail, |(frame, _)| Tail { seq: frame.seq_first().prev(), chain: frame.chain_prev() })
    };
    if found != shipped {
        let timeline = inspection.store().origin().timeline;
        return Err(BackupError::Diverged { place, timeline, shipped: shipped.seq });
    }
    Ok(())
}

/// Frames on their way into pieces.
struct Packing<'d> {
    destination: &'d Destination,
    identity: Identity,
    piece: PieceBuilder,
    /// Time of the last command taken.
    time_ns: u64,
    /// Time of the first command of this round.
    time_oldest_ns: Option<u64>,
}

impl Packing<'_> {
    /// Adds a frame; a piece that is full is shipped.
    fn take(&mut self, frame: &Frame<'_>, position: &mut Position, round: &mut Round) -> Result<()> {
        if !self.piece.is_empty() && PIECE_RAW_BYTES < self.piece.raw_bytes() + frame.bytes().len() {
            self.ship(position, round)?;
            if self.destination.interrupt().is_set() {
                return Err(BackupError::Interrupted);
            }
        }
        let (first_ns, last_ns) = times_of(frame, self.time_ns);
        self.time_oldest_ns.get_or_insert(first_ns);
        self.time_ns = last_ns;
        self.piece.push(frame, first_ns, last_ns);
        Ok(())
    }

    /// Ships the rest, and says how long the oldest command had to wait for it.
    fn finish(mut self, position: &mut Position, round: &mut Round) -> Result<()> {
        if !self.piece.is_empty() {
            self.ship(position, round)?;
        }
        let waited_ns = self.time_oldest_ns.map_or(0, |oldest| unix_ns().saturating_sub(oldest));
        round.lag_ms = round.lag_ms.max(waited_ns / 1_000_000);
        Ok(())
    }

    /// Ships what was gathered.
    fn ship(&mut self, position: &mut Position, round: &mut Round) -> Result<()> {
        let next = PieceBuilder::new(self.identity.node_id, self.identity.timeline, self.piece.after());
        let (header, bytes) = std::mem::replace(&mut self.piece, next).seal()?;
        let (timeline, seq_first, seq_last) = (header.timeline, header.seq_first(), header.seq_last());
        let key = Key::Piece { timeline, seq_first, seq_last };
        let bytes_count = bytes.len() as u64;
        if self.destination.put_new(key, bytes)? == Put::There {
            self.check_same_piece(key, &header)?;
        }
        round.pieces += 1;
        round.bytes += bytes_count;
        round.commands += seq_last.0 - seq_first.0 + 1;
        position.shipped = Some(header.after);
        position.newest = key;
        position.time_ns = header.time_last;
        Ok(())
    }

    /// What bears the name already is from an upload whose answer was lost. Another release may pack the same frames
    /// into other bytes, so it is held against what it says, not against its bytes.
    fn check_same_piece(&self, key: Key, header: &PieceHeader) -> Result<()> {
        let (object, bytes) = (self.destination.name_of(key), self.destination.get(key)?);
        let there = Piece::open(Path::new(&object), &bytes)
            .map_err(|cause| BackupError::Object { object: object.clone(), cause })?;
        if there.header() == header { Ok(()) } else { Err(BackupError::Differs { object }) }
    }
}

/// Snapshots of the directory's own timeline, oldest first.
fn own_snapshots(directory: &Directory) -> Result<Vec<SnapshotFile>> {
    let timeline = directory.identity().timeline;
    let files = snapshot::list(&directory.snapshots_dir())?;
    Ok(files.into_iter().filter(|file| file.timeline == timeline).collect())
}

/// Times of a frame's first and last command. One that cannot be read, as those that get quarantined, has the time of
/// what came before it.
fn times_of(frame: &Frame<'_>, before_ns: u64) -> (u64, u64) {
    let time = |record: Option<(Lsn, &[u8])>| Some(book::codec::decode(record?.1).ok()?.ts.0);
    let first_ns = time(frame.records().next()).unwrap_or(before_ns);
    (first_ns, time(frame.records().last()).unwrap_or(first_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::destination::Open;
    use crate::terminal::interrupt::Interrupt;
    use wal::segment::Geometry;

    #[test]
    fn a_snapshot_that_the_node_takes_away_is_no_damage() {
        let dir = tempfile::tempdir().expect("a directory");
        let to = dir.path().join("backup");
        let to = to.to_str().expect("text");
        let destination = Destination::open(to, None, Open::OrCreate, Interrupt::never()).expect("made");
        let geometry = Geometry { segment_count: 4, segment_bytes: 16 << 20 };
        let identity = Identity { node_id: NodeId([7; 16]), timeline: Timeline(1), seq_base: Lsn(0), geometry };
        let (mut round, damaged) = (Round::default(), BTreeSet::new());
        let newest = Key::Identity(Timeline(1));
        let mut position =
            Position { identity, shipped: None, newest, time_ns: 0, snapshot: None, damaged, quarantined: 0 };
        let path = dir.path().join("0000000001-00000000000000000009.snap");
        let file = SnapshotFile { path, timeline: Timeline(1), seq: Lsn(9), bytes: 1 };
        let shipper = Shipper::new(dir.path(), &destination);
        assert!(!shipper.ship_snapshot(&file, &mut position, &mut round).expect("taken away"));
        assert!(round == Round::default() && position.damaged.is_empty(), "{round:?}");
        // What is there and damaged is told, once.
        std::fs::write(&file.path, "no snapshot").expect("ours");
        for told in [1, 1] {
            assert!(!shipper.ship_snapshot(&file, &mut position, &mut round).expect("passed over"));
            assert_eq!(round.passed_over.len(), told);
        }
    }
}
