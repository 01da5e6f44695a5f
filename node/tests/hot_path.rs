//! The pinned core after its warm-up: it allocates nothing and enters the kernel at most once a cycle. This file has a
//! single test, because the allocator counts one thread of the process.
#![allow(unsafe_code)]

mod common;

use api::binary::orders::{Answer, CancelOrder, NewOrder, TIF_IOC};
use api::binary::requests::Target;
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use book::command::Side;
use book::ids::{ClOrdId, MarketId};
use common::{NodeDir, RunningNode, limit, next};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// Kernel id of the thread whose allocations are counted; zero counts none.
static WATCHED: AtomicI32 = AtomicI32::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES_MAX: AtomicU64 = AtomicU64::new(0);

struct Counting;

fn count(layout: Layout) {
    let watched = WATCHED.load(Ordering::Relaxed);
    // SAFETY: gettid has no arguments, writes no memory and cannot fail.
    if watched != 0 && unsafe { libc::gettid() } == watched {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES_MAX.fetch_max(layout.size() as u64, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed to the system's allocator unchanged, which keeps the contract; counting does not
// allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout);
        // SAFETY: the caller keeps the contract of this function, which is that of the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout);
        // SAFETY: the caller keeps the contract of this function, which is that of the system's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_bytes: usize) -> *mut u8 {
        count(layout);
        // SAFETY: the caller keeps the contract of this function, which is that of the system's.
        unsafe { System.realloc(at, layout, new_bytes) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of this function, which is that of the system's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Kernel id of the thread with this name.
fn thread_id(name: &str) -> i32 {
    let tasks = std::fs::read_dir("/proc/self/task")
        .expect("/proc is mounted")
        .map(|task| task.expect("the path is readable").path());
    let named =
        |task: &std::path::PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let found = tasks.into_iter().find(named).unwrap_or_else(|| panic!("there is no thread {name:?}"));
    found.file_name().and_then(|id| id.to_str()?.parse().ok()).expect("a number")
}

/// Trades with every kind of outcome: orders rest, fill, trade at once, are cancelled and refused.
fn trade(maker: &mut OrderClient, taker: &mut OrderClient, market: MarketId, rounds: std::ops::Range<u64>) {
    const BATCH: u64 = 20;
    for round in rounds {
        let first = round * 3 * BATCH;
        for n in 1..=BATCH {
            maker.queue(&limit(first + n, market, Side::Sell, 100 + (n % 7) as i64, 2)).expect("connected");
        }
        maker.flush().expect("connected");
        (0..BATCH).for_each(|_| assert!(matches!(next(maker).message, Answer::OrderAccepted(_))));
        for n in 1..=BATCH / 2 {
            let order = NewOrder { tif: TIF_IOC, ..limit(first + n, market, Side::Buy, 100, 1) };
            taker.queue(&order).expect("connected");
        }
        taker.queue(&limit(first + BATCH, MarketId(99), Side::Buy, 100, 1)).expect("connected");
        taker.flush().expect("connected");
        while !matches!(next(taker).message, Answer::OrderRejected(_)) {}
        for n in 1..=BATCH {
            let target = Target::ClOrdId(ClOrdId(first + n));
            maker.queue(&CancelOrder::new(ClOrdId(first + n), target, market)).expect("connected");
        }
        maker.flush().expect("connected");
        let mut ended = 0;
        while ended < BATCH {
            match next(maker).message {
                Answer::OrderCanceled(_) | Answer::CancelRejected(_) => ended += 1,
                Answer::OrderExecuted(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Number of commands whose stage times the core has passed on.
fn timed_commands(running: &RunningNode) -> u64 {
    running.node().stages.read(|set| set.iter().map(|(_, times)| times.count()).max().unwrap_or(0))
}

#[test]
fn the_pinned_core_allocates_nothing_once_warm() {
    const WARM_UP: u64 = 100;
    const MEASURED: u64 = 600;
    // The memory of a session's stream is filled and reused within the warm-up.
    let node_dir = NodeDir::with("[session]\nresend_max = 1024\nqueue_max = 1024\n");
    let running = node_dir.start();
    let market = running.add_market();
    running.add_trader("MM1");
    running.add_trader("MM2");
    let mut maker = running.connect("MM1", SessionSeq::HEAD);
    let mut taker = running.connect("MM2", SessionSeq::HEAD);
    trade(&mut maker, &mut taker, market, 0..WARM_UP);

    let status = &running.node().status;
    let (commands, entries, cycles) = (status.commands.get(), status.ring_entries.get(), status.engine.cycles.get());
    let (mut timed, mut sets_collected) = (timed_commands(&running), 0);
    WATCHED.store(thread_id("core"), Ordering::Relaxed);
    for round in WARM_UP..WARM_UP + MEASURED {
        trade(&mut maker, &mut taker, market, round..round + 1);
        // Reading the stage times collects the core's records and returns them empty, as the ops thread does.
        let timed_before = std::mem::replace(&mut timed, timed_commands(&running));
        sets_collected += u64::from(timed_before < timed);
    }
    WATCHED.store(0, Ordering::Relaxed);
    let commands = status.commands.get() - commands;
    let entries = status.ring_entries.get() - entries;
    let cycles = status.engine.cycles.get() - cycles;
    println!("{commands} commands, {entries} ring entries, {cycles} cycles");

    assert!(commands > 20_000, "{commands} commands are too few for a conclusion");
    let (allocations, bytes) = (ALLOCATIONS.load(Ordering::Relaxed), BYTES_MAX.load(Ordering::Relaxed));
    assert_eq!(allocations, 0, "allocations on the pinned core, up to {bytes} bytes each, over {commands} commands");
    assert!(3 <= sets_collected, "only {sets_collected} sets of stage times were collected from the core");
    // The counters belong to a running thread, so one may be read a cycle later than the other.
    assert!(entries <= cycles + 1, "{entries} ring entries in {cycles} cycles");
    drop((maker, taker));
    assert_eq!(running.stop(), 0);
    // Control: the allocator does count an allocation of a watched thread.
    WATCHED.store(thread_id_of_this(), Ordering::Relaxed);
    drop(std::hint::black_box(Box::new([0u8; 64])));
    WATCHED.store(0, Ordering::Relaxed);
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0);
}

fn thread_id_of_this() -> i32 {
    // SAFETY: gettid has no arguments, writes no memory and cannot fail.
    unsafe { libc::gettid() }
}
