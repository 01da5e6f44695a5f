//! The past of a restored state: never dropped silently, named where it is missing, and counted.

use crate::fixture::{SNAPSHOTS, Stopped, end, objects, open, output_of, ship_all, trade_on};
use node::faults::mutation::{Mutation, assert_noticed_where_built};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tools::archive::again::again_where_pruned;
use tools::archive::catalog::Catalog;
use tools::archive::error::BackupError;
use tools::archive::fetch::{Selection, fetch};
use tools::archive::key::Key;
use tools::archive::shipper::Shipper;
use tools::terminal::failure::ExitCode;
use tools::verbs::backup::drill::{WithPast, drill};
use wal::units::{Lsn, Timeline};

/// A stopped node's directory that has a snapshot from after its log's end, as a shipper meets it between two rounds:
/// the log was read before the node went on and took the snapshot.
fn with_a_snapshot_ahead() -> (Stopped, PathBuf, Lsn) {
    let stopped = Stopped::new(SNAPSHOTS);
    let (data_dir, older) = (stopped.place.data_dir(), stopped.place.path().join("older"));
    copy(&data_dir, &older);
    trade_on(&stopped.place, &stopped.login, 200);
    let newest = newest_snapshot(&data_dir);
    let seq = Lsn(newest.file_stem().expect("a name").to_str().expect("text")[11..].parse().expect("a sequence"));
    fs::copy(&newest, older.join("snapshots").join(newest.file_name().expect("a name"))).expect("copied");
    assert!(end(&older) < seq);
    (stopped, older, seq)
}

fn newest_snapshot(data_dir: &Path) -> PathBuf {
    let entries = fs::read_dir(data_dir.join("snapshots")).expect("there");
    entries.map(|entry| entry.expect("readable").path()).max().expect("a snapshot")
}

