//! Backups of a node at work: into a directory, read back, damaged, cut off, pruned, fenced. The state that comes out
//! must be the live one.

mod common;

use book::state_hash::StateHash;
use common::raw_log::append;
use common::traffic::Traffic;
use common::{Place, Running, stage};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tools::archive::catalog::{Catalog, KeptPiece};
use tools::archive::destination::{Destination, Open, Put};
use tools::archive::error::BackupError;
use tools::archive::fetch::{fetch, fetch_with_past};
use tools::archive::key::Key;
use tools::archive::shipper::{Haste, Round, Shipper};
use tools::client::setup::Credentials;
use tools::offline::as_of::Past;
use tools::terminal::interrupt::Interrupt;
use tools::verbs::backup::drill::{Rpo, drill};
use tools::verbs::backup::run::{Rounds, Telling, run};
use tools::verbs::backup::verify::{Verified, verify};
use wal::directory::Directory;
use wal::identity::Identity;
use wal::lineage::{Ancestor, Lineage};
use wal::piece::Piece;
use wal::quarantine::{Quarantine, Quarantined};
use wal::recover::Inspection;
use wal::units::{Lsn, NodeId, Timeline};

/// Snapshots come often, and all of the log stays.
const SNAPSHOTS: &str = "[snapshot]\nevery_commands = 1000\n";
/// Rounds that a log which nobody adds to may take: more is a fault.
const ROUNDS_MAX: usize = 50;
/// The log goes as soon as it may.
const FORGETFUL: &str = "[snapshot]\nevery_commands = 1000\nkeep = 1\n[store]\nretain_bytes = 1\n";

fn open(address: &Path) -> Destination {
    let address = address.to_str().expect("text");
    Destination::open(address, None, Open::OrCreate, Interrupt::never()).expect("a directory can be made")
}

fn pinion(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pinion")).args(arguments).output().expect("the tool runs")
}

/// What the tool prints on both streams; it must have exited with `code`.
fn said(code: i32, arguments: &[&str]) -> String {
    let output = pinion(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}{err}");
    format!("{out}{err}")
}

fn whole(destination: &Destination) -> Verified {
    let verified = verify(destination).expect("readable");
    assert!(verified.damage.is_empty(), "{:?}", verified.damage);
    verified
}

/// The log's end as a looker sees it.
fn end(data_dir: &Path) -> Lsn {
    let directory = Directory::open_read_only(data_dir).expect("whole");
    Inspection::open(&directory).expect("whole").tail().seq
}

fn base(data_dir: &Path) -> Lsn {
    let directory = Directory::open_read_only(data_dir).expect("whole");
    Inspection::open(&directory).expect("whole").base().expect("readable").seq
}

/// Rounds until the backup has everything of a node that nobody trades on.
fn ship_all(shipper: &mut Shipper<'_>) -> Round {
    let mut rounds = (0..ROUNDS_MAX).map(|_| shipper.round(Haste::Now).expect("shipped"));
    rounds.find(|round| round.seq_shipped == round.seq_node).expect("nobody trades")
}

/// A stopped node's directory with a few thousand commands and some snapshots, and where a backup of it goes.
struct Stopped {
    place: Place,
    to: PathBuf,
    login: Credentials,
}

impl Stopped {
    fn new(more: &str) -> Self {
        let place = Place::new();
        let running = place.start_with(more);
        let login = stage(&running);
        Traffic::new(&running, &login).commands(4_000);
        assert_eq!(running.stop(), 0);
        let to = place.path().join("backup");
        Self { place, to, login }
    }

    fn shipped(more: &str) -> Self {
        let stopped = Self::new(more);
        ship_all(&mut Shipper::new(&stopped.place.data_dir(), &open(&stopped.to)));
        stopped
    }
}

fn trading(place: &Place, more: &str) -> (Running, Traffic) {
    let running = place.start_with(more);
    let login = stage(&running);
    let traffic = Traffic::new(&running, &login);
    (running, traffic)
}

