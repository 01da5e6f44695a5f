//! The buffer of one frame, and how far its write has come.
//!
//! Invariants: the buffer is allocated once and never moves; from [`Slot::close`] until the frame is released its bytes
//! do not change, because the kernel may be reading them; a write and a sync complete once each.

use zerocopy::IntoBytes;

use crate::block::{Block, blocks, padded};
use crate::frame::{Frame, FrameSpec, seal};
use crate::mutation::{Mutation, Planted};
use crate::segment::FIRST_PLACE;
use crate::units::{ChainHash, Lsn, Place};

pub(super) struct Slot {
    blocks: Box<[Block]>,
    /// Header and payload, without padding. 0 before the first use.
    frame_bytes: usize,
    pub(super) seq_first: Lsn,
    pub(super) seq_last: Lsn,
    pub(super) place: Place,
    written: bool,
    synced: bool,
}

impl Slot {
    pub(super) fn new(frame_bytes_max: usize) -> Slot {
        let (seq_first, seq_last, place) = (Lsn::ZERO, Lsn::ZERO, FIRST_PLACE);
        Slot {
            blocks: blocks(frame_bytes_max),
            frame_bytes: 0,
            seq_first,
            seq_last,
            place,
            written: false,
            synced: false,
        }
    }

    /// The buffer of a frame that still takes records.
    pub(super) fn buffer_mut(&mut self) -> &mut [u8] {
        self.blocks.as_mut_bytes()
    }

    /// Makes a frame of the records in the buffer, to be written at `place`.
    pub(super) fn close(&mut self, frame_bytes: usize, place: Place, spec: FrameSpec) {
        seal(self.blocks.as_mut_bytes(), frame_bytes, spec);
        let seq_last = spec.seq_first.advance(u64::from(spec.record_count) - 1);
        debug_assert!(Frame::decode(self.blocks.as_bytes()).is_ok_and(|frame| frame.seq_last() == seq_last));
        assert!(self.seq_last < spec.seq_first, "a buffer is reused for a later frame");
        (self.frame_bytes, self.seq_first, self.seq_last) = (frame_bytes, spec.seq_first, seq_last);
        (self.place, self.written) = (place, false);
        self.synced = false.planted(Mutation::SyncSkipped, |_| true);
    }

    /// Header and payload.
    pub(super) fn frame(&self) -> &[u8] {
        &self.blocks.as_bytes()[..self.frame_bytes]
    }

    /// Header, payload and zeros up to the end of the last block.
    pub(super) fn padded(&self) -> &[u8] {
        &self.blocks.as_bytes()[..padded(self.frame_bytes)]
    }

    /// The link that the next frame carries.
    pub(super) fn hash(&self) -> ChainHash {
        ChainHash::of(self.frame())
    }

    pub(super) fn complete_write(&mut self) {
        assert!(!self.written, "a write completes once");
        self.written = true;
    }

    pub(super) fn complete_sync(&mut self) {
        assert!(!self.synced, "a sync completes once");
        self.synced = true;
    }

    pub(super) fn is_written(&self) -> bool {
        self.written
    }

    pub(super) fn durable(&self) -> bool {
        self.written && self.synced
    }
}
