//! The time at which each command was released: recorded by the engine loop, looked up by the gateway.
//!
//! A mark records one advance of `seq_released`: the commands after the previous mark, up to this one, were released in
//! that cycle of the engine loop. The watermark alone does not give the time, because a gateway on its own core may see
//! only the last of several advances.
//!
//! ```text
//!  engine loop --note(seq_released, now)--> | 7 at t1 | 9 at t2 | 12 at t3 | --since(8) = t2--> gateway
//! ```
//! Invariant: sequences and times in the ring rise; a mark is in the ring before the watermark shows its sequence.

use book::units::{Seq, TsNs};
use rtrb::{Consumer, Producer, RingBuffer};

/// Marks that the gateway has not read yet. If the ring is full, a mark is skipped, and its commands get the time of
/// the next mark: their measured journal time is then longer than it was, never shorter.
const MARKS: usize = 1 << 12;

#[derive(Clone, Copy, Debug)]
struct Mark {
    seq: Seq,
    at: TsNs,
}

/// The engine loop's end.
pub struct ReleaseTimesIn {
    ring: Producer<Mark>,
}

/// The gateway's end.
pub struct ReleaseTimesOut {
    ring: Consumer<Mark>,
    /// The newest mark that was read.
    last: Mark,
}

pub fn release_times() -> (ReleaseTimesIn, ReleaseTimesOut) {
    let (producer, consumer) = RingBuffer::new(MARKS);
    (ReleaseTimesIn { ring: producer }, ReleaseTimesOut { ring: consumer, last: Mark { seq: Seq(0), at: TsNs(0) } })
}

impl ReleaseTimesIn {
    #[inline]
    pub fn note(&mut self, seq: Seq, at: TsNs) {
        // A full ring is not an error: see `MARKS`.
        let _ = self.ring.push(Mark { seq, at });
    }
}

impl ReleaseTimesOut {
    /// The time at which `seq` was released; `None` if its mark was skipped and no later one has arrived. The sequences
    /// of consecutive calls must not fall.
    #[inline]
    pub fn since(&mut self, seq: Seq) -> Option<TsNs> {
        while self.last.seq < seq {
            let next = self.ring.pop().ok()?;
            assert!(self.last.seq < next.seq && self.last.at <= next.at, "marks rise");
            self.last = next;
        }
        Some(self.last.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(marks: &mut ReleaseTimesOut, seqs: &[u64]) -> Vec<Option<u64>> {
        seqs.iter().map(|&seq| marks.since(Seq(seq)).map(|at| at.0)).collect()
    }

    #[test]
    fn a_sequence_has_the_time_of_the_first_move_past_it() {
        let (mut inward, mut outward) = release_times();
        for (seq, at) in [(7, 100), (9, 200), (12, 300)] {
            inward.note(Seq(seq), TsNs(at));
        }
        let found = since(&mut outward, &[6, 7, 7, 8, 9, 12, 13]);
        assert_eq!(found, [Some(100), Some(100), Some(100), Some(200), Some(200), Some(300), None]);
        inward.note(Seq(13), TsNs(400));
        assert_eq!(since(&mut outward, &[13]), [Some(400)]);
    }

    #[test]
    fn a_mark_that_a_full_ring_skipped_reads_late_and_never_early() {
        let (mut inward, mut outward) = release_times();
        let len = MARKS as u64;
        (1..=len + 5).for_each(|seq| inward.note(Seq(seq), TsNs(seq)));
        assert_eq!(since(&mut outward, &[1, len, len + 1]), [Some(1), Some(len), None]);
        inward.note(Seq(len + 6), TsNs(len + 6));
        assert_eq!(since(&mut outward, &[len + 1, len + 6]), [Some(len + 6), Some(len + 6)]);
    }
}
