//! A walk over the store's frames, in order and without gaps. It lends each frame, so nothing is copied.

use crate::error::Result;
use crate::frame::Frame;
use crate::store::log_reader::LogReader;
use crate::units::{Lsn, Tail};

pub struct FrameCursor<'s> {
    reader: LogReader<'s>,
    /// The tail that the next frame must follow.
    expected: Tail,
    from: Lsn,
    /// Whether the reader is on a frame that has not been lent yet.
    on_next: bool,
}

impl<'s> FrameCursor<'s> {
    /// A walk whose first frame is the one under `reader`. That frame must follow `expected`; frames before `from` are
    /// proved and not lent.
    pub(super) fn new(reader: LogReader<'s>, expected: Tail, from: Lsn) -> FrameCursor<'s> {
        FrameCursor { reader, expected, from, on_next: true }
    }

    /// The next frame that holds `from` or comes after it; `None` at the end of what the store held when the walk
    /// began.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>> {
        Ok(if self.step()? { self.frame() } else { None })
    }

    /// Moves to that frame; false at the end.
    pub(crate) fn step(&mut self) -> Result<bool> {
        loop {
            if !self.on_next {
                self.reader.step();
            }
            self.on_next = false;
            let before = self.expected;
            let Some(frame) = self.reader.frame(before.seq.next())? else { return Ok(false) };
            self.reader.check_follows(&frame, before)?;
            self.expected = frame.tail();
            assert!(before.seq < self.expected.seq, "a walk moves forward");
            if self.expected.seq >= self.from {
                return Ok(true);
            }
        }
    }

    /// The frame that [`FrameCursor::step`] has moved to and proved.
    pub(crate) fn frame(&self) -> Option<Frame<'_>> {
        self.reader.frame_again()
    }

    /// The tail that the next frame must follow.
    pub fn tail(&self) -> Tail {
        self.expected
    }
}
