//! The benches as a person runs them, quickly: they end well, and what they write as JSON can be drawn.

use std::path::Path;
use std::process::{Command, Output};

fn run(binary: &str, args: &[&str]) -> Output {
    Command::new(binary).args(args).output().expect("cargo built it")
}

/// Runs a bench for its JSON and draws that; the names of the pictures.
#[track_caller]
fn drawn(binary: &str, args: &[&str], place: &Path) -> Vec<String> {
    let place_text = place.to_str().expect("a plain path");
    let bench = run(binary, &[args, &["--quick", "--json", "--dir", place_text]].concat());
    assert!(bench.status.success(), "{binary}: {}", String::from_utf8_lossy(&bench.stderr));
    let (file, plots) = (place.join("figures.json"), place.join("plots"));
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
    let place = tempfile::tempdir().expect("a directory");
    let names = drawn(env!("CARGO_BIN_EXE_scale"), &["--value-max", "100"], place.path());
    let sweeps =
        ["markets", "sessions", "orders"].map(|name| [format!("scale-{name}"), format!("scale-{name}-latency")]);
    let expected: Vec<String> = sweeps.into_iter().flatten().chain(["scale-node".to_owned()]).collect();
    assert_eq!(names, expected);
}

#[test]
fn start_runs_and_is_drawn() {
    let place = tempfile::tempdir().expect("a directory");
    assert_eq!(drawn(env!("CARGO_BIN_EXE_start"), &[], place.path()), ["start"]);
}

#[test]
fn snapshot_runs() {
    let place = tempfile::tempdir().expect("a directory");
    let dir = place.path().to_str().expect("a plain path");
    let bench = run(env!("CARGO_BIN_EXE_snapshot"), &["--quick", "--rounds", "1", "--dir", dir]);
    let told = String::from_utf8_lossy(&bench.stdout).into_owned();
    assert!(bench.status.success() && told.contains("every loaded state had the hash"), "{told}{bench:?}");
}

#[test]
fn plot_tells_what_it_cannot_draw() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("figures.json");
    std::fs::write(&file, "{ \"bench\": \"scale\", \"machine\": {} }").expect("room on the disk");
    let plot = run(env!("CARGO_BIN_EXE_plot"), &[file.to_str().expect("a plain path")]);
    let told = String::from_utf8_lossy(&plot.stderr).into_owned();
    assert!(!plot.status.success() && told.contains("figures.json: sweeps: is missing"), "{told}");
}