#[test]
fn what_is_shipped_beside_a_running_node_brings_back_its_state() {
    let place = Place::new();
    let (running, mut traffic) = trading(&place, SNAPSHOTS);
    let (data_dir, to) = (place.data_dir(), place.path().join("backup"));
    let destination = open(&to);
    let mut shipper = Shipper::new(&data_dir, &destination);
    let (mut rounds, mut snapshots) = (0, 0);
    while rounds < 20 || snapshots < 2 {
        traffic.commands(300);
        let round = shipper.round(Haste::Later).expect("shipped");
        assert!(round.seq_shipped <= round.seq_node && round.gap.is_none(), "{round:?}");
        (rounds, snapshots) = (rounds + 1, snapshots + round.snapshots.len());
        assert!(rounds < 10_000, "the node takes snapshots");
    }
    drop(traffic);
    // The node still runs: what is compared is the log beside it.
    running.settle();
    let round = ship_all(&mut shipper);
    let drilled = drill(&destination, place.path(), Some(&data_dir)).expect("it comes back");
    assert_eq!((drilled.fetched.tail.seq, drilled.rpo), (round.seq_node, nothing_lost()));
    assert!(drilled.fetched.snapshot.is_some() && drilled.fetched.passed_over.is_empty());
    let verified = whole(&destination);
    assert!(2 <= verified.snapshots_met && round.seq_node.0 == verified.commands, "{verified:?}");
    assert_eq!(running.stop(), 0);
    assert!(
        !fs::read_dir(place.path())
            .expect("ours")
            .any(|entry| { entry.expect("readable").file_name().to_string_lossy().starts_with("pinion-drill") })
    );
}

fn nothing_lost() -> Rpo {
    Rpo::Node { commands: 0, behind: Duration::ZERO }
}

fn state_hash(data_dir: &Path, seq: u64) -> StateHash {
    let past = Past::open(data_dir).expect("whole");
    let moment = past.engine_state(Some(book::units::Seq(seq))).expect("reached");
    moment.replica.engine.state_hash()
}

#[test]
fn a_state_at_any_sequence_can_be_fetched() {
    let stopped = Stopped::shipped(SNAPSHOTS);
    let (destination, data_dir) = (open(&stopped.to), stopped.place.data_dir());
    let last = end(&data_dir);
    for (idx, seq) in [1, 2, 777, 1_000, 1_001, 2_500, last.0 - 1, last.0].into_iter().enumerate() {
        let into = stopped.place.path().join(format!("fetched-{idx}"));
        let fetched = fetch(&destination, &into, Some(Lsn(seq))).expect("the backup reaches it");
        assert!(seq <= fetched.tail.seq.0, "{fetched:?}");
        let directory = Directory::open_read_only(&into).expect("a data directory");
        assert_eq!(Inspection::open(&directory).expect("whole").tail(), fetched.tail);
        assert_eq!(state_hash(&into, seq), state_hash(&data_dir, seq), "at {seq}");
    }
    let (beyond, into) = (last.next(), stopped.place.path().join("beyond"));
    let error = fetch(&destination, &into, Some(beyond)).expect_err("outside");
    assert!(error.exit_code() == 15 && !into.exists(), "{error}");
    let error = fetch(&destination, &data_dir, None).expect_err("not empty");
    assert_eq!(error.exit_code(), 11);
}

