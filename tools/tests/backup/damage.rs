//! Damage in a backup: `verify` and `drill` name the object that is damaged or missing.

use crate::common::Place;
use crate::fixture::{
    FORGETFUL, SNAPSHOTS, Stopped, base, end, flip, intact, objects, open, output_of, path_of, ship_all, trade_on,
    trading,
};
use std::fs;
use std::path::PathBuf;
use tools::archive::catalog::Catalog;
use tools::archive::fetch::{Selection, fetch};
use tools::archive::key::Key;
use tools::archive::shipper::{Shipper, TailPolicy};
use tools::terminal::failure::ExitCode;
use tools::verbs::backup::drill::{Rpo, drill};
use wal::lineage::{Ancestor, Lineage};
use wal::quarantine::{Quarantine, Quarantined};
use wal::units::{Lsn, NodeId, Timeline};

#[test]
fn verify_names_the_object_of_any_flipped_byte() {
    let stopped = Stopped::new(SNAPSHOTS);
    let mut quarantine = Quarantine::default();
    assert!(quarantine.add(Lsn(50_000), Quarantined { until: Lsn(1), time_ns: 1, reason: "ticket 1".to_owned() }));
    quarantine.write(&stopped.place.data_dir()).expect("written");
    ship_all(&mut Shipper::new(&stopped.place.data_dir(), &open(&stopped.to)));
    // A second list, after which the first stays in the backup.
    assert!(quarantine.add(Lsn(50_001), Quarantined { until: Lsn(1), time_ns: 2, reason: "ticket 1".to_owned() }));
    quarantine.write(&stopped.place.data_dir()).expect("written");
    let ancestor = Ancestor { node_id: NodeId([3; 16]), timeline: Timeline(4), seq: Lsn(5), time_ns: 6 };
    Lineage(vec![ancestor]).write_new(&stopped.place.data_dir()).expect("written");
    ship_all(&mut Shipper::new(&stopped.place.data_dir(), &open(&stopped.to)));
    let fetched = stopped.place.path().join("fetched");
    fetch(&open(&stopped.to), &fetched, Selection::everything()).expect("intact");
    assert_eq!(Lineage::read(&fetched).expect("intact").0, [ancestor]);
    assert_eq!(Quarantine::read(&fetched).expect("intact"), quarantine);
    assert_eq!((base(&fetched), end(&fetched)), (Lsn(0), end(&stopped.place.data_dir())));
    let from = stopped.to.to_str().expect("text");
    output_of(0, &["backup", "verify", "--from", from]);
    let (mut kinds, all) = ([0; 5], objects(&stopped.to));
    for (idx, (key, path)) in all.iter().enumerate() {
        let before = fs::read(path).expect("readable");
        flip(path, before.len() / 3 + idx * 7);
        let text = output_of(13, &["backup", "verify", "--from", from]);
        assert!(text.contains(&key.to_string()) && !text.contains("/proc/self"), "{key}: {text}");
        fs::write(path, before).expect("writable");
        let kind = match key {
            Key::Claim => 0,
            Key::Identity(_) | Key::Lineage(_) | Key::Config { .. } => 1,
            Key::Quarantine { .. } => 2,
            Key::Snapshot { .. } => 3,
            Key::Piece { .. } | Key::Gap { .. } => 4,
        };
        kinds[kind] += 1;
    }
    assert!(kinds.iter().all(|count| 0 < *count) && kinds[2] == 2, "{kinds:?}");
    output_of(0, &["backup", "verify", "--from", from]);
}

#[test]
fn verify_names_a_snapshot_whose_state_differs_from_the_logs() {
    let stopped = Stopped::new(SNAPSHOTS);
    // Quarantined by a list that the node never had: every object is intact, but the states differ.
    let mut quarantine = Quarantine::default();
    // Every check in the log counts as overtaken, so that only a snapshot shows the difference.
    let until = Lsn(u64::MAX);
    assert!(quarantine.add(Lsn(901), Quarantined { until, time_ns: 1, reason: "ticket 2".to_owned() }));
    quarantine.write(&stopped.place.data_dir()).expect("written");
    ship_all(&mut Shipper::new(&stopped.place.data_dir(), &open(&stopped.to)));
    let text = output_of(18, &["backup", "verify", "--from", stopped.to.to_str().expect("text")]);
    assert!(text.contains(".snap") && text.contains("the log before it gives"), "{text}");
}

