//! `pinion backup verify`: reads and proves every object, and applies the log from each start to its end.
//!
//! ```text
//!  origin or snapshot --apply frames--> snapshot: link and state hash must agree --apply--> .. --> end
//! ```
//! A snapshot that the log leads to is compared with the state that the log gives, so each proves the other. Damage
//! does not end the walk: it goes on with the next snapshot, and all damage is reported.

use crate::archive::again::again_where_pruned;
use crate::archive::catalog::{Catalog, PieceObject, TimelineObjects};
use crate::archive::destination::Destination;
use crate::archive::error::{BackupError, Result, damaged};
use crate::archive::key::Key;
use crate::archive::proof::{check_state, piece_key, read_identity, read_lineage, read_piece, read_quarantine};
use crate::archive::shipped_config;
use crate::terminal::progress::Progress;
use book::engine::{Capacity, Engine};
use book::event::NoSink;
use node::replica::{LoadError, Replica, apply_record};
use wal::frame::Frame;
use wal::quarantine::Quarantine;
use wal::snapshot::{SnapshotHeader, SnapshotReader};
use wal::units::{ChainHash, Lsn, NodeId, Tail};

/// The result of a verification.
#[derive(Debug, Default)]
pub struct Verified {
    pub snapshots: u64,
    pub pieces: u64,
    pub bytes: u64,
    /// Commands applied.
    pub commands: u64,
    /// Snapshots that were compared with the state that the log gives.
    pub snapshots_compared: u64,
    /// Sequences that were never shipped: first and last of each gap.
    pub gaps: Vec<(Lsn, Lsn)>,
    /// Snapshots that no log leads to, and from which none leads on.
    pub lone_snapshots: Vec<Lsn>,
    /// Each names its object; empty where every object is intact.
    pub damage: Vec<BackupError>,
}

/// Reads and proves every object of a backup. Only a destination that cannot be read ends it early. Where objects
/// vanish because `pinion backup prune` runs meanwhile, what it left is verified from the beginning.
pub fn verify(destination: &Destination) -> Result<Verified> {
    again_where_pruned(destination, || verify_once(destination))
}

fn verify_once(destination: &Destination) -> Result<Verified> {
    let catalog = Catalog::read(destination)?;
    let count = catalog.timelines.iter().map(|objects| objects.snapshots.len() + objects.pieces.len()).sum();
    let mut verified = Verified::default();
    let mut progress = Progress::new("verifying", count);
    for objects in &catalog.timelines {
        let place = || format!("{destination}, timeline {}", objects.timeline);
        let holes = objects.missing_ranges().into_iter();
        let holes = holes.map(|(first, last)| BackupError::MissingPieces { place: place(), first, last });
        let orphans = objects.ranges_without_start().into_iter();
        let orphans = orphans.map(|(first, last)| BackupError::MissingSnapshot { place: place(), first, last });
        verified.damage.extend(holes.chain(orphans));
        verified.gaps.extend(&objects.gaps);
        verified.lone_snapshots.extend(objects.lone_snapshots());
        let (node_id, quarantine) = (catalog.node_id, Quarantine::default());
        let walk = Walk { destination, node_id, objects, quarantine, state: None, next_snapshot: 0 };
        walk.run(&mut verified, &mut progress)?;
    }
    // A backup of intact objects from which nothing can be restored must not pass: its uploads were never made.
    if verified.damage.is_empty() && catalog.newest_restorable().is_none() {
        return Err(catalog.outside(&destination.to_string(), Lsn(1)));
    }
    Ok(verified)
}

/// A walk over one timeline.
struct Walk<'w> {
    destination: &'w Destination,
    node_id: NodeId,
    objects: &'w TimelineObjects,
    quarantine: Quarantine,
    /// The state that the log gives so far, and its link; none before a start point and after damage.
    state: Option<State>,
    /// The index of the next snapshot, oldest first.
    next_snapshot: usize,
}

struct State {
    /// None where no state leads into the log; its links are proved all the same.
    engine: Option<Engine>,
    tail: Tail,
}

