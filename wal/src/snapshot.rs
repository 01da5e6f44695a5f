//! Snapshot files: a state as of one sequence, in opaque pieces, whole or not there.
//!
//! ```text
//! 0                      192    each piece                          the end
//! | magic ... build, crc | tag | coding | 0 | raw | stored | crc | bytes ... | tag 0 .. | pieces | BLAKE3 of all before |
//! ```
//!
//! Invariants: a file is written under another name, synced, renamed, and its directory synced, so its own name never
//! names half of one; each piece has a checksum of what is stored, and the end has one over everything, so a cut between
//! two pieces shows too. What a piece means is the caller's.

mod files;
mod read;
pub(crate) mod steps;
mod write;

pub use files::{SnapshotFile, list, list_on, remove, remove_on, sweep, sweep_on};
pub use read::SnapshotReader;
pub use write::SnapshotWriter;

use crate::units::{ChainHash, Lsn, NodeId, Tail, Timeline};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const SNAPSHOT_MAGIC: u32 = u32::from_le_bytes(*b"WSNP");
pub const SNAPSHOT_VERSION: u16 = 1;

/// The largest piece, as its caller gives it.
pub const SNAPSHOT_PIECE_BYTES_MAX: usize = 2 << 20;

/// Bytes for the name of the build that wrote a file.
pub const BUILD_BYTES: usize = 64;

/// A piece with this tag is the end; a caller's tags are the others.
const TAG_END: u8 = 0;

/// What a snapshot says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    pub node_id: NodeId,
    pub timeline: Timeline,
    /// The state after this record, and the link that the next frame must carry.
    pub tail: Tail,
    /// Time of that record, in the caller's own units.
    pub time: u64,
    /// Bytes of all frames up to there, since the log began.
    pub log_bytes: u64,
    /// The caller's proof of the state.
    pub state_hash: [u8; 32],
    /// The build that wrote it, cut to `BUILD_BYTES`. For people; nothing is decided by it.
    pub build: String,
}

/// The first bytes of a file, as they lie on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct HeaderBytes {
    magic: U32,
    version: U16,
    header_bytes: U16,
    timeline: U32,
    zero: U32,
    node_id: [u8; 16],
    seq: U64,
    time: U64,
    log_bytes: U64,
    chain: [u8; 32],
    state_hash: [u8; 32],
    build: [u8; BUILD_BYTES],
    zero_tail: U32,
    /// Over the fields before it.
    crc32c: U32,
}

/// Bytes of the header: enough to know what a snapshot is of without the rest of it.
pub const HEADER_BYTES: usize = size_of::<HeaderBytes>();
const HEADER_CRC_OFFSET: usize = std::mem::offset_of!(HeaderBytes, crc32c);
const _: () = assert!(HEADER_BYTES == 192 && HEADER_CRC_OFFSET + 4 == HEADER_BYTES);

impl HeaderBytes {
    fn of(header: &SnapshotHeader) -> Self {
        let mut build = [0; BUILD_BYTES];
        let name = &header.build.as_bytes()[..header.build.floor_char_boundary(BUILD_BYTES)];
        build[..name.len()].copy_from_slice(name);
        let mut bytes = Self {
            magic: SNAPSHOT_MAGIC.into(),
            version: SNAPSHOT_VERSION.into(),
            header_bytes: (HEADER_BYTES as u16).into(),
            timeline: header.timeline.0.into(),
            zero: 0.into(),
            node_id: header.node_id.0,
            seq: header.tail.seq.0.into(),
            time: header.time.into(),
            log_bytes: header.log_bytes.into(),
            chain: header.tail.chain.0,
            state_hash: header.state_hash,
            build,
            zero_tail: 0.into(),
            crc32c: 0.into(),
        };
        bytes.crc32c = bytes.checksum().into();
        bytes
    }

    fn checksum(&self) -> u32 {
        crc32c::crc32c(&self.as_bytes()[..HEADER_CRC_OFFSET])
    }

    fn header(&self) -> SnapshotHeader {
        let build_len = self.build.iter().position(|&b| b == 0).unwrap_or(BUILD_BYTES);
        SnapshotHeader {
            node_id: NodeId(self.node_id),
            timeline: Timeline(self.timeline.get()),
            tail: Tail { seq: Lsn(self.seq.get()), chain: ChainHash(self.chain) },
            time: self.time.get(),
            log_bytes: self.log_bytes.get(),
            state_hash: self.state_hash,
            build: String::from_utf8_lossy(&self.build[..build_len]).into_owned(),
        }
    }
}

/// How a piece is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Coding {
    /// As it is: compression would not have made it shorter.
    Plain = 0,
    Zstd = 1,
}

/// In front of each piece.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct PieceHeader {
    tag: u8,
    coding: u8,
    zero: U16,
    raw_bytes: U32,
    stored_bytes: U32,
    /// Over the fields before it and the stored bytes.
    crc32c: U32,
}

const PIECE_HEADER_BYTES: usize = size_of::<PieceHeader>();
const PIECE_CRC_OFFSET: usize = std::mem::offset_of!(PieceHeader, crc32c);
const _: () = assert!(PIECE_HEADER_BYTES == 16 && PIECE_CRC_OFFSET + 4 == PIECE_HEADER_BYTES);

impl PieceHeader {
    fn sealed(tag: u8, coding: Coding, raw_bytes: usize, stored: &[u8]) -> Self {
        let mut header = Self {
            tag,
            coding: coding as u8,
            zero: 0.into(),
            raw_bytes: (raw_bytes as u32).into(),
            stored_bytes: (stored.len() as u32).into(),
            crc32c: 0.into(),
        };
        header.crc32c = header.checksum(stored).into();
        header
    }

    fn checksum(&self, stored: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.as_bytes()[..PIECE_CRC_OFFSET]), stored)
    }
}

/// What the end piece holds.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct EndBytes {
    piece_count: U64,
    /// Over all bytes of the file before the end's own header.
    blake3: [u8; 32],
}

const END_BYTES: usize = size_of::<EndBytes>();
const _: () = assert!(END_BYTES == 40);
