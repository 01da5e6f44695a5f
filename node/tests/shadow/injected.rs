//! The shadow with injected faults: crashes during recovery, a command that crashes, a state that differs.

use crate::common::NodeDir;
use crate::common::load::{Trader, trade_and_kill, trade_so_many, trade_while, two_traders};
use crate::common::process::Start;
use crate::{NO_SNAPSHOTS, replayed, restarts_intact};
use node::history::History;
use node::replica::snapshots;
use wal::directory::Directory;
use wal::quarantine::{Quarantine, Quarantined};
use wal::recover::Inspection;

/// The directory of a node that was killed under load, with a few thousand commands.
fn killed(extra: &str) -> (NodeDir, Vec<Trader>) {
    let node_dir = NodeDir::with(extra);
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    trade_so_many(&running, &mut traders, 2_500);
    assert_eq!(running.stop(), 0);
    trade_and_kill(&Start::new(&node_dir.config_file()), &mut traders);
    (node_dir, traders)
}

#[test]
fn twenty_crashes_during_recovery_change_nothing() {
    let (node_dir, mut traders) = killed("[snapshot]\nevery_commands = 1000\n");
    let expected = replayed(&node_dir);
    let first = {
        let directory = Directory::open_read_only(&node_dir.data_dir()).expect("it is a data directory");
        snapshots::list(&directory).expect("the path is readable").last().map_or(1, |newest| newest.seq.0 + 1)
    };
    assert!(first + 40 < expected.0, "the log has commands to crash in: {first} to {}", expected.0);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..20 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = first + (random >> 33) % (expected.0 - first + 1);
        let ended = Start::with_fault(&node_dir.config_file(), &format!("die-at:{at}")).refused();
        assert_eq!(ended.signal, Some(9), "round {round} at {at}: {}", ended.output);
    }
    assert_eq!(replayed(&node_dir), expected);
    assert_eq!(restarts_intact(&node_dir, &mut traders), expected);
}

#[test]
fn a_command_that_crashes_three_starts_is_named_and_can_be_quarantined() {
    let (node_dir, _traders) = killed(NO_SNAPSHOTS);
    let at = {
        let directory = Directory::open_read_only(&node_dir.data_dir()).expect("it is a data directory");
        let inspection = Inspection::open(&directory).expect("the log is intact");
        let history = History::of(inspection.store()).watermark().expect("the store is readable").0;
        assert!(history < inspection.tail().seq.0, "the history does not reach the end of the log");
        history + 1
    };
    let fault = format!("crash-at:{at}");
    let start = Start::with_fault(&node_dir.config_file(), &fault);
    for _ in 0..3 {
        let ended = start.refused();
        assert_ne!(ended.code, Some(22), "{}", ended.output);
    }
    let ended = start.refused();
    assert_eq!(ended.code, Some(22), "{}", ended.output);
    for named in [&format!("sequence {at}"), "pinion log quarantine"] {
        assert!(ended.output.contains(named), "{named:?} is not named in {}", ended.output);
    }
    {
        let directory = Directory::open(&node_dir.data_dir()).expect("no node runs on the directory");
        let end = Inspection::open(&directory).expect("intact").tail().seq;
        let mut list = Quarantine::read(directory.path()).expect("the path is readable");
        let reason = "crashes, ticket 12".to_owned();
        assert!(list.add(wal::units::Lsn(at), Quarantined { until: end, time_ns: 0, reason }));
        list.write(directory.path()).expect("the file is writable");
    }
    // The fault is still injected: every application of the log skips the command, and all reach the same state.
    let without = replayed(&node_dir);
    let process = start.run();
    assert_eq!((process.seq, process.state_hash.clone()), without);
    assert_eq!(process.terminate().code, Some(0));
    assert_eq!(
        node::replica::crash_guard::read(&node_dir.data_dir()),
        Vec::<u64>::new(),
        "the attempts are cleared once the start is past the command"
    );
}

#[test]
fn a_shadow_that_differs_is_reported_and_stores_no_snapshot() {
    const SNAPSHOT_EVERY: u64 = 1_000;
    const DIFFER_AT: u64 = 150;
    let node_dir = NodeDir::with(&format!(
        "[snapshot]\nevery_commands = {SNAPSHOT_EVERY}\n[shadow]\ncheck_every_commands = 100\n"
    ));
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    assert_eq!(running.stop(), 0);
    let before = crate::snapshots(&node_dir);
    let process = Start::with_fault(&node_dir.config_file(), &format!("differ-at:{DIFFER_AT}")).run();
    let address = process.orders;
    // Each order is a command, so a snapshot would be due.
    trade_while(&mut traders, address, |load| load.until_answered(SNAPSHOT_EVERY));
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "trading continues: {}", ended.output);
    let report = ended.output.lines().find(|line| line.contains("the shadow's state differs from the live engine's"));
    let report = report.unwrap_or_else(|| panic!("the difference is not reported: {}", ended.output));
    let check =
        report.split_once("the check at sequence ").and_then(|(_, check)| check.split_once(" recorded the hash "));
    let (seq, hashes) = check.unwrap_or_else(|| panic!("no check is named: {report}"));
    assert!(DIFFER_AT <= seq.parse().expect("a sequence"), "no check before the fault can differ: {report}");
    let (recorded, given) = hashes.split_once(", and this state has ").expect("the line has both hashes");
    assert!(!given.starts_with(recorded), "the two hashes differ: {report}");
    assert_eq!(crate::snapshots(&node_dir), before, "a state that differs is not stored");
    restarts_intact(&node_dir, &mut traders);
}