#[test]
fn a_shipper_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let place = Place::new();
    let (running, mut traffic) = trading(&place, SNAPSHOTS);
    let (data_dir, to) = (place.data_dir(), place.path().join("backup"));
    let arguments = ["backup", "run", "--every", "1ms", "--json", "--data-dir"];
    let mut ended_by_itself = 0;
    for kill in 0..12u64 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pinion"))
            .args(arguments)
            .args([data_dir.as_os_str(), "--to".as_ref(), to.as_os_str()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tool runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        // Killed within the start, within a round, or some rounds later: wherever it is when its line has been read.
        for _ in 0..kill % 4 {
            traffic.commands(200);
            ended_by_itself += u32::from(lines.next().is_none());
        }
        traffic.commands(1 + kill as usize * 17 % 90);
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
    assert_eq!(ended_by_itself, 0);
    drop(traffic);
    running.settle();
    let destination = open(&to);
    ship_all(&mut Shipper::new(&data_dir, &destination));
    let verified = whole(&destination);
    assert_eq!(verified.commands, end(&data_dir).0);
    let drilled = drill(&destination, place.path(), Some(&data_dir)).expect("it comes back");
    assert_eq!(drilled.rpo, nothing_lost());
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_shipper_outlives_the_restarts_of_its_node() {
    let stopped = Stopped::new(SNAPSHOTS);
    let (data_dir, destination) = (stopped.place.data_dir(), open(&stopped.to));
    let mut shipper = Shipper::new(&data_dir, &destination);
    for _ in 0..3 {
        let running = stopped.place.start_with(SNAPSHOTS);
        let mut traffic = Traffic::new(&running, &stopped.login);
        for _ in 0..5 {
            traffic.commands(150);
            assert_eq!(shipper.round(Haste::Later).expect("shipped").gap, None);
        }
        drop(traffic);
        assert_eq!(running.stop(), 0);
        // What the node wrote at its end too.
        let caught_up =
            (0..ROUNDS_MAX).any(|_| shipper.round(Haste::Later).expect("shipped").seq_shipped == end(&data_dir));
        assert!(caught_up, "a stopped node's log is shipped in a few rounds");
    }
    assert_eq!(whole(&destination).commands, end(&data_dir).0);
    let drilled = drill(&destination, stopped.place.path(), Some(&data_dir)).expect("it comes back");
    assert_eq!(drilled.rpo, nothing_lost());
}

#[test]
fn a_dry_run_tells_what_a_round_then_ships() {
    let stopped = Stopped::new(SNAPSHOTS);
    let (data_dir, to) = (stopped.place.data_dir(), stopped.to.to_str().expect("text"));
    let run = |more: &str| {
        let arguments = ["backup", "run", "--json", "--data-dir", data_dir.to_str().expect("text"), "--to", to, more];
        serde_json::from_str::<Value>(&said(0, &arguments)).expect("JSON")
    };
    for is_first in [true, false] {
        let planned = run("--dry-run");
        assert_eq!((planned["place_made"].as_bool(), stopped.to.exists()), (Some(is_first), !is_first));
        let shipped = run("--once");
        assert_eq!((&planned["commands"], &planned["seq_node"]), (&shipped["commands"], &shipped["seq_shipped"]));
        assert!(planned["commands"].as_u64() > Some(0), "{planned}");
        trade_on(&stopped.place, &stopped.login, 100);
    }
    let text = said(0, &["backup", "run", "--dry-run", "--data-dir", data_dir.to_str().expect("text"), "--to", to]);
    assert!(text.contains("has this timeline up to sequence"), "{text}");
}

#[test]
fn a_signal_ends_a_run_in_order() {
    let stopped = Stopped::new(SNAPSHOTS);
    let data_dir = stopped.place.data_dir();
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pinion"))
            .args(["backup", "run", "--every", "1m", "--json", "--data-dir"])
            .args([data_dir.as_os_str(), "--to".as_ref(), stopped.to.as_os_str()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tool runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = lines.next().expect("a round").expect("text");
        let round: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(round["timeline"], 1, "{line}");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).expect("it runs");
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
    }
    whole(&open(&stopped.to));
}

#[test]
fn a_single_round_that_was_interrupted_has_failed() {
    let place = Place::new();
    let (interrupter, interrupt) = Interrupt::by_hand();
    let to = place.path().join("backup");
    let to = to.to_str().expect("text");
    let destination = Destination::open(to, None, Open::OrCreate, interrupt).expect("a directory can be made");
    interrupter.interrupt();
    let error = run(&place.data_dir(), &destination, Rounds::Once, Telling::Json).expect_err("nothing was shipped");
    assert!(matches!(error, BackupError::Interrupted) && error.exit_code() == 1, "{error}");
    run(&place.data_dir(), &destination, Rounds::Every(Duration::from_secs(1)), Telling::Json).expect("asked to end");
}

/// All files of a backup, by their keys.
fn objects(to: &Path) -> Vec<(Key, PathBuf)> {
    let listed = open(to).list().expect("readable");
    listed.into_iter().map(|object| (object.key, to.join(object.key.to_string()))).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    let at = at % bytes.len();
    bytes[at] ^= 0x20;
    fs::write(path, bytes).expect("writable");
}

#[test]
fn one_flipped_byte_anywhere_is_named_by_verify() {
    let stopped = Stopped::new(SNAPSHOTS);
    let mut quarantine = Quarantine::default();
    assert!(quarantine.add(Lsn(50_000), Quarantined { until: Lsn(1), time_ns: 1, reason: "ticket 1".to_owned() }));
    quarantine.write(&stopped.place.data_dir()).expect("written");
    ship_all(&mut Shipper::new(&stopped.place.data_dir(), &open(&stopped.to)));
    // Another list on top of the first, which stays in the backup.
    assert!(quarantine.add(Lsn(50_001), Quarantined { until: Lsn(1), time_ns: 2, reason: "ticket 1".to_owned() }));
    quarantine.write(&stopped.place.data_dir()).expect("written");
    let ancestor = Ancestor { node_id: NodeId([3; 16]), timeline: Timeline(4), seq: Lsn(5), time_ns: 6 };
    Lineage(vec![ancestor]).write_new(&stopped.place.data_dir()).expect("written");
    ship_all(&mut Shipper::new(&stopped.place.data_dir(), &open(&stopped.to)));
    let fetched = stopped.place.path().join("fetched");
    fetch_with_past(&open(&stopped.to), &fetched, None).expect("whole");
    assert_eq!(Lineage::read(&fetched).expect("whole").0, [ancestor]);
    assert_eq!(Quarantine::read(&fetched).expect("whole"), quarantine);
    assert_eq!((base(&fetched), end(&fetched)), (Lsn(0), end(&stopped.place.data_dir())));
    let from = stopped.to.to_str().expect("text");
    said(0, &["backup", "verify", "--from", from]);
    let (mut kinds, all) = ([0; 5], objects(&stopped.to));
    for (idx, (key, path)) in all.iter().enumerate() {
        let before = fs::read(path).expect("readable");
        flip(path, before.len() / 3 + idx * 7);
        let text = said(13, &["backup", "verify", "--from", from]);
        assert!(text.contains(&key.to_string()), "{key}: {text}");
        fs::write(path, before).expect("writable");
        let kind = match key {
            Key::Claim => 0,
            Key::Identity(_) | Key::Lineage(_) => 1,
            Key::Quarantine { .. } => 2,
            Key::Snapshot { .. } => 3,
            Key::Piece { .. } | Key::Gap { .. } => 4,
        };
        kinds[kind] += 1;
    }
    assert!(kinds.iter().all(|count| 0 < *count) && kinds[2] == 2, "{kinds:?}");
    said(0, &["backup", "verify", "--from", from]);
}

#[test]
fn a_snapshot_that_the_log_does_not_make_is_named() {
    let stopped = Stopped::new(SNAPSHOTS);
    // Left out by a list that the node never had: every byte is whole, and the states differ all the same.
    let mut quarantine = Quarantine::default();
    // Every check of the log counts as overtaken, so only a snapshot can tell.
    let until = Lsn(u64::MAX);
    assert!(quarantine.add(Lsn(900), Quarantined { until, time_ns: 1, reason: "ticket 2".to_owned() }));
    quarantine.write(&stopped.place.data_dir()).expect("written");
    ship_all(&mut Shipper::new(&stopped.place.data_dir(), &open(&stopped.to)));
    let text = said(18, &["backup", "verify", "--from", stopped.to.to_str().expect("text")]);
    assert!(text.contains(".snap") && text.contains("the log before it gives"), "{text}");
}

#[test]
fn a_drill_fails_on_a_flipped_byte_and_on_a_missing_piece() {
    let stopped = Stopped::shipped(SNAPSHOTS);
    trade_on(&stopped.place, &stopped.login, 200);
    let (destination, scratch) = (open(&stopped.to), stopped.place.path());
    ship_all(&mut Shipper::new(&stopped.place.data_dir(), &destination));
    // As a drill that was killed leaves it.
    let leftover = scratch.join(format!("pinion-drill-{}.unfinished", NodeId([7; 16])));
    fs::create_dir_all(leftover.join("data/db")).expect("ours");
    drill(&destination, scratch, None).expect("whole");
    assert!(!leftover.exists());
    let catalog = Catalog::read(&destination).expect("readable");
    let newest = catalog.newest().expect("shipped");
    let piece = newest.last_piece().expect("shipped");
    let (seq_first, seq_last) = (piece.seq_first, piece.seq_last);
    let piece = stopped.to.join(Key::Piece { timeline: Timeline(1), seq_first, seq_last }.to_string());
    let snapshot = newest.snapshots.last().expect("shipped").seq;
    let snapshot = stopped.to.join(Key::Snapshot { timeline: Timeline(1), seq: snapshot }.to_string());

    // The newest snapshot is passed over for the one before it, which a drill still tells.
    let before = fs::read(&snapshot).expect("readable");
    flip(&snapshot, before.len() / 2);
    let (from, scratch_text) = (stopped.to.to_str().expect("text"), scratch.to_str().expect("text"));
    let text = said(13, &["backup", "drill", "--from", from, "--scratch", scratch_text]);
    assert!(text.contains("DAMAGED") && text.contains(".snap"), "{text}");

    flip(&piece, 500);
    let text = said(13, &["backup", "drill", "--from", from, "--scratch", scratch_text]);
    assert!(text.contains(".piece"), "{text}");
    // That the newest objects are gone no reading of the backup finds: the node does, as a loss.
    fs::remove_file(&snapshot).expect("there");
    fs::remove_file(&piece).expect("there");
    let data_dir = stopped.place.data_dir();
    let lost = end(&data_dir).0 - Catalog::read(&destination).expect("readable").newest_point().expect("one").0;
    assert!(0 < lost && lost <= seq_last.0 - seq_first.0 + 1, "{lost}");
    let drilled = drill(&destination, scratch, Some(&data_dir)).expect("an older state comes back");
    assert!(matches!(drilled.rpo, Rpo::Node { commands, .. } if commands == lost), "{:?}", drilled.rpo);
}

#[test]
fn a_piece_under_anothers_name_and_an_empty_one_are_named() {
    let stopped = Stopped::new(SNAPSHOTS);
    let (destination, data_dir) = (open(&stopped.to), stopped.place.data_dir());
    ship_all(&mut Shipper::new(&data_dir, &destination));
    trade_on(&stopped.place, &stopped.login, 200);
    ship_all(&mut Shipper::new(&data_dir, &destination));
    let catalog = Catalog::read(&destination).expect("readable");
    let pieces: Vec<PathBuf> =
        catalog.newest().expect("shipped").pieces.iter().map(|p| path_of(&stopped.to, p)).collect();
    let [first, .., last] = &pieces[..] else { panic!("{pieces:?}") };
    let (whole, to) = (fs::read(last).expect("there"), stopped.to.to_str().expect("text"));
    let once = ["backup", "run", "--once", "--data-dir", data_dir.to_str().expect("text"), "--to", to];
    let name = last.file_name().expect("a name").to_str().expect("text");
    // Every byte of it is right, and none of what its name says is there.
    for content in [fs::read(first).expect("there"), Vec::new()] {
        fs::write(last, content).expect("ours");
        let into = stopped.place.path().join("none");
        let error = fetch_with_past(&destination, &into, None).expect_err("damaged");
        assert!(error.exit_code() == 13 && error.to_string().contains(name) && !into.exists(), "{error}");
        assert!(said(13, &["backup", "verify", "--from", to]).contains(name));
        assert!(said(13, &once).contains(name));
    }
    fs::write(last, whole).expect("ours");
    said(0, &once);
}

#[test]
fn a_backup_without_anything_in_it_is_not_whole() {
    let place = Place::new();
    let (data_dir, to) = (place.data_dir(), place.path().join("backup"));
    ship_all(&mut Shipper::new(&data_dir, &open(&to)));
    let keys: Vec<Key> = objects(&to).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [Key::Claim, Key::Identity(Timeline(1))]);
    let text = said(15, &["backup", "verify", "--from", to.to_str().expect("text")]);
    assert!(text.contains("holds nothing yet") && !text.contains("whole"), "{text}");
}

fn path_of(to: &Path, piece: &KeptPiece) -> PathBuf {
    let (seq_first, seq_last) = (piece.seq_first, piece.seq_last);
    to.join(Key::Piece { timeline: Timeline(1), seq_first, seq_last }.to_string())
}

#[test]
fn pieces_and_snapshots_that_went_missing_are_named() {
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
        shipper.round(Haste::Now).expect("shipped");
    }
    drop(traffic);
    assert_eq!(running.stop(), 0);
    whole(&destination);
    let catalog = Catalog::read(&destination).expect("readable");
    let kept = catalog.newest().expect("shipped");
    let from = to.to_str().expect("text");
    let middle = kept.pieces[1];
    let key = Key::Piece { timeline: Timeline(1), seq_first: middle.seq_first, seq_last: middle.seq_last };
    let (path, aside) = (to.join(key.to_string()), place.path().join("aside"));
    fs::rename(&path, &aside).expect("there");
    let text = said(13, &["backup", "verify", "--from", from]);
    assert!(text.contains(&format!("{} to {}", middle.seq_first, middle.seq_last)), "{text}");
    fs::rename(&aside, &path).expect("there");
    for snapshot in &kept.snapshots {
        let key = Key::Snapshot { timeline: Timeline(1), seq: snapshot.seq };
        fs::remove_file(to.join(key.to_string())).expect("there");
    }
    let text = said(13, &["backup", "verify", "--from", from]);
    assert!(text.contains("no snapshot leads into the log"), "{text}");
}

