//! The newest frames, on their way to disk: what to write where, and what has become durable. It performs no I/O itself.
//!
//! ```text
//!              frame_taken        frame_durable          frame_open
//!  slots, a ring:  | durable, to be  | in flight: written   | staging
//!                  | taken           | and synced in any    | records
//!                  |                 | order                |
//!  sequences:  seq_stored <= seq_durable  <=  seq_closed <= seq_staged
//! ```
//!
//! Invariants: `seq_durable` covers a contiguous run of frames; a segment is overwritten only when all it holds is stored;
//! a frame never straddles segments; what `has_room` granted can be written without waiting for anything but completions;
//! after the first failure nothing is written again and no watermark moves. All buffers are made in [`Head::new`].

use thiserror::Error;
use zerocopy::IntoBytes;

use crate::block::{BLOCK_BYTES, Block, blocks, padded};
use crate::error::ConfigFault;
use crate::frame::{
    FRAME_BYTES_MAX, FRAME_HEADER_BYTES, Frame, FrameSpec, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, RECORDS_MAX,
    put_record, seal,
};
use crate::mutation::{Mutation, Planted, planted};
use crate::segment::{Geometry, Place, SEGMENT_DATA_OFFSET, SegmentIdx};
use crate::units::{ChainHash, Lsn, NodeId, Tail, Timeline};

/// Frames written and not yet known durable. Recovery relies on it: more whole frames than this behind a missing one
/// cannot have been in flight together.
pub const FRAMES_IN_FLIGHT_MAX: usize = 16;

/// In flight by default. While one sync is under way, what comes in gathers in the next frame; a second sync beside it
/// waits for the first one in the drive anyway. Measured at 250,000 commands a second: with 1 the 99th percentile of a
/// durable answer was 0.9 ms, with 4 it was 9 ms.
pub const FRAMES_IN_FLIGHT_DEFAULT: usize = 1;

/// What a head is made with.
#[derive(Clone, Copy, Debug)]
pub struct HeadConfig {
    pub timeline: Timeline,
    pub geometry: Geometry,
    /// Header, records and padding; a multiple of a block.
    pub frame_bytes_max: usize,
    pub frames_in_flight_max: usize,
}

impl HeadConfig {
    pub fn validate(&self) -> Result<(), ConfigFault> {
        self.geometry.validate()?;
        let frame_bytes = self.frame_bytes_max;
        if frame_bytes == 0 || !frame_bytes.is_multiple_of(BLOCK_BYTES) || frame_bytes > FRAME_BYTES_MAX {
            return Err(ConfigFault::FrameBytesMax { max: FRAME_BYTES_MAX });
        }
        if SEGMENT_DATA_OFFSET + frame_bytes as u64 > self.geometry.segment_bytes {
            return Err(ConfigFault::SegmentBytes);
        }
        if !(1..=FRAMES_IN_FLIGHT_MAX).contains(&self.frames_in_flight_max) {
            return Err(ConfigFault::FramesInFlightMax { max: FRAMES_IN_FLIGHT_MAX });
        }
        Ok(())
    }

    /// A head that waits for a segment to be stored holds more bytes of frames than this behind that segment. Whoever
    /// stores in portions of at most so many never lets it wait for ever.
    pub fn bytes_behind_next_segment(&self) -> u64 {
        let Geometry { segment_count, segment_bytes } = self.geometry;
        // A segment is left when the next frame, the largest at worst, does not fit any more.
        let bytes_used = segment_bytes - SEGMENT_DATA_OFFSET - self.frame_bytes_max as u64;
        u64::from(segment_count - 1) * bytes_used
    }

    /// The largest record that a frame of this configuration holds.
    pub fn record_bytes_max(&self) -> usize {
        (self.frame_bytes_max - FRAME_HEADER_BYTES - RECORD_HEADER_BYTES).min(RECORD_BYTES_MAX)
    }
}

