//! From the engine to the store writer: a copy of every durable frame, each preceded by its length.
//!
//! A full ring stops no loop: a frame that finds no room stays in the head, and is offered again in the next cycle.

use rtrb::{Consumer, Producer, RingBuffer};
use wal::frame::FRAME_BYTES_MAX;

/// Bytes of frames on their way. A store writer whose lag is larger leaves the rest of them in the head.
const RING_BYTES: usize = 32 << 20;
const LENGTH_BYTES: usize = 4;

const _: () = assert!(RING_BYTES >= 4 * (FRAME_BYTES_MAX + LENGTH_BYTES));

/// The engine's end.
pub struct FramesIn {
    ring: Producer<u8>,
}

/// The store writer's end.
pub struct FramesOut {
    ring: Consumer<u8>,
    /// Length of the frame whose bytes come next, once read.
    pending: Option<usize>,
}

pub fn frames() -> (FramesIn, FramesOut) {
    let (producer, consumer) = RingBuffer::new(RING_BYTES);
    (FramesIn { ring: producer }, FramesOut { ring: consumer, pending: None })
}

impl FramesIn {
    /// Takes a copy of the frame, or nothing when there is no room now.
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
        self.ring.pop_entire_slice(&mut into[start..]).expect("the bytes are there");
        self.pending = None;
        true
    }
}
