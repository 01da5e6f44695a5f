//! How much of a backup has to be fetched for the state at a time: the headers of a few objects tell.
//!
//! ```text
//!  origin or snapshot | piece | piece | piece | .. gap .. | snapshot | piece | piece
//!                                 ^ a time: all to the end of its piece
//!                                                  ^ here nobody knows what was
//! ```

use super::catalog::{Catalog, Kept, KeptPiece, Points};
use super::destination::Destination;
use super::error::{BackupError, Result};
use super::fetch::{check_state, peek_piece};
use super::key::Key;
use super::unnamed::UnnamedFile;
use crate::terminal::time_text;
use wal::snapshot::{HEADER_BYTES, SnapshotReader};
use wal::units::{Lsn, NodeId};

/// A sequence at or behind the last command of `time_ns` or before, of the range of states which that one is in.
pub fn reach_at(destination: &Destination, time_ns: u64) -> Result<Lsn> {
    let (catalog, place) = (Catalog::read(destination)?, destination.to_string());
    let mut later = None;
    for kept in catalog.timelines.iter().rev() {
        for points in kept.points().into_iter().rev() {
            let range = Range::new(destination, catalog.node_id, kept, points);
            if range.begins_ns()? <= time_ns {
                return range.reach_at(time_ns, later);
            }
            later = Some(points.first);
        }
    }
    let first = later.ok_or_else(|| catalog.outside(&place, Lsn(1)))?;
    Err(BackupError::BeforeEverything { place, time: time_text::show(time_ns), first })
}

/// States that can be reached, and the pieces on the way.
struct Range<'r> {
    destination: &'r Destination,
    node_id: NodeId,
    kept: &'r Kept,
    points: Points,
    /// `None`: the origin.
    snapshot: Option<Lsn>,
    pieces: Vec<KeptPiece>,
}

impl<'r> Range<'r> {
    fn new(destination: &'r Destination, node_id: NodeId, kept: &'r Kept, points: Points) -> Self {
        let of_origin = points.first == Lsn(1) && kept.pieces.first().is_some_and(|piece| piece.seq_first == Lsn(1));
        let snapshot = (!of_origin).then_some(points.first);
        let pieces = kept.pieces_behind(snapshot.unwrap_or(Lsn::ZERO)).collect();
        Self { destination, node_id, kept, points, snapshot, pieces }
    }

    /// Time of its oldest state; that of the first command where it begins with the log.
    fn begins_ns(&self) -> Result<u64> {
        let Some(seq) = self.snapshot else { return Ok(self.times(0)?.0) };
        let (timeline, key) = (self.kept.timeline, Key::Snapshot { timeline: self.kept.timeline, seq });
        let object = self.destination.name_of(key);
        let file = UnnamedFile::holding(&self.destination.get_start(key, HEADER_BYTES)?)?;
        let reader = SnapshotReader::open(&file.path());
        let reader = reader.map_err(|cause| BackupError::Object { object: object.clone(), cause })?;
        check_state(&object, self.node_id, (timeline, seq), reader.header())?;
        Ok(reader.header().time)
    }

    /// Times of the first and last command of a piece.
    fn times(&self, idx: usize) -> Result<(u64, u64)> {
        let header = peek_piece(self.destination, self.node_id, self.kept.timeline, &self.pieces[idx])?;
        Ok((header.time_first, header.time_last))
    }

    /// To the end of the last piece that began by then. `later` is where the next range begins.
    fn reach_at(&self, time_ns: u64, later: Option<Lsn>) -> Result<Lsn> {
        let (mut begun, mut not_yet) = (0, self.pieces.len());
        while begun < not_yet {
            let middle = begun.midpoint(not_yet);
            if self.times(middle)?.0 <= time_ns { begun = middle + 1 } else { not_yet = middle }
        }
        if begun == self.pieces.len() {
            let known_ns = if begun == 0 { self.begins_ns()? } else { self.times(begun - 1)?.1 };
            self.check_known(known_ns, time_ns, later)?;
        }
        Ok(begun.checked_sub(1).map_or(self.points.first, |idx| self.pieces[idx].seq_last))
    }

    /// Behind its last command, of `known_ns`, and up to the next range there were commands that were never shipped.
    fn check_known(&self, known_ns: u64, time_ns: u64, later: Option<Lsn>) -> Result<()> {
        match later {
            Some(next) if known_ns < time_ns => {
                let (place, time, last) = (self.destination.to_string(), time_text::show(time_ns), self.points.last);
                Err(BackupError::TimeInGap { place, time, last, next })
            }
            _ => Ok(()),
        }
    }
}