#[test]
fn a_log_that_was_truncated_before_it_was_shipped_leaves_a_gap_that_is_told() {
    let place = Place::new();
    let (running, mut traffic) = trading(&place, FORGETFUL);
    let to = place.path().join("backup");
    let (destination, data_dir) = (open(&to), place.data_dir());
    let mut shipper = Shipper::new(&data_dir, &destination);
    traffic.commands(200);
    let shipped = shipper.round(Haste::Now).expect("shipped").seq_shipped;
    while base(&data_dir) <= shipped {
        traffic.commands(500);
    }
    let round = shipper.round(Haste::Now).expect("shipped");
    let (first, last) = round.gap.expect("told");
    assert!(first == shipped.next() && first <= last && !round.snapshots.is_empty(), "{round:?}");
    traffic.commands(500);
    drop(traffic);
    running.settle();
    ship_all(&mut shipper);
    whole(&destination);
    let text = said(0, &["backup", "list", "--from", to.to_str().expect("text")]);
    assert!(text.contains(&format!("gap       {first} to {last}")), "{text}");
    let drilled = drill(&destination, place.path(), Some(&data_dir)).expect("it comes back");
    assert_eq!(drilled.rpo, nothing_lost());
    let error = fetch(&destination, &place.path().join("in-the-gap"), Some(first)).expect_err("forgotten");
    assert!(matches!(error, BackupError::Outside { .. }), "{error}");
    assert_eq!(running.stop(), 0);
    restore_to_times_around_a_gap(&place, &to, shipped);
    // With no way left to the newest state, that is told: an older one is not what was asked for.
    let catalog = Catalog::read(&destination).expect("readable");
    let kept = catalog.newest().expect("shipped");
    assert!(2 <= kept.points().len(), "{kept:?}");
    for snapshot in &kept.snapshots {
        let key = Key::Snapshot { timeline: Timeline(1), seq: snapshot.seq };
        flip(&to.join(key.to_string()), 4_000);
    }
    let into = place.path().join("no-way");
    let error = fetch(&destination, &into, None).expect_err("damaged");
    assert!(error.exit_code() == 13 && !into.exists(), "{error}");
    fetch(&destination, &into, Some(shipped)).expect("the log from the origin is whole");
}

