//! Names of a backup's objects: an object has one name only, and no name leads to a place outside the backup.

use crate::meter;
use crate::target::{Outcome, Target, repair_nothing};
use std::path::{Component, Path};
use tools::archive::key::Key;
use wal::units::{Lsn, Timeline};

pub const TARGET: Target =
    Target { name: "backup_key", seeds, repair: repair_nothing, check, bytes_max: 96, round_inputs: 40_000 };

/// For the name written again; a string may have twice the capacity that it needs.
const HELD_BYTES_MAX: usize = 256;

fn check(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    let Some(key) = meter::within(HELD_BYTES_MAX, || Key::parse(text)) else { return Outcome::Refused };
    assert_eq!(key.to_string(), text, "an object has one name only");
    assert_eq!(key.timeline().is_none(), key == Key::Claim, "only the claim belongs to no single timeline");
    assert!(
        Path::new(text).components().all(|part| matches!(part, Component::Normal(_))),
        "{text:?} leads out of the backup"
    );
    if let Key::Piece { seq_first, seq_last, .. } | Key::Gap { seq_first, seq_last, .. } = key {
        assert!(Lsn::ZERO < seq_first && seq_first <= seq_last, "{text:?} has an empty range");
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
