//! Pieces of a log, as a backup keeps it: consecutive frames in one object, with a header that seals them.
//!
//! ```text
//! 0                                                                              192
//! | magic ... node, first and last sequence, links, BLAKE3 of what follows, crc | zstd( frame | frame | ... ) |
//! ```
//! Invariants: a piece holds at least one frame; the first follows `before`, and each other the one before it; the
//! header agrees with the frames; bytes that are not exactly one piece are refused. Frames have no padding, as in the
//! store.

use std::path::Path;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::{Action, Damage, Result, WalError};
use crate::frame::{FRAME_BYTES_MAX, Frame};
use crate::units::{ChainHash, Lsn, NodeId, Tail, Timeline};

pub const PIECE_MAGIC: u32 = u32::from_le_bytes(*b"WPCE");
pub const PIECE_VERSION: u16 = 1;

/// Length of the header, which alone shows which part of the log a piece is.
pub const PIECE_HEADER_BYTES: usize = size_of::<PieceHeaderBytes>();

/// Frames of one piece, before compression. Bounds the memory that writing or reading a piece takes.
pub const PIECE_RAW_BYTES_MAX: usize = 32 << 20;
const _: () = assert!(FRAME_BYTES_MAX <= PIECE_RAW_BYTES_MAX);

/// Pieces are kept for months and sent over networks, so they are compressed harder than snapshots.
const ZSTD_LEVEL: i32 = 3;

/// Which part of which log a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceHeader {
    pub node_id: NodeId,
    pub timeline: Timeline,
    /// The tail that its first frame follows.
    pub before: Tail,
    /// The tail after its last frame.
    pub after: Tail,
    pub frame_count: u32,
    /// Times of its first and last record, in the caller's units.
    pub time_first: u64,
    pub time_last: u64,
    /// Bytes of its frames before compression.
    pub raw_bytes: u64,
}

impl PieceHeader {
    pub fn seq_first(&self) -> Lsn {
        self.before.seq.next()
    }

    pub fn seq_last(&self) -> Lsn {
        self.after.seq
    }
}

/// The first bytes, as they are stored.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct PieceHeaderBytes {
    magic: U32,
    version: U16,
    header_bytes: U16,
    timeline: U32,
    frame_count: U32,
    node_id: [u8; 16],
    seq_first: U64,
    seq_last: U64,
    time_first: U64,
    time_last: U64,
    raw_bytes: U64,
    stored_bytes: U64,
    chain_before: [u8; 32],
    chain_after: [u8; 32],
    /// Over the stored bytes after this header.
    blake3: [u8; 32],
    zero: [u8; 12],
    /// Over the fields before it.
    crc32c: U32,
}

const CRC_OFFSET: usize = std::mem::offset_of!(PieceHeaderBytes, crc32c);
const _: () = assert!(PIECE_HEADER_BYTES == 192 && CRC_OFFSET + 4 == PIECE_HEADER_BYTES);

impl PieceHeaderBytes {
    fn sealed(header: &PieceHeader, stored: &[u8]) -> Self {
        let mut bytes = Self {
            magic: PIECE_MAGIC.into(),
            version: PIECE_VERSION.into(),
            header_bytes: (PIECE_HEADER_BYTES as u16).into(),
            timeline: header.timeline.0.into(),
            frame_count: header.frame_count.into(),
            node_id: header.node_id.0,
            seq_first: header.seq_first().0.into(),
            seq_last: header.seq_last().0.into(),
            time_first: header.time_first.into(),
            time_last: header.time_last.into(),
            raw_bytes: header.raw_bytes.into(),
            stored_bytes: (stored.len() as u64).into(),
            chain_before: header.before.chain.0,
            chain_after: header.after.chain.0,
            blake3: *blake3::hash(stored).as_bytes(),
            zero: [0; 12],
            crc32c: 0.into(),
        };
        bytes.crc32c = bytes.checksum().into();
        assert!(bytes.header().as_ref() == Some(header), "what is written can be read");
        bytes
    }

    fn checksum(&self) -> u32 {
        crc32c::crc32c(&self.as_bytes()[..CRC_OFFSET])
    }

    /// The header in these bytes; `None` where they name sequence 0. Only `read` proves the checksum.
    fn header(&self) -> Option<PieceHeader> {
        let seq_before = Lsn(self.seq_first.get().checked_sub(1)?);
        Some(PieceHeader {
            node_id: NodeId(self.node_id),
            timeline: Timeline(self.timeline.get()),
            before: Tail { seq: seq_before, chain: ChainHash(self.chain_before) },
            after: Tail { seq: Lsn(self.seq_last.get()), chain: ChainHash(self.chain_after) },
            frame_count: self.frame_count.get(),
            time_first: self.time_first.get(),
            time_last: self.time_last.get(),
            raw_bytes: self.raw_bytes.get(),
        })
    }

    fn read(name: &Path, bytes: &[u8]) -> Result<Self> {
        let Ok((header, _)) = Self::read_from_prefix(bytes) else {
            return Err(malformed(name, "shorter than the header of a log piece"));
        };
        if header.magic.get() != PIECE_MAGIC {
            return Err(malformed(name, "the bytes do not begin with the magic of a log piece"));
        }
        if header.checksum() != header.crc32c.get() {
            return Err(damaged(name, Lsn::ZERO, Damage::Checksum));
        }
        if header.version.get() != PIECE_VERSION || usize::from(header.header_bytes.get()) != PIECE_HEADER_BYTES {
            let (found, known) = (u32::from(header.version.get()), u32::from(PIECE_VERSION));
            return Err(WalError::UnknownFormat { path: name.to_owned(), found, known });
        }
        Ok(header)
    }
}

