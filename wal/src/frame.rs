//! The group-commit unit: one header and the records that became durable together.
//!
//! ```text
//! 0       4    6    8       12      16          24          32      36      40             72
//! | magic |ver |hdr |timelin|records| seq_first |seq_durable|payload| crc   | chain_prev   | payload ...
//!                                                           payload = records x ( u32 bytes | bytes ) , zeros to 4096
//! ```
//!
//! Invariants: record `i` has sequence `seq_first + i`; `seq_durable < seq_first`; the crc covers header (its own field as
//! zero) and payload; the chain covers the same bytes with the crc in place; padding belongs to neither.

use thiserror::Error;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::{BLOCK_BYTES, SECTOR_BYTES};
use crate::units::{ChainHash, Lsn, Tail, Timeline};

pub const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"WFRM");
pub const FRAME_VERSION: u16 = 1;

/// Header, records and padding of the largest frame. Bounds every buffer and the reach of one torn write.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// The largest record. A caller with more to say splits it.
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
    /// The writer's contiguous durable watermark when it closed this frame: what a reader may hold missing frames against.
    pub seq_durable: U64,
    pub payload_bytes: U32,
    pub crc32c: U32,
    pub chain_prev: [u8; 32],
}

const CRC_OFFSET: usize = std::mem::offset_of!(FrameHeader, crc32c);

const _: () = assert!(FRAME_HEADER_BYTES == 72 && FRAME_HEADER_BYTES.is_multiple_of(8));
// A torn write must not mix an old header with a new one.
const _: () = assert!(FRAME_HEADER_BYTES <= SECTOR_BYTES);
const _: () = assert!(FRAME_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(FRAME_HEADER_BYTES + RECORD_HEADER_BYTES + RECORD_BYTES_MAX <= FRAME_BYTES_MAX);

impl FrameHeader {
    /// The header at the start of `bytes`, unverified; `None` where there is none.
    pub fn peek(bytes: &[u8]) -> Option<&FrameHeader> {
        let (header, _) = FrameHeader::ref_from_prefix(bytes).ok()?;
        (header.magic.get() == FRAME_MAGIC).then_some(header)
    }

    /// Header and payload, without padding, as far as an unverified header can be believed.
    pub fn frame_bytes(&self) -> Option<usize> {
        let bytes = FRAME_HEADER_BYTES + self.payload_bytes.get() as usize;
        (bytes <= FRAME_BYTES_MAX).then_some(bytes)
    }
}

/// Why bytes are not a frame. In order of precedence: the first that holds is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameFault {
    #[error("no frame magic")]
    MagicMissing,
    #[error("fewer bytes than the header announces")]
    BytesMissing,
    #[error("a length beyond its limit")]
    LimitExceeded,
    #[error("checksum differs")]
    ChecksumDiffers,
    #[error("format version {0} is not known")]
    VersionUnknown(u16),
    #[error("header contradicts itself")]
    HeaderInconsistent,
    #[error("record table does not fill the payload")]
    RecordsInconsistent,
}

/// A frame whose checksum, limits and record table have been proved. Borrowed: reading copies nothing.
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

    /// The frame that [`Frame::decode`] has found these very bytes to be: proving is most of what a walk costs, and a
    /// caller that has to let go of a frame in between does it once.
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

    /// The end that this frame makes.
    pub fn tail(&self) -> Tail {
        Tail { seq: self.seq_last(), chain: self.hash() }
    }

    /// True where this frame is the very next one after `tail`.
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

/// What a frame says about itself beside its records.
#[derive(Clone, Copy, Debug)]
pub struct FrameSpec {
    pub timeline: Timeline,
    pub seq_first: Lsn,
    pub seq_durable: Lsn,
    pub record_count: u32,
    pub chain_prev: ChainHash,
}

/// Room for one record at `at`: its length goes in front, `encode` fills at most `record_bytes_max` bytes and says how many.
/// Returns where the next record goes.
pub fn put_record(
    buffer: &mut [u8],
    at: usize,
    record_bytes_max: usize,
    encode: impl FnOnce(&mut [u8]) -> usize,
) -> usize {
    assert!(FRAME_HEADER_BYTES <= at && record_bytes_max <= RECORD_BYTES_MAX);
    let start = at + RECORD_HEADER_BYTES;
    let record_bytes = encode(&mut buffer[start..start + record_bytes_max]);
    assert!(record_bytes <= record_bytes_max, "an encoder stays inside the room it was given");
    buffer[at..start].copy_from_slice(&(record_bytes as u32).to_le_bytes());
    start + record_bytes
}

/// Turns `buffer[..frame_bytes]`, whose payload is in place, into a frame: header, checksum, zeroed padding to the end of
/// its last block. The link for the next frame is the hash of `buffer[..frame_bytes]` from then on.
pub fn seal(buffer: &mut [u8], frame_bytes: usize, spec: FrameSpec) {
    assert!(FRAME_HEADER_BYTES < frame_bytes && frame_bytes <= buffer.len() && frame_bytes <= FRAME_BYTES_MAX);
    assert!(spec.seq_durable < spec.seq_first && 1 <= spec.record_count && spec.record_count <= RECORDS_MAX);
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
    // A buffer is used again and again: what an earlier, longer frame left behind must not reach the disk as padding.
    let padded_end = crate::block::padded(frame_bytes).min(buffer.len());
    buffer[frame_bytes..padded_end].fill(0);
}

/// crc32c over the frame with its crc field read as zero.
fn checksum(frame: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&frame[..CRC_OFFSET]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &frame[CRC_OFFSET + 4..])
}
