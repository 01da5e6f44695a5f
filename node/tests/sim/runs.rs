//! Runs of seeds: each twice, a failing one shrunk and told in a way that it can be run again.

use crate::broken::{Broken, Invariant};
use crate::options::{FAULTS, Fault, Options};
use crate::struck::Struck;
use crate::world::{Passed, World};
use std::cell::RefCell;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

/// Commands of the log that a failure shows.
const LOG_SHOWN: usize = 12;

/// How a run failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub broken: Broken,
    pub step: u32,
    pub log: Vec<String>,
}

thread_local! {
    /// What the last panic of a run on this thread said; `None` outside of runs, where panics are printed.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// An assertion of the product that fails is a finding like any other: it is caught, not printed.
fn catch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let caught = PANIC.with_borrow_mut(|said| said.as_mut().map(|said| *said = info.to_string()).is_some());
            if !caught {
                print(info);
            }
        }));
    });
}

pub fn run(options: &Options) -> Result<Passed, Failure> {
    catch_panics();
    PANIC.set(Some(String::new()));
    let mut world = World::new(options);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let said = PANIC.take().unwrap_or_default();
    let outcome = outcome.unwrap_or_else(|_| Err(Broken::new(Invariant::Assertion, said)));
    outcome.map_err(|broken| Failure { broken, step: world.step, log: world.oracle.newest(LOG_SHOWN) })
}

/// Once more for the proof that nothing but the seed decides.
pub fn run_twice(options: &Options) -> Result<Passed, Failure> {
    let first = run(options)?;
    let second = run(options)?;
    if first == second {
        return Ok(first);
    }
    let broken = Broken::new(Invariant::HashDiffers, format!("two runs differ: {first:?} and {second:?}"));
    Err(Failure { broken, step: 0, log: Vec::new() })
}

/// Takes away faults and clients as long as the same promise breaks.
pub fn shrink(options: &Options, failure: Failure) -> (Options, Failure) {
    let (mut least, mut shown) = (options.clone(), failure);
    let still_fails = |tried: &Options, broken: Invariant| run(tried).err().filter(|f| f.broken.invariant == broken);
    for fault in FAULTS {
        let tried = Options { faults: least.faults.without(fault), ..least.clone() };
        if least.has(fault)
            && let Some(failure) = still_fails(&tried, shown.broken.invariant)
        {
            (least, shown) = (tried, failure);
        }
    }
    while least.clients > 1 {
        let tried = Options { clients: least.clients - 1, ..least.clone() };
        let Some(failure) = still_fails(&tried, shown.broken.invariant) else { break };
        (least, shown) = (tried, failure);
    }
    (least, shown)
}

pub fn tell(seed: u64, options: &Options, failure: &Failure) -> String {
    let faults: Vec<Fault> = FAULTS.into_iter().filter(|fault| options.has(*fault)).collect();
    let mut text = format!("seed {seed}, step {}: {}\n", failure.step, failure.broken);
    // Writing to a string does not fail.
    let _ = writeln!(text, "run it again: ./dev sim 1 {seed}");
    let _ = writeln!(text, "least that still fails: faults {faults:?}, {options:?}");
    let _ = writeln!(text, "the end of its log:\n  {}", failure.log.join("\n  "));
    text
}

/// What many seeds came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    pub seeds: u64,
    pub commands: u64,
    pub answers: u64,
    pub starts: u64,
    pub refused: u64,
    struck: Struck,
    pub wall: Duration,
    /// What this thread had of a core; a machine that does other things as well says nothing of the simulator.
    pub on_core: Duration,
}

impl Total {
    pub fn print(&self) {
        // Each seed is run twice.
        let per_second = 2.0 * self.commands as f64 / self.on_core.as_secs_f64();
        println!(
            "{} seeds twice in {:.1} s, {:.1} s of a core: {} commands ({per_second:.0} a second of a core), {} answers, \
             {} starts, {} damaged disks refused",
            self.seeds,
            self.wall.as_secs_f64(),
            self.on_core.as_secs_f64(),
            self.commands,
            self.answers,
            self.starts,
            self.refused
        );
        let struck: Vec<String> = self.struck.counts().map(|(fault, count)| format!("{fault:?} {count}")).collect();
        println!("faults that took effect: {}", struck.join(", "));
    }

    pub fn idle_faults(&self) -> Vec<Fault> {
        self.struck.counts().filter(|(_, count)| *count == 0).map(|(fault, _)| fault).collect()
    }
}

/// The time that this thread has had of a core.
fn on_core() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

/// Runs every seed twice; the first that fails, shrunk and in words.
pub fn run_all(seeds: impl Iterator<Item = u64>) -> Result<Total, String> {
    let mut total = Total::default();
    let (started, on_core_before) = (Instant::now(), on_core());
    for seed in seeds {
        let options = Options::of(seed);
        match run_twice(&options) {
            Ok(passed) => {
                total.seeds += 1;
                total.commands += passed.commands;
                total.answers += passed.answers;
                total.starts += u64::from(passed.starts);
                total.refused += u64::from(passed.refused);
                total.struck.add_all(&passed.struck);
            }
            Err(failure) => {
                let (least, failure) = shrink(&options, failure);
                return Err(tell(seed, &least, &failure));
            }
        }
    }
    total.wall = started.elapsed();
    total.on_core = on_core() - on_core_before;
    Ok(total)
}
