//! Ships to a backup what a data directory has and the backup lacks, round by round, beside a running node or without.
//!
//! ```text
//!  QUARANTINE, pinion.toml   log: frames that no power cut can take back --> pieces   the newest snapshot in that log
//! ```
//! Invariants: only frames that no power cut can take back are shipped, so a backup is never ahead of its node; pieces
//! continue the backup's log link by link, or begin again after a gap that is recorded; a snapshot is shipped only when
//! the log up to it is, so that a state never comes without its past; what a round did not finish, the next one does.

use super::catalog::{Catalog, TimelineObjects};
use super::claim;
use super::continuity::{check_continues, check_timeline, newest_piece};
use super::destination::Destination;
use super::error::{BackupError, Result, file_error};
use super::key::Key;
use super::packing::Packing;
use super::proof::piece_key;
use super::put_outcome::PutOutcome;
use super::round::{Position, Round};
use super::shipped_config::{self, CONFIG_BYTES_MAX};
use node::faults::mutation::{Mutation, Planted};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use wal::directory::Directory;
use wal::error::{Damage, WalError};
use wal::follow::Follower;
use wal::lineage::{LINEAGE_FILE, Lineage};
use wal::quarantine::Quarantine;
use wal::recover::Inspection;
use wal::snapshot::{self, SnapshotFile, SnapshotReader};
use wal::units::{Lsn, Tail};

/// Rounds in a row that read only the new frames of the journal, as far as the node's mark says that they are durable.
/// A scan of the complete log reads the journal and opens the store. It alone finds frames that the mark of a node that
/// died does not cover, and another shipper to the same place.
const FOLLOW_ROUNDS_MAX: u32 = 15;

/// The configuration that `pinion init` writes into a data directory.
const CONFIG_FILE: &str = "pinion.toml";

pub struct Shipper<'d> {
    data_dir: PathBuf,
    /// The node's configuration, which need not exist.
    config: PathBuf,
    destination: &'d Destination,
    /// Read again from the backup after a failure.
    position: Option<Position>,
    /// The log's end at the last scan, where it was not known to be durable.
    unsettled_tail: Option<Tail>,
    /// Reads the frames after those that were shipped, since the last scan.
    follower: Option<Follower>,
    /// Rounds since the last scan.
    follow_rounds: u32,
}

/// The treatment of frames at the end of the log that are not known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TailPolicy {
    /// Wait for the node to settle them; there will be another round.
    WaitForNode,
    /// Sync them at once, and ship them.
    SyncNow,
}

