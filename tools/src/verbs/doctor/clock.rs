//! The clock: the kernel's clock source, and the cost of reading the node's own clock.

use super::finding::{Area, Finding};
use super::machine::Machine;
use book::units::TsNs;
use node::host::clock::Clock;
use std::time::Instant;

const CLOCK: Area = Area("clock");

/// Clock sources that are a counter of the processor itself, on x86 and on Arm.
const COUNTERS: [&str; 2] = ["tsc", "arch_sys_counter"];
/// Reading a counter takes 10 to 30 ns, also in a virtual machine; a clock that asks the kernel takes more than this.
const COST_NS_MAX: f64 = 100.0;
/// Commands that follow each other within a step carry the same time.
const STEP_NS_MAX: u64 = 1_000;

const READINGS: usize = 100_000;
/// The cost is a median over batches, because now and then something else runs in between.
const BATCH: usize = 100;

/// The node's clock, measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockSample {
    /// Time of one reading.
    pub cost_ns: f64,
    /// The smallest difference between two readings that differ.
    pub step_ns: u64,
}

pub(super) fn examine(machine: &Machine, sample: ClockSample) -> Vec<Finding> {
    vec![source(machine), cost(sample)]
}

fn source(machine: &Machine) -> Finding {
    let path = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    let Some(source) = machine.text(path) else { return CLOCK.not_reported("source") };
    if COUNTERS.contains(&source.as_str()) {
        return CLOCK.ok("source", source);
    }
    let advice = "find out why the kernel does not use tsc (dmesg; in a virtual machine the host has to offer an \
                  invariant one): the node reads that counter, and its time is no steadier than the counter";
    CLOCK.advice("source", source, advice)
}

fn cost(sample: ClockSample) -> Finding {
    let found = format!("{:.1} ns a reading, step {} ns", sample.cost_ns, sample.step_ns);
    if sample.cost_ns <= COST_NS_MAX && sample.step_ns <= STEP_NS_MAX {
        return CLOCK.ok("node's clock", found);
    }
    let advice = "find a machine with an invariant time stamp counter (constant_tsc and nonstop_tsc in /proc/cpuinfo): \
                  without it every cycle of the node asks the kernel for the time";
    CLOCK.advice("node's clock", found, advice)
}

impl ClockSample {
    /// Takes 0.1 to 0.2 s, because the counter is calibrated against the system's clock first.
    pub(super) fn take() -> Self {
        let mut clock = Clock::start(TsNs(0));
        let mut costs: Vec<f64> = Vec::with_capacity(READINGS / BATCH);
        let mut step_ns = u64::MAX;
        let mut last = clock.now();
        for _ in 0..READINGS / BATCH {
            let started = Instant::now();
            for _ in 0..BATCH {
                let now = clock.now();
                step_ns = if last < now { step_ns.min(now.0 - last.0) } else { step_ns };
                last = now;
            }
            costs.push(started.elapsed().as_nanos() as f64 / BATCH as f64);
        }
        costs.sort_unstable_by(f64::total_cmp);
        Self { cost_ns: costs[costs.len() / 2], step_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeMachine, expect};
    use super::*;

    fn check(source: Option<&str>, cost_ns: f64, step_ns: u64, expected: &str) {
        let path = "sys/devices/system/clocksource/clocksource0/current_clocksource";
        let files: Vec<(&str, &str)> = source.map(|source| (path, source)).into_iter().collect();
        expect(&examine(&FakeMachine::of(&files).machine(), ClockSample { cost_ns, step_ns }), expected);
    }

    #[test]
    fn a_counter_is_wanted() {
        check(Some("tsc\n"), 20.0, 10, "ok source: tsc\nok node's clock: 20.0 ns a reading, step 10 ns");
        check(Some("hpet\n"), 20.0, 10, "advice source: hpet");
        check(None, 700.0, 10, "ok source: not reported\nadvice node's clock: 700.0 ns a reading, step 10 ns");
        check(None, 20.0, 4_000_000, "advice node's clock: 20.0 ns a reading, step 4000000 ns");
    }

    #[test]
    fn this_clock_moves() {
        let sample = ClockSample::take();
        assert!(0.0 < sample.cost_ns && 0 < sample.step_ns && sample.step_ns < u64::MAX, "{sample:?}");
    }
}
