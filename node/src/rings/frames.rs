//! Copies of durable frames on their way from the engine to the store writer, each preceded by its length.
//!
//! A full ring stops no loop: a frame that does not fit stays in the head, and is offered again in the next cycle.

use rtrb::{Consumer, Producer, RingBuffer};
use wal::frame::FRAME_BYTES_MAX;

/// Bytes of frames in the ring. If the store writer's lag is larger, further frames stay in the head.
const RING_BYTES: usize = 32 << 20;
const LENGTH_BYTES: usize = 4;

const _: () = assert!(RING_BYTES >= 4 * (FRAME_BYTES_MAX + LENGTH_BYTES));

/// The engine loop's end.
pub struct FramesIn {
    ring: Producer<u8>,
}

/// The store writer's end.
pub struct FramesOut {
    ring: Consumer<u8>,
    /// Length of the next frame, once it has been read.
    pending: Option<usize>,
}

pub fn frames() -> (FramesIn, FramesOut) {
    let (producer, consumer) = RingBuffer::new(RING_BYTES);
    (FramesIn { ring: producer }, FramesOut { ring: consumer, pending: None })
}

impl FramesIn {
    /// Copies the frame into the ring; false, and nothing is copied, if it does not fit now.
    #[inline]
    pub fn push(&mut self, frame: &[u8]) -> bool {
        if self.ring.slots() < LENGTH_BYTES + frame.len() {
            return false;
        }
        let length = (frame.len() as u32).to_le_bytes();
        self.ring.push_entire_slice(&length).expect("room was checked");
        self.ring.push_entire_slice(frame).expect("room was checked");
        true
    }
}

impl FramesOut {
    /// Appends the next complete frame to `into`; false when there is none yet.
    pub fn pop(&mut self, into: &mut Vec<u8>) -> bool {
        if self.pending.is_none() {
            let mut length = [0; LENGTH_BYTES];
            if self.ring.pop_entire_slice(&mut length).is_err() {
                return false;
            }
            self.pending = Some(u32::from_le_bytes(length) as usize);
        }
        let Some(len) = self.pending else { return false };
        if self.ring.slots() < len {
            return false;
        }
        let start = into.len();
        into.resize(start + len, 0);
        self.ring.pop_entire_slice(&mut into[start..]).expect("the ring holds at least this many bytes");
        self.pending = None;
        true
    }
}
