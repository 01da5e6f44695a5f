//! Rows of the node's history: what unpacks packs again, entry by entry, and a cut entry ends the walk.

use crate::meter;
use crate::target::{Outcome, Target, mend_nothing};
use book::units::{Seq, Stamp, TsNs};
use node::history::rows::{ROW_BYTES_MAX, entries, number_of, pack, push_entry, stream_key, unpack};

pub const TARGET: Target =
    Target { name: "history_row", seeds, mend: mend_nothing, check, bytes_max: 4096, round_inputs: 10_000 };

fn check(input: &[u8]) -> Outcome {
    if let Some(number) = number_of(input) {
        assert_eq!(number_of(&stream_key(7, number)), Some(number));
    }
    // Memory is made for what a row says of its length, which has a bound.
    let Some(raw) = meter::within(ROW_BYTES_MAX + input.len() + 1024, || unpack(input)) else {
        return Outcome::Refused;
    };
    assert!(raw.len() <= ROW_BYTES_MAX);
    assert_eq!(unpack(&pack(&raw)).as_ref(), Some(&raw));
    let mut written = Vec::new();
    let mut whole = true;
    for entry in entries(&raw) {
        assert!(whole, "nothing follows a cut entry");
        match entry {
            Some(entry) => push_entry(&mut written, entry.stamp, entry.bytes),
            None => whole = false,
        }
    }
    assert!(raw.starts_with(&written));
    assert_eq!(whole, written.len() == raw.len(), "a walk ends at the end, or at a cut entry");
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
