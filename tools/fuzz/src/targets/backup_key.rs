//! Names of a backup's objects: one object has one spelling, and no name leads out of the backup.

use crate::meter;
use crate::target::{Outcome, Target, mend_nothing};
use std::path::{Component, Path};
use tools::archive::key::Key;
use wal::units::{Lsn, Timeline};

pub const TARGET: Target =
    Target { name: "backup_key", seeds, mend: mend_nothing, check, bytes_max: 96, round_inputs: 40_000 };

/// The name written again; a string may hold twice of it.
const HELD_BYTES_MAX: usize = 256;

fn check(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    let Some(key) = meter::within(HELD_BYTES_MAX, || Key::parse(text)) else { return Outcome::Refused };
    assert_eq!(key.to_string(), text, "one object, one spelling");
    assert_eq!(key.timeline().is_none(), key == Key::Claim, "only the claim is of all timelines");
    assert!(Path::new(text).components().all(|part| matches!(part, Component::Normal(_))), "{text:?} leads elsewhere");
    if let Key::Piece { seq_first, seq_last, .. } | Key::Gap { seq_first, seq_last, .. } = key {
        assert!(Lsn::ZERO < seq_first && seq_first <= seq_last, "{text:?} is about nothing");
    }
    Outcome::Decoded
}

fn seeds() -> Vec<Vec<u8>> {
    let (timeline, seq_first, seq_last) = (Timeline(3), Lsn(501), Lsn(77_000));
    let keys = [
        Key::Claim,
        Key::Identity(timeline),
        Key::Lineage(Timeline(u32::MAX)),
        Key::Quarantine { timeline, entry_count: 2 },
        Key::Snapshot { timeline, seq: Lsn(77) },
        Key::Piece { timeline, seq_first, seq_last },
        Key::Gap { timeline, seq_first, seq_last: Lsn(u64::MAX) },
    ];
    keys.map(|key| key.to_string().into_bytes()).into()
}
