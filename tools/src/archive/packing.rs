//! Packs consecutive frames into pieces, and stores each piece when it is full.

use super::destination::Destination;
use super::error::{BackupError, Result};
use super::key::Key;
use super::put_outcome::PutOutcome;
use super::round::{Position, Round};
use crate::terminal::clock::unix_ns;
use std::path::Path;
use wal::frame::Frame;
use wal::identity::Identity;
use wal::piece::{Piece, PieceBuilder, PieceHeader};
use wal::units::{Lsn, Tail};

/// Bytes of frames in one piece: few enough that a failed upload costs little, enough that a long log takes few pieces.
const PIECE_RAW_BYTES: usize = 8 << 20;
const _: () = assert!(PIECE_RAW_BYTES <= wal::piece::PIECE_RAW_BYTES_MAX);

pub(super) struct Packing<'d> {
    destination: &'d Destination,
    identity: Identity,
    piece: PieceBuilder,
    /// The time of the last command pushed.
    time_ns: u64,
    /// The time of the first command of this round.
    time_oldest_ns: Option<u64>,
}

impl<'d> Packing<'d> {
    /// The first frame has to follow `begin`.
    pub(super) fn new(destination: &'d Destination, position: &Position, begin: Tail) -> Self {
        let identity = position.identity;
        let piece = PieceBuilder::new(identity.node_id, identity.timeline, begin);
        Self { destination, identity, piece, time_ns: position.time_ns, time_oldest_ns: None }
    }

    /// Adds a frame. A piece that is full is stored.
    pub(super) fn push(&mut self, frame: &Frame<'_>, position: &mut Position, round: &mut Round) -> Result<()> {
        if !self.piece.is_empty() && PIECE_RAW_BYTES < self.piece.raw_bytes() + frame.bytes().len() {
            self.store(position, round)?;
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

    /// Stores the rest, and notes in `round` how long its oldest command waited.
    pub(super) fn finish(mut self, position: &mut Position, round: &mut Round) -> Result<()> {
        if !self.piece.is_empty() {
            self.store(position, round)?;
        }
        let waited_ns = self.time_oldest_ns.map_or(0, |oldest| unix_ns().saturating_sub(oldest));
        round.lag_ms = round.lag_ms.max(waited_ns / 1_000_000);
        Ok(())
    }

    fn store(&mut self, position: &mut Position, round: &mut Round) -> Result<()> {
        let next = PieceBuilder::new(self.identity.node_id, self.identity.timeline, self.piece.after());
        let (header, bytes) = std::mem::replace(&mut self.piece, next).seal()?;
        let (timeline, seq_first, seq_last) = (header.timeline, header.seq_first(), header.seq_last());
        let key = Key::Piece { timeline, seq_first, seq_last };
        let bytes_count = bytes.len() as u64;
        if self.destination.put_new(key, bytes)? == PutOutcome::AlreadyThere {
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

    /// A piece of that name exists after an upload whose answer was lost. Another release may pack the same frames into
    /// other bytes, so the headers are compared and not the bytes.
    fn check_same_piece(&self, key: Key, header: &PieceHeader) -> Result<()> {
        let (object, bytes) = (self.destination.name_of(key), self.destination.get(key)?);
        let found = Piece::open(Path::new(&object), &bytes)
            .map_err(|cause| BackupError::Object { object: object.clone(), cause })?;
        if found.header() == header { Ok(()) } else { Err(BackupError::Differs { object }) }
    }
}

/// The times of a frame's first and last command. A command that cannot be decoded, as a quarantined one may be, has
/// the time of the command before it.
fn times_of(frame: &Frame<'_>, before_ns: u64) -> (u64, u64) {
    let time = |record: Option<(Lsn, &[u8])>| Some(book::codec::decode(record?.1).ok()?.ts.0);
    let first_ns = time(frame.records().next()).unwrap_or(before_ns);
    (first_ns, time(frame.records().last()).unwrap_or(first_ns))
}
