//! Gaps: commands that were truncated before they were shipped.

use crate::common::Place;
use crate::fixture::{FORGETFUL, base, flip, intact, nothing_lost, open, output_of, path_of, ship_all, trading};
use serde_json::Value;
use std::fs;
use std::path::Path;
use tools::archive::catalog::Catalog;
use tools::archive::error::BackupError;
use tools::archive::fetch::{Selection, fetch};
use tools::archive::key::Key;
use tools::archive::shipper::{Shipper, TailPolicy};
use tools::terminal::failure::ExitCode;
use tools::verbs::backup::drill::{WithPast, drill};
use wal::piece::Piece;
use wal::units::{Lsn, Timeline};

#[test]
fn a_log_that_was_truncated_before_it_was_shipped_leaves_a_recorded_gap() {
    let place = Place::new();
    let (running, mut traffic) = trading(&place, FORGETFUL);
    let to = place.path().join("backup");
    let (destination, data_dir) = (open(&to), place.data_dir());
    let mut shipper = Shipper::new(&data_dir, &destination);
    traffic.commands(200);
    let shipped = shipper.round(TailPolicy::SyncNow).expect("shipped").seq_shipped;
    while base(&data_dir) <= shipped {
        traffic.commands(500);
    }
    let round = shipper.round(TailPolicy::SyncNow).expect("shipped");
    let (first, last) = round.gap.expect("the round reports the gap");
    assert!(first == shipped.next() && first <= last && !round.snapshots.is_empty(), "{round:?}");
    traffic.commands(500);
    drop(traffic);
    running.settle();
    ship_all(&mut shipper);
    intact(&destination);
    let text = output_of(0, &["backup", "list", "--from", to.to_str().expect("text")]);
    assert!(text.contains(&format!("gap       {first} to {last}")), "{text}");
    let drilled = drill(&destination, place.path(), Some(&data_dir)).expect("the state is restored");
    assert_eq!(drilled.rpo, nothing_lost());
    assert!(matches!(drilled.with_past, WithPast::Refused(_)), "{drilled:?}");
    let (from, into) = (to.to_str().expect("text"), place.path().join("default"));
    let text = output_of(15, &["restore", "--from", from, "--data-dir", into.to_str().expect("text")]);
    assert!(text.contains(&format!("{first} to {last} are missing")) && !into.exists(), "{text}");
    assert!(text.contains(&format!("--to-seq {shipped} restores the newest state that has its past")), "{text}");
    let text = output_of(0, &["backup", "verify", "--from", from]);
    assert!(text.contains(&format!("GAP         {first} to {last}")) && text.contains(" gaps"), "{text}");
    let error = fetch(&destination, &place.path().join("in-the-gap"), Selection::state(Some(first)))
        .expect_err("the backup has no state in the gap");
    assert!(matches!(error, BackupError::Outside { .. }), "{error}");
    assert_eq!(running.stop(), 0);
    restore_to_times_around_a_gap(&place, &to, shipped);
    // If no snapshot leads to the newest state, the fetch fails and does not fetch an older state instead.
    let catalog = Catalog::read(&destination).expect("readable");
    let kept = catalog.newest().expect("shipped");
    assert!(2 <= kept.restorable().len(), "{kept:?}");
    for snapshot in &kept.snapshots {
        let key = Key::Snapshot { timeline: Timeline(1), seq: snapshot.seq };
        flip(&to.join(key.to_string()), 4_000);
    }
    let into = place.path().join("no-way");
    let error = fetch(&destination, &into, Selection::state(None)).expect_err("damaged");
    assert!(error.exit_code() == 13 && !into.exists(), "{error}");
    fetch(&destination, &into, Selection::state(Some(shipped))).expect("the log from the first command is intact");
}

/// A time before the gap can be restored, a time in the gap cannot.
fn restore_to_times_around_a_gap(place: &Place, to: &Path, shipped: Lsn) {
    let catalog = Catalog::read(&open(to)).expect("readable");
    let kept = catalog.newest().expect("shipped");
    let before = kept.pieces.iter().find(|piece| piece.seq_last == shipped).expect("the last one before the gap");
    let header = Piece::peek(to, &fs::read(path_of(to, before)).expect("there")).expect("intact");
    let (to, into) = (to.to_str().expect("text"), place.path().join("to-time"));
    let restore = |time_ns: u64, code: i32| {
        let (into, time) = (into.to_str().expect("text"), time_ns.to_string());
        output_of(code, &["restore", "--from", to, "--data-dir", into, "--to-time", &time, "--json"])
    };
    let text = restore(header.time_last + 1, 15);
    assert!(text.contains(&format!("after sequence {shipped} its next state")) && !into.exists(), "{text}");
    restore(header.time_first - 1, 15);
    let restored: Value = serde_json::from_str(restore(header.time_last, 0).trim()).expect("JSON");
    assert_eq!((restored["seq"].as_u64(), restored["ts_ns"].as_u64()), (Some(shipped.0), Some(header.time_last)));
}
