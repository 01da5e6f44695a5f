//! The group-commit unit: one header and the records that are written and synced together.
//!
//! ```text
//! 0       4    6    8       12      16          24          32      36      40             72
//! | magic |ver |hdr |timelin|records| seq_first |seq_durable|payload| crc   | chain_prev   | payload ...
//!                                                           payload = records x ( u32 bytes | bytes ) , zeros to 4096
//! ```
//!
//! Invariants: record `i` has sequence `seq_first + i`; `seq_durable < seq_first`; the crc covers header (its own field
//! as zero) and payload; the chain hash covers the same bytes with the crc in place; neither covers the padding.

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::{BLOCK_BYTES, SECTOR_BYTES, padded};
use crate::units::{ChainHash, Lsn, Tail, Timeline};

pub const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"WFRM");
pub const FRAME_VERSION: u16 = 1;

/// Header, records and padding of the largest frame. Bounds every buffer, and how many bytes one torn write can affect.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// The largest record. A caller splits what is larger.
pub const RECORD_BYTES_MAX: usize = 64 << 10;

/// Records in one frame. At the limit the frame is closed and the next one takes the record.
pub const RECORDS_MAX: u32 = 1 << 16;

pub const FRAME_HEADER_BYTES: usize = size_of::<FrameHeader>();
pub const RECORD_HEADER_BYTES: usize = size_of::<U32>();

/// The first bytes of a frame, as they lie on disk. Written by [`seal`] alone.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct FrameHeader {
    pub magic: U32,
    pub version: U16,
    pub header_bytes: U16,
    pub timeline: U32,
    pub record_count: U32,
    pub seq_first: U64,
    /// The last sequence that the writer knew to be durable when it closed this frame. It attests every frame up to
    /// there: one that is missing was lost, not torn.
    pub seq_durable: U64,
    pub payload_bytes: U32,
    pub crc32c: U32,
    pub chain_prev: [u8; 32],
}

const CRC_OFFSET: usize = std::mem::offset_of!(FrameHeader, crc32c);

const _: () = assert!(FRAME_HEADER_BYTES == 72 && FRAME_HEADER_BYTES.is_multiple_of(8));
// A torn write must not mix an old header with a new one.
const _: () = assert!(FRAME_HEADER_BYTES <= SECTOR_BYTES);
const _: () = assert!(FRAME_BYTES_MAX.is_multiple_of(BLOCK_BYTES) && FRAME_BYTES_MAX <= u32::MAX as usize);
const _: () = assert!(FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + RECORD_BYTES_MAX <= FRAME_BYTES_MAX);
// The limit on records is one that a frame of empty records can reach.
const _: () = assert!(FRAME_HEADER_BYTES + RECORDS_MAX as usize * RECORD_HEADER_BYTES <= FRAME_BYTES_MAX);

impl FrameHeader {
    /// The header at the start of `bytes`, not verified; `None` where the bytes do not begin with the magic.
    pub fn peek(bytes: &[u8]) -> Option<&FrameHeader> {
        let (header, _) = FrameHeader::ref_from_prefix(bytes).ok()?;
        (header.magic.get() == FRAME_MAGIC).then_some(header)
    }

    /// Header and payload, without padding, as this header has it; `None` where that is above the limit. The header may
    /// be damaged: only [`Frame::decode`] proves the length.
    pub fn frame_bytes(&self) -> Option<usize> {
        let bytes = FRAME_HEADER_BYTES + self.payload_bytes.get() as usize;
        (bytes <= FRAME_BYTES_MAX).then_some(bytes)
    }
}

/// Why bytes are not a frame. The variants are in order of precedence: the first that holds is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameFault {
    #[error("the bytes do not begin with the magic of a frame")]
    MagicMissing,
    #[error("fewer bytes than the header announces")]
    BytesMissing,
    #[error("the header announces more than {FRAME_BYTES_MAX} bytes")]
    LimitExceeded,
    #[error("checksum differs")]
    ChecksumDiffers,
    #[error("format version {0} is not known")]
    VersionUnknown(u16),
    #[error("the fields of the header contradict each other")]
    HeaderInconsistent,
    #[error("the lengths of the records do not add up to the payload")]
    RecordsInconsistent,
}

