//! A round: a number of inputs made from a seed. The same seed gives the same inputs on any machine.

use crate::mutation::{mutate, noise};
use crate::target::{Outcome, Target};
use book::testing::workload::rng::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Inputs that mutations start from, besides the valid ones. A fixed number, so that a long round is as fast as a short
/// one.
const POOL_LEN_MAX: usize = 64;
/// One input in so many keeps its wrong checksums, so that the refusal of those is tested too.
const UNREPAIRED_ONE_IN: u32 = 8;
const NOISE_ONE_IN: u32 = 32;

/// An input for which a check failed, and the message of the check.
#[derive(Clone, Debug)]
pub struct Finding {
    pub input: Vec<u8>,
    pub message: String,
}

/// The outcomes of the inputs that a round made. Valid inputs are not counted: they always decode, and would hide a
/// round whose mutations are all refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub refused: u64,
    pub decoded: u64,
}

/// Runs the valid inputs, then `count` inputs made from them. Stops at the first finding.
pub fn run(target: &Target, seed: u64, count: u32) -> Result<Tally, Finding> {
    let seeds = (target.seeds)();
    for input in &seeds {
        let outcome = examine(target, input)?;
        if outcome != Outcome::Decoded {
            return Err(Finding { input: input.clone(), message: "a seed was refused".to_owned() });
        }
    }
    run_from(target, &seeds, seed, count)
}

/// Runs `count` inputs made from `starts`. Stops at the first finding.
pub fn run_from(target: &Target, starts: &[Vec<u8>], seed: u64, count: u32) -> Result<Tally, Finding> {
    let mut tally = Tally::default();
    let mut rng = Rng::new(seed);
    // An input that still decodes after a mutation is mutated again. This replaces the measurement of coverage.
    let mut pool = starts.to_vec();
    for _ in 0..count {
        let input = next_input(target, &pool, starts.len(), &mut rng);
        match examine(target, &input)? {
            Outcome::Refused => tally.refused += 1,
            Outcome::Decoded => {
                tally.decoded += 1;
                keep(input, &mut pool, starts.len(), &mut rng);
            }
        }
    }
    Ok(tally)
}

/// Runs one input, and turns a panic into a finding.
pub fn examine(target: &Target, input: &[u8]) -> Result<Outcome, Finding> {
    catch_unwind(AssertUnwindSafe(|| (target.check)(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Finding { input: input.to_vec(), message: text.unwrap_or("a panic without a message").to_owned() }
    })
}

fn next_input(target: &Target, pool: &[Vec<u8>], seeds_len: usize, rng: &mut Rng) -> Vec<u8> {
    if rng.one_in(NOISE_ONE_IN) || pool.is_empty() {
        return noise(target.bytes_max, rng);
    }
    // Half of them are one step from a valid input, or the pool would drift to ever shorter inputs.
    let choices = if rng.one_in(2) { seeds_len } else { pool.len() };
    let mut input = pool[rng.below(choices as u32) as usize].clone();
    mutate(&mut input, pool, target.bytes_max, rng);
    if !rng.one_in(UNREPAIRED_ONE_IN) {
        (target.repair)(&mut input);
    }
    input
}

/// Keeps an input in the pool. The valid inputs stay; the others are replaced.
fn keep(input: Vec<u8>, pool: &mut Vec<Vec<u8>>, seeds_len: usize, rng: &mut Rng) {
    if pool.len() < seeds_len + POOL_LEN_MAX {
        pool.push(input);
    } else if rng.one_in(4) {
        let at = seeds_len + rng.below(POOL_LEN_MAX as u32) as usize;
        pool[at] = input;
    }
}
