//! Restores: the state that was live, a node that continues from it, the messages that its sessions find, and refusals.
#![allow(clippy::print_stdout, reason = "a long test shows its figures")]

mod common;

use common::process::{NodeProcess, Outcome, node_with_faults, pinion, text};
use common::trading::{messages_at, messages_of, resumes, seq_of, trade};
use common::{Place, stage};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tools::offline::as_of::StateReader;
use wal::directory::Directory;
use wal::lineage::Lineage;

/// The number of sequences that the test restores to.
const TARGETS: usize = 20;

/// Random numbers: xorshift from a seed that is printed.
struct Random(u64);

impl Random {
    #[expect(clippy::disallowed_methods, reason = "a restore to a time needs the time")]
    fn seeded() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
        let seed = std::env::var("PINION_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(now | 1);
        println!("PINION_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Makes a small data directory whose node takes snapshots and truncates its log often, as after a long time.
fn busy_directory(dir: &Path) -> PathBuf {
    let small = ["--segment-bytes", "1MiB", "--segments", "4", "--ballast-bytes", "4096"];
    pinion(&[&["init", "--data-dir", text(dir)], &small[..]].concat()).expect(0);
    let config = dir.join("pinion.toml");
    let written = std::fs::read_to_string(&config).expect("init wrote it");
    let edited = written
        .replace("# retain_bytes = 0", "retain_bytes = 100000")
        .replace("# every_commands = ", "every_commands = 1000 # ")
        .replace("# keep = ", "keep = 4 # ")
        .replace("# check_every_commands = ", "check_every_commands = 97 # ");
    assert!(edited.contains("\nevery_commands = 1000") && edited.contains("\nretain_bytes = 100000"), "{edited}");
    assert!(edited.contains("\ncheck_every_commands = 97") && edited.contains("\nkeep = 4"), "{edited}");
    std::fs::write(&config, edited).expect("ours");
    config
}

fn load(node: &NodeProcess, token: &Path, seconds: &str) {
    let arguments = [
        "load",
        "--profile",
        "mixed",
        "--connections",
        "2",
        "--rate",
        "2500",
        "--duration",
        seconds,
        "--orders",
        &node.orders,
        "--market",
        &node.market,
        "--ops",
        &node.ops,
        "--token-file",
        text(token),
        "--json",
    ];
    pinion(&arguments).expect(0);
}

fn recorded(path: &Path) -> BTreeMap<u64, String> {
    let text = std::fs::read_to_string(path).expect("the node wrote hashes");
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.map(|(seq, hash)| (seq.parse().expect("a sequence"), hash.to_owned())).collect()
}

#[test]
fn twenty_random_sequences_are_restored_to_the_states_that_were_live() {
    let Some(node) = node_with_faults() else { return };
    let place = Place::empty();
    let (dir, hashes) = (place.path().join("source"), place.path().join("hashes"));
    let (config, token) = (busy_directory(&dir), dir.join("secrets/ops_token"));
    let fault = format!("record-hashes:3:{}", text(&hashes));
    let running = NodeProcess::start(&node, &config, &[("PINION_FAULT", &fault)]);
    load(&running, &token, "3s");

    // From the running node, which it does not affect.
    let (mut random, aside) = (Random::seeded(), place.path().join("aside"));
    let beside = pinion(&["restore", "--from", text(&dir), "--data-dir", text(&aside), "--json"]).expect(0).json();
    let live = pinion(&["state", "hash", "--data-dir", text(&dir), "--at-seq", &beside["seq"].to_string(), "--json"]);
    assert_eq!(live.expect(0).json()["state_hash"], beside["state_hash"]);
    load(&running, &token, "1s");
    running.stop();

    let inspected = pinion(&["log", "inspect", "--data-dir", text(&dir), "--json"]).expect(0).json();
    let (first, last) =
        (inspected["seq_reached"].as_u64().expect("there"), inspected["seq_last"].as_u64().expect("there"));
    assert!(0 < first && inspected["seq_truncated"].as_u64() > Some(0), "the log was truncated: {inspected}");
    let live: Vec<(u64, String)> =
        recorded(&hashes).into_iter().filter(|(seq, _)| first <= *seq && *seq <= last).collect();
    assert!(TARGETS < live.len(), "{} states were noted between {first} and {last}", live.len());
    for _ in 0..TARGETS {
        let (seq, hash) = &live[random.below(live.len() as u64) as usize];
        let made = place.path().join(format!("restored-{seq}"));
        let seq_text = seq.to_string();
        let restored =
            pinion(&["restore", "--from", text(&dir), "--data-dir", text(&made), "--to-seq", &seq_text, "--json"]);
        assert_eq!(restored.expect(0).json()["state_hash"], hash.as_str(), "sequence {seq}");
        let found = pinion(&["state", "hash", "--data-dir", text(&made), "--json"]).expect(0).json();
        assert_eq!((found["state_hash"].as_str(), found["seq"].as_u64()), (Some(hash.as_str()), Some(*seq)));
        let at_source = pinion(&["state", "hash", "--data-dir", text(&dir), "--at-seq", &seq_text, "--json"]);
        assert_eq!(at_source.expect(0).json()["state_hash"], hash.as_str(), "sequence {seq}");
        pinion(&["recon", "--data-dir", text(&made)]).expect(0);
        let _ = std::fs::remove_dir_all(&made);
    }
    println!("{TARGETS} of {} noted states between {first} and {last}", live.len());
    // Before the first and after the last there is no state.
    for seq in [first - 1, last + 1] {
        let made = place.path().join("none");
        let refused =
            pinion(&["restore", "--from", text(&dir), "--data-dir", text(&made), "--to-seq", &seq.to_string()]);
        refused.expect(15).error_contains(&format!("from {first} to {last}"));
        assert!(!made.exists() && !place.path().join("none.unfinished").exists());
    }
    read_the_truncated_log(&dir, &inspected);
    // The source is unchanged, and a node starts on it.
    let again = pinion(&["log", "inspect", "--data-dir", text(&dir), "--json"]).expect(0).json();
    assert_eq!(again, inspected);
    let verified = pinion(&["log", "verify", "--data-dir", text(&dir), "--json"]).expect(0).json();
    let running = NodeProcess::start(&node, &config, &[]);
    assert_eq!((running.seq, running.state_hash.as_str()), (last, verified["state_hash"].as_str().expect("a hash")));
    running.stop();
}

/// Runs the verbs of the log on a log whose beginning was truncated.
fn read_the_truncated_log(dir: &Path, inspected: &serde_json::Value) {
    let (first, last) = (inspected["seq_truncated"].as_u64().expect("there") + 1, inspected["seq_last"].as_u64());
    let last = last.expect("there");
    let log = |verb: &[&str], code: i32| pinion(&[&["log"], verb, &["--data-dir", text(dir)]].concat()).expect(code);
    let seqs = |out: &str| -> Vec<u64> {
        let lines = out.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        lines.map(|line| line["seq"].as_u64().expect("a sequence")).collect()
    };
    assert_eq!(seqs(&log(&["dump", "--json"], 0).out), (first..=last).collect::<Vec<_>>());
    assert_eq!(seqs(&log(&["tail", "-n", "3", "--json"], 0).out), (last - 2..=last).collect::<Vec<_>>());
    log(&["dump", "--from", "1"], 15).error_contains(&format!("begins at {first}"));
    assert!(log(&["dump", "--client-ids"], 0).out.lines().count() > 0);
    let stats = log(&["stats", "--json"], 0).json();
    assert_eq!((stats["seq_first"].as_u64(), stats["commands"].as_u64()), (Some(first), Some(last - first + 1)));
    let (from, until) = (stats["ts_first_ns"].as_u64().expect("a time"), stats["ts_last_ns"].as_u64().expect("a time"));
    let middle = (from + (until - from) / 2).to_string();
    let halves = [["--until", &middle], ["--since", &middle]].map(|range| {
        let stats = log(&[&["stats", "--json"], &range[..]].concat(), 0).json();
        stats["commands"].as_u64().expect("a count")
    });
    assert_eq!(halves[0] + halves[1], last - first + 1);
    let replayed = pinion(&["replay", "--data-dir", text(dir), "--json"]).expect(0).json();
    let verified = log(&["verify", "--json"], 0).json();
    assert_eq!(replayed["state_hash"], verified["state_hash"]);
    assert!(replayed["snapshots_equal"].as_u64() >= Some(2), "{replayed}");
    pinion(&["recon", "--data-dir", text(dir)]).expect(0);
    println!("{replayed}");
}

#[test]
fn an_interrupted_restore_leaves_nothing() {
    let source = Place::new();
    let running = source.start();
    stage(&running);
    assert_eq!(running.stop(), 0);
    let place = Place::empty();
    let (into, unfinished) = (place.data_dir(), place.path().join("data.unfinished"));
    let mut restore = std::process::Command::new(env!("CARGO_BIN_EXE_pinion"))
        .args(["restore", "--from", text(&source.data_dir()), "--data-dir", text(&into)])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the tool runs");
    // Its head is 64 MiB of zeros, so that there is time to interrupt it.
    while !unfinished.exists() && restore.try_wait().expect("our own child").is_none() {
        std::thread::yield_now();
    }
    let pid = i32::try_from(restore.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    // The process has ended already on a faster machine.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
    let code = restore.wait().expect("our own child").code();
    assert!(!unfinished.exists(), "no unfinished directory is left");
    assert_eq!(into.exists(), code == Some(0), "the directory is complete or absent");
    pinion(&["log", "verify", "--data-dir", text(&source.data_dir())]).expect(0);
}

#[test]
fn a_node_continues_from_a_restore_and_its_streams_begin_a_new_life() {
    let source = Place::new();
    let running = source.start();
    let login = stage(&running);
    tools::client::market_data::follow(running.node().addresses.market, "BTCUSDT").expect("announced");
    trade(&running, &login, 3);
    let middle = seq_of(&running);
    trade(&running, &login, 3);
    assert_eq!(running.stop(), 0);
    let all = messages_at(&source.data_dir(), None);
    let running = source.start();
    let received = messages_of(&running, &login, all);
    assert_eq!(running.stop(), 0);

    let restored = Place::empty();
    let (from, into) = (source.data_dir(), restored.data_dir());
    let middle_text = middle.to_string();
    let arguments = ["restore", "--from", text(&from), "--data-dir", text(&into), "--to-seq", &middle_text, "--json"];
    let planned = pinion(&[&arguments[..], &["--dry-run"]].concat()).expect(0).json();
    assert!(!into.exists(), "a dry run makes nothing");
    let made = pinion(&arguments).expect(0).json();
    assert_eq!((&made["seq"], &made["state_hash"]), (&planned["seq"], &planned["state_hash"]));
    assert_eq!(made["timeline"], 2);
    let kept = messages_at(&from, Some(middle));
    assert!(0 < kept && kept < all, "{kept} of {all} messages were sent by then");

    // The node starts, and no stream goes on at a number that stood for something else; it trades, stops and starts
    // again.
    assert_eq!(received.len() as u64, all);
    let running = restored.start();
    assert_eq!(running.node().log.tail.seq.0, middle);
    assert!(!resumes(&running, &login, kept) && !resumes(&running, &login, all));
    tools::client::market_data::follow(running.node().addresses.market, "BTCUSDT").expect("announced");
    trade(&running, &login, 2);
    assert!(middle < seq_of(&running));
    assert_eq!(running.stop(), 0);
    let recon = pinion(&["recon", "--data-dir", text(&into)]).expect(0);
    println!("{}", recon.out);
    let hash =
        StateReader::open(&into).and_then(|reader| reader.state(None)).expect("a state").replica.engine.state_hash();
    let running = restored.start();
    assert_eq!(running.node().state_hash, hash);
    let longer = messages_at(&into, None);
    assert_eq!(messages_of(&running, &login, longer).len() as u64, longer);
    assert!(0 < longer && !resumes(&running, &login, all), "the life goes on, and the old one is over for ever");
    assert_eq!(running.stop(), 0);
    pinion(&["log", "verify", "--data-dir", text(&into)]).expect(0);

    // The restored directory has its own identity, and the source has not changed.
    assert_eq!(messages_at(&from, None), all);
    let lineage = Lineage::read(&into).expect("intact");
    let (old, new) =
        (Directory::open_read_only(&from).expect("there"), Directory::open_read_only(&into).expect("there"));
    assert_eq!((lineage.0[0].node_id, lineage.0[0].seq.0), (old.identity().node_id, middle));
    assert_eq!((new.identity().timeline.0, new.identity().seq_base.0), (2, middle));
    assert_ne!(new.identity().node_id, old.identity().node_id);
}

#[test]
fn a_restore_from_a_backup_equals_one_from_its_node() {
    let source = Place::new();
    let running = source.start();
    let login = stage(&running);
    tools::client::market_data::follow(running.node().addresses.market, "BTCUSDT").expect("announced");
    trade(&running, &login, 2);
    running.snapshot();
    trade(&running, &login, 1);
    let middle = seq_of(&running);
    trade(&running, &login, 3);
    assert_eq!(running.stop(), 0);
    let (from, backup) = (source.data_dir(), source.path().join("backup"));
    let all = messages_at(&from, None);
    let running = source.start();
    let received = messages_of(&running, &login, all);
    assert_eq!(running.stop(), 0);
    pinion(&["backup", "run", "--once", "--data-dir", text(&from), "--to", text(&backup)]).expect(0);

    let restored = Place::empty();
    let into = |name: &str| restored.path().join(name);
    let restore = |from: &Path, name: &str, more: &[&str]| {
        let into = into(name);
        pinion(&[&["restore", "--from", text(from), "--data-dir", text(&into), "--json"], more].concat())
    };
    let middle_text = middle.to_string();
    for (name, target) in [("data", &["--to-seq", &middle_text][..]), ("end", &[])] {
        let of_backup = restore(&backup, name, target).expect(0).json();
        let of_node = restore(&from, &format!("{name}-of-node"), target).expect(0).json();
        for field in ["seq", "ts_ns", "timeline", "state_hash", "left_behind"] {
            assert_eq!(of_backup[field], of_node[field], "{field} of {name}");
        }
        let [rows, copied] = [name, &format!("{name}-of-node")].map(|name| messages_at(&into(name), None));
        assert_eq!(rows, copied);
    }
    // The streams begin a new life there.
    let kept = messages_at(&into("data"), None);
    assert!(0 < kept && kept < received.len() as u64);
    let running = restored.start();
    assert!(!resumes(&running, &login, kept));
    assert_eq!(running.stop(), 0);
    pinion(&["recon", "--data-dir", text(&into("data"))]).expect(0);

    // Without the past less is fetched, and the state is the same. The directory that a killed restore left is removed.
    std::fs::create_dir_all(into("short.fetched.unfinished").join("data/db")).expect("ours");
    let short = restore(&backup, "short", &["--to-seq", &middle_text, "--without-past"]).expect(0).json();
    let expected = pinion(&["state", "hash", "--data-dir", text(&into("data-of-node")), "--json"]).expect(0).json();
    assert_eq!(short["state_hash"], expected["state_hash"]);
    let dry = restore(&backup, "dry", &["--dry-run"]).expect(0).json();
    assert_eq!(dry["seq"], seq_at_end(&from));
    refuse_backups(&restore, &backup, &from);
    let left = std::fs::read_dir(restored.path()).expect("ours").map(|entry| entry.expect("an entry").file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("unfinished")).collect();
    assert!(left.is_empty() && !into("dry").exists() && !into("none").exists(), "{left:?}");
}

fn seq_at_end(dir: &Path) -> serde_json::Value {
    pinion(&["log", "inspect", "--data-dir", text(dir), "--json"]).expect(0).json()["seq_last"].clone()
}

/// A restore that is refused names the reason and leaves no directory.
fn refuse_backups(restore: &impl Fn(&Path, &str, &[&str]) -> Outcome, backup: &Path, from: &Path) {
    restore(backup, "none", &["--to-seq", "1000000"])
        .expect(15)
        .error_contains(&format!("{} cannot restore sequence", text(backup)));
    restore(backup, "none", &["--to-time", "1"])
        .expect(15)
        .error_contains(&format!("before every state of {}", text(backup)));
    restore(from, "none", &["--without-past"]).expect(2).error_contains("is not a backup");
    restore(Path::new("s3:bucket"), "none", &[]).expect(2).error_contains("s3://bucket/prefix");
    let pieces = std::fs::read_dir(backup.join("0000000001/log")).expect("there");
    let piece = pieces.map(|entry| entry.expect("an entry").path()).next().expect("one");
    let mut bytes = std::fs::read(&piece).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&piece, bytes).expect("ours");
    let name = piece.file_name().expect("a name").to_string_lossy().into_owned();
    restore(backup, "none", &[]).expect(13).error_contains(&name);
}

#[test]
fn two_restores_of_one_source_are_not_mistaken_for_each_other() {
    let source = Place::new();
    let running = source.start();
    stage(&running);
    assert_eq!(running.stop(), 0);
    let (from, places) = (source.data_dir(), [Place::empty(), Place::empty()]);
    for place in &places {
        pinion(&["restore", "--from", text(&from), "--data-dir", text(&place.data_dir())]).expect(0);
        // So that each has frames of its own after the same state.
        let running = place.start();
        running.setup();
        assert_eq!(running.stop(), 0);
    }
    let [first, second] = places.each_ref().map(|place| place.data_dir());
    // A segment and the snapshots of one directory are refused in the other.
    let name = "head/head-000.seg";
    let own = std::fs::read(first.join(name)).expect("there");
    std::fs::copy(second.join(name), first.join(name)).expect("copied");
    pinion(&["log", "verify", "--data-dir", text(&first)]).expect(13).error_contains("head-000.seg");
    std::fs::write(first.join(name), own).expect("put back");
    pinion(&["log", "verify", "--data-dir", text(&first)]).expect(0);
    let snapshots = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir.join("snapshots")).expect("there");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    for path in snapshots(&first) {
        std::fs::copy(second.join("snapshots").join(path.file_name().expect("a name")), &path).expect("copied");
    }
    pinion(&["snapshot", "verify", "--data-dir", text(&first)]).expect(13);
    pinion(&["state", "hash", "--data-dir", text(&first)]).expect(13).error_contains("another node");
}

#[test]
fn a_restore_to_a_time_ends_with_the_last_command_until_then() {
    let source = Place::new();
    let running = source.start();
    stage(&running);
    assert_eq!(running.stop(), 0);
    let from = source.data_dir();
    let dumped = pinion(&["log", "dump", "--data-dir", text(&from), "--json"]).expect(0).out;
    let commands: Vec<serde_json::Value> =
        dumped.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let times: Vec<u64> = commands.iter().map(|command| command["ts_ns"].as_u64().expect("a time")).collect();
    // The records of the start have one time; the first command of an administrator has a later one.
    let (first, before) = (times[0], times.iter().filter(|time| **time == times[0]).count());
    let next = times[before];
    let until_next = times.iter().filter(|time| **time <= next).count();
    let restore = |time: &str| {
        let place = Place::empty();
        pinion(&["restore", "--from", text(&from), "--data-dir", text(&place.data_dir()), "--to-time", time, "--json"])
    };
    assert_eq!(restore(&next.to_string()).expect(0).json()["seq"], until_next);
    assert_eq!(restore(&(next - 1).to_string()).expect(0).json()["seq"], before);
    restore(&(first - 1).to_string()).expect(15).error_contains("before every state of the log");
    restore("2100-01-01T00:00:00Z").expect(15).error_contains("future");
    restore("soon").expect(2);
}

#[test]
fn a_restore_overwrites_nothing_and_refuses_a_damaged_source() {
    let source = Place::new();
    let running = source.start();
    stage(&running);
    assert_eq!(running.stop(), 0);
    let (from, place) = (source.data_dir(), Place::empty());
    let into = place.data_dir();
    std::fs::create_dir(&into).expect("ours");
    std::fs::write(into.join("theirs"), "kept").expect("ours");
    let restore = || pinion(&["restore", "--from", text(&from), "--data-dir", text(&into)]);
    restore().expect(11).error_contains("is not empty");
    assert_eq!(std::fs::read_to_string(into.join("theirs")).expect("there"), "kept");
    std::fs::remove_file(into.join("theirs")).expect("ours");
    // The directory that a killed restore left is removed.
    let leftover = place.path().join("data.unfinished");
    std::fs::create_dir_all(leftover.join("db")).expect("ours");
    restore().expect(0);
    assert!(!leftover.exists());
    let neither = Place::empty();
    pinion(&["restore", "--from", text(neither.path()), "--data-dir", text(&place.path().join("x"))]).expect(12);

    let node = source.data_dir().join("IDENTITY");
    let identity = std::fs::read_to_string(&node).expect("there");
    std::fs::write(&node, identity.replace("timeline 1", "timeline 2")).expect("ours");
    let broken = place.path().join("broken");
    pinion(&["restore", "--from", text(&from), "--data-dir", text(&broken)]).expect(13).error_contains("IDENTITY");
    assert!(!broken.exists());
}