/// A frame whose checksum, limits and record lengths have been proved. It borrows its bytes, so reading copies nothing.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    header: &'a FrameHeader,
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Proves the frame at the start of `bytes`; what follows it (padding) is ignored.
    pub fn decode(bytes: &'a [u8]) -> Result<Frame<'a>, FrameFault> {
        let header = FrameHeader::peek(bytes).ok_or(FrameFault::MagicMissing)?;
        let frame_bytes = header.frame_bytes().ok_or(FrameFault::LimitExceeded)?;
        let bytes = bytes.get(..frame_bytes).ok_or(FrameFault::BytesMissing)?;
        if checksum(bytes) != header.crc32c.get() {
            return Err(FrameFault::ChecksumDiffers);
        }
        if header.version.get() != FRAME_VERSION {
            return Err(FrameFault::VersionUnknown(header.version.get()));
        }
        let frame = Frame { header, bytes };
        if !frame.header_consistent() {
            return Err(FrameFault::HeaderInconsistent);
        }
        if !frame.records_consistent() {
            return Err(FrameFault::RecordsInconsistent);
        }
        Ok(frame)
    }

    /// The frame in bytes that [`Frame::decode`] has accepted already: decoding is most of what a walk costs, and a
    /// caller that cannot hold the borrow in between need not pay for it twice.
    pub(crate) fn proved_before(bytes: &'a [u8]) -> Frame<'a> {
        let header = FrameHeader::peek(bytes).expect("a proved frame begins with a header");
        assert!(header.frame_bytes() == Some(bytes.len()), "a proved frame ends where its header says");
        debug_assert!(Frame::decode(bytes).is_ok());
        Frame { header, bytes }
    }

    pub fn timeline(&self) -> Timeline {
        Timeline(self.header.timeline.get())
    }

    pub fn seq_first(&self) -> Lsn {
        Lsn(self.header.seq_first.get())
    }

    pub fn seq_last(&self) -> Lsn {
        self.seq_first().advance(u64::from(self.record_count()) - 1)
    }

    pub fn seq_durable(&self) -> Lsn {
        Lsn(self.header.seq_durable.get())
    }

    pub fn record_count(&self) -> u32 {
        self.header.record_count.get()
    }

    pub fn chain_prev(&self) -> ChainHash {
        ChainHash(self.header.chain_prev)
    }

    /// Header and payload, without padding: what RocksDB keeps and what the chain covers.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The link that the next frame must carry.
    pub fn hash(&self) -> ChainHash {
        ChainHash::of(self.bytes)
    }

    /// The log's end after this frame.
    pub fn tail(&self) -> Tail {
        Tail { seq: self.seq_last(), chain: self.hash() }
    }

    /// Whether this frame is the next one after `tail`, by its sequence and by its link.
    pub fn follows(&self, tail: Tail) -> bool {
        self.seq_first() == tail.seq.next() && self.chain_prev() == tail.chain
    }

    /// The records in order, each with its sequence.
    pub fn records(&self) -> Records<'a> {
        Records { seq_next: self.seq_first(), rest: &self.bytes[FRAME_HEADER_BYTES..] }
    }

    fn header_consistent(&self) -> bool {
        let header = self.header;
        let seq_first = header.seq_first.get();
        header.header_bytes.get() as usize == FRAME_HEADER_BYTES
            && (1..=RECORDS_MAX).contains(&header.record_count.get())
            && header.seq_durable.get() < seq_first
            && seq_first.checked_add(u64::from(header.record_count.get())).is_some()
    }

    fn records_consistent(&self) -> bool {
        let mut records = self.records();
        let limited = (0..self.record_count())
            .all(|_| records.next_record().is_some_and(|(_, record)| record.len() <= RECORD_BYTES_MAX));
        limited && records.rest.is_empty()
    }
}