/// What came before a gap is reached by its time too, and in the gap nobody knows.
fn restore_to_times_around_a_gap(place: &Place, to: &Path, shipped: Lsn) {
    let catalog = Catalog::read(&open(to)).expect("readable");
    let kept = catalog.newest().expect("shipped");
    let before = kept.pieces.iter().find(|piece| piece.seq_last == shipped).expect("the last one before the gap");
    let header = Piece::peek(to, &fs::read(path_of(to, before)).expect("there")).expect("whole");
    let (to, into) = (to.to_str().expect("text"), place.path().join("to-time"));
    let restore = |time_ns: u64, code: i32| {
        let (into, time) = (into.to_str().expect("text"), time_ns.to_string());
        said(code, &["restore", "--from", to, "--data-dir", into, "--to-time", &time, "--json"])
    };
    let text = restore(header.time_last + 1, 15);
    assert!(text.contains(&format!("behind sequence {shipped} it knows nothing")) && !into.exists(), "{text}");
    restore(header.time_first - 1, 15);
    let restored: Value = serde_json::from_str(restore(header.time_last, 0).trim()).expect("JSON");
    assert_eq!((restored["seq"].as_u64(), restored["ts_ns"].as_u64()), (Some(shipped.0), Some(header.time_last)));
}

#[test]
fn pruning_keeps_the_chain_and_the_shipper_goes_on() {
    let place = Place::new();
    let (running, mut traffic) = trading(&place, SNAPSHOTS);
    let to = place.path().join("backup");
    let (destination, data_dir) = (open(&to), place.data_dir());
    let mut shipper = Shipper::new(&data_dir, &destination);
    let mut snapshots = 0;
    while snapshots < 4 {
        traffic.commands(300);
        snapshots += shipper.round(Haste::Now).expect("shipped").snapshots.len();
    }
    let from = to.to_str().expect("text");
    refuse_to_prune_a_rotten_backup(&to);
    let before = objects(&to);
    let text = said(0, &["backup", "prune", "--from", from, "--keep", "2", "--dry-run"]);
    assert!(text.contains("would delete") && objects(&to) == before, "{text}");
    said(0, &["backup", "prune", "--from", from, "--keep", "2"]);
    assert!(objects(&to).len() < before.len());
    let points = Catalog::read(&destination).expect("readable").newest().expect("there").points();
    assert_eq!(points.len(), 1);
    whole(&destination);
    // Another process, which knows only what is left, ships nothing twice.
    traffic.commands(300);
    drop(traffic);
    running.settle();
    let mut successor = Shipper::new(&data_dir, &destination);
    let round = successor.round(Haste::Now).expect("shipped");
    assert!(round.commands < 1_000 && round.gap.is_none(), "{round:?}");
    ship_all(&mut successor);
    whole(&destination);
    let drilled = drill(&destination, place.path(), Some(&data_dir)).expect("it comes back");
    assert_eq!(drilled.rpo, nothing_lost());
    said(2, &["backup", "prune", "--from", from, "--keep", "0"]);
    for address in ["s3:/bucket", "ftp://place", "file:backup", "s3:///prefix", ""] {
        assert!(said(2, &["backup", "list", "--from", address]).contains("s3://bucket/prefix"), "{address}");
    }
    said(12, &["backup", "list", "--from", "/nowhere/at/all"]);
    assert_eq!(running.stop(), 0);
}