/// Where a head goes on: after which frame, at which place, and how much of it is stored elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadPosition {
    pub tail: Tail,
    pub seq_stored: Lsn,
    pub place: Place,
}

impl HeadPosition {
    /// A head in which nothing has been written; the log goes on after `seq_base`.
    pub fn fresh(node_id: NodeId, timeline: Timeline, seq_base: Lsn) -> HeadPosition {
        HeadPosition {
            tail: Tail { seq: seq_base, chain: ChainHash::genesis(node_id, timeline) },
            seq_stored: seq_base,
            place: Place { segment: SegmentIdx(0), offset: SEGMENT_DATA_OFFSET },
        }
    }
}

/// Names one frame in flight, from [`Head::next_write`] to its last completion. Fits a ring's user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameTicket(pub u64);

/// One contiguous write, to be followed by a sync of the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOp {
    pub ticket: FrameTicket,
    pub place: Place,
    /// Whole blocks: the length of [`Head::bytes`] for this ticket.
    pub bytes_len: usize,
    pub seq_first: Lsn,
    pub seq_last: Lsn,
}

/// What the disk said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WriteFault {
    #[error("write failed with errno {0}")]
    Write(i32),
    #[error("sync failed with errno {0}")]
    Sync(i32),
    #[error("short write, {written} of {expected} bytes")]
    Short { written: usize, expected: usize },
}

impl WriteFault {
    pub fn errno(&self) -> Option<i32> {
        match self {
            WriteFault::Write(errno) | WriteFault::Sync(errno) => Some(*errno),
            WriteFault::Short { .. } => None,
        }
    }
}

/// The end of a head's life. Whether the failed frame is on disk is unknown; only a restart can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("journal poisoned: sequences from {seq} at segment {}, offset {}: {fault}", place.segment.0, place.offset)]
pub struct Poisoned {
    pub seq: Lsn,
    pub place: Place,
    pub fault: WriteFault,
}

/// A frame's buffer and its way to disk. Made once, used for every `slots.len()`-th frame.
struct Slot {
    blocks: Box<[Block]>,
    frame_bytes: usize,
    seq_first: Lsn,
    seq_last: Lsn,
    place: Place,
    written: bool,
    synced: bool,
}

/// The frame that takes records now.
#[derive(Clone, Copy)]
struct OpenFrame {
    frame_bytes: usize,
    record_count: u32,
}

const OPEN_EMPTY: OpenFrame = OpenFrame { frame_bytes: FRAME_HEADER_BYTES, record_count: 0 };

/// The newest frames. One owner stages, drives and reads it.
pub struct Head {
    config: HeadConfig,
    /// A ring indexed by frame number: frames are opened, closed, made durable and taken in one order.
    slots: Box<[Slot]>,
    /// The last sequence written to each segment: what must be stored before it is written again.
    segments_seq_last: Box<[Lsn]>,
    frame_open: u64,
    frame_durable: u64,
    frame_taken: u64,
    open: OpenFrame,
    seq_next: Lsn,
    seq_durable: Lsn,
    seq_stored: Lsn,
    /// The link of the last frame that was hashed.
    chain: ChainHash,
    /// The frame closed last, while it is not hashed: its link is needed only by the frame after it, and hashing takes
    /// longer than anything else between the last record and the write.
    frame_unlinked: Option<u64>,
    place: Place,
    poisoned: Option<Poisoned>,
}

