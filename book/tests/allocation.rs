//! The hot path does not allocate: counted, not believed.
#![allow(clippy::print_stdout, reason = "a test shows what it counted")]
#![allow(unsafe_code)]

use book::command::Command;
use book::engine::{Capacity, EVENTS_PER_COMMAND_MAX, Engine};
use book::event::Event;
use book::testing::workload::{Profile, Workload};
use book::units::{Stamp, TsNs};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting what the current thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // During a thread's end the counter is gone; and nothing is measured then.
    let _counted = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: every call is passed on to `System` unchanged, which keeps the contract of `GlobalAlloc`; counting neither
// allocates (the cell is const-initialised and needs no destructor) nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the pointer came from `System` through this allocator, with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn asked() -> u64 {
    ASKED.with(Cell::get)
}

/// An engine that has seen the day's beginning, and the commands of the rest of it.
fn warm(profile: Profile, warm_up: usize, measured: usize) -> (Engine, Vec<(TsNs, Command)>) {
    let mut workload = Workload::new(profile, 9);
    let mut planner = Engine::new(Capacity::default());
    let mut engine = Engine::new(Capacity::default());
    let setup = workload.setup();
    let mut plan = Vec::new();
    for idx in 0..setup.len() + warm_up + measured {
        let command = if idx < setup.len() { setup[idx].clone() } else { workload.next_command() };
        let stamp = Stamp { seq: planner.stamp().seq.next(), ts: workload.now() };
        planner.apply(stamp, &command, &mut workload);
        plan.push((stamp.ts, command));
    }
    let rest = plan.split_off(setup.len() + warm_up);
    for (ts, command) in plan {
        let stamp = Stamp { seq: engine.stamp().seq.next(), ts };
        engine.apply(stamp, &command, &mut Vec::new());
    }
    (engine, rest)
}

fn check(profile: Profile) {
    let (mut engine, commands) = warm(profile, 50_000, 100_000);
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS_PER_COMMAND_MAX);
    let (mut fills, mut ends) = (0, 0);
    let before = asked();
    for (ts, command) in &commands {
        events.clear();
        let stamp = Stamp { seq: engine.stamp().seq.next(), ts: *ts };
        engine.apply(stamp, command, &mut events);
        for event in &events {
            fills += u32::from(matches!(event, Event::Fill(_)));
            ends += u32::from(matches!(event, Event::Canceled(_)));
        }
    }
    let after = asked();
    assert_eq!(after - before, 0, "{profile:?}: allocations over {} commands", commands.len());
    println!("{profile:?}: {} commands, {fills} fills, {ends} cancels, no allocation", commands.len());
    assert!(fills > 500 && ends > 1_000, "{profile:?}: {fills} fills and {ends} cancels prove nothing");
}

#[test]
fn makers_make_no_allocation() {
    check(Profile::Maker);
}

#[test]
fn fills_make_no_allocation() {
    check(Profile::Crosses);
}

#[test]
fn the_counter_counts() {
    let before = asked();
    let boxed = std::hint::black_box(Box::new(5u64));
    assert_eq!(asked() - before, 1);
    drop(boxed);
}
