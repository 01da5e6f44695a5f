//! A wall clock that is wrong, at the start of a real process and while it runs: log time is never moved by it.

#![cfg(feature = "fault-injection")]

mod common;

use common::load::{Trader, trade_while, two_traders};
use common::process::{Process, Start};
use common::{NodeDir, wait_until};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
const ORDERS: u64 = 100;

/// A node whose wall clock is off by the nanoseconds in a file.
struct Fixture {
    node_dir: NodeDir,
    traders: Vec<Trader>,
    offset: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let node_dir = NodeDir::new();
        let running = node_dir.start();
        let traders = two_traders(&running);
        assert_eq!(running.stop(), 0);
        let offset = node_dir.dir.path().join("offset");
        Self { node_dir, traders, offset }
    }

    fn set(&self, offset_ns: i64) {
        fs::write(&self.offset, offset_ns.to_string()).expect("the file is ours");
    }

    fn start(&self) -> Start {
        Start::with_fault(&self.node_dir.config_file(), &format!("wall:{}", self.offset.display()))
    }

    fn trade(&mut self, process: &Process) {
        trade_while(&mut self.traders, process.orders, |load| load.until_answered(ORDERS));
    }
}

fn health(process: &Process) -> Value {
    let (_, body) = common::http::request(process.ops, "GET", "/health", "", "");
    serde_json::from_str(&body).unwrap_or(Value::Null)
}

fn error_ns(process: &Process) -> i64 {
    health(process)["clock"]["error_ns"].as_i64().expect("a number")
}

#[test]
fn a_start_with_a_clock_that_is_far_off_is_refused_with_the_figures() {
    let mut fixture = Fixture::new();
    for (offset, expected) in [(3_650 * DAY, "3650 days after the last command"), (-DAY, " s before the last command")]
    {
        fixture.set(offset);
        let ended = fixture.start().refused();
        assert_eq!(ended.code, Some(3), "{}", ended.output);
        assert!(ended.output.contains(expected) && ended.output.contains("--accept-clock"), "{}", ended.output);
    }
    // The refused starts have left log time as it was.
    fixture.set(0);
    let process = fixture.start().run();
    fixture.trade(&process);
    assert_eq!(health(&process)["clock"]["state"], "ok");
    assert_eq!(process.terminate().code, Some(0));
    // As a time server may step it.
    fixture.set(-2 * SECOND);
    let process = fixture.start().run();
    fixture.trade(&process);
    assert_eq!(process.terminate().code, Some(0));
}

#[test]
fn an_accepted_clock_is_in_the_log_and_log_time_never_runs_back() {
    let mut fixture = Fixture::new();
    fixture.set(3_650 * DAY);
    let process = Start { arguments: vec!["--accept-clock".to_owned()], ..fixture.start() }.run();
    assert!(process.output().contains("is accepted: --accept-clock"), "{}", process.output());
    fixture.trade(&process);
    assert_eq!(process.terminate().code, Some(0));
    let opened = common::replay::opened(&fixture.node_dir);
    assert!(opened.last().is_some_and(|build| build.ends_with(", clock accepted")), "{opened:?}");

    fixture.set(0);
    let ended = fixture.start().refused();
    assert!(ended.code == Some(3) && ended.output.contains("before the last command"), "{}", ended.output);
    let process = Start { arguments: vec!["--accept-clock".to_owned()], ..fixture.start() }.run();
    fixture.trade(&process);
    wait_until("the divergence is seen", || 3_649 * DAY < error_ns(&process));
    let found = health(&process);
    assert_eq!(found["status"], "degraded");
    assert!(found["detail"].as_str().is_some_and(|detail| detail.contains("clock: it is")), "{found}");
    assert_eq!(process.terminate().code, Some(0));
}

#[test]
fn a_clock_that_jumps_while_the_node_runs_is_reported_and_followed_slowly() {
    let mut fixture = Fixture::new();
    let process = fixture.start().run();
    wait_until("the clocks are compared", || health(&process)["clock"]["cycles"].as_u64() > Some(2));
    assert_eq!(health(&process)["status"], "ok");
    fixture.set(-3_600 * SECOND);
    wait_until("the jump is seen", || 3_590 * SECOND < error_ns(&process));
    let found = health(&process);
    assert_eq!((&found["status"], &found["clock"]["state"]), (&"degraded".into(), &"apart".into()), "{found}");
    assert_eq!(found["clock"]["rate_ppb"], -1_000_000, "slower by a thousandth, and no more");
    let (_, metrics) = common::http::request(process.ops, "GET", "/metrics", "", "");
    assert!(metrics.contains("\npinion_clock_error_ns 3"), "{metrics}");
    fixture.trade(&process);
    assert!(3_590 * SECOND < error_ns(&process), "log time did not follow the jump");
    fixture.set(0);
    wait_until("the clocks agree again", || health(&process)["status"] == "ok");
    assert_eq!(process.terminate().code, Some(0));
}
