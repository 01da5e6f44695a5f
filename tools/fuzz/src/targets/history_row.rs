//! Rows of the node's history: a row that unpacks packs again entry by entry, and a truncated entry ends the iteration.

use crate::meter;
use crate::target::{Outcome, Target, repair_nothing};
use book::units::{Seq, Stamp, TsNs};
use node::history::rows::{ROW_BYTES_MAX, entries, number_of, pack, push_entry, stream_key, unpack};

pub const TARGET: Target =
    Target { name: "history_row", seeds, repair: repair_nothing, check, bytes_max: 4096, round_inputs: 10_000 };

fn check(input: &[u8]) -> Outcome {
    if let Some(number) = number_of(input) {
        assert_eq!(number_of(&stream_key(7, number)), Some(number));
    }
    // Memory is reserved for the length that a row states, which has a bound.
    let Some(raw) = meter::within(ROW_BYTES_MAX + input.len() + 1024, || unpack(input)) else {
        return Outcome::Refused;
    };
    assert!(raw.len() <= ROW_BYTES_MAX);
    assert_eq!(unpack(&pack(&raw)).as_ref(), Some(&raw));
    let mut written = Vec::new();
    let mut is_complete = true;
    for entry in entries(&raw) {
        assert!(is_complete, "no entry follows a truncated one");
        match entry {
            Some(entry) => push_entry(&mut written, entry.stamp, entry.bytes),
            None => is_complete = false,
        }
    }
    assert!(raw.starts_with(&written));
    assert_eq!(is_complete, written.len() == raw.len(), "an iteration ends at the end or at a truncated entry");
    Outcome::Decoded
}

fn seeds() -> Vec<Vec<u8>> {
    let row = |count: u64| {
        let mut raw = Vec::new();
        for seq in 1..=count {
            let stamp = Stamp { seq: Seq(seq), ts: TsNs(seq * 10) };
            push_entry(&mut raw, stamp, &vec![seq as u8; seq as usize % 7]);
        }
        pack(&raw)
    };
    vec![row(1), row(3), row(60)]
}
