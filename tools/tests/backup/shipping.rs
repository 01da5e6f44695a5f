//! Shipping: beside a running node, across kills and restarts, and what a fetch gets back.

use crate::common::Place;
use crate::common::traffic::Traffic;
use crate::fixture::{
    ROUNDS_MAX, SNAPSHOTS, Stopped, end, intact, nothing_lost, open, output_of, ship_all, trade_on, trading,
};
use book::state_hash::StateHash;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tools::archive::destination::Destination;
use tools::archive::error::BackupError;
use tools::archive::fetch::{Selection, fetch};
use tools::archive::shipper::{Shipper, TailPolicy};
use tools::archive::store_address::OpenMode;
use tools::offline::as_of::StateReader;
use tools::terminal::failure::ExitCode;
use tools::terminal::interrupt::Interrupt;
use tools::verbs::backup::drill::{WithPast, drill};
use tools::verbs::backup::report::Reporter;
use tools::verbs::backup::round_log::{OutputFormat, RoundLog};
use tools::verbs::backup::run::{Rounds, run};
use wal::directory::Directory;
use wal::recover::Inspection;
use wal::units::Lsn;

#[test]
fn a_drill_of_a_running_nodes_backup_gets_its_state() {
    let place = Place::new();
    let (running, mut traffic) = trading(&place, SNAPSHOTS);
    let (data_dir, to) = (place.data_dir(), place.path().join("backup"));
    let destination = open(&to);
    let mut shipper = Shipper::new(&data_dir, &destination);
    let (mut rounds, mut snapshots) = (0, 0);
    while rounds < 20 || snapshots < 2 {
        traffic.commands(300);
        let round = shipper.round(TailPolicy::WaitForNode).expect("shipped");
        assert!(round.seq_shipped <= round.seq_node && round.gap.is_none(), "{round:?}");
        (rounds, snapshots) = (rounds + 1, snapshots + round.snapshots.len());
        assert!(rounds < 10_000, "the node takes snapshots");
    }
    drop(traffic);
    // The node still runs: the drill compares with its log.
    running.settle();
    let round = ship_all(&mut shipper);
    let drilled = drill(&destination, place.path(), Some(&data_dir)).expect("the state is restored");
    assert_eq!((drilled.fetched.tail.seq, drilled.rpo), (round.seq_node, nothing_lost()));
    assert!(drilled.fetched.snapshot.is_some() && drilled.fetched.damaged_snapshots.is_empty());
    // The restore that an operator gets without options has every command, and rows for them.
    let WithPast::Restored { commands, history_rows, rto } = drilled.with_past else { panic!("{drilled:?}") };
    assert!(commands == round.seq_node.0 && 0 < history_rows && rto.fetch <= rto.all, "{commands} {history_rows}");
    let verified = intact(&destination);
    assert!(2 <= verified.snapshots_compared && round.seq_node.0 == verified.commands, "{verified:?}");
    assert_eq!(running.stop(), 0);
    assert!(
        !fs::read_dir(place.path())
            .expect("ours")
            .any(|entry| { entry.expect("readable").file_name().to_string_lossy().starts_with("pinion-drill") })
    );
}

fn state_hash(data_dir: &Path, seq: u64) -> StateHash {
    let reader = StateReader::open(data_dir).expect("intact");
    let state = reader.engine_state(Some(book::units::Seq(seq))).expect("the log has the sequence");
    state.replica.engine.state_hash()
}

#[test]
fn a_state_at_any_sequence_can_be_fetched() {
    let stopped = Stopped::shipped(SNAPSHOTS);
    let (destination, data_dir) = (open(&stopped.to), stopped.place.data_dir());
    let last = end(&data_dir);
    for (idx, seq) in [1, 2, 777, 1_000, 1_001, 2_500, last.0 - 1, last.0].into_iter().enumerate() {
        let into = stopped.place.path().join(format!("fetched-{idx}"));
        let fetched =
            fetch(&destination, &into, Selection::state(Some(Lsn(seq)))).expect("the backup has the sequence");
        assert!(seq <= fetched.tail.seq.0, "{fetched:?}");
        let directory = Directory::open_read_only(&into).expect("a data directory");
        assert_eq!(Inspection::open(&directory).expect("intact").tail(), fetched.tail);
        assert_eq!(state_hash(&into, seq), state_hash(&data_dir, seq), "at {seq}");
    }
    let (beyond, into) = (last.next(), stopped.place.path().join("beyond"));
    let error = fetch(&destination, &into, Selection::state(Some(beyond))).expect_err("outside");
    assert!(error.exit_code() == 15 && !into.exists(), "{error}");
    let error = fetch(&destination, &data_dir, Selection::state(None)).expect_err("not empty");
    assert_eq!(error.exit_code(), 11);
}