impl Walk<'_> {
    fn run(mut self, verified: &mut Verified, progress: &mut Progress) -> Result<()> {
        self.note(verified, |walk, _| walk.identity())?;
        // The newest list counts, and comes last.
        for &entry_count in &self.objects.quarantines {
            self.note(verified, |walk, _| walk.read_quarantine(entry_count))?;
        }
        for &version in &self.objects.configs {
            let timeline = self.objects.timeline;
            self.note(verified, |walk, _| shipped_config::read(walk.destination, timeline, version).map(|_| ()))?;
        }
        if self.objects.lineage {
            self.note(verified, |walk, _| read_lineage(walk.destination, walk.objects.timeline).map(|_| ()))?;
        }
        for idx in 0..self.objects.pieces.len() {
            let piece = self.objects.pieces[idx];
            if !self.note(verified, |walk, verified| walk.piece(piece, verified))? {
                self.state = None;
            }
            verified.pieces += 1;
            verified.bytes += piece.bytes;
            progress.at((verified.pieces + verified.snapshots) as usize);
        }
        // Snapshots that the log did not lead to, because they are after its end or after a gap.
        while self.next_snapshot < self.objects.snapshots.len() {
            self.note(verified, |walk, verified| walk.snapshot(verified).map(|_| ()))?;
        }
        Ok(())
    }

    /// Runs a step, and notes damage instead of failing; false where there was damage.
    fn note(
        &mut self,
        verified: &mut Verified,
        step: impl FnOnce(&mut Self, &mut Verified) -> Result<()>,
    ) -> Result<bool> {
        if self.destination.interrupt().is_set() {
            return Err(BackupError::Interrupted);
        }
        match step(self, verified) {
            Ok(()) => Ok(true),
            Err(error) if error.is_damage() => {
                verified.damage.push(error);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn identity(&self) -> Result<()> {
        read_identity(self.destination, self.node_id, self.objects.timeline).map(|_| ())
    }

    fn read_quarantine(&mut self, entry_count: u32) -> Result<()> {
        self.quarantine = read_quarantine(self.destination, self.objects.timeline, entry_count)?;
        Ok(())
    }

    fn piece(&mut self, listed: PieceObject, verified: &mut Verified) -> Result<()> {
        let piece = read_piece(self.destination, self.node_id, self.objects.timeline, &listed)?;
        let object = self.destination.name_of(piece_key(piece.header()));
        self.begin_piece(piece.header().before, verified)?;
        for frame in piece.frames() {
            self.frame(&frame, &object, verified)?;
        }
        Ok(())
    }

    /// Prepares for a piece that follows `before`: after a gap, and where the log begins, the walk begins again.
    fn begin_piece(&mut self, before: Tail, verified: &mut Verified) -> Result<()> {
        if self.state.as_ref().is_some_and(|state| before.seq <= state.tail.seq) {
            return Ok(());
        }
        let genesis = Tail { seq: Lsn::ZERO, chain: ChainHash::genesis(self.node_id, self.objects.timeline) };
        let engine = (before == genesis).then(|| Engine::new(Capacity::default()));
        self.state = Some(State { engine, tail: before });
        self.compare_snapshots(verified)
    }

    fn frame(&mut self, frame: &Frame<'_>, object: &str, verified: &mut Verified) -> Result<()> {
        let state = self.state.as_mut().expect("`begin_piece` sets it");
        if frame.seq_last() <= state.tail.seq {
            return Ok(());
        }
        if !frame.follows(state.tail) {
            return Err(damaged(object, "its first frame does not follow the frame before it (the chain differs)"));
        }
        if let Some(engine) = &mut state.engine {
            for (seq, record) in frame.records() {
                let applied = apply_record(engine, &self.quarantine, book::units::Seq(seq.0), record, &mut NoSink);
                let parted = applied.and_then(|_| engine.divergence().map_or(Ok(()), |parted| Err(parted.into())));
                parted.map_err(|cause| BackupError::Record { object: object.to_owned(), cause })?;
                verified.commands += 1;
            }
        }
        state.tail = frame.tail();
        self.compare_snapshots(verified)
    }

    /// Compares the snapshots up to here with the state that the log gives.
    fn compare_snapshots(&mut self, verified: &mut Verified) -> Result<()> {
        let Some(tail) = self.state.as_ref().map(|state| state.tail) else { return Ok(()) };
        while let Some(listed) = self.objects.snapshots.get(self.next_snapshot).filter(|listed| listed.seq <= tail.seq)
        {
            let (seq, object) = (listed.seq, self.snapshot_name(listed.seq));
            let loaded = match self.snapshot(verified) {
                Ok(loaded) => loaded,
                // The log is intact, and leads on.
                Err(error) if error.is_damage() => {
                    verified.damage.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let state = self.state.as_mut().expect("it was some at the start of the function");
            if seq != tail.seq {
                continue;
            }
            let (replica, header) = loaded;
            if header.tail != tail {
                return Err(damaged(&object, "its chain differs from that of the log before it"));
            }
            match &state.engine {
                Some(engine) if engine.state_hash().0 != header.state_hash => {
                    let stated = book::state_hash::StateHash(header.state_hash).to_string();
                    return Err(BackupError::HashDiffers { object, stated, found: engine.state_hash().to_string() });
                }
                Some(_) => verified.snapshots_compared += 1,
                None => state.engine = Some(replica.engine),
            }
        }
        Ok(())
    }

    /// Proves and loads the next snapshot.
    fn snapshot(&mut self, verified: &mut Verified) -> Result<(Replica, SnapshotHeader)> {
        let listed = self.objects.snapshots[self.next_snapshot];
        self.next_snapshot += 1;
        verified.snapshots += 1;
        verified.bytes += listed.bytes;
        let object = self.snapshot_name(listed.seq);
        let file =
            self.destination.get_anonymous(Key::Snapshot { timeline: self.objects.timeline, seq: listed.seq })?;
        let loaded = SnapshotReader::open(&file.path())
            .map_err(LoadError::from)
            .and_then(|reader| Replica::load(reader, object.clone().into(), Engine::new(Capacity::default())));
        let (replica, header) = loaded.map_err(|cause| BackupError::Load { object: object.clone(), cause })?;
        check_state(&object, self.node_id, (self.objects.timeline, listed.seq), &header)?;
        Ok((replica, header))
    }

    fn snapshot_name(&self, seq: Lsn) -> String {
        self.destination.name_of(Key::Snapshot { timeline: self.objects.timeline, seq })
    }
}
