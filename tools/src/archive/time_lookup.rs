//! Finds the sequence up to which a backup has to be fetched for the state at a time, from the headers of a few
//! objects.
//!
//! ```text
//!  origin or snapshot | piece | piece | piece | .. gap .. | snapshot | piece | piece
//!                                 ^ a time: everything to the end of its piece
//!                                                  ^ a time within a gap is refused
//! ```

use super::anonymous_file::AnonymousFile;
use super::catalog::{Catalog, PieceObject, RestorableRange, TimelineObjects};
use super::destination::Destination;
use super::error::{BackupError, Result};
use super::key::Key;
use super::proof::{check_state, read_piece_header};
use crate::terminal::time_text;
use wal::snapshot::{HEADER_BYTES, SnapshotReader};
use wal::units::{Lsn, NodeId};

/// A sequence at or after the last command at or before `time_ns`, within the same range of restorable states.
pub fn sequence_at_time(destination: &Destination, time_ns: u64) -> Result<Lsn> {
    let (catalog, place) = (Catalog::read(destination)?, destination.to_string());
    let mut later = None;
    for objects in catalog.timelines.iter().rev() {
        for range in objects.restorable().into_iter().rev() {
            let times = RangeTimes::new(destination, catalog.node_id, objects, range);
            if times.first_ns()? <= time_ns {
                return times.sequence_at(time_ns, later);
            }
            later = Some(range.first);
        }
    }
    let first = later.ok_or_else(|| catalog.outside(&place, Lsn(1)))?;
    Err(BackupError::BeforeFirstState { place, time: time_text::show(time_ns), first })
}

/// The times of a range of restorable states, read from the headers of its objects.
struct RangeTimes<'r> {
    destination: &'r Destination,
    node_id: NodeId,
    objects: &'r TimelineObjects,
    range: RestorableRange,
    /// `None`: the range starts at the origin.
    snapshot: Option<Lsn>,
    pieces: Vec<PieceObject>,
}

impl<'r> RangeTimes<'r> {
    fn new(
        destination: &'r Destination,
        node_id: NodeId,
        objects: &'r TimelineObjects,
        range: RestorableRange,
    ) -> Self {
        let of_origin = range.first == Lsn(1) && objects.pieces.first().is_some_and(|piece| piece.seq_first == Lsn(1));
        let snapshot = (!of_origin).then_some(range.first);
        let pieces = objects.pieces_after(snapshot.unwrap_or(Lsn::ZERO)).collect();
        Self { destination, node_id, objects, range, snapshot, pieces }
    }

    /// The time of the oldest state; where the range starts at the origin, that of the first command.
    fn first_ns(&self) -> Result<u64> {
        let Some(seq) = self.snapshot else { return Ok(self.piece_times(0)?.0) };
        let (timeline, key) = (self.objects.timeline, Key::Snapshot { timeline: self.objects.timeline, seq });
        let object = self.destination.name_of(key);
        let file = AnonymousFile::holding(&self.destination.get_start(key, HEADER_BYTES)?)?;
        let reader = SnapshotReader::open(&file.path());
        let reader = reader.map_err(|cause| BackupError::Object { object: object.clone(), cause })?;
        check_state(&object, self.node_id, (timeline, seq), reader.header())?;
        Ok(reader.header().time)
    }

    /// The times of the first and last command of a piece.
    fn piece_times(&self, idx: usize) -> Result<(u64, u64)> {
        let header = read_piece_header(self.destination, self.node_id, self.objects.timeline, &self.pieces[idx])?;
        Ok((header.time_first, header.time_last))
    }

    /// The end of the last piece that begins at or before `time_ns`. `later` is where the next range starts.
    fn sequence_at(&self, time_ns: u64, later: Option<Lsn>) -> Result<Lsn> {
        let (mut begun, mut not_yet) = (0, self.pieces.len());
        while begun < not_yet {
            let middle = begun.midpoint(not_yet);
            if self.piece_times(middle)?.0 <= time_ns { begun = middle + 1 } else { not_yet = middle }
        }
        if begun == self.pieces.len() {
            let last_ns = if begun == 0 { self.first_ns()? } else { self.piece_times(begun - 1)?.1 };
            self.check_before_gap(last_ns, time_ns, later)?;
        }
        Ok(begun.checked_sub(1).map_or(self.range.first, |idx| self.pieces[idx].seq_last))
    }

    /// Fails for a time after the range's last command, of `last_ns`, where commands before the next range were never
    /// shipped.
    fn check_before_gap(&self, last_ns: u64, time_ns: u64, later: Option<Lsn>) -> Result<()> {
        match later {
            Some(next) if last_ns < time_ns => {
                let (place, time, last) = (self.destination.to_string(), time_text::show(time_ns), self.range.last);
                Err(BackupError::TimeInGap { place, time, last, next })
            }
            _ => Ok(()),
        }
    }
}
