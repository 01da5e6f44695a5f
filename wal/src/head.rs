//! The newest frames on their way to disk: what to write where, and what has become durable. It performs no I/O itself.
//!
//! ```text
//!              frame_released       frame_durable        frame_open
//!  slots, a ring:  | durable, not yet | in flight: written | takes
//!                  | copied out       | and synced in any  | records
//!                  |                  | order              |
//!  sequences:  seq_stored <= seq_durable  <=  last closed  <  seq_next
//! ```
//!
//! Invariants: `seq_durable` covers a contiguous run of frames; a segment is overwritten only when every frame in it is
//! stored; a frame never straddles segments; what `has_room` granted can be written without waiting for anything but
//! completions; after the first failure nothing is written and no watermark moves. All buffers are made in
//! [`Head::new`].

mod config;
mod slot;

pub use config::{FRAMES_IN_FLIGHT_DEFAULT, FRAMES_IN_FLIGHT_MAX, HeadConfig, HeadPosition};

use crate::block::padded;
use crate::error::ConfigFault;
use crate::frame::{FRAME_HEADER_BYTES, FrameSpec, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, RECORDS_MAX, put_record};
use crate::head::slot::Slot;
use crate::mutation::{Mutation, Planted, planted};
use crate::poison::{Poisoned, WriteFault};
use crate::segment::SEGMENT_DATA_OFFSET;
use crate::units::{ChainHash, Lsn, Place};

/// Names one frame in flight, from [`Head::next_write`] to its last completion. Fits the user data of an io_uring
/// entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameTicket(pub u64);

/// One contiguous write, which a sync of the same file must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOp {
    pub ticket: FrameTicket,
    pub place: Place,
    /// The length of [`Head::bytes`] for this ticket, a multiple of a block.
    pub bytes_len: usize,
    pub seq_first: Lsn,
    pub seq_last: Lsn,
}

/// The frame that takes records now.
#[derive(Clone, Copy)]
struct OpenFrame {
    frame_bytes: usize,
    record_count: u32,
}

const OPEN_EMPTY: OpenFrame = OpenFrame { frame_bytes: FRAME_HEADER_BYTES, record_count: 0 };

/// The newest frames. One owner appends records, reports completions and releases durable frames.
pub struct Head {
    config: HeadConfig,
    /// A ring indexed by frame number: frames are opened, closed, made durable and released in one order.
    slots: Box<[Slot]>,
    /// The last sequence written to each segment: up to there the log must be stored before the segment is reused.
    segments_seq_last: Box<[Lsn]>,
    frame_open: u64,
    frame_durable: u64,
    frame_released: u64,
    open: OpenFrame,
    seq_next: Lsn,
    seq_durable: Lsn,
    seq_stored: Lsn,
    /// The link of the last frame that was hashed.
    chain: ChainHash,
    /// The frame closed last, until it is hashed. Only the next frame needs its hash, and hashing takes longer than
    /// anything else between the last record and the write, so it is done while the frame is in flight.
    frame_unhashed: Option<u64>,
    place: Place,
    poisoned: Option<Poisoned>,
}

impl Head {
    /// Makes every buffer that will ever be needed: one that takes records, those in flight, and as many durable ones.
    pub fn new(config: HeadConfig, at: HeadPosition) -> Result<Head, ConfigFault> {
        config.validate()?;
        assert!(at.seq_stored <= at.tail.seq, "nothing is stored that was not durable");
        assert!(config.geometry.holds(at.place, 0) && at.place.is_aligned(), "the log continues in a segment");
        let slot_count = 2 * config.frames_in_flight_max + 1;
        Ok(Head {
            config,
            slots: (0..slot_count).map(|_| Slot::new(config.frame_bytes_max)).collect(),
            // Not known here, so each segment may hold anything up to the end of the log.
            segments_seq_last: vec![at.tail.seq; config.geometry.segment_count as usize].into_boxed_slice(),
            frame_open: 0,
            frame_durable: 0,
            frame_released: 0,
            open: OPEN_EMPTY,
            seq_next: at.tail.seq.next(),
            seq_durable: at.tail.seq,
            seq_stored: at.seq_stored,
            chain: at.tail.chain,
            frame_unhashed: None,
            place: at.place,
            poisoned: None,
        })
    }

    /// Whether a record of at most `record_bytes` can be appended now. If not, the caller waits for completions, for
    /// [`Head::release_durable_frame`] or [`Head::advance_stored`], or, when the open frame is full, calls
    /// [`Head::next_write`].
    pub fn has_room(&self, record_bytes: usize) -> bool {
        let frame_bytes = self.open.frame_bytes + RECORD_HEADER_BYTES + record_bytes;
        self.poisoned.is_none()
            && self.frame_open - self.frame_released < self.slots.len() as u64
            && record_bytes <= RECORD_BYTES_MAX
            && frame_bytes <= self.config.frame_bytes_max
            && self.open.record_count < RECORDS_MAX
            && self.place_for(padded(frame_bytes)).is_some()
    }

