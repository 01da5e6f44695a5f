//! Follows the head of a running node frame by frame, from a known frame on: a backup polls for new frames often, and
//! must not read all segments for it.
//!
//! Invariant: a frame is accepted only at a place where the next one can be, and only if its link follows the last one,
//! so blocks of an earlier use are never mistaken for new frames. A follower with a lag of a full ring finds nothing
//! any more; its caller opens the log again.

use zerocopy::IntoBytes;

use crate::block::{BLOCK_BYTES, Block, blocks, padded};
use crate::directory::Directory;
use crate::error::Result;
use crate::frame::{FRAME_BYTES_MAX, Frame, FrameHeader};
use crate::medium::Access;
use crate::segment::{SEGMENT_DATA_OFFSET, Segments};
use crate::units::{Lsn, Place, Tail, Timeline};

pub struct Follower {
    segments: Segments,
    timeline: Timeline,
    /// Where the next frame is, unless it did not fit there.
    place: Place,
    tail: Tail,
    /// Holds one frame.
    buffer: Box<[Block]>,
}

impl Follower {
    pub(crate) fn new(directory: &Directory, place: Place, tail: Tail) -> Result<Self> {
        let segments = directory.segments(Access::Read)?;
        Ok(Self { segments, timeline: directory.identity().timeline, place, tail, buffer: blocks(FRAME_BYTES_MAX) })
    }

    /// The end of the last frame returned.
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// The next frame, if it is intact and ends at or before `until`; `None` where it is not written yet.
    pub fn next_frame(&mut self, until: Lsn) -> Result<Option<Frame<'_>>> {
        let geometry = self.segments.geometry();
        let following = Place { segment: geometry.next(self.place.segment), offset: SEGMENT_DATA_OFFSET };
        for place in [self.place, following] {
            let Some(frame_bytes) = self.read(place, until)? else { continue };
            let frame = Frame::proved_before(&self.buffer.as_bytes()[..frame_bytes]);
            assert!(frame.seq_first() == self.tail.seq.next() && frame.seq_last() <= until, "frames come without gaps");
            self.tail = frame.tail();
            self.place = place.advance(padded(frame_bytes));
            assert!(geometry.holds(self.place, 0), "a frame ends in its segment");
            return Ok(Some(frame));
        }
        Ok(None)
    }

    /// Reads the frame at `place` and returns its length, if it is the next one.
    fn read(&mut self, place: Place, until: Lsn) -> Result<Option<usize>> {
        let room = (self.segments.geometry().segment_bytes - place.offset).min(FRAME_BYTES_MAX as u64) as usize;
        if room == 0 {
            return Ok(None);
        }
        let bytes = &mut self.buffer.as_mut_bytes()[..room];
        // Most frames are a block or two long, so the first block is read alone, and then what it announces.
        let (first, rest) = bytes.split_at_mut(BLOCK_BYTES);
        self.segments.read(place, first)?;
        let announced = FrameHeader::peek(first).and_then(FrameHeader::frame_bytes).filter(|bytes| *bytes <= room);
        let Some(announced) = announced else { return Ok(None) };
        if BLOCK_BYTES < announced {
            self.segments.read(place.advance(BLOCK_BYTES), &mut rest[..announced - BLOCK_BYTES])?;
        }
        // Partly written, or of an earlier use: in both cases the next frame is not written yet.
        let Ok(frame) = Frame::decode(&bytes[..announced]) else { return Ok(None) };
        let is_next = frame.follows(self.tail) && frame.timeline() == self.timeline && frame.seq_last() <= until;
        Ok(is_next.then_some(frame.bytes().len()))
    }
}
