//! The file that lists the restores that a data directory came from: it has one form only.

use super::identity;
use crate::meter;
use crate::scratch;
use crate::target::{Outcome, Target};
use std::fs;
use wal::error::ErrorKind;
use wal::lineage::{Ancestor, LINEAGE_FILE, Lineage};
use wal::units::{Lsn, NodeId, Timeline};

pub const TARGET: Target =
    Target { name: "lineage", seeds, repair: identity::repair, check, bytes_max: 1024, round_inputs: 8_000 };

/// A line is far longer than its entry in memory; its words, the text and the list may each have twice the capacity
/// that they need.
const HELD_PER_BYTE: usize = 16;

fn check(input: &[u8]) -> Outcome {
    let path = scratch::file(LINEAGE_FILE, input);
    let parsed = meter::within(HELD_PER_BYTE * input.len() + 4096, || Lineage::parse(input));
    match Lineage::read(&scratch::dir()) {
        Ok(lineage) => {
            assert_eq!(parsed.as_ref(), Some(&lineage), "reading and parsing agree");
            assert_eq!(written(&lineage), input, "it has one form only");
            Outcome::Decoded
        }
        Err(error) => {
            assert_eq!(parsed, None, "reading and parsing agree");
            assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
            assert!(error.to_string().contains(&path.display().to_string()), "{error} names the file");
            Outcome::Refused
        }
    }
}

/// The file as the product writes it, which it does only in new directories.
fn written(lineage: &Lineage) -> Vec<u8> {
    let dir = tempfile::tempdir_in(scratch::dir()).expect("a directory can be made in the scratch directory");
    lineage.write_new(dir.path()).expect("a new directory has no lineage yet");
    fs::read(dir.path().join(LINEAGE_FILE)).expect("the file was just written")
}

fn seeds() -> Vec<Vec<u8>> {
    let ancestor = |timeline, seq, time_ns| Ancestor {
        node_id: NodeId([timeline as u8; 16]),
        timeline: Timeline(timeline),
        seq: Lsn(seq),
        time_ns,
    };
    let first = ancestor(1, 4_711, 1_790_000_000_000_000_000);
    let last = ancestor(u32::MAX, u64::MAX, u64::MAX);
    [vec![], vec![first], vec![first, ancestor(2, 5_000, 0), last]].map(|list| written(&Lineage(list))).into()
}
