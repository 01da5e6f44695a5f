//! The demo as a user sees it: it starts, the commands that it prints work, and it stops.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// A part of the last command that the demo prints.
const LAST_HINT: &str = " cancel --user ";

#[test]
fn a_demo_trades_answers_its_own_commands_and_stops() {
    let pinion = Path::new(env!("CARGO_BIN_EXE_pinion"));
    if !pinion.with_file_name("pinion-node").exists() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI builds every crate of the workspace");
        eprintln!("pinion-node is not built, so this test is skipped: run cargo build --workspace");
        return;
    }
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let mut demo = Command::new(pinion)
        .args(["demo", "--free-ports", "--data-dir"])
        .arg(dir.path().join("data"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    let mut output = BufReader::new(demo.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut hints: Vec<String> = Vec::new();
    while hints.last().is_none_or(|line| !line.contains(LAST_HINT)) {
        hints.push(output.next().expect("the demo prints all its hints"));
    }
    let run = |what: &str| {
        let line = hints.iter().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what} in {hints:#?}"));
        let mut words = line.split_whitespace();
        let program = words.next().expect("a command");
        let output = Command::new(program).args(words).output().expect("it runs");
        let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}\n{text}{error}");
        text.into_owned()
    };
    let placed = run("--price 59000.5");
    assert!(placed.contains("accepted") && placed.contains("open"), "{placed}");
    assert!(run("--depth 200").contains("59000.5"));
    assert!(run(" book BTCUSDT").contains("trading"));
    assert!(run(" status").contains("seq"));
    assert!(run(LAST_HINT).contains("canceled   1 orders"));

    let pid = i32::try_from(demo.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::INT).expect("it runs still");
    assert_eq!(output.last().as_deref(), Some("stopped"));
    assert_eq!(demo.wait().expect("it ends").code(), Some(0));
}
