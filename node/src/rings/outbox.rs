//! Answers on their way from the engine to the gateway: encoded when the command is applied, held until it is released.
//!
//! ```text
//!  engine loop --push--> | seq 7 | seq 7 | seq 8 | seq 9 | --next(released = 8)--> gateway
//!                                                 ^ not released: stays
//! ```
//!
//! The gate is at the reading end: `next` is the only way to get a message, and it requires the watermark. Invariant:
//! sequences in the ring never fall.

use book::ids::SessionId;
use book::units::{Seq, TsNs};
use rtrb::{Consumer, Producer, RingBuffer};

/// Largest answer, SBE header included; asserted against the schema where answers are encoded.
pub const MESSAGE_BYTES_MAX: usize = 128;

/// Answers between engine and gateway. When fewer places are free than one command may need, the engine runs no
/// commands until the gateway has caught up.
pub const OUTBOX_MESSAGES: usize = 1 << 16;

/// The most answers that one command can push: two per fill, two per cancelled order, its own report, and drop copies
/// of all of them.
pub const MESSAGES_PER_COMMAND_MAX: usize = (1 + book::session::DROP_COPIES_PER_ACCOUNT_MAX)
    * (2 * book::order_book::FILLS_PER_COMMAND_MAX as usize + 2 * book::engine::CANCELS_PER_COMMAND_MAX as usize + 16);

const _: () = assert!(2 * MESSAGES_PER_COMMAND_MAX <= OUTBOX_MESSAGES);

/// One answer for one session.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub seq: Seq,
    /// The time of the gateway's cycle in which the command's bytes arrived.
    pub received: TsNs,
    /// The command's own time, as it is in the log.
    pub sequenced: TsNs,
    pub session: SessionId,
    len: u16,
    bytes: [u8; MESSAGE_BYTES_MAX],
}

impl Message {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The engine loop's end.
pub struct OutboxIn {
    ring: Producer<Message>,
    seq_last: Seq,
}

/// The gateway's end.
pub struct OutboxOut {
    ring: Consumer<Message>,
}

pub fn outbox() -> (OutboxIn, OutboxOut) {
    let (producer, consumer) = RingBuffer::new(OUTBOX_MESSAGES);
    (OutboxIn { ring: producer, seq_last: Seq(0) }, OutboxOut { ring: consumer })
}

/// The command that an answer belongs to, and its times.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    pub seq: Seq,
    pub received: TsNs,
    pub sequenced: TsNs,
}

impl OutboxIn {
    /// Whether all answers of one more command fit.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.ring.slots() >= MESSAGES_PER_COMMAND_MAX
    }

    #[inline]
    pub fn push(&mut self, origin: &Origin, session: SessionId, answer: &[u8]) {
        assert!(self.seq_last <= origin.seq, "answers are pushed in the order of the log");
        self.seq_last = origin.seq;
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        bytes[..answer.len()].copy_from_slice(answer);
        let message = Message {
            seq: origin.seq,
            received: origin.received,
            sequenced: origin.sequenced,
            session,
            len: answer.len() as u16,
            bytes,
        };
        self.ring.push(message).expect("room for all answers of a command was checked before it ran");
    }
}

impl OutboxOut {
    /// The next answer, if its command is released.
    #[inline]
    pub fn next(&mut self, released: Seq) -> Option<Message> {
        if self.ring.peek().is_ok_and(|message| message.seq <= released) { self.ring.pop().ok() } else { None }
    }

    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_before_its_command_is_released() {
        let (mut inward, mut outward) = outbox();
        for seq in [7, 7, 8, 9] {
            let origin = Origin { seq: Seq(seq), received: TsNs(1), sequenced: TsNs(2) };
            inward.push(&origin, SessionId(1), &[seq as u8]);
        }
        assert!(outward.next(Seq(6)).is_none());
        let seen: Vec<u64> = std::iter::from_fn(|| outward.next(Seq(8))).map(|m| m.seq.0).collect();
        assert_eq!(seen, [7, 7, 8]);
        assert!(outward.next(Seq(8)).is_none());
        assert_eq!(outward.next(Seq(9)).map(|m| m.bytes().to_vec()), Some(vec![9]));
    }
}