impl Head {
    /// Makes every buffer that will ever be needed: one being filled, those in flight, and as many durable ones to be taken.
    pub fn new(config: HeadConfig, at: HeadPosition) -> Result<Head, ConfigFault> {
        config.validate()?;
        assert!(at.seq_stored <= at.tail.seq, "nothing is stored that was not durable");
        assert!(at.place.segment.0 < config.geometry.segment_count);
        assert!(SEGMENT_DATA_OFFSET <= at.place.offset && at.place.offset <= config.geometry.segment_bytes);
        assert!(at.place.offset.is_multiple_of(BLOCK_BYTES as u64));
        let slot_count = 2 * config.frames_in_flight_max + 1;
        Ok(Head {
            config,
            slots: (0..slot_count).map(|_| Slot::new(config.frame_bytes_max, at.place)).collect(),
            // Which segment holds what is not known here; each may hold anything up to the end of the log.
            segments_seq_last: vec![at.tail.seq; config.geometry.segment_count as usize].into_boxed_slice(),
            frame_open: 0,
            frame_durable: 0,
            frame_taken: 0,
            open: OPEN_EMPTY,
            seq_next: at.tail.seq.next(),
            seq_durable: at.tail.seq,
            seq_stored: at.seq_stored,
            chain: at.tail.chain,
            frame_unlinked: None,
            place: at.place,
            poisoned: None,
        })
    }

    /// Whether a record of at most `record_bytes` can be staged now. False means: wait for completions, for
    /// [`Head::take_durable_frame`], for [`Head::stored`], or, when the open frame is full, call [`Head::next_write`].
    pub fn has_room(&self, record_bytes: usize) -> bool {
        let frame_bytes = self.open.frame_bytes + RECORD_HEADER_BYTES + record_bytes;
        self.poisoned.is_none()
            && self.frame_open - self.frame_taken < self.slots.len() as u64
            && record_bytes <= RECORD_BYTES_MAX
            && frame_bytes <= self.config.frame_bytes_max
            && self.open.record_count < RECORDS_MAX
            && self.place_for(padded(frame_bytes)).is_some()
    }

    /// Appends one record to the open frame: `encode` gets `record_bytes_max` bytes of the frame's own buffer and returns
    /// how many it used. [`Head::has_room`] must have granted `record_bytes_max`; `seq` must be [`Head::seq_next`].
    pub fn stage_with(&mut self, seq: Lsn, record_bytes_max: usize, encode: impl FnOnce(&mut [u8]) -> usize) {
        assert!(self.has_room(record_bytes_max), "room is asked for before a record is staged");
        assert!(seq == self.seq_next, "records are staged in the order of their sequence, without gaps");
        let open = self.open;
        let buffer = self.slot_mut(self.frame_open).blocks.as_mut_bytes();
        let frame_bytes = put_record(buffer, open.frame_bytes, record_bytes_max, encode);
        self.open = OpenFrame { frame_bytes, record_count: open.record_count + 1 };
        self.seq_next = seq.next();
        assert!(self.open.frame_bytes <= self.config.frame_bytes_max);
    }

    /// Appends a record that is already encoded.
    pub fn stage(&mut self, seq: Lsn, record: &[u8]) {
        self.stage_with(seq, record.len(), |room| {
            room.copy_from_slice(record);
            record.len()
        });
    }

    /// Closes the open frame and says where it goes; `None` when nothing is staged, when enough is in flight, or for ever
    /// after a failure.
    pub fn next_write(&mut self) -> Option<WriteOp> {
        if self.open.record_count == 0 || !self.may_close() {
            return None;
        }
        self.link_closed();
        Some(self.close())
    }

    /// Whether [`Head::next_write`] would close the open frame now, if anything is staged in it.
    pub fn may_close(&self) -> bool {
        self.poisoned.is_none() && self.frames_in_flight() < self.config.frames_in_flight_max
    }

    /// Hashes the frame closed last, so that the next one can link to it. A driver calls it when it has nothing better to
    /// do than to wait for the disk; [`Head::next_write`] does it otherwise.
    pub fn link_closed(&mut self) {
        if let Some(frame) = self.frame_unlinked.take() {
            let slot = self.slot(frame);
            self.chain = ChainHash::of(&slot.blocks.as_bytes()[..slot.frame_bytes]);
        }
    }