    /// Appends one record to the open frame: `encode` gets `record_bytes_max` bytes of the frame's own buffer and
    /// returns how many it used. [`Head::has_room`] must have granted `record_bytes_max`; `seq` must be
    /// [`Head::seq_next`].
    pub fn append_with(&mut self, seq: Lsn, record_bytes_max: usize, encode: impl FnOnce(&mut [u8]) -> usize) {
        assert!(self.has_room(record_bytes_max), "room is asked for before a record is appended");
        assert!(seq == self.seq_next, "records are appended in the order of their sequence, without gaps");
        let open = self.open;
        let buffer = self.slot_mut(self.frame_open).buffer_mut();
        let frame_bytes = put_record(buffer, open.frame_bytes, record_bytes_max, encode);
        self.open = OpenFrame { frame_bytes, record_count: open.record_count + 1 };
        self.seq_next = seq.next();
        assert!(self.open.frame_bytes <= self.config.frame_bytes_max, "a record ends in the room it was granted");
    }

    /// Appends a record that is already encoded.
    pub fn append(&mut self, seq: Lsn, record: &[u8]) {
        self.append_with(seq, record.len(), |room| {
            room.copy_from_slice(record);
            record.len()
        });
    }

    /// Closes the open frame and returns the write that it needs. `None` where no record has been appended, where
    /// `frames_in_flight_max` frames are in flight, and always after a failure.
    pub fn next_write(&mut self) -> Option<WriteOp> {
        if self.open.record_count == 0 || !self.can_write() {
            return None;
        }
        self.hash_closed_frame();
        Some(self.close())
    }

    /// Whether [`Head::next_write`] would close the open frame now, if it has a record.
    pub fn can_write(&self) -> bool {
        self.poisoned.is_none() && self.frames_in_flight() < self.config.frames_in_flight_max
    }

    /// Hashes the frame closed last, whose hash the next frame carries. [`Head::next_write`] does it where the driver
    /// has not; a driver calls it while it waits for the disk, so that the next write starts sooner.
    pub fn hash_closed_frame(&mut self) {
        if let Some(frame) = self.frame_unhashed.take() {
            assert!(frame + 1 == self.frame_open, "only the frame closed last is not hashed");
            self.chain = self.slot(frame).hash();
        }
    }

    /// The bytes to write for `ticket`: header, records, and zeros up to the end of the last block. The buffer neither
    /// moves nor changes until the frame is durable and released.
    pub fn bytes(&self, ticket: FrameTicket) -> &[u8] {
        assert!(self.frame_released <= ticket.0 && ticket.0 < self.frame_open, "a ticket names a frame in a buffer");
        self.slot(ticket.0).padded()
    }

    /// Reports that the write of `ticket` ended: with the bytes written, or with an errno.
    pub fn complete_write(&mut self, ticket: FrameTicket, result: Result<usize, i32>) -> Result<(), Poisoned> {
        self.check_not_poisoned()?;
        self.assert_in_flight(ticket);
        let expected = self.bytes(ticket).len();
        match result {
            Ok(written) if written == expected => {}
            Ok(written) => return Err(self.poison(ticket, WriteFault::Short { written, expected })),
            Err(errno) => return Err(self.poison(ticket, WriteFault::Write(errno))),
        }
        self.slot_mut(ticket.0).complete_write();
        self.advance_durable();
        Ok(())
    }

    /// Reports that a sync begun after the write of `ticket` ended, and the write with it: the frame is durable. A sync
    /// that ends before its write was not linked to it, and what it made durable is unknown: that poisons the head.
    /// Frames may complete in any order.
    pub fn complete_sync(&mut self, ticket: FrameTicket, result: Result<(), i32>) -> Result<(), Poisoned> {
        self.check_not_poisoned()?;
        planted!(SyncSkipped, return Ok(()));
        self.assert_in_flight(ticket);
        let result = result.planted(Mutation::SyncErrorIgnored, |_| Ok(()));
        if let Err(errno) = result {
            return Err(self.poison(ticket, WriteFault::Sync(errno)));
        }
        if !self.slot(ticket.0).is_written().planted(Mutation::SyncOrderUnchecked, |_| true) {
            return Err(self.poison(ticket, WriteFault::SyncedUnwritten));
        }
        self.slot_mut(ticket.0).complete_sync();
        self.advance_durable();
        Ok(())
    }

