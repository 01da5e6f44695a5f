//! The mark, the file of the highest acknowledged sequence: the newer intact slot counts, and the next one is written
//! after it.
//!
//! An input is both slots, 32 bytes each; a short input makes a short file.

use crate::scratch;
use crate::target::{Outcome, Target};
use std::mem::offset_of;
use wal::error::ErrorKind;
use wal::mark::{MARK_MAGIC, MARK_SLOT_STRIDE_BYTES, MARK_VERSION, Mark, MarkSlot};
use wal::units::{Lsn, Timeline};
use zerocopy::{FromBytes, IntoBytes};

pub const TARGET: Target =
    Target { name: "mark", seeds, repair, check, bytes_max: 2 * SLOT_BYTES, round_inputs: 5_000 };

const SLOT_BYTES: usize = size_of::<MarkSlot>();
const TIMELINE: Timeline = Timeline(1);

fn check(input: &[u8]) -> Outcome {
    let path = scratch::file("mark", &file(input));
    let newest = slots(input).zip(0..).filter(is_intact).map(|(slot, _)| slot).max_by_key(|slot| slot.counter.get());
    let expected = newest.filter(|slot| slot.version.get() == MARK_VERSION && slot.timeline.get() == TIMELINE.0);
    let seq = match Mark::read(&path, TIMELINE) {
        Ok(seq) => seq,
        Err(error) => {
            assert!(expected.is_none(), "an intact slot was refused: {error}");
            let refusals = [ErrorKind::Damaged, ErrorKind::UnknownFormat, ErrorKind::TimelineDiffers];
            assert!(refusals.contains(&error.kind()), "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error} names the file");
            return Outcome::Refused;
        }
    };
    assert_eq!(Some(seq.0), expected.map(|slot| slot.seq.get()));
    let mut mark = Mark::open(&path, TIMELINE).expect("a mark that can be read can be opened");
    assert_eq!(mark.seq(), seq);
    let higher = Lsn(seq.0.saturating_add(1));
    if higher != seq && expected.is_some_and(|slot| slot.counter.get() == u64::MAX) {
        assert_eq!(mark.advance(higher).expect_err("there is no next counter").kind(), ErrorKind::Damaged);
        return Outcome::Decoded;
    }
    mark.advance(higher).expect("a slot can be written to the file");
    assert_eq!(
        Mark::read(&path, TIMELINE).expect("the mark was just written"),
        higher,
        "the mark reads as it was written"
    );
    Outcome::Decoded
}

fn file(input: &[u8]) -> Vec<u8> {
    let mut file = input[..input.len().min(SLOT_BYTES)].to_vec();
    if let Some(second) = input.get(SLOT_BYTES..) {
        file.resize(MARK_SLOT_STRIDE_BYTES as usize, 0);
        file.extend_from_slice(second);
    }
    file
}

fn slots(input: &[u8]) -> impl Iterator<Item = MarkSlot> + '_ {
    input.chunks_exact(SLOT_BYTES).take(2).filter_map(|bytes| MarkSlot::read_from_bytes(bytes).ok())
}

/// Slots are written in turn: an even counter in the first, an odd one in the second.
fn is_intact((slot, idx): &(MarkSlot, u64)) -> bool {
    let checksum_matches = slot.crc32c.get() == checksum(*slot);
    slot.magic.get() == MARK_MAGIC && checksum_matches && slot.counter.get() % 2 == *idx
}

fn checksum(slot: MarkSlot) -> u32 {
    crc32c::crc32c(MarkSlot { crc32c: 0.into(), ..slot }.as_bytes())
}

fn repair(input: &mut [u8]) {
    for bytes in input.chunks_exact_mut(SLOT_BYTES).take(2) {
        let Ok(slot) = MarkSlot::read_from_bytes(bytes) else { return };
        let at = offset_of!(MarkSlot, crc32c);
        bytes[at..at + 4].copy_from_slice(&checksum(slot).to_le_bytes());
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let pair = |first: MarkSlot, second: MarkSlot| [first.as_bytes(), second.as_bytes()].concat();
    vec![
        pair(MarkSlot::new(TIMELINE, 0, Lsn::ZERO), MarkSlot::new(TIMELINE, 1, Lsn::ZERO)),
        pair(MarkSlot::new(TIMELINE, 6, Lsn(41)), MarkSlot::new(TIMELINE, 5, Lsn(40))),
    ]
}
