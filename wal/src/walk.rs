//! A walk over a judged log: the store's frames, then the head's. Each frame is proved again when it is read.
//!
//! Invariant: frames come in order without gaps, and the first one follows the tail that the walk begins after.

use zerocopy::IntoBytes;

use crate::block::{Block, blocks};
use crate::error::{Damage, Result, WalError};
use crate::frame::{FRAME_BYTES_MAX, Frame};
use crate::mutation::{Mutation, Planted};
use crate::scan::FramePlace;
use crate::segment::Segments;
use crate::store::{FrameCursor, Store};
use crate::units::{Lsn, Tail};
use crate::verdict::Verdict;

/// Where a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With this record.
    At(Lsn),
    /// After the last record of a state that was loaded. The walk refuses a next frame that does not link to it,
    /// because state and log are then of different histories.
    After(Tail),
}

impl Start {
    /// The first record of the walk.
    pub(crate) fn seq(self) -> Lsn {
        match self {
            Self::At(seq) => seq,
            Self::After(tail) => tail.seq.next(),
        }
    }
}

impl From<Lsn> for Start {
    fn from(seq: Lsn) -> Self {
        Self::At(seq)
    }
}

impl From<Tail> for Start {
    fn from(tail: Tail) -> Self {
        Self::After(tail)
    }
}

/// Which part of the log a frame was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSource {
    Store,
    Head,
}

/// A walk from the frame that holds the start to the log's end. It lends each frame, so nothing is copied.
pub struct FrameWalk<'l> {
    segments: &'l Segments,
    store: &'l Store,
    verdict: &'l Verdict,
    cursor: FrameCursor<'l>,
    in_store: bool,
    /// The next frame of the head.
    head_idx: usize,
    /// Holds one frame of the head.
    buffer: Box<[Block]>,
    from: Lsn,
    /// The tail that the first frame must follow; `None` once that is checked.
    after: Option<Tail>,
}

impl<'l> FrameWalk<'l> {
    pub(crate) fn new(segments: &'l Segments, store: &'l Store, verdict: &'l Verdict, start: Start) -> Result<Self> {
        let from = start.seq();
        let after = match start {
            Start::At(_) => None,
            // A log that ends before the start has no frame to compare; the caller refuses it for its length.
            Start::After(tail) => (tail.seq <= verdict.tail.seq).then_some(tail),
        };
        let head_idx = verdict.frames.partition_point(|frame| frame.seq_last < from);
        let (cursor, buffer) = (store.frames(from)?, blocks(FRAME_BYTES_MAX));
        Ok(Self { segments, store, verdict, cursor, in_store: true, head_idx, buffer, from, after })
    }

    /// The next frame; `None` at the log's end.
    pub fn next_frame(&mut self) -> Result<Option<(Frame<'_>, FrameSource)>> {
        if self.in_store {
            if self.cursor.step()? {
                let frame = self.cursor.frame().expect("the cursor is on a frame");
                check_link(self.store, &mut self.after, before(&frame))?;
                return Ok(Some((frame, FrameSource::Store)));
            }
            self.in_store = false;
            let stored = self.store.tail();
            assert!(stored.seq < self.from || self.cursor.tail() == stored, "the walk reaches the end of the store");
        }
        let Some(known) = self.verdict.frames.get(self.head_idx) else {
            check_link(self.store, &mut self.after, self.verdict.tail)?;
            return Ok(None);
        };
        self.head_idx += 1;
        let frame = read_again(self.segments, known, self.buffer.as_mut_bytes())?;
        check_link(self.store, &mut self.after, before(&frame))?;
        assert!(
            self.from <= frame.seq_last() && frame.seq_last() <= self.verdict.tail.seq,
            "the walk stays in the log"
        );
        Ok(Some((frame, FrameSource::Head)))
    }
}

/// The tail that a frame follows, by its header.
fn before(frame: &Frame<'_>) -> Tail {
    Tail { seq: frame.seq_first().prev(), chain: frame.chain_prev() }
}

fn check_link(store: &Store, after: &mut Option<Tail>, found: Tail) -> Result<()> {
    match after.take() {
        Some(after) if (after != found).planted(Mutation::StartLinkUnchecked, |_| false) => {
            Err(WalError::damaged(store.path(), 0, after.seq.next(), Damage::ChainBroken))
        }
        _ => Ok(()),
    }
}

/// Reads and proves a frame that the scan has proved. Only a running node can have overwritten it since.
pub(crate) fn read_again<'b>(segments: &Segments, known: &FramePlace, buffer: &'b mut [u8]) -> Result<Frame<'b>> {
    let bytes = &mut buffer[..known.frame_bytes];
    segments.read(known.place, bytes)?;
    match Frame::decode(bytes) {
        Ok(frame) if frame.hash() == known.hash => Ok(frame),
        _ => Err(WalError::Overtaken { path: segments.path(known.place.segment), seq: known.seq_first }),
    }
}