    /// The oldest durable frame that has not been released: header and payload, without padding.
    pub fn durable_frame(&self) -> Option<&[u8]> {
        (self.frame_released < self.frame_durable).then(|| self.slot(self.frame_released).frame())
    }

    /// Copies the oldest durable frame to the start of `into`, releases it and returns its length; `None` where no
    /// frame is durable.
    pub fn pop_durable_frame(&mut self, into: &mut [u8]) -> Option<usize> {
        let frame = self.durable_frame()?;
        let frame_bytes = frame.len();
        into[..frame_bytes].copy_from_slice(frame);
        self.release_durable_frame();
        Some(frame_bytes)
    }

    /// Frees the buffer of [`Head::durable_frame`]. From then on the frame is on disk only.
    pub fn release_durable_frame(&mut self) {
        assert!(self.frame_released < self.frame_durable, "only a durable frame is released");
        self.frame_released += 1;
    }

    /// Reports that the log is durable elsewhere up to `seq`. Segments with no later frame may be reused.
    pub fn advance_stored(&mut self, seq: Lsn) {
        assert!(self.seq_stored <= seq, "a watermark never falls");
        assert!(seq <= self.seq_durable, "nothing is stored that was not durable");
        self.seq_stored = seq;
    }

    /// The sequence that the next record must have.
    pub fn seq_next(&self) -> Lsn {
        self.seq_next
    }

    /// Every record up to here is written and synced.
    pub fn seq_durable(&self) -> Lsn {
        self.seq_durable
    }

    /// Every record up to here is durable elsewhere too.
    pub fn seq_stored(&self) -> Lsn {
        self.seq_stored
    }

    /// Frames closed and not yet durable.
    pub fn frames_in_flight(&self) -> usize {
        (self.frame_open - self.frame_durable) as usize
    }

    /// The failure that ended this head, if there was one.
    pub fn poisoned(&self) -> Option<&Poisoned> {
        self.poisoned.as_ref()
    }

    pub fn config(&self) -> &HeadConfig {
        &self.config
    }

    fn close(&mut self) -> WriteOp {
        assert!(self.frame_unhashed.is_none(), "a frame links to the one before it");
        let OpenFrame { frame_bytes, record_count } = self.open;
        let bytes_len = padded(frame_bytes);
        let place = self.place_for(bytes_len).expect("has_room found a place for every record that was appended");
        assert!(self.config.geometry.holds(place, bytes_len), "a frame never straddles segments");
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
        self.slot_mut(ticket.0).close(frame_bytes, place, spec);

        self.frame_unhashed = Some(ticket.0);
        let in_segment = seq_last.planted(Mutation::SegmentReusedEarly, |_| Lsn::ZERO);
        self.segments_seq_last[place.segment.0 as usize] = in_segment;
        self.place = place.advance(bytes_len);
        self.frame_open += 1;
        self.open = OPEN_EMPTY;
        assert!(self.frames_in_flight() <= self.config.frames_in_flight_max);
        WriteOp { ticket, place, bytes_len, seq_first, seq_last }
    }

    /// Where a frame of `bytes_len` may go: to the current place, or to the start of the next segment once every frame
    /// in that is stored.
    fn place_for(&self, bytes_len: usize) -> Option<Place> {
        let geometry = self.config.geometry;
        if geometry.holds(self.place, bytes_len) {
            return Some(self.place);
        }
        let segment = geometry.next(self.place.segment);
        let stored = self.segments_seq_last[segment.0 as usize] <= self.seq_stored;
        stored.then_some(Place { segment, offset: SEGMENT_DATA_OFFSET })
    }

    fn advance_durable(&mut self) {
        while self.frame_durable < self.frame_open && self.slot(self.frame_durable).durable() {
            let slot = self.slot(self.frame_durable);
            assert!(slot.seq_first == self.seq_durable.next(), "frames become durable without gaps");
            self.seq_durable = slot.seq_last;
            self.frame_durable += 1;
        }
        assert!(self.seq_stored <= self.seq_durable && self.seq_durable < self.seq_next);
    }

    fn check_not_poisoned(&self) -> Result<(), Poisoned> {
        self.poisoned.map_or(Ok(()), Err)
    }

    fn assert_in_flight(&self, ticket: FrameTicket) {
        assert!(self.frame_durable <= ticket.0 && ticket.0 < self.frame_open, "only frames in flight complete");
    }

    #[cold]
    fn poison(&mut self, ticket: FrameTicket, fault: WriteFault) -> Poisoned {
        let slot = self.slot(ticket.0);
        assert!(self.seq_durable < slot.seq_first, "what failed was never acknowledged");
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
