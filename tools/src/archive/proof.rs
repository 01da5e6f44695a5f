//! Reads single objects of a backup and proves them: each is intact, and has the contents that its name says.
//!
//! A complete object under the name of another would pass for a state or for frames that the backup does not have.

use super::catalog::PieceObject;
use super::destination::Destination;
use super::error::{BackupError, Result, damaged};
use super::key::Key;
use std::path::Path;
use wal::identity::Identity;
use wal::lineage::Lineage;
use wal::piece::{PIECE_HEADER_BYTES, Piece, PieceHeader};
use wal::quarantine::Quarantine;
use wal::snapshot::{SnapshotHeader, SnapshotReader};
use wal::units::{Lsn, NodeId, Timeline};

/// Reads a snapshot's file to its end. It must have the state that its name says.
pub fn prove_snapshot(file: &Path, object: &str, node_id: NodeId, named: (Timeline, Lsn)) -> Result<SnapshotHeader> {
    let proved = SnapshotReader::open(file).and_then(SnapshotReader::prove);
    let header = proved.map_err(|cause| BackupError::Object { object: object.to_owned(), cause })?;
    check_state(object, node_id, named, &header)?;
    Ok(header)
}

/// Fails unless a snapshot's header has the state that the object's name says.
pub fn check_state(object: &str, node_id: NodeId, named: (Timeline, Lsn), header: &SnapshotHeader) -> Result<()> {
    if header.node_id != node_id || (header.timeline, header.tail.seq) != named {
        return Err(damaged(object, "its header has another state than its name"));
    }
    Ok(())
}

/// Reads a piece. It must have the frames that its name says.
pub fn read_piece(
    destination: &Destination,
    node_id: NodeId,
    timeline: Timeline,
    listed: &PieceObject,
) -> Result<Piece> {
    let key = Key::Piece { timeline, seq_first: listed.seq_first, seq_last: listed.seq_last };
    let (object, bytes) = (destination.name_of(key), destination.get(key)?);
    let piece = Piece::open(Path::new(&object), &bytes);
    let piece = piece.map_err(|cause| BackupError::Object { object: object.clone(), cause })?;
    check_piece(&object, key, node_id, piece.header())?;
    Ok(piece)
}

/// Reads a piece's header alone, proved by the header's own checksum. It must have the frames that its name says.
pub fn read_piece_header(
    destination: &Destination,
    node_id: NodeId,
    timeline: Timeline,
    listed: &PieceObject,
) -> Result<PieceHeader> {
    let key = Key::Piece { timeline, seq_first: listed.seq_first, seq_last: listed.seq_last };
    let object = destination.name_of(key);
    // A store refuses to read past an object's end, which would look like a store that cannot be reached.
    if listed.bytes < PIECE_HEADER_BYTES as u64 {
        return Err(damaged(&object, "shorter than a header"));
    }
    let bytes = destination.get_start(key, PIECE_HEADER_BYTES)?;
    let header = Piece::peek(Path::new(&object), &bytes);
    let header = header.map_err(|cause| BackupError::Object { object: object.clone(), cause })?;
    check_piece(&object, key, node_id, &header)?;
    Ok(header)
}

/// The name of the piece that has this header.
pub fn piece_key(header: &PieceHeader) -> Key {
    Key::Piece { timeline: header.timeline, seq_first: header.seq_first(), seq_last: header.seq_last() }
}

fn check_piece(object: &str, key: Key, node_id: NodeId, header: &PieceHeader) -> Result<()> {
    if header.node_id != node_id || piece_key(header) != key {
        return Err(damaged(object, "its header has other frames than its name"));
    }
    Ok(())
}

/// Reads the identity of a timeline, without which nothing of it can be restored.
pub fn read_identity(destination: &Destination, node_id: NodeId, timeline: Timeline) -> Result<Identity> {
    let key = Key::Identity(timeline);
    let object = destination.name_of(key);
    let text = destination.find(key)?.ok_or_else(|| damaged(&object, "it is missing"))?;
    let text = String::from_utf8(text).map_err(|_| damaged(&object, "not text"))?;
    let identity = Identity::parse(Path::new(&object), &text)?;
    if (identity.node_id, identity.timeline) != (node_id, timeline) {
        return Err(damaged(&object, "it belongs to another node or timeline"));
    }
    Ok(identity)
}

pub fn read_lineage(destination: &Destination, timeline: Timeline) -> Result<Lineage> {
    let key = Key::Lineage(timeline);
    let parsed = Lineage::parse(&destination.get(key)?);
    parsed.ok_or_else(|| damaged(&destination.name_of(key), "not a valid list of ancestors"))
}

pub fn read_quarantine(destination: &Destination, timeline: Timeline, entry_count: u32) -> Result<Quarantine> {
    let key = Key::Quarantine { timeline, entry_count };
    let bytes = destination.get(key)?;
    let parsed = std::str::from_utf8(&bytes).ok().and_then(Quarantine::parse);
    parsed.ok_or_else(|| damaged(&destination.name_of(key), "not a valid list of quarantined commands"))
}
