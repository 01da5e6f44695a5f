//! Recorded directories of every rules version, and the way of an old directory to the newest format and rules.
//!
//! A golden directory was made and traded on by a build of its rules version, `rules-1` by the last one before there
//! were formats, and is replayed to the hash that this build had. Until rules 2 are released, a changed outcome under
//! them means to make `rules-2` again.

mod common;

use book::codec::{PayloadVersion, decode, encode};
use book::command::{Admin, Command};
use book::rules::Rules;
use book::units::TsNs;
use common::process::{NodeProcess, node_with_faults, pinion, text};
use common::trading::trade;
use common::{Place, stage};
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use tools::offline::as_of::StateReader;

struct Golden {
    packed: &'static [u8],
    rules: Rules,
    format: u32,
    seq: u64,
    state_hash: &'static str,
}

const GOLDEN: [Golden; 2] = [
    Golden {
        packed: include_bytes!("golden/rules-1.tar.zst"),
        rules: Rules::One,
        format: 1,
        seq: 503,
        state_hash: "4fc772f4c00283d7c2de313c3690019d97fd415ca1c03418b129340290593096",
    },
    Golden {
        packed: include_bytes!("golden/rules-2.tar.zst"),
        rules: Rules::Two,
        format: 2,
        seq: 448,
        state_hash: "fc177808b34bd5143e4bb8946380df176714a91a8ece129de35e2506abb038d5",
    },
];

impl Golden {
    fn unpacked(&self) -> Place {
        let place = Place::empty();
        let dir = place.data_dir();
        std::fs::create_dir(&dir).expect("a place of our own");
        let tar = zstd::decode_all(self.packed).expect("it was packed by zstd");
        let mut unpack = Process::new("tar").args(["-x", "-C", text(&dir)]).stdin(Stdio::piped()).spawn().expect("tar");
        unpack.stdin.take().expect("piped").write_all(&tar).expect("tar reads");
        assert!(unpack.wait().expect("our own child").success());
        place
    }
}

fn check(dir: &Path) -> Value {
    pinion(&["upgrade", "check", "--data-dir", text(dir), "--json"]).expect(0).json()
}

fn format(dir: &Path, more: &[&str]) -> Vec<String> {
    [&["upgrade", "format", "--data-dir", text(dir)], more].concat().into_iter().map(str::to_owned).collect()
}

