//! The simulator: a complete node with its disk, its connections and its clients on one thread, from a seed. See
//! docs/SIMULATOR.md.
//!
//! Read in this order: the choices of a seed (`options`), the simulated disk and network (`disk`, `journal`,
//! `sockets`), the real loops (`exchange`), their clients (`wire`, `client`, `requests`, `reader`, `admin`), the
//! promises (`oracle`, `order_watch`, `violation`), and the steps of a run (`world`, `runs`).
#![allow(clippy::print_stdout, reason = "a long test shows its figures")]

mod options;

mod disk;
mod journal;
mod sockets;

mod exchange;

mod admin;
mod client;
mod context;
mod order_watch;
mod reader;
mod requests;
mod wire;

mod oracle;
mod violation;

mod fault_counts;
#[cfg(feature = "mutation")]
mod mutants;
mod runs;
mod trace;
mod world;

const SEEDS: u64 = 2_000;
/// Among so many seeds each kind of fault must take effect.
const SEEDS_WITH_EVERY_FAULT: u64 = 500;

/// `PINION_SIM_SEEDS` seeds from `PINION_SIM_FIRST` on, or by default the seeds of every build.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("PINION_SIM_FIRST").unwrap_or(0);
    first..first + number("PINION_SIM_SEEDS").unwrap_or(SEEDS)
}

fn run_half(parity: u64) {
    match runs::run_all(seeds().filter(|seed| seed % 2 == parity)) {
        Ok(total) => {
            total.print();
            assert!(
                total.seeds < SEEDS_WITH_EVERY_FAULT || total.idle_faults().is_empty(),
                "{:?} never took effect",
                total.idle_faults()
            );
        }
        Err(text) => panic!("{text}"),
    }
}

// Two halves, so that two cores can share them.

#[test]
fn even_seeds_keep_every_promise() {
    run_half(0);
}

#[test]
fn odd_seeds_keep_every_promise() {
    run_half(1);
}

/// Two segments of one large frame each. The head once waited for a flush, and the flush for more frames.
#[test]
fn the_smallest_head_never_blocks() {
    let options = options::Options::of(0);
    let frame_bytes_max = 20_480;
    let segment_bytes = wal::segment::SEGMENT_DATA_OFFSET + frame_bytes_max as u64;
    let smallest = options::Options { segment_count: 2, segment_bytes, frame_bytes_max, ..options };
    if let Err(failure) = runs::run(&smallest) {
        panic!("{}", runs::report(smallest.seed, &smallest, &failure));
    }
}
