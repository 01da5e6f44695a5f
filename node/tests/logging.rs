//! Log lines of a real process: nothing waits for those who read them, and the files can be moved, removed and opened
//! again while it trades.

mod common;

use common::http;
use common::load::{Trader, trade_while, two_traders};
use common::process::{Process, Start};
use common::{NodeDir, wait_until};
use rustix::fs::{OFlags, fcntl_setfl};
use serde_json::Value;
use std::fs;
use std::io::{ErrorKind, PipeReader, Read, Write, pipe};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

/// Answers to each trader that show that a node trades.
const ORDERS: u64 = 100;
/// Connections between two looks at a counter whose first packet is nonsense; the gateway logs each at level debug.
const BURST: usize = 500;

/// A pipe that has no room, as standard error.
fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, mut writer) = pipe().expect("descriptors");
    fcntl_setfl(&writer, OFlags::NONBLOCK).expect("the pipe is ours");
    // The last step is small, so that not a byte more fits.
    for step in [4_096, 1] {
        let error = loop {
            if let Err(error) = writer.write_all(&vec![b'.'; step]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
    fcntl_setfl(&writer, OFlags::empty()).expect("the pipe is ours");
    (reader, writer.into())
}

/// A directory with a market, and two who trade in it.
fn traded_dir(extra: &str) -> (NodeDir, Vec<Trader>) {
    let node_dir = NodeDir::with(extra);
    let running = node_dir.start();
    let traders = two_traders(&running);
    assert_eq!(running.stop(), 0);
    (node_dir, traders)
}

fn trade(traders: &mut [Trader], process: &Process) {
    trade_while(traders, process.orders, |load| load.until_answered(ORDERS));
}

fn health(process: &Process) -> Value {
    let (_, body) = http::request(process.ops, "GET", "/health", "", "");
    serde_json::from_str(&body).unwrap_or(Value::Null)
}

fn lines_dropped(process: &Process) -> u64 {
    let (_, metrics) = http::request(process.ops, "GET", "/metrics", "", "");
    let sample = metrics.lines().find_map(|line| line.strip_prefix("pinion_log_lines_dropped_total "));
    sample.and_then(|count| count.parse().ok()).expect("the metric is there")
}

/// Returns once the node has closed the connection.
fn send_nonsense(orders: SocketAddr) {
    let mut socket = TcpStream::connect(orders).expect("the node listens");
    socket.write_all(&[0xFF; 64]).expect("the node reads");
    // Closed with unread bytes, a connection may be reset.
    let _ = socket.read_to_end(&mut Vec::new());
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_full_pipe_as_standard_error_stops_nothing() {
    let (node_dir, mut traders) = traded_dir("[log]\nlevel = \"debug\"\n");
    let (mut reader, stderr) = full_pipe();
    let process = Start::new(&node_dir.config_file()).try_run_with(stderr).expect("the node starts");
    trade(&mut traders, &process);
    wait_until("lines are dropped", || {
        (0..BURST).for_each(|_| send_nonsense(process.orders));
        0 < lines_dropped(&process)
    });
    trade(&mut traders, &process);
    let found = health(&process);
    assert_eq!((&found["status"], &found["log"]["state"]), (&"degraded".into(), &"dropping".into()), "{found}");
    assert_eq!(http::request(process.ops, "GET", "/ready", "", "").0, 200, "orders are accepted");

    // Once the pipe is read, the log says how many lines are missing.
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("the pipe is ours");
        text
    });
    wait_until("the lines are written", || health(&process)["log"]["state"] == "ok");
    let dropped = lines_dropped(&process);
    assert_eq!(health(&process)["log"]["lines_dropped"], dropped);
    for trader in &mut traders {
        trader.check(process.orders).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    assert_eq!(process.terminate().code, Some(0));
    let text = reading.join().expect("the pipe is closed");
    let reports = text.lines().filter(|line| line.contains("log lines were dropped"));
    let counts = reports.filter_map(|line| line.rsplit_once("lines=")?.1.parse::<u64>().ok());
    assert_eq!(counts.sum::<u64>(), dropped, "{text}");
    assert!(text.contains("asked to stop by SIGTERM"), "{text}");
}

#[test]
fn every_end_of_the_process_comes_in_spite_of_a_full_pipe() {
    let (node_dir, mut traders) = traded_dir("");
    let file = node_dir.config_file();
    let run = |start: Start| {
        let (reader, stderr) = full_pipe();
        (start.try_run_with(stderr), reader)
    };
    let (process, _reader) = run(Start::new(&file));
    let process = process.expect("the node starts");
    let (refused, _second_reader) = run(Start::new(&file));
    assert_eq!(refused.err().and_then(|ended| ended.code), Some(10), "the directory is in use");
    assert_eq!(process.terminate().code, Some(0));

    let (process, _reader) = run(Start::with_fault(&file, "panic:core:3000"));
    let process = process.expect("the node starts");
    let orders = process.orders;
    let ended = trade_while(&mut traders, orders, |_| process.wait());
    assert_eq!(ended.signal, ExitStatus::from_raw(libc::SIGABRT).signal(), "{ended:?}");
}

#[test]
fn the_last_lines_of_a_panic_are_in_the_log_file() {
    let (node_dir, mut traders) = traded_dir("");
    let dir = node_dir.dir.path().join("logs");
    let file = node_dir.config_file_with(&format!("[log]\ndir = {dir:?}\n"));
    let process = Start::with_fault(&file, "panic:core:3000").run();
    let orders = process.orders;
    trade_while(&mut traders, orders, |_| process.wait());
    let log = read(&dir.join("pinion.log"));
    for line in ["panicked at node/src", "panic:core: the fault that was asked for", "a pinned thread panicked"] {
        assert!(log.contains(line), "{line:?} is missing: {log}");
    }
}

#[test]
fn hangup_opens_the_log_file_again() {
    let (node_dir, mut traders) = traded_dir("");
    let dir = node_dir.dir.path().join("logs");
    let (current, moved) = (dir.join("pinion.log"), dir.join("moved"));
    let process = Start::new(&node_dir.config_file_with(&format!("[log]\ndir = {dir:?}\n"))).run();
    fs::rename(&current, &moved).expect("the file is there");
    process.signal("HUP");
    wait_until("the file is opened again", || read(&current).contains("the log file is opened again"));
    // The line of the thread that took the signal may come before that or after it.
    assert!((read(&moved) + &read(&current)).contains("asked by SIGHUP"), "{}", read(&moved));

    trade(&mut traders, &process);
    assert_eq!(process.terminate().code, Some(0));
    assert!(read(&current).contains("asked to stop by SIGTERM"), "{}", read(&current));
}

#[test]
fn a_removed_directory_of_log_files_is_reported_and_made_again() {
    let (node_dir, mut traders) = traded_dir("");
    // What it lies in is not made again: it may be a file system that is not mounted.
    let mount = node_dir.dir.path().join("mount");
    let dir = mount.join("logs");
    let current = dir.join("pinion.log");
    let process = Start::new(&node_dir.config_file_with(&format!("[log]\ndir = {dir:?}\n"))).run();
    fs::remove_dir_all(&dir).expect("the directory is ours");
    wait_until("it is made again", || read(&current).contains("was removed, and is made again"));
    assert!(process.output().contains("was removed, and is made again"), "{}", process.output());
    let found = health(&process);
    assert_eq!((&found["status"], &found["log"]["dirs_made"]), (&"ok".into(), &1.into()), "{found}");

    fs::remove_dir_all(&mount).expect("the directory is ours");
    wait_until("the loss is reported", || health(&process)["status"] == "degraded");
    let detail = health(&process)["detail"].to_string();
    assert!(detail.contains("log: ") && detail.contains("was removed") && detail.contains("logs"), "{detail}");
    wait_until("standard error has it", || process.output().contains("log lines are dropped, trading goes on"));
    trade(&mut traders, &process);
    assert!(!mount.exists(), "a place that is not mounted stays as it is");

    fs::create_dir(&mount).expect("the parent is there");
    wait_until("lines are written", || health(&process)["status"] == "ok");
    trade(&mut traders, &process);
    assert_eq!(process.terminate().code, Some(0));
    assert!(read(&current).contains("asked to stop by SIGTERM"), "{}", read(&current));
}

#[test]
fn hangup_without_log_files_is_a_line() {
    let node_dir = NodeDir::new();
    let process = Start::new(&node_dir.config_file()).run();
    process.signal("HUP");
    wait_until("a line says so", || process.output().contains("SIGHUP has no effect"));
    assert_eq!(process.terminate().code, Some(0));
}