/// A walk over a proved frame's records.
#[derive(Clone)]
pub struct Records<'a> {
    seq_next: Lsn,
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    fn next_record(&mut self) -> Option<(Lsn, &'a [u8])> {
        let (record_bytes, rest) = U32::read_from_prefix(self.rest).ok()?;
        let (record, rest) = rest.split_at_checked(record_bytes.get() as usize)?;
        self.rest = rest;
        let seq = self.seq_next;
        self.seq_next = seq.next();
        Some((seq, record))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (Lsn, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record()
    }
}

/// The fields of a frame's header that its writer chooses.
#[derive(Clone, Copy, Debug)]
pub struct FrameSpec {
    pub timeline: Timeline,
    pub seq_first: Lsn,
    pub seq_durable: Lsn,
    pub record_count: u32,
    pub chain_prev: ChainHash,
}

/// Writes one record at `at`: its length, then its bytes. `encode` fills at most `record_bytes_max` bytes and returns
/// how many. Returns where the next record goes.
pub fn put_record(
    buffer: &mut [u8],
    at: usize,
    record_bytes_max: usize,
    encode: impl FnOnce(&mut [u8]) -> usize,
) -> usize {
    assert!(FRAME_HEADER_BYTES <= at && record_bytes_max <= RECORD_BYTES_MAX, "a record lies in the payload");
    let start = at + RECORD_HEADER_BYTES;
    let record_bytes = encode(&mut buffer[start..start + record_bytes_max]);
    assert!(record_bytes <= record_bytes_max, "an encoder stays inside the room it was given");
    buffer[at..start].copy_from_slice(&(record_bytes as u32).to_le_bytes());
    let end = start + record_bytes;
    assert!(at + RECORD_HEADER_BYTES <= end && end <= FRAME_BYTES_MAX, "a record ends in its frame");
    end
}

/// Makes a frame of `buffer[..frame_bytes]`, whose payload is in place: writes header and checksum, and zeros up to the
/// end of its last block. After that, the link that the next frame carries is the hash of `buffer[..frame_bytes]`.
pub fn seal(buffer: &mut [u8], frame_bytes: usize, spec: FrameSpec) {
    assert!(FRAME_HEADER_BYTES < frame_bytes && frame_bytes <= buffer.len() && frame_bytes <= FRAME_BYTES_MAX);
    assert!(1 <= spec.record_count && spec.record_count <= RECORDS_MAX);
    assert!(spec.seq_durable < spec.seq_first, "a frame is closed before it is durable");
    let header = FrameHeader {
        magic: FRAME_MAGIC.into(),
        version: FRAME_VERSION.into(),
        header_bytes: (FRAME_HEADER_BYTES as u16).into(),
        timeline: spec.timeline.0.into(),
        record_count: spec.record_count.into(),
        seq_first: spec.seq_first.0.into(),
        seq_durable: spec.seq_durable.0.into(),
        payload_bytes: ((frame_bytes - FRAME_HEADER_BYTES) as u32).into(),
        crc32c: 0.into(),
        chain_prev: spec.chain_prev.0,
    };
    buffer[..FRAME_HEADER_BYTES].copy_from_slice(header.as_bytes());
    let crc = crc32c::crc32c(&buffer[..frame_bytes]);
    buffer[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&crc.to_le_bytes());
    // Buffers are reused: the end of an earlier, longer frame must not reach the disk as padding.
    let padded_end = padded(frame_bytes).min(buffer.len());
    buffer[frame_bytes..padded_end].fill(0);
}

/// crc32c over the frame with its crc field read as zero.
fn checksum(frame: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&frame[..CRC_OFFSET]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &frame[CRC_OFFSET + 4..])
}