    /// What to write for `ticket`: header, records, zeros to the end of the block. The buffer neither moves nor changes
    /// until the frame is durable and taken.
    pub fn bytes(&self, ticket: FrameTicket) -> &[u8] {
        assert!(self.frame_taken <= ticket.0 && ticket.0 < self.frame_open);
        let slot = self.slot(ticket.0);
        &slot.blocks.as_bytes()[..padded(slot.frame_bytes)]
    }

    /// All buffers in the order of `ticket % count`, for a driver that registers them with the kernel.
    pub fn buffers(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.slots.iter().map(|slot| slot.blocks.as_bytes())
    }

    /// The write of `ticket` ended: bytes written, or an errno.
    pub fn written(&mut self, ticket: FrameTicket, result: Result<usize, i32>) -> Result<(), Poisoned> {
        self.still_whole()?;
        self.check_in_flight(ticket);
        let expected = self.bytes(ticket).len();
        match result {
            Ok(written) if written == expected => {}
            Ok(written) => return Err(self.poison(ticket, WriteFault::Short { written, expected })),
            Err(errno) => return Err(self.poison(ticket, WriteFault::Write(errno))),
        }
        let slot = self.slot_mut(ticket.0);
        assert!(!slot.written, "a write completes once");
        slot.written = true;
        self.advance_durable();
        Ok(())
    }

    /// A sync begun after the write of `ticket` ended. Durable only together with [`Head::written`], in either order.
    pub fn synced(&mut self, ticket: FrameTicket, result: Result<(), i32>) -> Result<(), Poisoned> {
        self.still_whole()?;
        planted!(SyncSkipped, return Ok(()));
        self.check_in_flight(ticket);
        let result = result.planted(Mutation::SyncErrorIgnored, |_| Ok(()));
        if let Err(errno) = result {
            return Err(self.poison(ticket, WriteFault::Sync(errno)));
        }
        let slot = self.slot_mut(ticket.0);
        assert!(!slot.synced, "a sync completes once");
        slot.synced = true;
        self.advance_durable();
        Ok(())
    }

    /// The oldest durable frame that has not been taken: header and payload, without padding.
    pub fn durable_frame(&self) -> Option<&[u8]> {
        (self.frame_taken < self.frame_durable).then(|| {
            let slot = self.slot(self.frame_taken);
            &slot.blocks.as_bytes()[..slot.frame_bytes]
        })
    }

    /// Copies the oldest durable frame out and frees its buffer; `None` when there is none.
    pub fn take_durable_frame(&mut self, into: &mut [u8]) -> Option<usize> {
        let frame = self.durable_frame()?;
        let frame_bytes = frame.len();
        into[..frame_bytes].copy_from_slice(frame);
        self.release_durable_frame();
        Some(frame_bytes)
    }

    /// Frees the buffer of [`Head::durable_frame`].
    pub fn release_durable_frame(&mut self) {
        assert!(self.frame_taken < self.frame_durable, "only a durable frame is released");
        self.frame_taken += 1;
    }

    /// Everything up to `seq` is durable elsewhere: segments that hold nothing newer may be written again.
    pub fn stored(&mut self, seq: Lsn) {
        assert!(self.seq_stored <= seq && seq <= self.seq_durable);
        self.seq_stored = seq;
    }

    /// The sequence that the next record must have.
    pub fn seq_next(&self) -> Lsn {
        self.seq_next
    }

    /// Everything up to here is on disk and synced, without gaps.
    pub fn seq_durable(&self) -> Lsn {
        self.seq_durable
    }

    pub fn seq_stored(&self) -> Lsn {
        self.seq_stored
    }

    /// Frames closed and not yet durable.
    pub fn frames_in_flight(&self) -> usize {
        (self.frame_open - self.frame_durable) as usize
    }

    /// Records in the open frame.
    pub fn records_staged(&self) -> u32 {
        self.open.record_count
    }

    /// The failure that ended this head, if one did.
    pub fn poisoned(&self) -> Option<&Poisoned> {
        self.poisoned.as_ref()
    }

