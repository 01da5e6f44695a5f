//! `pinion backup verify`: reads everything, proves every object, and applies the log from each beginning to its end.
//!
//! ```text
//!  origin or snapshot --apply frames--> snapshot: link and state hash must agree --apply--> .. --> end
//! ```
//! A snapshot that the log leads to is held against the state that the log makes, so both are proved by each other.
//! Damage ends neither the walk nor the listing of what else is damaged: the walk goes on with the next snapshot.

use crate::archive::catalog::{Catalog, Kept, KeptPiece};
use crate::archive::destination::Destination;
use crate::archive::error::{BackupError, Result};
use crate::archive::fetch::{check_state, damaged, piece_key, read_lineage, read_piece, read_quarantine};
use crate::archive::key::Key;
use crate::terminal::progress::Progress;
use book::engine::{Capacity, Engine};
use book::event::NoSink;
use node::replica::{LoadError, Replica, apply_record};
use std::path::Path;
use wal::frame::Frame;
use wal::identity::Identity;
use wal::quarantine::Quarantine;
use wal::snapshot::{SnapshotHeader, SnapshotReader};
use wal::units::{ChainHash, Lsn, NodeId, Tail};

/// What a verification found.
#[derive(Debug, Default)]
pub struct Verified {
    pub snapshots: u64,
    pub pieces: u64,
    pub bytes: u64,
    /// Commands applied.
    pub commands: u64,
    /// Snapshots whose state the log made too.
    pub snapshots_met: u64,
    /// Each with the object it is about; empty for a backup that is whole.
    pub damage: Vec<BackupError>,
}

/// Reads and proves all of a backup. Only a destination that cannot be read ends it early.
pub fn verify(destination: &Destination) -> Result<Verified> {
    let catalog = Catalog::read(destination)?;
    let objects = catalog.timelines.iter().map(|kept| kept.snapshots.len() + kept.pieces.len()).sum();
    let mut verified = Verified::default();
    let mut progress = Progress::new("verifying", objects);
    for kept in &catalog.timelines {
        let place = || format!("{destination}, timeline {}", kept.timeline);
        let holes = kept.missing().into_iter();
        let holes = holes.map(|(first, last)| BackupError::MissingPieces { place: place(), first, last });
        let orphans = kept.unreachable().into_iter();
        let orphans = orphans.map(|(first, last)| BackupError::MissingSnapshot { place: place(), first, last });
        verified.damage.extend(holes.chain(orphans));
        let (node_id, quarantine) = (catalog.node_id, Quarantine::default());
        let walk = Walk { destination, node_id, kept, quarantine, state: None, next_snapshot: 0 };
        walk.run(&mut verified, &mut progress)?;
    }
    // Nothing is wrong with it, and nothing can be restored from it: an upload that never came is no whole backup.
    if verified.damage.is_empty() && catalog.newest_point().is_none() {
        return Err(catalog.outside(&destination.to_string(), Lsn(1)));
    }
    Ok(verified)
}

/// A walk over one timeline.
struct Walk<'w> {
    destination: &'w Destination,
    node_id: NodeId,
    kept: &'w Kept,
    quarantine: Quarantine,
    /// The state that the log made so far, and the link it stands at; none before a beginning and behind damage.
    state: Option<State>,
    /// Of the kept ones, oldest first.
    next_snapshot: usize,
}

struct State {
    /// None while there is only the log: its links are proved all the same.
    engine: Option<Engine>,
    tail: Tail,
}