fn copy(from: &Path, into: &Path) {
    fs::create_dir(into).expect("absent");
    for entry in fs::read_dir(from).expect("there") {
        let entry = entry.expect("readable");
        let to = into.join(entry.file_name());
        if entry.file_type().expect("readable").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

fn catalog_of(to: &Path) -> Catalog {
    Catalog::read(&open(to)).expect("readable")
}

#[test]
fn a_snapshot_is_shipped_only_when_the_log_up_to_it_is() {
    let (stopped, older, seq) = with_a_snapshot_ahead();
    let destination = open(&stopped.to);
    let round = ship_all(&mut Shipper::new(&older, &destination));
    let catalog = catalog_of(&stopped.to);
    let kept = catalog.newest().expect("shipped");
    assert!(kept.lone_snapshots().is_empty() && kept.missing_ranges().is_empty(), "{kept:?}");
    assert!(!kept.snapshots.is_empty() && kept.snapshots.iter().all(|snapshot| snapshot.seq <= round.seq_shipped));
    // With the log up to it the snapshot comes too.
    ship_all(&mut Shipper::new(&stopped.place.data_dir(), &destination));
    let catalog = catalog_of(&stopped.to);
    assert!(catalog.newest().expect("shipped").snapshots.iter().any(|snapshot| snapshot.seq == seq));
}

#[test]
fn a_restore_without_a_connected_past_names_what_is_missing() {
    let (stopped, older, seq) = with_a_snapshot_ahead();
    ship_all(&mut Shipper::new(&older, &open(&stopped.to)));
    // As an older release shipped it.
    let name = Key::Snapshot { timeline: Timeline(1), seq }.to_string();
    fs::copy(newest_snapshot(&older), stopped.to.join(name)).expect("stored");
    let (last, from, new) = (end(&older), stopped.to.to_str().expect("text"), stopped.place.path().join("new"));
    let into = new.to_str().expect("text");
    let missing = format!("{} to {seq}", last.next());
    for more in [&[][..], &["--dry-run"], &["--json"]] {
        let text = output_of(15, &[&["restore", "--from", from, "--data-dir", into], more].concat());
        assert!(text.contains(&missing) && text.contains("--without-past") && !new.exists(), "{text}");
        assert!(text.contains(&format!("--to-seq {last}")), "{text}");
    }
    let error = fetch(&open(&stopped.to), &new, Selection::everything()).expect_err("the past is missing");
    assert!(matches!(error, BackupError::PastMissing { .. }) && !new.exists(), "{error}");
    let text = output_of(13, &["backup", "verify", "--from", from]);
    assert!(text.contains(&missing) && text.contains(&format!("ALONE       snapshot {seq}")), "{text}");
    let text = output_of(13, &["backup", "list", "--from", from]);
    assert!(text.contains(&missing) && text.contains(&format!("ALONE     snapshot {seq}")), "{text}");
    // What is asked for by its sequence or without a past is made, and says what it lacks.
    for (more, made) in [(["--to-seq", &seq.to_string()].to_vec(), "by-seq"), (vec!["--without-past"], "without")] {
        let made = stopped.place.path().join(made);
        let arguments = ["restore", "--from", from, "--data-dir", made.to_str().expect("text"), "--json"];
        let text = output_of(0, &[&arguments[..], &more].concat());
        let line: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        assert_eq!((line["seq"].as_u64(), line["history_begins"].as_u64()), (Some(seq.0), Some(seq.0)), "{text}");
        assert_eq!(line["past_missing"][0]["seq_first"].as_u64(), Some(last.next().0), "{text}");
    }
    let arguments = ["restore", "--from", from, "--data-dir", into, "--to-seq", &last.to_string(), "--json"];
    let line: Value = serde_json::from_str(&output_of(0, &arguments)).expect("JSON");
    assert_eq!((line["history_begins"].as_u64(), line["left_behind"].as_u64()), (Some(0), Some(0)), "{line}");
    assert!(line["history_rows"].as_u64() > Some(0) && line["history_rows"] == line["history_rows_computed"], "{line}");
}

#[test]
fn log_that_no_snapshot_leads_into_is_not_skipped_silently() {
    let stopped = Stopped::shipped(SNAPSHOTS);
    trade_on(&stopped.place, &stopped.login, 200);
    ship_all(&mut Shipper::new(&stopped.place.data_dir(), &open(&stopped.to)));
    let catalog = catalog_of(&stopped.to);
    let kept = catalog.newest().expect("shipped");
    let [first, .., last] = &kept.pieces[..] else { panic!("{kept:?}") };
    for (key, path) in objects(&stopped.to) {
        let is_lost = matches!(key, Key::Snapshot { seq, .. } if first.seq_last <= seq)
            || matches!(key, Key::Piece { seq_first, .. } if first.seq_first < seq_first && seq_first < last.seq_first);
        if is_lost {
            fs::remove_file(path).expect("there");
        }
    }
    // A hole, so that the last piece stands without a start.
    let first_path = stopped
        .to
        .join(Key::Piece { timeline: Timeline(1), seq_first: first.seq_first, seq_last: first.seq_last }.to_string());
    let from = stopped.to.to_str().expect("text");
    if kept.pieces.len() == 2 {
        fs::remove_file(first_path).expect("there");
    }
    let new = stopped.place.path().join("new");
    let text = output_of(13, &["restore", "--from", from, "--data-dir", new.to_str().expect("text")]);
    assert!(text.contains(&format!("log up to sequence {}", last.seq_last)) && !new.exists(), "{text}");
    let text = output_of(13, &["backup", "list", "--from", from]);
    assert!(text.contains("NO START"), "{text}");
}

#[test]
fn an_identity_that_is_missing_is_damage_in_every_verb() {
    let stopped = Stopped::shipped(SNAPSHOTS);
    let key = Key::Identity(Timeline(1));
    fs::remove_file(stopped.to.join(key.to_string())).expect("there");
    let (from, new) = (stopped.to.to_str().expect("text"), stopped.place.path().join("new"));
    let (into, scratch) = (new.to_str().expect("text"), stopped.place.path().to_str().expect("text"));
    for verb in [
        &["backup", "verify"][..],
        &["backup", "list"],
        &["backup", "drill", "--scratch", scratch],
        &["backup", "prune", "--keep", "1"],
        &["restore", "--data-dir", into],
        &["restore", "--data-dir", into, "--without-past"],
    ] {
        let text = output_of(13, &[verb, &["--from", from]].concat());
        assert!(text.contains("IDENTITY") && !new.exists(), "{text}");
    }
}

#[test]
fn a_reader_lists_again_where_prune_deletes_an_object() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let destination = open(dir.path());
    let keys = [1, 2].map(|seq| Key::Snapshot { timeline: Timeline(1), seq: Lsn(seq) });
    for key in keys {
        destination.put_new(key, b"contents".to_vec()).expect("stored");
    }
    let mut readings = 0;
    let read = again_where_pruned(&destination, || {
        readings += 1;
        let listed = destination.list()?;
        if readings == 1 {
            destination.delete(keys[0])?;
        }
        listed.iter().map(|object| destination.get(object.key)).collect::<Result<Vec<_>, _>>()
    });
    assert_eq!((read.expect("what is left").len(), readings), (1, 2));
    let error = again_where_pruned(&destination, || destination.get(keys[0])).expect_err("it never comes back");
    assert!(matches!(error, BackupError::Vanished { .. }) && error.exit_code() == 1, "{error}");
}

fn a_drill_counts_the_rows_of_history() {
    let stopped = Stopped::shipped(SNAPSHOTS);
    let drilled = drill(&open(&stopped.to), stopped.place.path(), None).expect("intact");
    let WithPast::Restored { commands, history_rows, .. } = drilled.with_past else { panic!("{drilled:?}") };
    assert!(commands == drilled.fetched.tail.seq.0 && 0 < history_rows, "{commands} commands, {history_rows} rows");
}

fn objects_are_for_their_owner_alone() {
    crate::places::check_modes();
}

#[test]
fn planted_faults_of_backups_are_noticed() {
    for (fault, test) in [
        (Mutation::SnapshotAheadOfLog, a_snapshot_is_shipped_only_when_the_log_up_to_it_is as fn()),
        (Mutation::PastDropped, a_restore_without_a_connected_past_names_what_is_missing),
        (Mutation::RowsUncounted, a_drill_counts_the_rows_of_history),
        (Mutation::ReadableByAll, objects_are_for_their_owner_alone),
        (Mutation::PruneUnexpected, a_reader_lists_again_where_prune_deletes_an_object),
    ] {
        assert_noticed_where_built(fault, test);
    }
}
