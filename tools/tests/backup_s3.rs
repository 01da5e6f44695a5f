//! Backups in a real S3 server: every verb by the tool, large objects in parts, a server that is unreachable for a
//! while.

mod common;

use common::s3::{Proxy, S3, Weather, settings_for};
use common::traffic::Traffic;
use common::{Place, Running, stage};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tools::archive::destination::Destination;
use tools::archive::key::Key;
use tools::archive::put_outcome::PutOutcome;
use tools::archive::shipper::{Shipper, TailPolicy};
use tools::archive::store_address::OpenMode;
use tools::terminal::failure::ExitCode;
use tools::terminal::interrupt::Interrupt;
use tools::verbs::backup::drill::{Rpo, drill};
use tools::verbs::backup::verify::{Verified, verify};
use wal::units::{Lsn, Timeline};

const SNAPSHOTS: &str = "[snapshot]\nevery_commands = 1000\n";

/// Writes the settings to a file that only its owner may read.
fn secrets_file(dir: &Path, address: SocketAddr) -> PathBuf {
    let path = dir.join(format!("s3-{}.secrets", address.port()));
    let lines: String = settings_for(address).iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fs::write(&path, format!("# moto\n{lines}")).expect("writable");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("ours");
    path
}

fn open(url: &str, secrets: &Path) -> Destination {
    Destination::open(url, Some(secrets), OpenMode::OrCreate, Interrupt::never()).expect("the settings are complete")
}

fn pinion(s3: &S3, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
    command.args(arguments).envs(s3.settings()).output().expect("the tool runs")
}

fn output_of(s3: &S3, code: i32, arguments: &[&str]) -> String {
    let output = pinion(s3, arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}{err}");
    format!("{out}{err}")
}