impl Walk<'_> {
    fn run(mut self, verified: &mut Verified, progress: &mut Progress) -> Result<()> {
        self.note(verified, |walk, _| walk.identity())?;
        // Only the newest counts, which comes last.
        for &entry_count in &self.kept.quarantines {
            self.note(verified, |walk, _| walk.read_quarantine(entry_count))?;
        }
        if self.kept.lineage {
            self.note(verified, |walk, _| read_lineage(walk.destination, walk.kept.timeline).map(|_| ()))?;
        }
        for idx in 0..self.kept.pieces.len() {
            let piece = self.kept.pieces[idx];
            if !self.note(verified, |walk, verified| walk.piece(piece, verified))? {
                self.state = None;
            }
            verified.pieces += 1;
            verified.bytes += piece.bytes;
            progress.at((verified.pieces + verified.snapshots) as usize);
        }
        // Those that the log did not come to: ahead of it, or behind a gap.
        while self.next_snapshot < self.kept.snapshots.len() {
            self.note(verified, |walk, verified| walk.snapshot(verified).map(|_| ()))?;
        }
        Ok(())
    }

    /// Keeps damage and goes on; false when there was some.
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
        let key = Key::Identity(self.kept.timeline);
        let object = self.destination.name_of(key);
        let text = self.destination.find(key)?.and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or_else(|| damaged(&object, "missing, or not text"))?;
        let identity = Identity::parse(Path::new(&object), &text)?;
        if (identity.node_id, identity.timeline) != (self.node_id, self.kept.timeline) {
            return Err(damaged(&object, "it is another node's, or of another timeline"));
        }
        Ok(())
    }

    fn read_quarantine(&mut self, entry_count: u32) -> Result<()> {
        self.quarantine = read_quarantine(self.destination, self.kept.timeline, entry_count)?;
        Ok(())
    }

    fn piece(&mut self, kept: KeptPiece, verified: &mut Verified) -> Result<()> {
        let piece = read_piece(self.destination, self.node_id, self.kept.timeline, &kept)?;
        let object = self.destination.name_of(piece_key(piece.header()));
        self.meet_before(piece.header().before, verified)?;
        for frame in piece.frames() {
            self.frame(&frame, &object, verified)?;
        }
        Ok(())
    }

    /// Stands at the beginning of a piece: behind a gap, or where the log begins, the walk begins too.
    fn meet_before(&mut self, before: Tail, verified: &mut Verified) -> Result<()> {
        if self.state.as_ref().is_some_and(|state| before.seq <= state.tail.seq) {
            return Ok(());
        }
        let genesis = Tail { seq: Lsn::ZERO, chain: ChainHash::genesis(self.node_id, self.kept.timeline) };
        let engine = (before == genesis).then(|| Engine::new(Capacity::default()));
        self.state = Some(State { engine, tail: before });
        self.meet_snapshots(verified)
    }

    fn frame(&mut self, frame: &Frame<'_>, object: &str, verified: &mut Verified) -> Result<()> {
        let state = self.state.as_mut().expect("a piece begins with a state");
        if frame.seq_last() <= state.tail.seq {
            return Ok(());
        }
        if !frame.follows(state.tail) {
            return Err(damaged(object, "its frames do not follow those before (chain differs)"));
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
        self.meet_snapshots(verified)
    }

    /// Holds the snapshots up to here against what the log made.
    fn meet_snapshots(&mut self, verified: &mut Verified) -> Result<()> {
        let Some(tail) = self.state.as_ref().map(|state| state.tail) else { return Ok(()) };
        while let Some(kept) = self.kept.snapshots.get(self.next_snapshot).filter(|kept| kept.seq <= tail.seq) {
            let (seq, object) = (kept.seq, self.snapshot_name(kept.seq));
            let loaded = match self.snapshot(verified) {
                Ok(loaded) => loaded,
                // The log is not to blame, and leads on.
                Err(error) if error.is_damage() => {
                    verified.damage.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let state = self.state.as_mut().expect("looked at above");
            if seq != tail.seq {
                continue;
            }
            let (replica, header) = loaded;
            if header.tail != tail {
                return Err(damaged(&object, "the log before it has another chain"));
            }
            match &state.engine {
                Some(engine) if engine.state_hash().0 != header.state_hash => {
                    let said = book::state_hash::StateHash(header.state_hash).to_string();
                    return Err(BackupError::HashDiffers { object, said, found: engine.state_hash().to_string() });
                }
                Some(_) => verified.snapshots_met += 1,
                None => state.engine = Some(replica.engine),
            }
        }
        Ok(())
    }

    /// Proves and loads the next snapshot.
    fn snapshot(&mut self, verified: &mut Verified) -> Result<(Replica, SnapshotHeader)> {
        let kept = self.kept.snapshots[self.next_snapshot];
        self.next_snapshot += 1;
        verified.snapshots += 1;
        verified.bytes += kept.bytes;
        let object = self.snapshot_name(kept.seq);
        let file = self.destination.get_unnamed(Key::Snapshot { timeline: self.kept.timeline, seq: kept.seq })?;
        let loaded = SnapshotReader::open(&file.path())
            .map_err(LoadError::from)
            .and_then(|reader| Replica::load(reader, object.clone().into(), Engine::new(Capacity::default())));
        let (replica, header) = loaded.map_err(|cause| BackupError::Load { object: object.clone(), cause })?;
        check_state(&object, self.node_id, (self.kept.timeline, kept.seq), &header)?;
        Ok((replica, header))
    }

    fn snapshot_name(&self, seq: Lsn) -> String {
        self.destination.name_of(Key::Snapshot { timeline: self.kept.timeline, seq })
    }
}