impl<'d> Shipper<'d> {
    pub fn new(data_dir: &Path, destination: &'d Destination) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            config: data_dir.join(CONFIG_FILE),
            destination,
            position: None,
            unsettled_tail: None,
            follower: None,
            follow_rounds: 0,
        }
    }

    /// Ships this configuration, and not the one in the data directory.
    pub fn with_config(self, config: &Path) -> Self {
        Self { config: config.to_owned(), ..self }
    }

    /// Ships what is new. After an error the next round reads again what the backup has.
    pub fn round(&mut self, tail_policy: TailPolicy) -> Result<Round> {
        let known = self.position.take();
        let directory = Directory::open_read_only(&self.data_dir)?;
        let mut position = match known {
            // A restore to the same path begins another timeline.
            Some(position) if position.identity == *directory.identity() => position,
            _ => {
                // Whether the log continues the backup, only a scan can tell.
                self.follower = None;
                self.find_position(&directory)?
            }
        };
        let mut round = Round { timeline: directory.identity().timeline.0, ..Round::default() };
        self.ship_quarantine(&mut position)?;
        self.ship_config(&mut position, &mut round)?;
        if tail_policy == TailPolicy::SyncNow || !self.ship_new_frames(&directory, &mut position, &mut round)? {
            self.ship_from_scan(&directory, tail_policy, &mut position, &mut round)?;
        }
        // After the log: a snapshot takes longer, and the log can be restored without it.
        self.ship_newest_snapshot(&directory, &mut position, &mut round)?;
        round.seq_shipped = position.shipped.map_or(Lsn::ZERO, |tail| tail.seq);
        self.position = Some(position);
        Ok(round)
    }

    /// Ships the frames that were written since the last round; false where that needs a scan of the complete log.
    fn ship_new_frames(&mut self, directory: &Directory, position: &mut Position, round: &mut Round) -> Result<bool> {
        let Some(mut follower) = self.follower.take().filter(|_| self.follow_rounds < FOLLOW_ROUNDS_MAX) else {
            return Ok(false);
        };
        let until = directory.mark_seq()?;
        let mut packing = Packing::new(self.destination, position, follower.tail());
        while let Some(frame) = follower.next_frame(until)? {
            packing.push(&frame, position, round)?;
        }
        packing.finish(position, round)?;
        let shipped = follower.tail().seq;
        (self.follower, self.follow_rounds) = (Some(follower), self.follow_rounds + 1);
        round.seq_node = until.max(shipped);
        // If the mark advances over the unsettled tail, the node is running. Otherwise a scan has to settle it.
        self.unsettled_tail = self.unsettled_tail.filter(|tail| shipped < tail.seq);
        // The follower stops before the mark if the node has overwritten the journal since the last round.
        Ok(until <= shipped && self.unsettled_tail.is_none())
    }

    /// Scans the complete log, and ships it from where the backup ends.
    fn ship_from_scan(
        &mut self,
        directory: &Directory,
        tail_policy: TailPolicy,
        position: &mut Position,
        round: &mut Round,
    ) -> Result<()> {
        if self.has_other_shipper(position)? {
            *position = self.find_position(directory)?;
        }
        let inspection = Inspection::open(directory)?;
        let begin = self.begin(directory, &inspection, position, round)?;
        self.ship_log(&inspection, begin, tail_policy, position, round)?;
        round.seq_node = inspection.tail().seq;
        let shipped = position.shipped.expect("`begin` sets it");
        (self.follower, self.follow_rounds) = (inspection.follow(shipped)?, 0);
        Ok(())
    }

    /// Whether another shipper stores objects here: of this directory, of a copy that continues by itself, or of a
    /// restore. `find_position` and the log tell which.
    fn has_other_shipper(&self, position: &Position) -> Result<bool> {
        let timeline = position.identity.timeline;
        let later = self.destination.list_after(position.newest)?;
        Ok(later.iter().any(|listed| match listed.key {
            Key::Piece { .. } => true,
            key => key.timeline().is_some_and(|found| timeline < found),
        }))
    }

    /// Claims the place for this node, and reads what the backup has of this timeline.
    fn find_position(&self, directory: &Directory) -> Result<Position> {
        let (identity, destination) = (*directory.identity(), self.destination);
        claim::write(destination, identity.node_id)?;
        let catalog = Catalog::read(destination)?;
        check_timeline(destination, &catalog, identity.timeline)?;
        let key = Key::Identity(identity.timeline);
        self.put_same(key, identity.to_text().into_bytes())?;
        if !Lineage::read(&self.data_dir)?.0.is_empty() {
            let path = self.data_dir.join(LINEAGE_FILE);
            let bytes = std::fs::read(&path).map_err(|source| file_error("reading", &path, source))?;
            self.put_same(Key::Lineage(identity.timeline), bytes)?;
        }
        let objects = catalog.of(identity.timeline);
        let config = objects.and_then(|objects| objects.configs.last());
        let config =
            config.map(|&version| Ok((version, shipped_config::read(destination, identity.timeline, version)?)));
        let newest = objects.map(|objects| newest_piece(destination, identity.node_id, objects)).transpose()?.flatten();
        Ok(Position {
            identity,
            shipped: newest.map(|header| header.after),
            newest: newest.as_ref().map_or(key, piece_key),
            time_ns: newest.map_or(0, |header| header.time_last),
            snapshot: objects.and_then(|objects| objects.snapshots.last()).map(|snapshot| snapshot.seq),
            damaged: BTreeSet::new(),
            // A damaged one is replaced by the next version.
            config: config
                .transpose()
                .or_else(|error: BackupError| if error.is_damage() { Ok(None) } else { Err(error) })?,
            quarantined: objects.and_then(TimelineObjects::quarantined).unwrap_or(0),
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

    /// Stores the configuration where it differs from the newest one in the backup.
    fn ship_config(&self, position: &mut Position, round: &mut Round) -> Result<()> {
        let path = &self.config;
        let bytes = match std::fs::metadata(path) {
            Ok(found) if found.len() <= CONFIG_BYTES_MAX => {
                std::fs::read(path).map_err(|source| file_error("reading", path, source))?
            }
            // Neither is a reason not to ship the log.
            _ => return Ok(()),
        };
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        let sealed = shipped_config::seal(&text);
        let text = shipped_config::open(&sealed).expect("it was just sealed").to_owned();
        let mut version = match &position.config {
            Some((_, shipped)) if *shipped == text => return Ok(()),
            Some((version, _)) => version.saturating_add(1),
            None => 1,
        };
        let timeline = position.identity.timeline;
        // Another version of that name may be damaged, or another shipper's.
        while self.destination.put_new(Key::Config { timeline, version }, sealed.clone().into_bytes())?
            == PutOutcome::AlreadyThere
        {
            version = version.saturating_add(1);
        }
        round.config = true;
        position.config = Some((version, text));
        Ok(())
    }

    /// The place at which shipping continues: after the shipped end, or at the begin of the log if the node has
    /// truncated that.
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
                // Recorded in the backup too: a hole that is not recorded is damage.
                self.put_same(Key::Gap { timeline, seq_first, seq_last }, Vec::new())?;
                round.gap = Some((seq_first, seq_last));
            }
            None => {}
        }
        // A log that does not begin with the first command cannot be restored without a snapshot.
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
        tail_policy: TailPolicy,
        position: &mut Position,
        round: &mut Round,
    ) -> Result<()> {
        let until = self.durable_until(inspection, tail_policy)?;
        let mut walk = inspection.frames(begin)?;
        let mut packing = Packing::new(self.destination, position, begin);
        while let Some((frame, _)) = walk.next_frame()?.filter(|(frame, _)| frame.seq_last() <= until) {
            packing.push(&frame, position, round)?;
        }
        packing.finish(position, round)
    }

    /// The last sequence that no power cut can take back. Of the last frames only a later frame or the node's mark says
    /// so; where neither comes, because the node is idle or gone, the frames are synced here.
    fn durable_until(&mut self, inspection: &Inspection<'_>, tail_policy: TailPolicy) -> Result<Lsn> {
        let (durable, tail) = (inspection.seq_durable()?, inspection.tail());
        if durable == tail.seq {
            self.unsettled_tail = None;
            return Ok(durable);
        }
        if tail_policy == TailPolicy::SyncNow || self.unsettled_tail == Some(tail) {
            inspection.sync()?;
            self.unsettled_tail = None;
            return Ok(tail.seq);
        }
        self.unsettled_tail = Some(tail);
        Ok(durable)
    }

    fn put_same(&self, key: Key, bytes: Vec<u8>) -> Result<()> {
        let outcome = self.destination.put_new(key, bytes.clone())?;
        if outcome == PutOutcome::AlreadyThere && self.destination.get(key)? != bytes {
            return Err(BackupError::Differs { object: self.destination.name_of(key) });
        }
        Ok(())
    }

    /// Ships the oldest intact snapshot from which a log that begins after `base` continues. It alone precedes its log:
    /// nothing in the backup leads there, and no state before it can ever be restored.
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
            // With this one alone the backup would have a state without the log before it. A later round ships it.
            let is_ahead = position.shipped.is_none_or(|shipped| shipped.seq < file.seq);
            if is_ahead.planted(Mutation::SnapshotAheadOfLog, |_| false) {
                continue;
            }
            if self.ship_snapshot(&file, position, round)? {
                position.snapshot = Some(file.seq);
                break;
            }
        }
        Ok(())
    }

    /// Stores an intact snapshot; false for one that is damaged, or that the node has deleted meanwhile.
    fn ship_snapshot(&self, file: &SnapshotFile, position: &mut Position, round: &mut Round) -> Result<bool> {
        if position.damaged.contains(&file.seq) {
            return Ok(false);
        }
        match SnapshotReader::open(&file.path).and_then(SnapshotReader::prove) {
            Ok(_) => {}
            Err(WalError::Damaged { damage: Damage::FileMissing, .. }) => return Ok(false),
            Err(WalError::Damaged { .. }) => {
                position.damaged.insert(file.seq);
                round.damaged_snapshots.push(file.path.clone());
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        let key = Key::Snapshot { timeline: file.timeline, seq: file.seq };
        match self.destination.put_file(key, &file.path) {
            Ok(PutOutcome::Stored) => {
                round.snapshots.push(file.seq);
                round.bytes += file.bytes;
                Ok(true)
            }
            Ok(PutOutcome::AlreadyThere) => Ok(true),
            Err(BackupError::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The snapshots of the directory's own timeline, oldest first.
fn own_snapshots(directory: &Directory) -> Result<Vec<SnapshotFile>> {
    let timeline = directory.identity().timeline;
    let files = snapshot::list(&directory.snapshots_dir())?;
    Ok(files.into_iter().filter(|file| file.timeline == timeline).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::store_address::OpenMode;
    use crate::terminal::interrupt::Interrupt;
    use wal::identity::{FORMAT_NEWEST, Identity};
    use wal::segment::Geometry;
    use wal::units::{NodeId, Timeline};

    #[test]
    fn a_snapshot_that_the_node_deletes_is_no_damage() {
        let dir = tempfile::tempdir().expect("a directory");
        let to = dir.path().join("backup");
        let to = to.to_str().expect("text");
        let destination = Destination::open(to, None, OpenMode::OrCreate, Interrupt::never()).expect("made");
        let geometry = Geometry { segment_count: 4, segment_bytes: 16 << 20 };
        let identity = Identity {
            format: FORMAT_NEWEST,
            node_id: NodeId([7; 16]),
            timeline: Timeline(1),
            seq_base: Lsn(0),
            geometry,
        };
        let (mut round, damaged) = (Round::default(), BTreeSet::new());
        let newest = Key::Identity(Timeline(1));
        let mut position = Position {
            identity,
            shipped: None,
            newest,
            time_ns: 0,
            snapshot: None,
            damaged,
            config: None,
            quarantined: 0,
        };
        let path = dir.path().join("0000000001-00000000000000000009.snap");
        let file = SnapshotFile { path, timeline: Timeline(1), seq: Lsn(9), bytes: 1 };
        let shipper = Shipper::new(dir.path(), &destination);
        assert!(!shipper.ship_snapshot(&file, &mut position, &mut round).expect("deleted"));
        assert!(round == Round::default() && position.damaged.is_empty(), "{round:?}");
        // A damaged file is reported, once.
        std::fs::write(&file.path, "no snapshot").expect("ours");
        for reported in [1, 1] {
            assert!(!shipper.ship_snapshot(&file, &mut position, &mut round).expect("skipped"));
            assert_eq!(round.damaged_snapshots.len(), reported);
        }
    }
}