fn run(arguments: &[String]) -> common::process::Outcome {
    pinion(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The payload version and the command of every record.
fn records(dir: &Path) -> Vec<(PayloadVersion, Command)> {
    let reader = StateReader::open(dir).expect("a directory");
    let log = reader.scan().expect("an intact log");
    let mut records = Vec::new();
    let visit = |_, bytes: &[u8]| {
        let (version, _) = PayloadVersion::split(bytes)?;
        records.push((version, decode(bytes)?.command));
        Ok(true)
    };
    log.for_each_record(log.first_record(), visit).expect("every record decodes");
    records
}

#[test]
fn recorded_directories_replay_to_their_hashes() {
    assert_eq!(GOLDEN.iter().map(|golden| golden.rules).collect::<Vec<_>>(), Rules::ALL, "one for every rules version");
    for golden in &GOLDEN {
        let place = golden.unpacked();
        let found = check(&place.data_dir());
        assert_eq!(found["state_hash"], golden.state_hash, "rules {}", golden.rules);
        assert_eq!((&found["seq"], &found["format"]), (&golden.seq.into(), &golden.format.into()));
        assert_eq!(found["rules"], golden.rules as u16);
        assert!(found["checks_equal"].as_u64().is_some_and(|count| count > 2), "{found}");
    }
}

#[test]
fn a_directory_of_format_1_stays_one_until_it_is_raised() {
    let place = GOLDEN[0].unpacked();
    let dir = place.data_dir();
    let before = records(&dir).len();
    let running = place.start();
    let login = stage(&running);
    trade(&running, &login, 2);
    assert_eq!(running.stop(), 0);
    let records = records(&dir);
    assert!(before + 10 < records.len());
    for (version, command) in &records[before..] {
        assert_eq!(*version, PayloadVersion::One);
        assert!(
            !matches!(command, Command::Acted(_) | Command::Opened(_)),
            "the build before does not know {command:?}"
        );
    }
    let found = check(&dir);
    assert_eq!((&found["format"], &found["rules"]), (&1.into(), &1.into()));
}

#[test]
fn an_old_directory_is_raised_step_by_step() {
    let Some(node) = node_with_faults() else { return };
    let place = GOLDEN[0].unpacked();
    let dir = place.data_dir();
    let (config, token) = configure(&place);
    let raise = |running: &NodeProcess, more: &[&str], code: i32| {
        let at = ["--url", &running.ops, "--token-file", text(&token), "--json"];
        pinion(&[&["admin", "rules", "raise"], more, &at].concat()).expect(code)
    };

    // The format comes first, and while no node runs.
    let running = NodeProcess::start(&node, &config, &[]);
    raise(&running, &[], 1).error_contains("format_too_old");
    run(&format(&dir, &[])).expect(10);
    running.stop();
    let trial = run(&format(&dir, &["--dry-run"])).expect(0);
    assert!(trial.out.contains("would raise") && trial.out.contains("no way back"), "{}", trial.out);
    assert_eq!(check(&dir)["format"], 1, "a dry run changes nothing");
    let hidden = place.path().join("hidden");
    std::fs::rename(dir.join("snapshots"), &hidden).expect("ours");
    std::fs::create_dir(dir.join("snapshots")).expect("ours");
    run(&format(&dir, &[])).expect(1).error_contains("no snapshot at sequence");
    std::fs::remove_dir(dir.join("snapshots")).expect("ours");
    std::fs::rename(&hidden, dir.join("snapshots")).expect("ours");
    let raised = run(&format(&dir, &[])).expect(0);
    assert!(raised.out.contains("from 1 to 2") && raised.out.contains("no way back"), "{}", raised.out);
    assert!(run(&format(&dir, &[])).expect(0).out.contains("already"));
    let end = records(&dir).len();

    // Format 2 under rules 1: starts are recorded, acts are as before.
    let running = NodeProcess::start(&node, &config, &[]);
    add_asset(&running, &token, "ONE");
    raise(&running, &["--to", "3"], 1).error_contains("rules_unknown");
    let trial = raise(&running, &["--dry-run"], 0);
    assert!(trial.err.contains("no way back") && trial.json()["dry_run"] == true, "{}", trial.err);
    let raised = raise(&running, &[], 0);
    assert!(raised.err.contains("no way back"));
    assert_eq!(raised.json()["events"][0]["rules"], 2);
    raise(&running, &[], 1).error_contains("rules_not_raised");
    add_asset(&running, &token, "TWO");
    running.stop();
    let records = records(&dir);
    let kinds: Vec<&Command> = records[end..].iter().map(|(_, command)| command).collect();
    assert!(records[end..].iter().all(|(version, _)| *version == PayloadVersion::Two));
    assert!(matches!(kinds[0], Command::Opened(opened) if opened.format == 2 && opened.build.starts_with("pinion ")));
    let position = |is: &dyn Fn(&Command) -> bool| kinds.iter().position(|command| is(command)).expect("recorded");
    let one = position(&|c| matches!(c, Command::Admin(admin) if matches!(**admin, Admin::AddAsset { .. })));
    let two = position(
        &|c| matches!(c, Command::Acted(acted) if acted.method == "POST /admin/asset/add" && acted.request_id == "r-2"),
    );
    let rules =
        position(&|c| matches!(c, Command::Acted(acted) if matches!(acted.admin(), Some(Admin::SetRules { .. }))));
    assert!(one < rules && rules < two);

    let found = check(&dir);
    assert_eq!((&found["format"], &found["rules"]), (&2.into(), &2.into()));
    assert_eq!(found["starts"].as_array().map(Vec::len), Some(1));
    // From the first command on, across both steps.
    let replayed = pinion(&["replay", "--data-dir", text(&dir), "--from", "1", "--json"]).expect(0).json();
    assert_eq!(replayed["state_hash"], found["state_hash"]);
    assert!(pinion(&["log", "dump", "--data-dir", text(&dir)]).expect(0).out.contains("actor=\"ops\""));
}

#[test]
fn a_log_of_later_rules_is_refused_as_one() {
    let place = Place::new();
    let running = place.start();
    stage(&running);
    assert_eq!(running.stop(), 0);
    let later = book::rules::RulesVersion(Rules::NEWEST as u16 + 1);
    let act = book::command::Acted::by_node(Admin::SetRules { version: later });
    let mut bytes = [0; 256];
    let far = TsNs(u64::MAX / 2);
    let len = encode(PayloadVersion::Two, far, &Command::Acted(Box::new(act)), &mut bytes).expect("it fits");
    common::raw_log::append(&place.data_dir(), &[&bytes[..len]]);
    for arguments in [["upgrade", "check"], ["log", "verify"]] {
        let outcome = pinion(&[&arguments[..], &["--data-dir", text(&place.data_dir())]].concat()).expect(14);
        outcome.error_contains("rules to version 3");
    }
}

/// A configuration and a token for a directory that was unpacked.
fn configure(place: &Place) -> (std::path::PathBuf, std::path::PathBuf) {
    let (config, token) = (place.path().join("pinion.toml"), place.path().join("token"));
    let text = "[node]\nenv = \"dev\"\ndata_dir = \"data\"\n[listen]\nops_token_file = \"token\"\n\
                [journal]\nsegment_bytes = 270336\nsegments = 2\nframe_bytes_max = 65536\n\
                [store]\nballast_bytes = 0\n";
    std::fs::write(&config, text).expect("ours");
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&token).expect("a new file");
    file.write_all(b"0123456789abcdef0123456789abcdef0123456789abcdef\n").expect("ours");
    (config, token)
}

/// By hand, because the tool sends no id of its own.
fn add_asset(running: &NodeProcess, token: &Path, symbol: &str) {
    let token = std::fs::read_to_string(token).expect("ours");
    // The client wants one, although the node speaks plain HTTP here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let status = runtime.block_on(async {
        let request = reqwest::Client::new().post(format!("{}/admin/asset/add", running.ops)).bearer_auth(token.trim());
        let request = request.header("x-request-id", "r-2").body(format!(r#"{{"symbol":"{symbol}","scale":2}}"#));
        request.send().await.expect("the node answers").status()
    });
    assert_eq!(status, 200);
}
