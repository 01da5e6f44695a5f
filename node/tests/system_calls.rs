//! The system calls of the pinned core and its locks: it enters its ring, yields while the disk works, and takes no
//! lock. strace counts the calls on the thread of a real process.

mod common;

use api::binary::orders::Answer;
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use book::command::Side;
use common::process::{Process, Start};
use common::{NodeDir, PASSWORD, limit, next};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const COMMANDS: u64 = 2_000;
/// Orders under way at once.
const BATCH: u64 = 20;

/// Kernel id of the thread of a process with this name.
fn thread_id(process: u32, name: &str) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("the process runs");
    let named = tasks
        .map(|task| task.expect("the path is readable").path())
        .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name));
    let task = named.unwrap_or_else(|| panic!("there is no thread {name:?}"));
    task.file_name().and_then(|id| id.to_str()).expect("a number").to_owned()
}

/// Starts strace on one thread and waits until it has attached.
fn attach(thread: &str, into: &Path) -> Child {
    let mut tracer = Command::new("strace")
        .args(["-p", thread, "-o"])
        .arg(into)
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace is installed by ./dev test");
    let stderr = tracer.stderr.take().expect("the stream is a pipe");
    let mut line = String::new();
    BufReader::new(stderr).read_line(&mut line).expect("strace prints that it attached");
    assert!(line.contains("attached"), "strace may not trace here (root, or kernel.yama.ptrace_scope = 0): {line}");
    tracer
}

fn detach(mut tracer: Child) {
    let sent = Command::new("kill").arg("-INT").arg(tracer.id().to_string()).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill(1) is part of every system");
    tracer.wait().expect("the child was not waited for before");
}

/// Number of calls by name.
fn counted(trace: &Path) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(trace).expect("strace wrote its file");
    let mut calls = BTreeMap::new();
    for name in text.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name) {
        // A line `<... name resumed>` belongs to a call that was counted before.
        if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    calls
}

#[test]
fn the_pinned_core_makes_no_system_call_but_its_ring_entry_and_a_yield() {
    let node_dir = NodeDir::new();
    let market = {
        let running = node_dir.start();
        let market = running.add_market();
        running.add_trader("MM1");
        assert_eq!(running.stop(), 0);
        market
    };
    let process: Process = Start::new(&node_dir.config_file()).run();
    let mut client = OrderClient::connect(process.orders, "MM1", PASSWORD, SessionSeq::HEAD).expect("logged in");
    let mut trade = |first: u64| {
        for batch in 0..COMMANDS / BATCH {
            for n in 0..BATCH {
                let id = first + batch * BATCH + n;
                client.queue(&limit(id, market, Side::Sell, 100 + (n % 7) as i64, 1)).expect("connected");
            }
            client.flush().expect("connected");
            (0..BATCH).for_each(|_| assert!(matches!(next(&mut client).message, Answer::OrderAccepted(_))));
        }
    };
    trade(1);

    let trace = node_dir.config_file().with_extension("strace");
    let tracer = attach(&thread_id(process.id(), "core"), &trace);
    trade(1 + COMMANDS);
    detach(tracer);
    let calls = counted(&trace);
    println!("{COMMANDS} commands: {calls:?}");

    let entries = calls.get("io_uring_enter").copied().unwrap_or(0);
    assert!(COMMANDS / BATCH <= entries, "every answer went through the ring: {calls:?}");
    // A contended lock would show as a futex.
    let others: Vec<_> = calls.iter().filter(|(name, _)| *name != "io_uring_enter" && *name != "sched_yield").collect();
    assert!(others.is_empty(), "the pinned core also called {others:?}");
    assert_eq!(process.terminate().code, Some(0));
}

/// Folders that are searched for locks, and the files and folders whose code runs on the pinned core.
const SOURCES: [&str; 4] = ["src", "../book/src", "../wal/src", "../api/src"];
const ON_THE_CORE: [&str; 15] = [
    "src/reactor",
    "src/engine",
    "src/gateway/order_entry",
    "src/gateway/order_entry.rs",
    "src/gateway/send_buffer.rs",
    "src/rings/ingress.rs",
    "src/rings/outbox.rs",
    "src/rings/stage_times.rs",
    "src/rings/release_times.rs",
    "src/replica/translate.rs",
    "src/replica/session_streams.rs",
    "src/host/clock.rs",
    "../book/src",
    "../wal/src/head.rs",
    "../api/src",
];

#[test]
fn no_code_of_the_pinned_core_has_a_lock() {
    for path in ON_THE_CORE {
        assert!(Path::new(path).exists(), "{path} was moved: correct the list of what runs on the pinned core");
    }
    let locking: Vec<String> = SOURCES.iter().flat_map(|root| files_with_locks(Path::new(root))).collect();
    assert!(
        locking.iter().any(|file| file == "src/status.rs"),
        "the search must find the lock of `Status`: {locking:?}"
    );
    let wrong: Vec<_> = locking.iter().filter(|file| ON_THE_CORE.iter().any(|path| file.starts_with(path))).collect();
    assert!(wrong.is_empty(), "locks on the pinned core: {wrong:?}");
}

fn files_with_locks(path: &Path) -> Vec<String> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).expect("a source folder");
        return entries.flat_map(|entry| files_with_locks(&entry.expect("the path is readable").path())).collect();
    }
    let text = std::fs::read_to_string(path).expect("a source file");
    let locks = ["Mutex", "RwLock", "Condvar", "OnceLock", "LazyLock"].iter().any(|word| text.contains(word));
    if locks { vec![path.to_string_lossy().into_owned()] } else { Vec::new() }
}