/// Gathers consecutive frames for one piece.
pub struct PieceBuilder {
    node_id: NodeId,
    timeline: Timeline,
    before: Tail,
    after: Tail,
    frame_count: u32,
    times: Option<(u64, u64)>,
    raw: Vec<u8>,
}

impl PieceBuilder {
    /// Begins a piece whose first frame follows `before`.
    pub fn new(node_id: NodeId, timeline: Timeline, before: Tail) -> Self {
        Self { node_id, timeline, before, after: before, frame_count: 0, times: None, raw: Vec::new() }
    }

    /// Adds the next frame, whose first and last record have these times. A frame that would exceed
    /// `PIECE_RAW_BYTES_MAX` belongs to the next piece.
    pub fn push(&mut self, frame: &Frame<'_>, time_first: u64, time_last: u64) {
        assert!(frame.timeline() == self.timeline, "a piece is of one timeline");
        assert!(frame.follows(self.after), "frames come in order, without gaps");
        let raw_bytes = self.raw.len() + frame.bytes().len();
        assert!(raw_bytes <= PIECE_RAW_BYTES_MAX, "a piece is sealed before it is too large");
        self.raw.extend_from_slice(frame.bytes());
        self.after = frame.tail();
        self.frame_count += 1;
        self.times = Some((self.times.map_or(time_first, |(first, _)| first), time_last));
    }

    pub fn is_empty(&self) -> bool {
        self.frame_count == 0
    }

    pub fn raw_bytes(&self) -> usize {
        self.raw.len()
    }

    /// The tail after the last frame added.
    pub fn after(&self) -> Tail {
        self.after
    }

    /// The bytes of the piece, and their header.
    pub fn seal(self) -> Result<(PieceHeader, Vec<u8>)> {
        let (time_first, time_last) = self.times.expect("only a piece with a frame is sealed");
        assert!(self.before.seq < self.after.seq, "every frame has a record");
        let header = PieceHeader {
            node_id: self.node_id,
            timeline: self.timeline,
            before: self.before,
            after: self.after,
            frame_count: self.frame_count,
            time_first,
            time_last,
            raw_bytes: self.raw.len() as u64,
        };
        let stored = zstd::bulk::compress(&self.raw, ZSTD_LEVEL)
            .map_err(|source| WalError::io(Action::Create, Path::new("a piece"), 0, source))?;
        let mut bytes = PieceHeaderBytes::sealed(&header, &stored).as_bytes().to_vec();
        bytes.extend_from_slice(&stored);
        debug_assert!(Piece::open(Path::new("a piece"), &bytes).is_ok_and(|piece| piece.header == header));
        Ok((header, bytes))
    }
}

/// A piece of which every byte has been proved.
pub struct Piece {
    header: PieceHeader,
    raw: Vec<u8>,
}

impl Piece {
    /// Reads the header at the start of `bytes`, which its own checksum proves. `name` is for errors.
    pub fn peek(name: &Path, bytes: &[u8]) -> Result<PieceHeader> {
        let header = PieceHeaderBytes::read(name, bytes)?.header();
        header.ok_or_else(|| malformed(name, "its first sequence is 0"))
    }

    /// Proves every byte of a piece. `name` is for errors.
    pub fn open(name: &Path, bytes: &[u8]) -> Result<Self> {
        let header = Self::peek(name, bytes)?;
        let sealed = PieceHeaderBytes::read(name, bytes)?;
        let stored = &bytes[PIECE_HEADER_BYTES..];
        if stored.len() as u64 != sealed.stored_bytes.get() || header.raw_bytes > PIECE_RAW_BYTES_MAX as u64 {
            return Err(malformed(name, "its length differs from the one in its header"));
        }
        if *blake3::hash(stored).as_bytes() != sealed.blake3 {
            return Err(damaged(name, header.seq_first(), Damage::Checksum));
        }
        let raw = zstd::bulk::decompress(stored, header.raw_bytes as usize);
        let raw = raw.map_err(|_| malformed(name, "its frames cannot be decompressed to their length"))?;
        let piece = Self { header, raw };
        piece.prove(name)?;
        Ok(piece)
    }

    pub fn header(&self) -> &PieceHeader {
        &self.header
    }

    /// Its frames in order.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let mut rest = self.raw.as_slice();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let frame = Frame::decode(rest).expect("every frame was proved when the piece was opened");
            rest = &rest[frame.bytes().len()..];
            Some(frame)
        })
    }

    /// Proves the frames and their links, and that the header agrees with them.
    fn prove(&self, name: &Path) -> Result<()> {
        let (mut rest, mut tail, mut frame_count) = (self.raw.as_slice(), self.header.before, 0);
        while !rest.is_empty() {
            let seq = tail.seq.next();
            let frame = Frame::decode(rest).map_err(|fault| damaged(name, seq, Damage::Frame(fault)))?;
            if !frame.follows(tail) || frame.timeline() != self.header.timeline {
                return Err(damaged(name, seq, Damage::ChainBroken));
            }
            rest = &rest[frame.bytes().len()..];
            tail = frame.tail();
            frame_count += 1;
        }
        let agrees = frame_count != 0
            && frame_count == self.header.frame_count
            && tail == self.header.after
            && self.raw.len() as u64 == self.header.raw_bytes;
        if agrees { Ok(()) } else { Err(malformed(name, "its header does not agree with its frames")) }
    }
}

fn damaged(name: &Path, seq: Lsn, damage: Damage) -> WalError {
    WalError::damaged(name, 0, seq, damage)
}

fn malformed(name: &Path, what: &'static str) -> WalError {
    damaged(name, Lsn::ZERO, Damage::Malformed(what))
}
