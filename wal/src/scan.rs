//! Finds every frame in the head's files that is newer than the store's last, and every block that begins like one.
//!
//! The segments are reused, so blocks of older uses lie between the newest frames. The scan trusts no position: it
//! tries to decode a frame at every block. Invariants: it only reads; it skips what is stored already.

use zerocopy::IntoBytes;

use crate::block::{BLOCK_BYTES, Block, blocks, padded};
use crate::error::{Result, WalError};
use crate::frame::{FRAME_VERSION, Frame, FrameFault, FrameHeader};
use crate::segment::{SEGMENT_DATA_OFFSET, Segments};
use crate::units::{ChainHash, Lsn, Place, SegmentIdx, Tail, Timeline};

/// A proved frame and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePlace {
    pub place: Place,
    pub frame_bytes: usize,
    pub seq_first: Lsn,
    pub seq_last: Lsn,
    pub seq_durable: Lsn,
    pub chain_prev: ChainHash,
    pub hash: ChainHash,
}

impl FramePlace {
    /// The place of the next frame, if that one fitted into the same segment.
    pub fn place_after(&self) -> Place {
        self.place.advance(padded(self.frame_bytes))
    }

    /// The places of the blocks that it occupies.
    pub fn blocks(&self) -> impl Iterator<Item = Place> + use<> {
        let (place, block_count) = (self.place, padded(self.frame_bytes) / BLOCK_BYTES);
        (0..block_count).map(move |idx| place.advance(idx * BLOCK_BYTES))
    }

    pub fn tail(&self) -> Tail {
        Tail { seq: self.seq_last, chain: self.hash }
    }
}

/// A block that begins with a frame's magic and is not an intact frame: torn or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    pub place: Place,
    /// From its header, which is not proved.
    pub seq_first: Lsn,
    pub fault: FrameFault,
}

/// What the head holds after the store's last sequence. Bounded by the number of blocks in the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeadScan {
    /// Sorted by `seq_first`, then by place.
    pub frames: Vec<FramePlace>,
    pub suspects: Vec<Suspect>,
    /// The head's own copy of the store's last frame, if it has not been overwritten.
    pub stored: Option<FramePlace>,
}

/// Reads all segments and keeps what is of `timeline` and newer than `seq_stored`.
pub fn scan(segments: &Segments, timeline: Timeline, seq_stored: Lsn) -> Result<HeadScan> {
    let mut found = HeadScan::default();
    // A buffer of one segment is enough, because a frame never straddles two.
    let mut buffer = blocks(segments.geometry().segment_bytes as usize);
    for ordinal in 0..segments.geometry().segment_count {
        scan_segment(segments, SegmentIdx(ordinal), &mut buffer, (timeline, seq_stored), &mut found)?;
    }
    found.frames.sort_unstable_by_key(|frame| (frame.seq_first, frame.place));
    found.suspects.sort_unstable_by_key(|suspect| (suspect.seq_first, suspect.place));
    assert!(found.frames.iter().all(|frame| frame.seq_last > seq_stored), "what is stored already is skipped");
    Ok(found)
}

fn scan_segment(
    segments: &Segments,
    segment: SegmentIdx,
    buffer: &mut [Block],
    (timeline, seq_stored): (Timeline, Lsn),
    found: &mut HeadScan,
) -> Result<()> {
    let bytes = buffer.as_mut_bytes();
    segments.read(Place { segment, offset: 0 }, bytes)?;
    let mut offset = SEGMENT_DATA_OFFSET as usize;
    while offset < bytes.len() {
        let place = Place { segment, offset: offset as u64 };
        match Frame::decode(&bytes[offset..]) {
            Ok(frame) => {
                check_timeline(segments, place, &frame, timeline)?;
                if frame.timeline() == timeline && frame.seq_last() > seq_stored {
                    found.frames.push(frame_place(place, &frame));
                } else if frame.timeline() == timeline && frame.seq_last() == seq_stored {
                    found.stored = Some(frame_place(place, &frame));
                }
                // No newer frame lies inside a proved one: writing it would have broken the checksum.
                offset += padded(frame.bytes().len());
                continue;
            }
            // Its checksum holds, so a newer build wrote this version.
            Err(FrameFault::VersionUnknown(version)) => {
                let (found, known) = (u32::from(version), u32::from(FRAME_VERSION));
                return Err(WalError::UnknownFormat { path: segments.path(segment), found, known });
            }
            Err(fault) => found.suspects.extend(suspect(&bytes[offset..], place, fault, (timeline, seq_stored))),
        }
        offset += BLOCK_BYTES;
    }
    Ok(())
}

fn check_timeline(segments: &Segments, place: Place, frame: &Frame<'_>, timeline: Timeline) -> Result<()> {
    if frame.timeline() <= timeline {
        return Ok(());
    }
    Err(WalError::TimelineDiffers { path: segments.path(place.segment), have: timeline, found: frame.timeline() })
}

fn frame_place(place: Place, frame: &Frame<'_>) -> FramePlace {
    assert!(place.is_aligned(), "the scan looks at blocks");
    FramePlace {
        place,
        frame_bytes: frame.bytes().len(),
        seq_first: frame.seq_first(),
        seq_last: frame.seq_last(),
        seq_durable: frame.seq_durable(),
        chain_prev: frame.chain_prev(),
        hash: frame.hash(),
    }
}

fn suspect(bytes: &[u8], place: Place, fault: FrameFault, newer_than: (Timeline, Lsn)) -> Option<Suspect> {
    let header = FrameHeader::peek(bytes)?;
    let (timeline, seq_stored) = newer_than;
    let seq_first = Lsn(header.seq_first.get());
    let newer = header.timeline.get() == timeline.0 && seq_first > seq_stored;
    newer.then_some(Suspect { place, seq_first, fault })
}
