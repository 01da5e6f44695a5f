//! A walk over a judged log as it lies: the store's frames, then the head's, each proved once more when it is lent.
//!
//! Invariant: frames come in order without a gap, and the first one follows what the walk was told to begin behind.

use zerocopy::IntoBytes;

use crate::block::{Block, blocks};
use crate::error::{Damage, Result, WalError};
use crate::frame::{FRAME_BYTES_MAX, Frame};
use crate::recover::Start;
use crate::replay::Verdict;
use crate::scan::FramePlace;
use crate::segment::Segments;
use crate::store::{FrameCursor, Store};
use crate::units::{Lsn, Tail};

/// Where a frame was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    Store,
    Head,
}

/// The frames that hold `start` and all behind it. Lends each frame, so that nothing is copied.
pub struct FrameWalk<'l> {
    segments: &'l Segments,
    store: &'l Store,
    verdict: &'l Verdict,
    cursor: FrameCursor<'l>,
    in_store: bool,
    /// Of the head's frames, the next one.
    head_idx: usize,
    /// One frame of the head.
    buffer: Box<[Block]>,
    from: Lsn,
    /// What the first frame must follow, until one has.
    after: Option<Tail>,
}

impl<'l> FrameWalk<'l> {
    pub(crate) fn new(segments: &'l Segments, store: &'l Store, verdict: &'l Verdict, start: Start) -> Result<Self> {
        let from = start.seq();
        let after = match start {
            Start::At(_) => None,
            // A log that ends before is refused by its length.
            Start::After(tail) => (tail.seq <= verdict.tail.seq).then_some(tail),
        };
        let head_idx = verdict.frames.partition_point(|frame| frame.seq_last < from);
        let (cursor, buffer) = (store.frames(from)?, blocks(FRAME_BYTES_MAX));
        Ok(Self { segments, store, verdict, cursor, in_store: true, head_idx, buffer, from, after })
    }

    /// The next frame; `None` at the log's end.
    pub fn next_frame(&mut self) -> Result<Option<(Frame<'_>, Home)>> {
        if self.in_store {
            if self.cursor.step()? {
                let frame = self.cursor.frame().expect("the cursor stands on a frame");
                check_link(self.store, &mut self.after, before(&frame))?;
                return Ok(Some((frame, Home::Store)));
            }
            self.in_store = false;
            let stored = self.store.tail();
            assert!(
                stored.seq < self.from || self.cursor.tail() == stored,
                "the walk ends where the store said that it ends"
            );
        }
        let Some(known) = self.verdict.frames.get(self.head_idx) else {
            check_link(self.store, &mut self.after, self.verdict.tail)?;
            return Ok(None);
        };
        self.head_idx += 1;
        let frame = read_again(self.segments, known, self.buffer.as_mut_bytes())?;
        check_link(self.store, &mut self.after, before(&frame))?;
        Ok(Some((frame, Home::Head)))
    }
}

/// What a frame says that it follows.
fn before(frame: &Frame<'_>) -> Tail {
    Tail { seq: frame.seq_first().prev(), chain: frame.chain_prev() }
}

fn check_link(store: &Store, after: &mut Option<Tail>, found: Tail) -> Result<()> {
    match after.take() {
        Some(after) if after != found => Err(WalError::damaged(store.path(), 0, after.seq.next(), Damage::ChainBroken)),
        _ => Ok(()),
    }
}

/// The frame that the scan proved, read and proved once more: only a running node can have changed it since.
pub(crate) fn read_again<'b>(segments: &Segments, known: &FramePlace, buffer: &'b mut [u8]) -> Result<Frame<'b>> {
    let bytes = &mut buffer[..known.frame_bytes];
    segments.read(known.place, bytes)?;
    match Frame::decode(bytes) {
        Ok(frame) if frame.hash() == known.hash => Ok(frame),
        _ => Err(WalError::Overtaken { path: segments.path(known.place.segment), seq: known.seq_first }),
    }
}