#[test]
fn a_drill_fails_on_a_flipped_byte_and_on_a_missing_piece() {
    let stopped = Stopped::shipped(SNAPSHOTS);
    trade_on(&stopped.place, &stopped.login, 200);
    let (destination, scratch) = (open(&stopped.to), stopped.place.path());
    ship_all(&mut Shipper::new(&stopped.place.data_dir(), &destination));
    // A directory that a killed drill left.
    let leftover = scratch.join(format!("pinion-drill-{}.unfinished", NodeId([7; 16])));
    fs::create_dir_all(leftover.join("data/db")).expect("ours");
    drill(&destination, scratch, None).expect("intact");
    assert!(!leftover.exists());
    let catalog = Catalog::read(&destination).expect("readable");
    let newest = catalog.newest().expect("shipped");
    let piece = newest.newest_piece().expect("shipped");
    let (seq_first, seq_last) = (piece.seq_first, piece.seq_last);
    let piece = stopped.to.join(Key::Piece { timeline: Timeline(1), seq_first, seq_last }.to_string());
    let snapshot = newest.snapshots.last().expect("shipped").seq;
    let snapshot = stopped.to.join(Key::Snapshot { timeline: Timeline(1), seq: snapshot }.to_string());

    // The drill uses the snapshot before the damaged one, and reports the damage.
    let before = fs::read(&snapshot).expect("readable");
    flip(&snapshot, before.len() / 2);
    let (from, scratch_text) = (stopped.to.to_str().expect("text"), scratch.to_str().expect("text"));
    let text = output_of(13, &["backup", "drill", "--from", from, "--scratch", scratch_text]);
    assert!(text.contains("DAMAGED") && text.contains(".snap"), "{text}");

    flip(&piece, 500);
    let text = output_of(13, &["backup", "drill", "--from", from, "--scratch", scratch_text]);
    assert!(text.contains(".piece"), "{text}");
    // Only the comparison with the node can show that the newest objects are missing.
    fs::remove_file(&snapshot).expect("there");
    fs::remove_file(&piece).expect("there");
    let data_dir = stopped.place.data_dir();
    let lost = end(&data_dir).0 - Catalog::read(&destination).expect("readable").newest_restorable().expect("one").0;
    assert!(0 < lost && lost <= seq_last.0 - seq_first.0 + 1, "{lost}");
    let drilled = drill(&destination, scratch, Some(&data_dir)).expect("an older state is restored");
    assert!(matches!(drilled.rpo, Rpo::OfNode { commands, .. } if commands == lost), "{:?}", drilled.rpo);
}

#[test]
fn verify_names_a_piece_with_the_bytes_of_another_and_an_empty_one() {
    let stopped = Stopped::new(SNAPSHOTS);
    let (destination, data_dir) = (open(&stopped.to), stopped.place.data_dir());
    ship_all(&mut Shipper::new(&data_dir, &destination));
    trade_on(&stopped.place, &stopped.login, 200);
    ship_all(&mut Shipper::new(&data_dir, &destination));
    let catalog = Catalog::read(&destination).expect("readable");
    let pieces: Vec<PathBuf> =
        catalog.newest().expect("shipped").pieces.iter().map(|p| path_of(&stopped.to, p)).collect();
    let [first, .., last] = &pieces[..] else { panic!("{pieces:?}") };
    let (original, to) = (fs::read(last).expect("there"), stopped.to.to_str().expect("text"));
    let once = ["backup", "run", "--once", "--data-dir", data_dir.to_str().expect("text"), "--to", to];
    let name = last.file_name().expect("a name").to_str().expect("text");
    // The bytes are those of another intact piece, and then none at all.
    for content in [fs::read(first).expect("there"), Vec::new()] {
        fs::write(last, content).expect("ours");
        let into = stopped.place.path().join("none");
        let error = fetch(&destination, &into, Selection::everything()).expect_err("damaged");
        assert!(error.exit_code() == 13 && error.to_string().contains(name) && !into.exists(), "{error}");
        assert!(output_of(13, &["backup", "verify", "--from", to]).contains(name));
        assert!(output_of(13, &once).contains(name));
    }
    fs::write(last, original).expect("ours");
    output_of(0, &once);
}

#[test]
fn verify_does_not_call_an_empty_backup_intact() {
    let place = Place::new();
    let (data_dir, to) = (place.data_dir(), place.path().join("backup"));
    ship_all(&mut Shipper::new(&data_dir, &open(&to)));
    let keys: Vec<Key> = objects(&to).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [Key::Claim, Key::Identity(Timeline(1))]);
    let text = output_of(15, &["backup", "verify", "--from", to.to_str().expect("text")]);
    assert!(text.contains("has nothing yet") && !text.contains("intact"), "{text}");
}

#[test]
fn verify_names_missing_pieces_and_snapshots() {
    let place = Place::new();
    let (running, mut traffic) = trading(&place, FORGETFUL);
    let to = place.path().join("backup");
    let (destination, data_dir) = (open(&to), place.data_dir());
    let mut shipper = Shipper::new(&data_dir, &destination);
    while base(&data_dir) == Lsn(0) {
        traffic.commands(500);
    }
    for _ in 0..4 {
        traffic.commands(100);
        shipper.round(TailPolicy::SyncNow).expect("shipped");
    }
    drop(traffic);
    assert_eq!(running.stop(), 0);
    intact(&destination);
    let catalog = Catalog::read(&destination).expect("readable");
    let kept = catalog.newest().expect("shipped");
    let from = to.to_str().expect("text");
    let middle = kept.pieces[1];
    let key = Key::Piece { timeline: Timeline(1), seq_first: middle.seq_first, seq_last: middle.seq_last };
    let (path, aside) = (to.join(key.to_string()), place.path().join("aside"));
    fs::rename(&path, &aside).expect("there");
    let text = output_of(13, &["backup", "verify", "--from", from]);
    assert!(text.contains(&format!("{} to {}", middle.seq_first, middle.seq_last)), "{text}");
    fs::rename(&aside, &path).expect("there");
    for snapshot in &kept.snapshots {
        let key = Key::Snapshot { timeline: Timeline(1), seq: snapshot.seq };
        fs::remove_file(to.join(key.to_string())).expect("there");
    }
    let text = output_of(13, &["backup", "verify", "--from", from]);
    assert!(text.contains("is missing"), "{text}");
}