/// The older snapshots may be the only ones that are any good: they stay while a newer one is not.
fn refuse_to_prune_a_rotten_backup(to: &Path) {
    let (from, before) = (to.to_str().expect("text"), objects(to));
    let newest = before.iter().filter(|(key, _)| matches!(key, Key::Snapshot { .. })).max().expect("shipped");
    flip(&newest.1, 4_000);
    for more in [&["--dry-run"][..], &[]] {
        let text = said(13, &[&["backup", "prune", "--from", from, "--keep", "2"], more].concat());
        assert!(text.contains("nothing was deleted") && text.contains(&newest.0.to_string()), "{text}");
        assert_eq!(objects(to), before);
    }
    flip(&newest.1, 4_000);
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("makes a directory");
    for entry in fs::read_dir(from).expect("readable").map(|entry| entry.expect("readable")) {
        let target = to.join(entry.file_name());
        match entry.file_type().expect("typed").is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

#[test]
fn another_nodes_an_older_timelines_and_a_copys_log_are_fenced() {
    let stopped = Stopped::new(SNAPSHOTS);
    let (data_dir, to) = (stopped.place.data_dir(), stopped.to.clone());
    let diverged = Place::new();
    let copy = diverged.data_dir();
    fs::remove_dir_all(&copy).expect("ours");
    copy_tree(&data_dir, &copy);
    // The original goes on and is shipped; the copy is behind.
    trade_on(&stopped.place, &stopped.login, 500);
    ship_all(&mut Shipper::new(&data_dir, &open(&to)));
    let (to_text, copy_text) = (to.to_str().expect("text"), copy.to_str().expect("text"));
    let run = |code, dir: &str| {
        // What a round refuses a dry run refuses too.
        let text = said(code, &["backup", "run", "--dry-run", "--data-dir", dir, "--to", to_text]);
        assert_eq!(said(code, &["backup", "run", "--once", "--data-dir", dir, "--to", to_text]), text);
        text
    };
    assert!(run(21, copy_text).contains("older copy"));
    // The copy goes on by itself, and further.
    trade_on(&diverged, &stopped.login, 2_000);
    assert!(run(16, copy_text).contains("parts from it"));

    let other = stopped.place.path().join("other");
    let geometry = Directory::open_read_only(&data_dir).expect("whole").identity().geometry;
    let identity = Identity { node_id: NodeId([9; 16]), timeline: Timeline(1), seq_base: Lsn(0), geometry };
    Directory::create(&other, &identity, 0).expect("created");
    assert!(run(16, other.to_str().expect("text")).contains("of node"));
    // A restore has begun timeline 2 and shipped it here.
    let destination = open(&to);
    let newer = Identity { timeline: Timeline(2), node_id: NodeId([7; 16]), ..identity };
    assert_eq!(destination.put_new(Key::Identity(Timeline(2)), newer.to_text().into()).expect("stored"), Put::Stored);
    assert!(run(16, data_dir.to_str().expect("text")).contains("timeline 2"));
}

#[test]
fn a_copy_that_ships_at_the_same_time_is_found_out() {
    let stopped = Stopped::shipped(SNAPSHOTS);
    let other = Place::new();
    fs::remove_dir_all(other.data_dir()).expect("ours");
    copy_tree(&stopped.place.data_dir(), &other.data_dir());
    let destination = open(&stopped.to);
    let (original_dir, copy_dir) = (stopped.place.data_dir(), other.data_dir());
    let mut original = Shipper::new(&original_dir, &destination);
    let mut copy = Shipper::new(&copy_dir, &destination);
    // Both know the place while they are still one.
    for shipper in [&mut original, &mut copy] {
        assert_eq!(shipper.round(Haste::Now).expect("nothing new").commands, 0);
    }
    trade_on(&stopped.place, &stopped.login, 300);
    trade_on(&other, &stopped.login, 2_000);
    ship_all(&mut original);
    let error = copy.round(Haste::Now).expect_err("somebody else has shipped");
    assert!(matches!(error, BackupError::Diverged { .. }), "{error}");
    whole(&destination);
}

/// Starts a node again, trades on, and stops it.
fn trade_on(place: &Place, login: &Credentials, commands: usize) {
    let running = place.start_with(SNAPSHOTS);
    Traffic::new(&running, login).commands(commands);
    assert_eq!(running.stop(), 0);
}

#[test]
fn only_what_no_power_cut_can_take_back_is_shipped_in_a_hurry_or_not() {
    let place = Place::new();
    let data_dir = place.data_dir();
    // Two frames that nobody has noted as acknowledged, and of which the second is attested by none.
    append(&data_dir, &[b"one", b"two"]);
    let destination = open(&place.path().join("backup"));
    let mut shipper = Shipper::new(&data_dir, &destination);
    let shipped = |round: Round| (round.seq_shipped.0, round.seq_node.0);
    assert_eq!(shipped(shipper.round(Haste::Later).expect("shipped")), (1, 2));
    // Nothing came, so nobody else will say it: synced here, then shipped.
    assert_eq!(shipped(shipper.round(Haste::Later).expect("shipped")), (2, 2));
    let once = open(&place.path().join("once"));
    assert_eq!(shipped(Shipper::new(&data_dir, &once).round(Haste::Now).expect("shipped")), (2, 2));
}
