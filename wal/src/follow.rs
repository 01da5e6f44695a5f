//! Follows the head from a frame that is known, frame by frame, without looking at the rest of it: for a reader beside a
//! running node who wants what is new, often, and must not read the whole head for it.
//!
//! Invariant: a frame is believed only where the next one must lie and only if it follows the last one by its link, so
//! older uses of the same blocks mean nothing. Whoever falls a whole ring behind finds nothing any more, and has to look
//! at the log anew.

use zerocopy::IntoBytes;

use crate::block::{BLOCK_BYTES, Block, blocks, padded};
use crate::directory::Directory;
use crate::error::Result;
use crate::frame::{FRAME_BYTES_MAX, Frame, FrameHeader};
use crate::segment::{Access, Place, SEGMENT_DATA_OFFSET, Segments};
use crate::units::{Lsn, Tail, Timeline};

pub struct Follower {
    segments: Segments,
    timeline: Timeline,
    /// Where the next frame lies, unless it did not fit there.
    place: Place,
    tail: Tail,
    /// One frame.
    buffer: Box<[Block]>,
}

impl Follower {
    pub(crate) fn new(directory: &Directory, place: Place, tail: Tail) -> Result<Self> {
        let segments = directory.segments(Access::Read)?;
        Ok(Self { segments, timeline: directory.identity().timeline, place, tail, buffer: blocks(FRAME_BYTES_MAX) })
    }

    /// The end of what has been shown.
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// The next frame, if it is there, whole, and ends at or before `until`.
    pub fn next_frame(&mut self, until: Lsn) -> Result<Option<Frame<'_>>> {
        let geometry = self.segments.geometry();
        let following = Place { segment: geometry.next(self.place.segment), offset: SEGMENT_DATA_OFFSET };
        for place in [self.place, following] {
            let Some(frame_bytes) = self.read(place, until)? else { continue };
            let frame = Frame::decode(&self.buffer.as_bytes()[..frame_bytes]).expect("proved by `read`");
            self.tail = frame.tail();
            self.place = Place { offset: place.offset + padded(frame_bytes) as u64, ..place };
            return Ok(Some(frame));
        }
        Ok(None)
    }

    /// Reads the frame at `place` and gives its length, if it is the next one.
    fn read(&mut self, place: Place, until: Lsn) -> Result<Option<usize>> {
        let room = (self.segments.geometry().segment_bytes - place.offset).min(FRAME_BYTES_MAX as u64) as usize;
        if room == 0 {
            return Ok(None);
        }
        let bytes = &mut self.buffer.as_mut_bytes()[..room];
        // Most frames are a block or two: only what the first one announces is read.
        let (first, rest) = bytes.split_at_mut(BLOCK_BYTES);
        self.segments.read(place, first)?;
        let announced = FrameHeader::peek(first).and_then(FrameHeader::frame_bytes).filter(|bytes| *bytes <= room);
        let Some(announced) = announced else { return Ok(None) };
        if BLOCK_BYTES < announced {
            let behind = Place { offset: place.offset + BLOCK_BYTES as u64, ..place };
            self.segments.read(behind, &mut rest[..announced - BLOCK_BYTES])?;
        }
        // Half written, or of an earlier use: either way not there yet.
        let Ok(frame) = Frame::decode(&bytes[..announced]) else { return Ok(None) };
        let is_next = frame.follows(self.tail) && frame.timeline() == self.timeline && frame.seq_last() <= until;
        Ok(is_next.then_some(frame.bytes().len()))
    }
}
