//! The verbs of snapshots, with a running node and a stopped one, and the quarantine of a command.

mod common;

use common::process::{NodeProcess, node_with_faults, pinion, text};
use common::trading::trade;
use common::{Place, stage};
use std::path::{Path, PathBuf};
use wal::directory::Directory;
use wal::units::{ChainHash, Lsn, Tail};

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("snapshots")).expect("there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("there");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("ours");
}

#[test]
fn snapshots_of_a_stopped_node_are_taken_verified_and_pruned() {
    let place = Place::new();
    let dir = place.data_dir();
    let without = "[snapshot]\non_stop = false\n";
    let hash = |at: &[&str]| {
        let arguments = ["state", "hash", "--data-dir", text(&dir), "--json"];
        pinion(&[&arguments[..], at].concat()).expect(0).json()
    };
    let login = {
        let running = place.start_with(without);
        let create = ["snapshot", "create", "--data-dir", text(&dir)];
        pinion(&create).expect(10).error_contains("give --config or --url");
        pinion(&["snapshot", "prune", "--data-dir", text(&dir), "--keep", "1"]).expect(10);
        let login = stage(&running);
        tools::client::market_data::follow(running.node().addresses.market, "BTCUSDT").expect("announced");
        assert_eq!(running.stop(), 0);
        login
    };
    let mut taken = Vec::new();
    for _ in 0..3 {
        let live = hash(&[]);
        let planned = pinion(&["snapshot", "create", "--data-dir", text(&dir), "--dry-run", "--json"]).expect(0).json();
        assert_eq!((planned["dry_run"].as_bool(), files(&dir).len()), (Some(true), taken.len()));
        let made = pinion(&["snapshot", "create", "--data-dir", text(&dir), "--json"]).expect(0).json();
        assert_eq!((&made["seq"], &made["state_hash"]), (&live["seq"], &live["state_hash"]));
        taken.push(made["seq"].as_u64().expect("a sequence"));
        let again = pinion(&["snapshot", "create", "--data-dir", text(&dir), "--json"]).expect(0).json();
        assert_eq!((again["was_there"].as_bool(), files(&dir).len()), (Some(true), taken.len()));
        let running = place.start_with(without);
        assert_eq!(running.node().log.records, 0, "a start begins with it");
        trade(&running, &login, 1);
        assert_eq!(running.stop(), 0);
    }
    let listed = pinion(&["snapshot", "list", "--data-dir", text(&dir), "--json"]).expect(0).json();
    let seqs: Vec<u64> = listed.as_array().expect("a list").iter().filter_map(|row| row["seq"].as_u64()).collect();
    assert_eq!(seqs, taken);
    pinion(&["snapshot", "verify", "--data-dir", text(&dir)]).expect(0);
    pinion(&["recon", "--data-dir", text(&dir)]).expect(0);

    // A damaged newest snapshot is skipped and reported, and does not count among those that are kept.
    let all = files(&dir);
    flip(&all[2]);
    pinion(&["snapshot", "verify", "--data-dir", text(&dir)]).expect(13);
    pinion(&["snapshot", "verify", text(&all[1])]).expect(0);
    pinion(&["snapshot", "verify", text(&all[2])]).expect(13);
    let skipped = pinion(&["state", "hash", "--data-dir", text(&dir)]).expect(0);
    assert!(skipped.err.contains("is damaged"), "{}", skipped.err);
    let status = pinion(&["snapshot", "status", "--data-dir", text(&dir), "--json"]).expect(0).json();
    assert_eq!((status["start"].is_null(), status["start_begins_with"]["seq"].as_u64()), (true, Some(taken[1])));
    let prune = ["snapshot", "prune", "--data-dir", text(&dir), "--keep", "1", "--json"];
    let planned = pinion(&[&prune[..], &["--dry-run"]].concat()).expect(0).json();
    assert_eq!(files(&dir).len(), 3);
    let pruned = pinion(&prune).expect(0).json();
    assert_eq!((&pruned["deleted"], &pruned["kept"]), (&planned["deleted"], &planned["kept"]));
    assert_eq!(pruned["kept"][0].as_u64(), Some(taken[1]));
    assert_eq!(files(&dir), all[1..], "the intact one is kept, and the damaged one for the operator to examine");
    pinion(&["snapshot", "prune", "--data-dir", text(&dir), "--keep", "0"]).expect(2);
    pinion(&["snapshot", "verify"]).expect(2);
    pinion(&["snapshot", "verify", "--data-dir", text(&dir), text(&all[1])]).expect(2);
    // A file that is not a snapshot does not end the verb: the next ones are verified, too.
    let no_snapshot = place.path().join("no.snap");
    std::fs::write(&no_snapshot, "no snapshot").expect("ours");
    let verified = pinion(&["snapshot", "verify", text(&no_snapshot), text(&all[1]), "--json"]).expect(13).json();
    assert_eq!((&verified[0]["whole"], &verified[1]["whole"]), (&false.into(), &true.into()));
    let running = place.start_with(without);
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_log_without_snapshots_must_begin_with_the_first_command() {
    let place = Place::new();
    let dir = place.data_dir();
    let verify = ["snapshot", "verify", "--data-dir", text(&dir)];
    assert!(pinion(&verify).expect(0).out.contains("none is needed"));
    let directory = Directory::open(&dir).expect("no other process has it open");
    let store = directory.store().expect("intact");
    store.begin_after(Tail { seq: Lsn(9), chain: ChainHash([1; 32]) }).expect("written");
    store.flush().expect("written");
    drop((store, directory));
    pinion(&verify).expect(13).error_contains("begins after sequence 9");
    pinion(&[&verify[..], &["--json"]].concat()).expect(13);
}

#[test]
fn a_running_node_takes_a_snapshot_on_request() {
    let Some(node) = node_with_faults() else { return };
    let place = Place::empty();
    let dir = place.data_dir();
    pinion(&["init", "--data-dir", text(&dir), "--segment-bytes", "1MiB", "--ballast-bytes", "0"]).expect(0);
    let (config, token) = (dir.join("pinion.toml"), dir.join("secrets/ops_token"));
    let running = NodeProcess::start(&node, &config, &[]);
    let call = |verb: &[&str], code: i32| {
        let at = ["--url", &running.ops, "--token-file", text(&token), "--json"];
        pinion(&[verb, &at[..]].concat()).expect(code)
    };
    call(&["admin", "asset", "add", "BTC", "--scale", "8"], 0);
    call(&["snapshot", "create", "--dry-run"], 0);
    assert_eq!(files(&dir).len(), 0);
    let made = call(&["snapshot", "create"], 0).json();
    // The start, the rules, the run, the command, and the check after it.
    assert_eq!(made["seq"], 5);
    let status = pinion(&["snapshot", "status", "--config", text(&config), "--json"]).expect(0).json();
    assert_eq!((status["start_begins_with"]["seq"].as_u64(), status["retention"]["drop"][0].as_u64()), (Some(5), None));
    assert_eq!(status["start_begins_with"]["state_hash"], made["state_hash"]);
    pinion(&["snapshot", "create", "--url", &running.ops]).expect(1).error_contains("needs its token");
    pinion(&["log", "quarantine", "--data-dir", text(&dir), "--seq", "1", "--reason", "x"]).expect(10);
    running.stop();
}

#[test]
fn a_quarantine_is_refused_for_a_command_that_was_applied() {
    let place = Place::new();
    let dir = place.data_dir();
    let without = "[snapshot]\non_stop = false\n";
    let running = place.start_with(without);
    stage(&running);
    let status = std::sync::Arc::clone(&running.node().status);
    assert_eq!(running.stop(), 0);
    let last = status.watermarks.durable.get().0;
    let quarantine = |seq: u64, reason: &str, more: &[&str]| {
        let seq = seq.to_string();
        let arguments = ["log", "quarantine", "--data-dir", text(&dir), "--seq", &seq, "--reason", reason];
        pinion(&[&arguments[..], more].concat())
    };
    quarantine(last + 1, "why not", &[]).expect(15).error_contains(&format!("1 to {last}"));
    quarantine(0, "why not", &[]).expect(15);
    quarantine(last, "two\nlines", &[]).expect(2);
    quarantine(last, "", &[]).expect(2);
    // A command in the history or in a snapshot was applied without a crash.
    quarantine(last, "why not", &[]).expect(1).error_contains("restore");
    let inspected = pinion(&["log", "inspect", "--data-dir", text(&dir), "--json"]).expect(0).json();
    assert_eq!(inspected["quarantine"].as_array().map(Vec::len), Some(0));
}

/// A check in the log after the fifth command.
fn check_of(dir: &Path) -> String {
    let dumped = pinion(&["log", "dump", "--data-dir", text(dir), "--json", "--from", "6"]).expect(0).out;
    let lines = dumped.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let check = lines.filter(|line| line["command"] == "check").find_map(|line| line["seq"].as_u64());
    check.expect("the node recorded its hash when it stopped").to_string()
}

/// A command crashes every start, the node names it, and the operator quarantines it.
#[test]
fn a_node_that_crashes_at_every_start_runs_after_the_quarantine() {
    let Some(node) = node_with_faults() else { return };
    let place = Place::empty();
    let dir = place.data_dir();
    pinion(&["init", "--data-dir", text(&dir), "--segment-bytes", "1MiB", "--ballast-bytes", "0"]).expect(0);
    let (config, token) = (dir.join("pinion.toml"), dir.join("secrets/ops_token"));
    // The shadow panics at the second asset, again and again, so it never writes the history of it. The node goes on.
    let running = NodeProcess::start(&node, &config, &[("PINION_FAULT", "crash-at:5")]);
    for asset in ["BTC", "ETH"] {
        let arguments =
            ["admin", "asset", "add", asset, "--scale", "8", "--url", &running.ops, "--token-file", text(&token)];
        pinion(&arguments).expect(0);
    }
    assert_eq!(running.terminate(), Some(1), "the shadow cannot finish what it has to write");
    let mut refused = None;
    for _ in 0..4 {
        refused = NodeProcess::refused(&node, &config, &[("PINION_FAULT", "crash-at:5")]);
        if refused == Some(22) {
            break;
        }
    }
    assert_eq!(refused, Some(22), "the node names the command");
    let arguments =
        ["log", "quarantine", "--data-dir", text(&dir), "--seq", "5", "--reason", "crashes, ticket 7", "--json"];
    let planned = pinion(&[&arguments[..], &["--dry-run"]].concat()).expect(0).json();
    assert_eq!((planned["left_out"].as_bool(), planned["command"]["symbol"].as_str()), (Some(false), Some("ETH")));
    // The operator was answered, so this command needs force; a rehearsal says what stands on it.
    assert!(planned["needs_force"].as_str().is_some_and(|why| why.contains("clients know its outcome")), "{planned}");
    assert_eq!(planned["consequences"]["answered"], true);
    assert!(planned["consequences"]["commands_after"].as_u64() > Some(0), "{planned}");
    pinion(&arguments).expect(1).error_contains("--force");
    let of_check =
        ["log", "quarantine", "--data-dir", text(&dir), "--seq", &check_of(&dir), "--reason", "x", "--force"];
    pinion(&of_check).expect(1).error_contains("it is a check");
    assert!(!dir.join("QUARANTINE").exists());
    let arguments = [&arguments[..], &["--force"]].concat();
    pinion(&arguments).expect(0);
    pinion(&arguments).expect(1).error_contains("quarantined already");
    let inspected = pinion(&["log", "inspect", "--data-dir", text(&dir)]).expect(0).out;
    assert!(inspected.contains("quarantined     5, since ") && inspected.contains("crashes, ticket 7"), "{inspected}");
    let hash = pinion(&["state", "hash", "--data-dir", text(&dir), "--json"]).expect(0).json();
    let dump = pinion(&["state", "dump", "--data-dir", text(&dir), "--json"]).expect(0).json();
    assert_eq!(dump["assets"].as_array().map(Vec::len), Some(1));
    // Hashes of a state with the command cannot be compared any more, and that is said.
    let replayed = pinion(&["replay", "--data-dir", text(&dir), "--json"]).expect(0).json();
    assert!(replayed["checks_skipped"]["count"].as_u64() > Some(0), "{replayed}");
    for verb in ["replay", "recon"] {
        let said = pinion(&[verb, "--data-dir", text(&dir)]).expect(0).out;
        assert!(said.contains("could not be compared"), "{said}");
    }
    // The fault is still there, but the command is not applied any more.
    let running = NodeProcess::start(&node, &config, &[("PINION_FAULT", "crash-at:5")]);
    assert_eq!(Some(running.state_hash.as_str()), hash["state_hash"].as_str());
    running.stop();
    pinion(&["recon", "--data-dir", text(&dir)]).expect(0);
    let restored = place.path().join("restored");
    pinion(&["restore", "--from", text(&dir), "--data-dir", text(&restored)]).expect(0);
    let kept = pinion(&["log", "inspect", "--data-dir", text(&restored), "--json"]).expect(0).json();
    assert_eq!(kept["quarantine"][0]["seq"], 5);
}

#[test]
fn a_missing_folder_is_named_and_made_again_by_a_start() {
    let place = Place::new();
    let dir = place.data_dir();
    let folder = dir.join("snapshots");
    let without = "[snapshot]\non_stop = false\n";
    let running = place.start_with(without);
    stage(&running);
    // Removed under a running node: the next snapshot makes it again.
    std::fs::remove_dir(&folder).expect("it is empty");
    assert_eq!(running.stop(), 0);
    for verb in
        [["snapshot", "list"], ["snapshot", "status"], ["snapshot", "verify"], ["log", "inspect"], ["log", "verify"]]
    {
        let found = pinion(&[&verb[..], &["--data-dir", text(&dir)]].concat()).expect(0);
        found.error_contains(&format!("the folder {} is missing", folder.display()));
    }
    assert!(!folder.exists(), "what reads makes nothing");
    let running = place.start_with(without);
    assert!(folder.is_dir());
    assert_eq!(running.stop(), 0);
    std::fs::remove_dir(&folder).expect("it is empty");
    pinion(&["snapshot", "create", "--data-dir", text(&dir)]).expect(0);
    assert_eq!(files(&dir).len(), 1);
}
