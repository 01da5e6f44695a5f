//! Pruning: the chain of the log stays, and nothing is deleted while a snapshot that stays is damaged.

use crate::common::Place;
use crate::fixture::{SNAPSHOTS, flip, intact, nothing_lost, objects, open, output_of, ship_all, trading};
use std::path::Path;
use tools::archive::catalog::Catalog;
use tools::archive::key::Key;
use tools::archive::shipper::{Shipper, TailPolicy};
use tools::verbs::backup::drill::drill;

#[test]
fn pruning_keeps_the_chain_and_the_shipper_continues() {
    let place = Place::new();
    let (running, mut traffic) = trading(&place, SNAPSHOTS);
    let to = place.path().join("backup");
    let (destination, data_dir) = (open(&to), place.data_dir());
    let mut shipper = Shipper::new(&data_dir, &destination);
    let mut snapshots = 0;
    while snapshots < 4 {
        traffic.commands(300);
        snapshots += shipper.round(TailPolicy::SyncNow).expect("shipped").snapshots.len();
    }
    let from = to.to_str().expect("text");
    refuse_to_prune_a_damaged_backup(&to);
    let before = objects(&to);
    let text = output_of(0, &["backup", "prune", "--from", from, "--keep", "2", "--dry-run"]);
    assert!(text.contains("would delete") && objects(&to) == before, "{text}");
    output_of(0, &["backup", "prune", "--from", from, "--keep", "2"]);
    assert!(objects(&to).len() < before.len());
    let points = Catalog::read(&destination).expect("readable").newest().expect("there").restorable();
    assert_eq!(points.len(), 1);
    intact(&destination);
    // Another process, which has only the remaining objects to go by, ships nothing twice.
    traffic.commands(300);
    drop(traffic);
    running.settle();
    let mut successor = Shipper::new(&data_dir, &destination);
    let round = successor.round(TailPolicy::SyncNow).expect("shipped");
    assert!(round.commands < 1_000 && round.gap.is_none(), "{round:?}");
    ship_all(&mut successor);
    intact(&destination);
    let drilled = drill(&destination, place.path(), Some(&data_dir)).expect("the state is restored");
    assert_eq!(drilled.rpo, nothing_lost());
    output_of(2, &["backup", "prune", "--from", from, "--keep", "0"]);
    for address in ["s3:/bucket", "ftp://place", "file:backup", "s3:///prefix", ""] {
        assert!(output_of(2, &["backup", "list", "--from", address]).contains("s3://bucket/prefix"), "{address}");
    }
    output_of(12, &["backup", "list", "--from", "/nowhere/at/all"]);
    assert_eq!(running.stop(), 0);
}

/// Older snapshots may be the only intact ones, and stay while a newer one is damaged.
fn refuse_to_prune_a_damaged_backup(to: &Path) {
    let (from, before) = (to.to_str().expect("text"), objects(to));
    let newest = before.iter().filter(|(key, _)| matches!(key, Key::Snapshot { .. })).max().expect("shipped");
    flip(&newest.1, 4_000);
    for more in [&["--dry-run"][..], &[]] {
        let text = output_of(13, &[&["backup", "prune", "--from", from, "--keep", "2"], more].concat());
        assert!(text.contains("nothing was deleted") && text.contains(&newest.0.to_string()), "{text}");
        assert_eq!(objects(to), before);
    }
    flip(&newest.1, 4_000);
}