#[test]
fn a_shipper_that_is_killed_repeatedly_ships_every_command_once() {
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
        // Killed while it starts, during a round, or some rounds later, depending on how many lines were read.
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
    let verified = intact(&destination);
    assert_eq!(verified.commands, end(&data_dir).0);
    let drilled = drill(&destination, place.path(), Some(&data_dir)).expect("the state is restored");
    assert_eq!(drilled.rpo, nothing_lost());
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_shipper_continues_across_restarts_of_its_node() {
    let stopped = Stopped::new(SNAPSHOTS);
    let (data_dir, destination) = (stopped.place.data_dir(), open(&stopped.to));
    let mut shipper = Shipper::new(&data_dir, &destination);
    for _ in 0..3 {
        let running = stopped.place.start_with(SNAPSHOTS);
        let mut traffic = Traffic::new(&running, &stopped.login);
        for _ in 0..5 {
            traffic.commands(150);
            assert_eq!(shipper.round(TailPolicy::WaitForNode).expect("shipped").gap, None);
        }
        drop(traffic);
        assert_eq!(running.stop(), 0);
        // This includes the records that the node wrote while it stopped.
        let is_complete = (0..ROUNDS_MAX)
            .any(|_| shipper.round(TailPolicy::WaitForNode).expect("shipped").seq_shipped == end(&data_dir));
        assert!(is_complete, "a stopped node's log is shipped in a few rounds");
    }
    assert_eq!(intact(&destination).commands, end(&data_dir).0);
    let drilled = drill(&destination, stopped.place.path(), Some(&data_dir)).expect("the state is restored");
    assert_eq!(drilled.rpo, nothing_lost());
}

#[test]
fn a_dry_run_predicts_the_next_round() {
    let stopped = Stopped::new(SNAPSHOTS);
    let (data_dir, to) = (stopped.place.data_dir(), stopped.to.to_str().expect("text"));
    let run = |more: &str| {
        let arguments = ["backup", "run", "--json", "--data-dir", data_dir.to_str().expect("text"), "--to", to, more];
        serde_json::from_str::<Value>(&output_of(0, &arguments)).expect("JSON")
    };
    for is_first in [true, false] {
        let planned = run("--dry-run");
        assert_eq!((planned["place_made"].as_bool(), stopped.to.exists()), (Some(is_first), !is_first));
        let shipped = run("--once");
        assert_eq!((&planned["commands"], &planned["seq_node"]), (&shipped["commands"], &shipped["seq_shipped"]));
        assert!(planned["commands"].as_u64() > Some(0), "{planned}");
        trade_on(&stopped.place, &stopped.login, 100);
    }
    let text =
        output_of(0, &["backup", "run", "--dry-run", "--data-dir", data_dir.to_str().expect("text"), "--to", to]);
    assert!(text.contains("has this timeline up to sequence"), "{text}");
}

#[test]
fn a_signal_ends_a_run_with_success() {
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
    intact(&open(&stopped.to));
}

#[test]
fn a_single_round_that_was_interrupted_has_failed() {
    let place = Place::new();
    let (interrupter, interrupt) = Interrupt::manual();
    let to = place.path().join("backup");
    let to = to.to_str().expect("text");
    let destination = Destination::open(to, None, OpenMode::OrCreate, interrupt).expect("a directory can be made");
    interrupter.interrupt();
    let ship = |rounds| {
        let (shipper, log) = (Shipper::new(&place.data_dir(), &destination), RoundLog::new(OutputFormat::Json, None));
        run(shipper, &destination, rounds, log, Reporter::none())
    };
    let error = ship(Rounds::Once).expect_err("nothing was shipped");
    assert!(matches!(error, BackupError::Interrupted) && error.exit_code() == 1, "{error}");
    ship(Rounds::Every(Duration::from_secs(1))).expect("asked to end");
}
