//! The simulator: a whole node with its disk, its lines and its clients on one thread, from a seed. See docs/SIMULATOR.md.
//!
//! Read in this order: what a seed chooses (`options`), the world below the loops (`disk`, `journal`, `sockets`), the loops
//! (`exchange`), those who talk to them (`wire`, `client`, `requests`, `reader`, `admin`), what must hold (`oracle`,
//! `order_watch`, `broken`), and how all of it is stepped (`world`, `runs`).

mod options;

mod disk;
mod journal;
mod sockets;

mod exchange;

mod admin;
mod around;
mod client;
mod order_watch;
mod reader;
mod requests;
mod wire;

mod broken;
mod oracle;
#[path = "../../../book/tests/support/pair.rs"]
mod twins;

#[cfg(feature = "mutation")]
mod mutants;
mod runs;
mod struck;
mod trace;
mod world;

const SEEDS: u64 = 2_000;
/// Among so many each fault takes effect.
const STRIKING_SEEDS: u64 = 500;

/// `PINION_SIM_SEEDS` seeds from `PINION_SIM_FIRST` on, for whoever hunts; else the seeds of every build.
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
                total.seeds < STRIKING_SEEDS || total.idle_faults().is_empty(),
                "{:?} never struck",
                total.idle_faults()
            );
        }
        Err(text) => panic!("{text}"),
    }
}

// Two halves, so that two cores share them.

#[test]
fn even_seeds_keep_every_promise() {
    run_half(0);
}

#[test]
fn odd_seeds_keep_every_promise() {
    run_half(1);
}

/// Two segments of one large frame each: the head waited for a flush, and the flush for more frames.
#[test]
fn the_smallest_head_goes_on_for_ever() {
    let options = options::Options::of(0);
    let frame_bytes_max = 20_480;
    let segment_bytes = wal::segment::SEGMENT_DATA_OFFSET + frame_bytes_max as u64;
    let smallest = options::Options { segment_count: 2, segment_bytes, frame_bytes_max, ..options };
    if let Err(failure) = runs::run(&smallest) {
        panic!("{}", runs::tell(smallest.seed, &smallest, &failure));
    }
}