    pub fn config(&self) -> &HeadConfig {
        &self.config
    }

    fn close(&mut self) -> WriteOp {
        assert!(self.frame_unlinked.is_none(), "a frame links to the one before it");
        let OpenFrame { frame_bytes, record_count } = self.open;
        let bytes_len = padded(frame_bytes);
        let place = self.place_for(bytes_len).expect("has_room saw a place for all that was staged");
        let seq_first = Lsn(self.seq_next.0 - u64::from(record_count));
        let seq_last = self.seq_next.prev();
        let spec = FrameSpec {
            timeline: self.config.timeline,
            seq_first,
            seq_durable: self.seq_durable,
            record_count,
            chain_prev: self.chain,
        };
        let ticket = FrameTicket(self.frame_open);
        let slot = self.slot_mut(ticket.0);
        seal(slot.blocks.as_mut_bytes(), frame_bytes, spec);
        debug_assert!(Frame::decode(slot.blocks.as_bytes()).is_ok_and(|frame| frame.seq_last() == seq_last));
        (slot.frame_bytes, slot.seq_first, slot.seq_last) = (frame_bytes, seq_first, seq_last);
        (slot.place, slot.written) = (place, false);
        slot.synced = false.planted(Mutation::SyncSkipped, |_| true);

        self.frame_unlinked = Some(ticket.0);
        let in_segment = seq_last.planted(Mutation::SegmentReusedEarly, |_| Lsn::ZERO);
        self.segments_seq_last[place.segment.0 as usize] = in_segment;
        self.place = Place { segment: place.segment, offset: place.offset + bytes_len as u64 };
        assert!(self.place.offset <= self.config.geometry.segment_bytes);
        self.frame_open += 1;
        self.open = OPEN_EMPTY;
        WriteOp { ticket, place, bytes_len, seq_first, seq_last }
    }

    /// Where a frame of `bytes_len` may go: here, or at the start of the next segment once all that it holds is stored.
    fn place_for(&self, bytes_len: usize) -> Option<Place> {
        let geometry = self.config.geometry;
        if self.place.offset + bytes_len as u64 <= geometry.segment_bytes {
            return Some(self.place);
        }
        let segment = geometry.next(self.place.segment);
        let free = self.segments_seq_last[segment.0 as usize] <= self.seq_stored;
        free.then_some(Place { segment, offset: SEGMENT_DATA_OFFSET })
    }

    fn advance_durable(&mut self) {
        while self.frame_durable < self.frame_open {
            let slot = self.slot(self.frame_durable);
            if !(slot.written && slot.synced) {
                return;
            }
            assert!(slot.seq_first == self.seq_durable.next(), "frames become durable without gaps");
            self.seq_durable = slot.seq_last;
            self.frame_durable += 1;
        }
    }

    fn still_whole(&self) -> Result<(), Poisoned> {
        self.poisoned.map_or(Ok(()), Err)
    }

    fn check_in_flight(&self, ticket: FrameTicket) {
        assert!(self.frame_durable <= ticket.0 && ticket.0 < self.frame_open, "only frames in flight complete");
    }

    #[cold]
    fn poison(&mut self, ticket: FrameTicket, fault: WriteFault) -> Poisoned {
        let slot = self.slot(ticket.0);
        let poisoned = Poisoned { seq: slot.seq_first, place: slot.place, fault };
        self.poisoned = Some(poisoned);
        poisoned
    }

    fn slot(&self, frame: u64) -> &Slot {
        &self.slots[(frame % self.slots.len() as u64) as usize]
    }

    fn slot_mut(&mut self, frame: u64) -> &mut Slot {
        let idx = (frame % self.slots.len() as u64) as usize;
        &mut self.slots[idx]
    }
}

impl Slot {
    fn new(frame_bytes_max: usize, place: Place) -> Slot {
        let (seq_first, seq_last) = (Lsn::ZERO, Lsn::ZERO);
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
}
