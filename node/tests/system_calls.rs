//! What the pinned core asks of the kernel, and what it may wait for: one kind of entry into its ring, a yield while the
//! disk works, and no lock at all. The kernel's side is counted by strace on the thread of a real process.

mod common;

use api::binary::orders::Answer;
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use book::command::Side;
use common::process::{Process, Start};
use common::{PASSWORD, Place, limit, next};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const COMMANDS: u64 = 2_000;
/// Orders under way at once.
const BATCH: u64 = 20;

/// The kernel's number of a process's thread of that name.
fn thread_id(process: u32, name: &str) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("a living process");
    let named = tasks
        .map(|task| task.expect("readable").path())
        .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name));
    let task = named.unwrap_or_else(|| panic!("no thread is called {name:?}"));
    task.file_name().and_then(|id| id.to_str()).expect("a number").to_owned()
}

/// strace on one thread, from when it says that it is there.
fn attach(thread: &str, into: &Path) -> Child {
    let mut tracer = Command::new("strace")
        .args(["-p", thread, "-o"])
        .arg(into)
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace is installed by ./dev test");
    let said = tracer.stderr.take().expect("piped");
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line).expect("strace speaks");
    assert!(line.contains("attached"), "strace may not trace here (root, or kernel.yama.ptrace_scope = 0): {line}");
    tracer
}

fn detach(mut tracer: Child) {
    let sent = Command::new("kill").arg("-INT").arg(tracer.id().to_string()).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill(1) is part of every system");
    tracer.wait().expect("our own child");
}

/// Calls by name.
fn counted(trace: &Path) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(trace).expect("strace wrote its file");
    let mut calls = BTreeMap::new();
    for name in text.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name) {
        // "<... name resumed>" belongs to a call counted before.
        if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    calls
}

#[test]
fn the_pinned_core_makes_no_system_call_but_its_ring_entry_and_a_yield() {
    let place = Place::new();
    let market = {
        let running = place.start();
        let market = running.add_market();
        running.add_trader("MM1");
        assert_eq!(running.stop(), 0);
        market
    };
    let process: Process = Start::new(&place.config_file()).run();
    let mut client = OrderClient::connect(process.orders, "MM1", PASSWORD, SessionSeq::HEAD).expect("let in");
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

    let trace = place.config_file().with_extension("strace");
    let tracer = attach(&thread_id(process.id(), "core"), &trace);
    trade(1 + COMMANDS);
    detach(tracer);
    let calls = counted(&trace);
    println!("{COMMANDS} commands: {calls:?}");

    let entries = calls.get("io_uring_enter").copied().unwrap_or(0);
    assert!(COMMANDS / BATCH <= entries, "every answer went through the ring: {calls:?}");
    // A lock that somebody else holds would show as a futex.
    let others: Vec<_> = calls.iter().filter(|(name, _)| *name != "io_uring_enter" && *name != "sched_yield").collect();
    assert!(others.is_empty(), "the pinned core also called {others:?}");
    assert_eq!(process.terminate().code, Some(0));
}

/// Everything that runs on the pinned core, and one file that does not, to see that the search finds what it looks for.
const SOURCES: [&str; 4] = ["src", "../book/src", "../wal/src", "../api/src"];
const ON_THE_CORE: [&str; 15] = [
    "src/reactor.rs",
    "src/run.rs",
    "src/gateway",
    "src/engine_loop.rs",
    "src/ingress.rs",
    "src/outbox.rs",
    "src/events.rs",
    "src/translate.rs",
    "src/streams.rs",
    "src/stages.rs",
    "src/marks.rs",
    "src/clock.rs",
    "../book/src",
    "../wal/src/head.rs",
    "../api/src",
];

#[test]
fn no_lock_is_taken_where_the_pinned_core_runs() {
    let locking: Vec<String> = SOURCES.iter().flat_map(|root| files_with_locks(Path::new(root))).collect();
    assert!(
        locking.iter().any(|file| file == "src/status.rs"),
        "the search finds the lock of the failure: {locking:?}"
    );
    let wrong: Vec<_> = locking.iter().filter(|file| ON_THE_CORE.iter().any(|place| file.starts_with(place))).collect();
    assert!(wrong.is_empty(), "locks on the pinned core: {wrong:?}");
}

fn files_with_locks(place: &Path) -> Vec<String> {
    if place.is_dir() {
        let entries = std::fs::read_dir(place).expect("a source folder");
        return entries.flat_map(|entry| files_with_locks(&entry.expect("readable").path())).collect();
    }
    let text = std::fs::read_to_string(place).expect("a source file");
    let locks = ["Mutex", "RwLock", "Condvar", "OnceLock", "LazyLock"].iter().any(|word| text.contains(word));
    if locks { vec![place.to_string_lossy().into_owned()] } else { Vec::new() }
}
