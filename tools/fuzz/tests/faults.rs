//! Faults of `book` that a fuzz target finds, each with the seconds it took. `./dev fuzz faults` runs this.
//!
//! A fault is looked for with the valid inputs, with those that a hunt has kept, and with inputs made from them.

#![allow(clippy::print_stdout, reason = "the table is what the run is for")]

use book::mutation::{Mutation, plant};
use fuzz::round;
use fuzz::target::Target;
use fuzz::targets;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Threads that look for faults, each for another one.
const HUNTERS: usize = 2;
const INPUTS_PER_ROUND: u32 = 500;

#[test]
#[ignore = "takes minutes: `./dev fuzz faults TARGET SECONDS`"]
fn the_faults_that_a_target_finds() {
    let setting = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by `./dev fuzz faults`"));
    let target = targets::find(&setting("PINION_FUZZ_TARGET")).expect("PINION_FUZZ_TARGET names a target");
    let limit =
        setting("PINION_FUZZ_SECONDS").parse().map(Duration::from_secs).expect("PINION_FUZZ_SECONDS is a number");
    let inputs = read_inputs(target, Path::new(&setting("PINION_FUZZ_CORPUS"))).expect("the corpus is a directory");
    println!("{} with {} inputs", target.name, inputs.len());
    assert_eq!(first_finding(target, &inputs, Instant::now() + limit), None, "nothing is found without a fault");

    std::panic::set_hook(Box::new(|_| {})); // each finding is a panic, and its message is printed below
    let (next, found) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..HUNTERS {
            scope.spawn(|| {
                while let Some(&fault) = Mutation::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    found.fetch_add(usize::from(look_for(fault, target, &inputs, limit)), Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} of {} found", found.into_inner(), Mutation::ALL.len());
}

/// Prints whether a planted fault is found, and gives it.
fn look_for(fault: Mutation, target: &Target, inputs: &[Vec<u8>], limit: Duration) -> bool {
    let started = Instant::now();
    plant(Some(fault));
    let finding = first_finding(target, inputs, started + limit);
    plant(None);
    let seconds = started.elapsed().as_secs_f64();
    match &finding {
        Some(message) => {
            let line: String = message.lines().next().unwrap_or_default().chars().take(100).collect();
            println!("{:<36} {seconds:>8.2} s  {line}", fault.name());
        }
        None => println!("{:<36} not found", fault.name()),
    }
    finding.is_some()
}

/// The valid inputs, then those that a hunt has kept, shortest first.
fn read_inputs(target: &Target, dir: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let files = std::fs::read_dir(dir)?.map(|entry| std::fs::read(entry?.path()));
    let mut kept = files.collect::<std::io::Result<Vec<Vec<u8>>>>()?;
    kept.sort_by(|one, other| one.len().cmp(&other.len()).then_with(|| one.cmp(other)));
    Ok([(target.seeds)(), kept].concat())
}

/// The message of the first finding before the `end`: of the inputs themselves, then of inputs made from them.
fn first_finding(target: &Target, inputs: &[Vec<u8>], end: Instant) -> Option<String> {
    let mut in_time = inputs.iter().take_while(|_| Instant::now() < end);
    let of_inputs = in_time.find_map(|input| round::examine(target, input).err());
    let mut seeds = (1..).take_while(|_| Instant::now() < end);
    let finding =
        of_inputs.or_else(|| seeds.find_map(|seed| round::run_from(target, inputs, seed, INPUTS_PER_ROUND).err()));
    finding.map(|finding| finding.message)
}