#[test]
fn a_node_is_shipped_to_s3_listed_verified_drilled_and_pruned() {
    let s3 = S3::start();
    let place = Place::new();
    let running = place.start_with(SNAPSHOTS);
    let login = stage(&running);
    let mut traffic = Traffic::new(&running, &login);
    let (data_dir, url) = (place.data_dir(), s3.url("prod/node-1"));
    let data_dir = data_dir.to_str().expect("text");
    assert!(output_of(&s3, 12, &["backup", "list", "--from", &url]).contains("is not a backup"));
    for _ in 0..3 {
        traffic.commands(1_500);
        output_of(&s3, 0, &["backup", "run", "--once", "--data-dir", data_dir, "--to", &url]);
    }
    drop(traffic);
    running.settle();
    output_of(&s3, 0, &["backup", "run", "--once", "--data-dir", data_dir, "--to", &url]);
    let json = |code, arguments: &[&str]| -> Value {
        serde_json::from_str(&output_of(&s3, code, arguments)).expect("one document")
    };
    let listed = json(0, &["backup", "list", "--from", &url, "--json"]);
    assert_eq!(listed["timelines"][0]["points"][0]["seq_first"], 1, "{listed}");
    let verified = json(0, &["backup", "verify", "--from", &url, "--json"]);
    assert!(verified["commands"].as_u64().is_some_and(|commands| 4_500 < commands), "{verified}");
    let scratch = place.path().to_str().expect("text");
    let drill = ["backup", "drill", "--from", &url, "--scratch", scratch, "--data-dir", data_dir, "--json"];
    let drilled = json(0, &drill);
    assert_eq!((&drilled["rpo_commands"], &drilled["compared"]), (&Value::from(0), &Value::from(true)), "{drilled}");
    let pruned = json(0, &["backup", "prune", "--from", &url, "--keep", "1", "--json"]);
    assert!(pruned["deleted"].as_array().is_some_and(|deleted| !deleted.is_empty()), "{pruned}");
    json(0, &["backup", "verify", "--from", &url, "--json"]);
    assert_eq!(json(0, &drill)["rpo_commands"], 0);
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_secrets_file_overrides_the_environment_and_must_be_private() {
    let s3 = S3::start();
    let place = Place::new();
    let secrets = secrets_file(place.path(), s3.address);
    let destination = open(&s3.url("a"), &secrets);
    assert_eq!(destination.list().expect("allowed"), []);
    fs::set_permissions(&secrets, PermissionsExt::from_mode(0o644)).expect("ours");
    let (url, secrets) = (s3.url("a"), secrets.to_str().expect("text"));
    let text = output_of(&s3, 3, &["backup", "list", "--from", &url, "--secrets-file", secrets]);
    assert!(text.contains("chmod 600"), "{text}");
    fs::write(secrets, "AWS_NONSENSE=1\n").expect("ours");
    fs::set_permissions(secrets, PermissionsExt::from_mode(0o600)).expect("ours");
    let text = output_of(&s3, 3, &["backup", "list", "--from", &url, "--secrets-file", secrets]);
    assert!(text.contains("line 1") && !text.contains("NONSENSE"), "{text}");
}

#[test]
fn large_files_are_stored_in_parts_and_no_object_is_overwritten() {
    let s3 = S3::start();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let secrets = secrets_file(dir.path(), s3.address);
    let local = dir.path().join("local");
    let places = [open(&s3.url("parts"), &secrets), open(local.to_str().expect("text"), &secrets)];
    let mut bytes: Vec<u8> = (0..21_000_003u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (large, back) = (dir.path().join("large"), dir.path().join("back"));
    for destination in places {
        let key = Key::Snapshot { timeline: Timeline(1), seq: Lsn(5) };
        fs::write(&large, &bytes).expect("room");
        assert_eq!(destination.put_file(key, &large).expect("stored"), PutOutcome::Stored);
        assert_eq!(destination.get_file(key, &back).expect("there"), bytes.len() as u64);
        assert!(fs::read(&back).expect("readable") == bytes);
        assert_eq!(destination.get_start(key, 100).expect("there"), bytes[..100]);
        bytes[7] ^= 1;
        fs::write(&large, &bytes).expect("room");
        assert_eq!(destination.put_file(key, &large).expect("looked"), PutOutcome::AlreadyThere);
        assert_ne!(destination.get(key).expect("there"), bytes);

        let small = Key::Identity(Timeline(1));
        assert_eq!(destination.put_new(small, b"one".to_vec()).expect("stored"), PutOutcome::Stored);
        assert_eq!(destination.put_new(small, b"two".to_vec()).expect("refused"), PutOutcome::AlreadyThere);
        assert_eq!(destination.find(small).expect("readable").as_deref(), Some(b"one".as_slice()));
        assert_eq!(destination.find(Key::Claim).expect("readable"), None);
        assert_eq!(destination.list().expect("readable").len(), 2);
        destination.delete(small).expect("gone");
        destination.delete(small).expect("gone already");
        assert_eq!(destination.list().expect("readable").len(), 1);
        fs::remove_file(&back).expect("there");
    }
}

#[test]
fn an_unreachable_server_fails_rounds_and_loses_nothing() {
    let s3 = S3::start();
    let proxy = Proxy::to(s3.address);
    let place = Place::new();
    let running = place.start_with(SNAPSHOTS);
    let login = stage(&running);
    let mut traffic = Traffic::new(&running, &login);
    let data_dir = place.data_dir();
    let destination = open(&s3.url("node"), &secrets_file(place.path(), proxy.address));
    let mut shipper = Shipper::new(&data_dir, &destination);
    let mut failed = 0;
    for _ in 0..3 {
        traffic.commands(400);
        let before = shipper.round(TailPolicy::SyncNow).expect("the server is reachable").seq_shipped;
        proxy.cut();
        traffic.commands(400);
        let error = shipper.round(TailPolicy::SyncNow).expect_err("the server is unreachable");
        assert!(error.may_pass() && error.exit_code() == 1, "{error}");
        failed += 1;
        proxy.restore();
        let round = shipper.round(TailPolicy::SyncNow).expect("the server is reachable again");
        assert!(before < round.seq_shipped && round.gap.is_none(), "{round:?}");
    }
    drop(traffic);
    let verified = ship_the_rest(&mut shipper, &running, &destination, &place);
    assert!(verified.damage.is_empty() && failed == 3, "{verified:?}");
    assert_eq!(running.stop(), 0);
}

/// Ships until the backup has what the node has, and restores it. Gives what a verification finds.
fn ship_the_rest(shipper: &mut Shipper<'_>, running: &Running, destination: &Destination, place: &Place) -> Verified {
    running.settle();
    while shipper.round(TailPolicy::SyncNow).map(|round| round.seq_shipped < round.seq_node).expect("shipped") {}
    let verified = verify(destination).expect("readable");
    let drilled = drill(destination, place.path(), Some(&place.data_dir())).expect("the state is restored");
    assert!(matches!(drilled.rpo, Rpo::OfNode { commands: 0, .. }), "{:?}", drilled.rpo);
    verified
}

#[test]
fn a_store_that_fails_in_any_way_costs_time_and_no_command() {
    let s3 = S3::start();
    let proxy = Proxy::to(s3.address);
    let place = Place::new();
    let running = place.start_with(SNAPSHOTS);
    let login = stage(&running);
    let mut traffic = Traffic::new(&running, &login);
    let data_dir = place.data_dir();
    let secrets = secrets_file(place.path(), proxy.address);
    let mut lines = fs::read_to_string(&secrets).expect("ours");
    lines.push_str("AWS_TIMEOUT=400ms\n");
    fs::write(&secrets, lines).expect("ours");
    let destination = open(&s3.url("weather"), &secrets);
    let mut shipper = Shipper::new(&data_dir, &destination);
    shipper.round(TailPolicy::SyncNow).expect("fair weather");
    for (weather, code, shown) in [
        (Weather::Reset, 1, ""),
        (Weather::AnswerLost, 1, ""),
        (Weather::Status(503, "SlowDown"), 1, "SlowDown: As planned."),
        (Weather::Status(403, "InvalidAccessKeyId"), 3, "check AWS_ACCESS_KEY_ID"),
        (Weather::Status(403, ""), 3, "the store answered 403"),
        (Weather::Status(507, ""), 19, "the store answered 507"),
        (Weather::Hang, 1, ""),
    ] {
        traffic.commands(200);
        proxy.set(weather);
        let error = shipper.round(TailPolicy::SyncNow).expect_err("the weather is bad");
        let text = error.to_string();
        assert!(error.may_pass() && error.exit_code() == code && text.contains(shown), "{weather:?}: {text}");
        for raw in ["<", "\n", "/proc/self", "builder error"] {
            assert!(!text.contains(raw), "{weather:?}: {text}");
        }
        proxy.restore();
        let round = shipper.round(TailPolicy::SyncNow).expect("fair weather again");
        assert!(round.gap.is_none(), "{weather:?}: {round:?}");
    }
    drop(traffic);
    let verified = ship_the_rest(&mut shipper, &running, &destination, &place);
    assert!(verified.damage.is_empty() && verified.gaps.is_empty(), "{verified:?}");
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_store_that_refuses_the_first_start_ends_it_with_the_reason() {
    let s3 = S3::start();
    let proxy = Proxy::to(s3.address);
    let place = Place::new();
    let (data_dir, secrets) = (place.data_dir(), secrets_file(place.path(), proxy.address));
    let (data, secrets) = (data_dir.to_str().expect("text"), secrets.to_str().expect("text"));
    let url = s3.url("refused");
    for (weather, shown) in [
        (Weather::Status(403, "InvalidAccessKeyId"), "InvalidAccessKeyId: As planned."),
        (Weather::Status(403, "RequestTimeTooSkewed"), "set this machine's clock right"),
        (Weather::Status(404, "NoSuchBucket"), "make the bucket"),
    ] {
        proxy.set(weather);
        // Without --once too: nothing but the configuration can help.
        let text = output_of(&s3, 3, &["backup", "run", "--data-dir", data, "--to", &url, "--secrets-file", secrets]);
        assert!(text.contains(shown) && !text.contains('<'), "{text}");
        for verb in ["list", "verify"] {
            output_of(&s3, 3, &["backup", verb, "--from", &url, "--secrets-file", secrets]);
        }
    }
    proxy.restore();
    let missing = "s3://no-such-bucket/x";
    let text = output_of(&s3, 3, &["backup", "run", "--data-dir", data, "--to", missing, "--secrets-file", secrets]);
    assert!(text.contains("NoSuchBucket"), "{text}");
    output_of(&s3, 0, &["backup", "run", "--data-dir", data, "--to", &url, "--secrets-file", secrets, "--once"]);
}

#[test]
fn settings_that_no_client_can_use_are_named() {
    let good = settings_for("127.0.0.1:9".parse().expect("an address"));
    let list = |place: &str, changes: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
        command
            .args(["backup", "list", "--from", place])
            .envs(good.iter().map(|(name, value)| (*name, value.as_str())));
        command.envs(changes.iter().copied());
        let output = command.output().expect("the tool runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    for (name, value, why) in [
        ("AWS_ENDPOINT", "minio.example:9000", "it has no scheme"),
        ("AWS_ENDPOINT", "localhost", "it has no scheme"),
        ("AWS_ENDPOINT", "", "is empty"),
        ("AWS_ENDPOINT", "http://127.0.0.1:99999", "port"),
        ("AWS_ENDPOINT", "http://127.0.0.1:port", "port"),
        ("AWS_ENDPOINT", "http://", "host"),
        ("AWS_ENDPOINT", "http://a b:9", "https://HOST"),
        ("AWS_ALLOW_HTTP", "false", "AWS_ALLOW_HTTP=true"),
        ("AWS_ACCESS_KEY_ID", "key\r\n", "control character"),
        ("AWS_ACCESS_KEY_ID", "", "is empty"),
        ("AWS_ACCESS_KEY_ID", "a key", "a space"),
        ("AWS_SECRET_ACCESS_KEY", "se\u{7}cret", "control character"),
        ("AWS_SESSION_TOKEN", "tok\nen", "control character"),
        ("AWS_REGION", "us east", "a region has"),
        ("AWS_CONDITIONAL_PUT", "perhaps", ""),
    ] {
        let (code, text) = list("s3://pinion-backups/x", &[(name, value)]);
        let is_named = text.contains(name) || name == "AWS_ALLOW_HTTP" || why.is_empty();
        assert!(code == Some(3) && is_named && text.contains(why), "{name}={value:?}: {code:?} {text}");
        assert!(!text.contains("panicked") && !text.contains("se\u{7}cret"), "{text}");
    }
    for bucket in ["my bucket", "ab", "a\tb", "bücket"] {
        let (code, text) = list(&format!("s3://{bucket}/x"), &[]);
        assert!(code == Some(3) && text.contains("--to or --from names the bucket"), "{bucket}: {code:?} {text}");
    }
}
