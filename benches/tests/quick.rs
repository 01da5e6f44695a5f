//! Quick runs of the benches as a user makes them: they succeed, and `plot` draws their JSON.

use std::path::Path;
use std::process::{Command, Output};

fn run(binary: &str, args: &[&str]) -> Output {
    Command::new(binary).args(args).output().expect("cargo has built the binary")
}

/// Runs a bench with `--json` and draws the document; returns the names of the pictures.
#[track_caller]
fn drawn(binary: &str, args: &[&str], dir: &Path) -> Vec<String> {
    let dir_text = dir.to_str().expect("a plain path");
    let bench = run(binary, &[args, &["--quick", "--json", "--dir", dir_text]].concat());
    assert!(bench.status.success(), "{binary}: {}", String::from_utf8_lossy(&bench.stderr));
    let (file, plots) = (dir.join("figures.json"), dir.join("plots"));
    std::fs::write(&file, &bench.stdout).expect("room on the disk");
    let (file, plots) = (file.to_str().expect("a plain path"), plots.to_str().expect("a plain path"));
    let plot = run(env!("CARGO_BIN_EXE_plot"), &["--out", plots, file]);
    assert!(plot.status.success(), "plot: {}", String::from_utf8_lossy(&plot.stderr));
    let paths = String::from_utf8(plot.stdout).expect("paths are text");
    let name = |line: &str| Path::new(line).file_stem().map(|name| name.to_string_lossy().into_owned());
    paths.lines().filter_map(name).collect()
}

#[test]
fn scale_runs_and_is_drawn() {
    let dir = tempfile::tempdir().expect("a directory");
    let names = drawn(env!("CARGO_BIN_EXE_scale"), &["--value-max", "100"], dir.path());
    let sweeps =
        ["markets", "sessions", "orders"].map(|name| [format!("scale-{name}"), format!("scale-{name}-latency")]);
    let expected: Vec<String> = sweeps.into_iter().flatten().chain(["scale-node".to_owned()]).collect();
    assert_eq!(names, expected);
}

#[test]
fn start_runs_and_is_drawn() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(drawn(env!("CARGO_BIN_EXE_start"), &[], dir.path()), ["start"]);
}

#[test]
fn snapshot_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir_text = dir.path().to_str().expect("a plain path");
    let bench = run(env!("CARGO_BIN_EXE_snapshot"), &["--quick", "--rounds", "1", "--dir", dir_text]);
    let printed = String::from_utf8_lossy(&bench.stdout).into_owned();
    assert!(bench.status.success() && printed.contains("every loaded state had the hash"), "{printed}{bench:?}");
}

#[test]
fn plot_names_the_key_that_is_missing() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("figures.json");
    std::fs::write(&file, "{ \"bench\": \"scale\", \"machine\": {} }").expect("room on the disk");
    let plot = run(env!("CARGO_BIN_EXE_plot"), &[file.to_str().expect("a plain path")]);
    let printed = String::from_utf8_lossy(&plot.stderr).into_owned();
    assert!(!plot.status.success() && printed.contains("figures.json: sweeps: is missing"), "{printed}");
}

#[test]
fn adversary_runs_every_attack() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir_text = dir.path().to_str().expect("a plain path");
    let bench = run(env!("CARGO_BIN_EXE_adversary"), &["--quick", "--json", "--dir", dir_text]);
    assert!(bench.status.success(), "{}", String::from_utf8_lossy(&bench.stderr));
    let document: serde_json::Value = serde_json::from_slice(&bench.stdout).expect("one JSON document");
    let names = |part: &str| document[part].as_array().map_or(0, Vec::len);
    assert_eq!((names("engine"), names("node")), (6, 15));
}
