//! Runs of seeds: each twice; a failing one is reduced and reported so that it can be run again.

use crate::fault_counts::FaultCounts;
use crate::options::{FAULTS, Fault, Options};
use crate::violation::{Invariant, Violation};
use crate::world::{RunResult, World};
use std::cell::RefCell;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

/// Commands of the log in a report.
const LOG_SHOWN: usize = 12;

/// How a run failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub violation: Violation,
    pub step: u32,
    pub log: Vec<String>,
}

thread_local! {
    /// Text of the latest panic of a run on this thread; `None` outside of runs, where panics are printed.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Catches panics instead of printing them: a failed assertion of the product is a violation like any other.
fn catch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let caught = PANIC.with_borrow_mut(|text| text.as_mut().map(|text| *text = info.to_string()).is_some());
            if !caught {
                print(info);
            }
        }));
    });
}

pub(crate) fn run(options: &Options) -> Result<RunResult, Failure> {
    catch_panics();
    PANIC.set(Some(String::new()));
    let mut world = World::new(options);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let panic_text = PANIC.take().unwrap_or_default();
    let outcome = outcome.unwrap_or_else(|_| Err(Violation::new(Invariant::Assertion, panic_text)));
    outcome.map_err(|violation| Failure { violation, step: world.step, log: world.oracle.newest(LOG_SHOWN) })
}

/// Runs the options twice; fails unless both runs are equal, that is, unless the seed alone decides.
pub(crate) fn run_twice(options: &Options) -> Result<RunResult, Failure> {
    let first = run(options)?;
    let second = run(options)?;
    if first == second {
        return Ok(first);
    }
    let violation = Violation::new(Invariant::HashDiffers, format!("two runs differ: {first:?} and {second:?}"));
    Err(Failure { violation, step: 0, log: Vec::new() })
}

/// Removes faults and clients as long as the same promise is violated.
pub(crate) fn shrink(options: &Options, failure: Failure) -> (Options, Failure) {
    let (mut least, mut shown) = (options.clone(), failure);
    let still_fails =
        |tried: &Options, violation: Invariant| run(tried).err().filter(|f| f.violation.invariant == violation);
    for fault in FAULTS {
        let tried = Options { faults: least.faults.without(fault), ..least.clone() };
        if least.has(fault)
            && let Some(failure) = still_fails(&tried, shown.violation.invariant)
        {
            (least, shown) = (tried, failure);
        }
    }
    while least.clients > 1 {
        let tried = Options { clients: least.clients - 1, ..least.clone() };
        let Some(failure) = still_fails(&tried, shown.violation.invariant) else { break };
        (least, shown) = (tried, failure);
    }
    (least, shown)
}

pub(crate) fn report(seed: u64, options: &Options, failure: &Failure) -> String {
    let faults: Vec<Fault> = FAULTS.into_iter().filter(|fault| options.has(*fault)).collect();
    let mut text = format!("seed {seed}, step {}: {}\n", failure.step, failure.violation);
    // Writing to a string does not fail.
    let _ = writeln!(text, "run it again: ./dev sim 1 {seed}");
    let _ = writeln!(text, "smallest failing run: faults {faults:?}, {options:?}");
    let _ = writeln!(text, "the end of its log:\n  {}", failure.log.join("\n  "));
    text
}

/// Totals over many seeds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Total {
    pub seeds: u64,
    pub commands: u64,
    pub answers: u64,
    pub starts: u64,
    pub refused: u64,
    fault_counts: FaultCounts,
    pub wall: Duration,
    /// CPU time of this thread, which does not depend on other load of the machine.
    pub on_core: Duration,
}

impl Total {
    pub(crate) fn print(&self) {
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
        let fault_counts: Vec<String> =
            self.fault_counts.counts().map(|(fault, count)| format!("{fault:?} {count}")).collect();
        println!("faults that took effect: {}", fault_counts.join(", "));
    }

    pub(crate) fn idle_faults(&self) -> Vec<Fault> {
        self.fault_counts.counts().filter(|(_, count)| *count == 0).map(|(fault, _)| fault).collect()
    }
}

/// CPU time of this thread.
fn on_core() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

/// Runs every seed twice; the error is the report of the first that fails, reduced.
pub(crate) fn run_all(seeds: impl Iterator<Item = u64>) -> Result<Total, String> {
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
                total.fault_counts.add_all(&passed.fault_counts);
            }
            Err(failure) => {
                let (least, failure) = shrink(&options, failure);
                return Err(report(seed, &least, &failure));
            }
        }
    }
    total.wall = started.elapsed();
    total.on_core = on_core() - on_core_before;
    Ok(total)
}
