//! `pinion doctor host` as a process, on the machine that the tests run on.

use node::status::exit;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
    command.args(["doctor", "host"]).args(arguments).env_remove("PINION_CONFIG").output().expect("the tool runs")
}

fn place() -> TempDir {
    // Beside the build, hence on a real disk.
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The tool's findings and its exit code.
fn findings(arguments: &[&str]) -> (Vec<Value>, Option<i32>) {
    let output = doctor(&[arguments, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let findings = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}, {output:?}"));
    (findings, output.status.code())
}

#[test]
fn this_machine_is_examined_and_not_changed() {
    let dir = place();
    let (findings, code) = findings(&["--data-dir", text(dir.path())]);
    assert_eq!(std::fs::read_dir(dir.path()).expect("still there").count(), 0, "no file is left in the directory");

    let mut areas = BTreeSet::new();
    for finding in &findings {
        let keys: Vec<&str> = finding.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(BTreeSet::from_iter(keys), BTreeSet::from(["advice", "area", "check", "found", "verdict"]));
        areas.insert(finding["area"].as_str().expect("text"));
        let verdict = finding["verdict"].as_str().expect("text");
        assert!(["ok", "advice", "problem"].contains(&verdict), "{finding}");
        assert_eq!(finding["advice"].is_null(), verdict == "ok", "{finding}");
        assert!(finding["found"].as_str().is_some_and(|found| !found.is_empty()), "{finding}");
    }
    assert_eq!(areas, BTreeSet::from(["clock", "cpu", "disk", "kernel", "limits", "memory"]));
    let is_fit = !findings.iter().any(|finding| finding["verdict"] == "problem");
    assert_eq!(code, Some(i32::from(if is_fit { exit::OK } else { exit::FAILED })));

    // The tests need a ring and a disk, so that both can be tried here.
    let found = |check: &str| findings.iter().find(|f| f["check"] == check).map(|f| f["found"].to_string());
    assert_eq!(found("rings").as_deref(), Some("\"2 created with the reactor's flags\""));
    assert_eq!(found("O_DIRECT").as_deref(), Some("\"accepted\""));
    let latency = found("sync latency").expect("tried");
    assert!(latency.contains("p50") && latency.contains("p99") && latency.contains("max"), "{latency}");
}

#[test]
fn the_configuration_decides_what_is_examined() {
    let dir = place();
    let config = dir.path().join("pinion.toml");
    std::fs::write(&config, "[node]\ndata_dir = \"data\"\ncore = 1023\n").expect("written");
    let (all, code) = findings(&["--config", text(&config)]);
    let find = |check: &str| all.iter().find(|f| f["check"] == check).expect("examined");
    assert!(find("data directory")["found"].as_str().is_some_and(|found| found.ends_with("data, not made yet")));
    assert_eq!((&find("pinned core")["verdict"], code), (&Value::from("problem"), Some(i32::from(exit::FAILED))));
    assert!(!dir.path().join("data").exists());
    // The command line overrides the file.
    let (all, _) = findings(&["--config", text(&config), "--core", "0", "--data-dir", text(&dir.path().join("other"))]);
    let find = |check: &str| all.iter().find(|f| f["check"] == check).expect("examined");
    assert_eq!(find("pinned core")["found"], "core 0 is online");
    assert!(find("data directory")["found"].as_str().is_some_and(|found| found.ends_with("other, not made yet")));
}

#[test]
fn the_page_ends_with_a_summary() {
    let output = doctor(&[]);
    let page = String::from_utf8_lossy(&output.stdout);
    for part in ["cpu\n", "memory\n", "limits\n", "clock\n", "kernel\n", "disk\n", "give --config or --data-dir"] {
        assert!(page.contains(part), "{part:?} is missing in\n{page}");
    }
    let last = page.lines().last().expect("a last line");
    assert!(last.contains("problem") && last.contains("of advice"), "{last}");
}

#[test]
fn impossible_arguments_have_an_exit_code() {
    let dir = place();
    let (absent, wrong) = (dir.path().join("absent/data"), dir.path().join("wrong.toml"));
    std::fs::write(&wrong, "[node]\ncore = \"first\"\n").expect("written");
    for (arguments, code, expected) in [
        (["--data-dir", text(&absent)], exit::NOT_FOUND, "is not a directory"),
        (["--config", text(&absent)], exit::CONFIG, "cannot be read"),
        (["--config", text(&wrong)], exit::CONFIG, "node.core = \"first\": not a whole number"),
        (["--core", "60000"], exit::USAGE, "there is no core 60000: this machine has 0"),
        (["--core", "one"], exit::USAGE, "invalid"),
    ] {
        let output = doctor(&arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert_eq!(output.status.code(), Some(i32::from(code)), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
