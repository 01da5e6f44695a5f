//! Whether a node's log continues what a backup has: the checks before anything is shipped.

use super::catalog::{Catalog, TimelineObjects};
use super::destination::Destination;
use super::error::{BackupError, Result};
use super::proof::read_piece_header;
use wal::piece::PieceHeader;
use wal::recover::Inspection;
use wal::units::{NodeId, Tail, Timeline};
use wal::walk::Start;

/// Fails where a restore has superseded the timeline.
pub fn check_timeline(destination: &Destination, catalog: &Catalog, have: Timeline) -> Result<()> {
    match catalog.newest().map(|newest| newest.timeline) {
        Some(found) if have < found => Err(BackupError::NewerTimeline { place: destination.to_string(), have, found }),
        _ => Ok(()),
    }
}

/// The header of the newest piece of a timeline.
pub fn newest_piece(
    destination: &Destination,
    node_id: NodeId,
    objects: &TimelineObjects,
) -> Result<Option<PieceHeader>> {
    let newest = objects.newest_piece();
    newest.map(|piece| read_piece_header(destination, node_id, objects.timeline, &piece)).transpose()
}

/// Fails unless the log has the very frame that ends the backup.
pub fn check_continues(destination: &Destination, inspection: &Inspection<'_>, shipped: Tail) -> Result<()> {
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
