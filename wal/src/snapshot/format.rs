//! The bytes of a snapshot file: its header, the header of each piece, its end.
//!
//! Invariant: every byte of the file is covered by a checksum: of the header, of a piece, and by the end's over all
//! before.

use crate::units::{ChainHash, Lsn, NodeId, Tail, Timeline};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const SNAPSHOT_MAGIC: u32 = u32::from_le_bytes(*b"WSNP");
pub const SNAPSHOT_VERSION_OLDEST: u16 = 1;
/// Version 2 differs in what the caller puts into its pieces, and in nothing of this crate.
pub const SNAPSHOT_VERSION_NEWEST: u16 = 2;

/// The largest piece before compression.
pub const SNAPSHOT_PIECE_BYTES_MAX: usize = (2 << 20) + SNAPSHOT_PREFIX_BYTES_MAX;
/// Room in a piece for what a caller puts before it.
pub const SNAPSHOT_PREFIX_BYTES_MAX: usize = 64;
const _: () = assert!(SNAPSHOT_PIECE_BYTES_MAX <= u32::MAX as usize);

/// Bytes for the name of the build that wrote a file.
pub const BUILD_BYTES: usize = 64;

/// The piece with this tag is the end. All other tags are the caller's.
pub(super) const TAG_END: u8 = 0;

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The version of the file, which is that of the caller's pieces.
    pub version: u16,
    pub node_id: NodeId,
    pub timeline: Timeline,
    /// The last record that the state includes, and the link that the next frame must carry.
    pub tail: Tail,
    /// Time of that record, in the caller's units.
    pub time: u64,
    /// Bytes of all frames up to there, since the log began.
    pub log_bytes: u64,
    /// The caller's hash of the state.
    pub state_hash: [u8; 32],
    /// The build that wrote the file, cut to `BUILD_BYTES`. For people; no code depends on it.
    pub build: String,
}

/// The first bytes of a file, as they lie on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct HeaderBytes {
    pub(super) magic: U32,
    pub(super) version: U16,
    pub(super) header_bytes: U16,
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
    pub(super) crc32c: U32,
}

/// Length of the header, which alone shows what a snapshot is of.
pub const HEADER_BYTES: usize = size_of::<HeaderBytes>();
const HEADER_CRC_OFFSET: usize = std::mem::offset_of!(HeaderBytes, crc32c);
const _: () = assert!(HEADER_BYTES == 192 && HEADER_CRC_OFFSET + 4 == HEADER_BYTES);

impl HeaderBytes {
    pub(super) fn of(header: &SnapshotHeader) -> Self {
        let mut build = [0; BUILD_BYTES];
        let name = &header.build.as_bytes()[..header.build.floor_char_boundary(BUILD_BYTES)];
        build[..name.len()].copy_from_slice(name);
        let mut bytes = Self {
            magic: SNAPSHOT_MAGIC.into(),
            version: header.version.into(),
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
        let read = bytes.header();
        assert!((read.tail, read.timeline, read.node_id) == (header.tail, header.timeline, header.node_id));
        assert!(header.build.starts_with(&read.build), "a build's name is cut, never changed");
        bytes
    }

    pub(super) fn checksum(&self) -> u32 {
        crc32c::crc32c(&self.as_bytes()[..HEADER_CRC_OFFSET])
    }

    pub(super) fn header(&self) -> SnapshotHeader {
        let build_len = self.build.iter().position(|&b| b == 0).unwrap_or(BUILD_BYTES);
        SnapshotHeader {
            version: self.version.get(),
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
pub(super) enum Coding {
    /// Unchanged: compression would not have made it shorter.
    Plain = 0,
    Zstd = 1,
}

/// The bytes before each piece.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct PieceHeader {
    pub(super) tag: u8,
    pub(super) coding: u8,
    zero: U16,
    pub(super) raw_bytes: U32,
    pub(super) stored_bytes: U32,
    /// Over the fields before it and the stored bytes.
    pub(super) crc32c: U32,
}

pub(super) const PIECE_HEADER_BYTES: usize = size_of::<PieceHeader>();
const PIECE_CRC_OFFSET: usize = std::mem::offset_of!(PieceHeader, crc32c);
const _: () = assert!(PIECE_HEADER_BYTES == 16 && PIECE_CRC_OFFSET + 4 == PIECE_HEADER_BYTES);

impl PieceHeader {
    pub(super) fn sealed(tag: u8, coding: Coding, raw_bytes: usize, stored: &[u8]) -> Self {
        assert!(stored.len() <= raw_bytes, "a piece that compression makes longer is stored plain");
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

    pub(super) fn checksum(&self, stored: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.as_bytes()[..PIECE_CRC_OFFSET]), stored)
    }
}

/// The contents of the piece that ends the file.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct EndBytes {
    pub(super) piece_count: U64,
    /// Over all bytes of the file before the end's own header.
    pub(super) blake3: [u8; 32],
}

pub(super) const END_BYTES: usize = size_of::<EndBytes>();
const _: () = assert!(END_BYTES == 40 && END_BYTES <= SNAPSHOT_PIECE_BYTES_MAX);
