//! A run of so many inputs from a seed: the same seed gives the same inputs, on any machine.

use crate::mutation::{mutate, noise};
use crate::target::{Outcome, Target};
use book::testing::workload::rng::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Inputs that a round builds on; a fixed number, so that a long one stays as fast as a short one.
const POOL_LEN_MAX: usize = 64;
/// How often an input keeps its wrong checksums, so that the refusal of those is tested too.
const UNMENDED_ONE_IN: u32 = 8;
const NOISE_ONE_IN: u32 = 32;

/// An input for which a check failed, and what the check said.
#[derive(Clone, Debug)]
pub struct Finding {
    pub input: Vec<u8>,
    pub said: String,
}

/// How many made inputs of a round went which way. Seeds are in neither: they decode always, and would hide a round whose
/// mutations are all refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub refused: u64,
    pub decoded: u64,
}

/// Runs the seeds as they are, then `count` inputs made from them. Stops at the first finding.
pub fn run(target: &Target, seed: u64, count: u32) -> Result<Tally, Finding> {
    let seeds = (target.seeds)();
    let mut tally = Tally::default();
    for input in &seeds {
        let outcome = examine(target, input)?;
        if outcome != Outcome::Decoded {
            return Err(Finding { input: input.clone(), said: "a seed was refused".to_owned() });
        }
    }
    let mut rng = Rng::new(seed);
    // What still decodes after a mutation is worth another one: no coverage is measured here, this stands in for it.
    let mut pool = seeds.clone();
    for _ in 0..count {
        let input = next_input(target, &pool, seeds.len(), &mut rng);
        match examine(target, &input)? {
            Outcome::Refused => tally.refused += 1,
            Outcome::Decoded => {
                tally.decoded += 1;
                keep(input, &mut pool, seeds.len(), &mut rng);
            }
        }
    }
    Ok(tally)
}

/// One input, with a panic made a finding.
pub fn examine(target: &Target, input: &[u8]) -> Result<Outcome, Finding> {
    catch_unwind(AssertUnwindSafe(|| (target.check)(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Finding { input: input.to_vec(), said: text.unwrap_or("a panic without words").to_owned() }
    })
}

fn next_input(target: &Target, pool: &[Vec<u8>], seeds_len: usize, rng: &mut Rng) -> Vec<u8> {
    if rng.one_in(NOISE_ONE_IN) || pool.is_empty() {
        return noise(target.bytes_max, rng);
    }
    // Half of them one step from a seed, or the pool would drift away to ever shorter inputs.
    let choices = if rng.one_in(2) { seeds_len } else { pool.len() };
    let mut input = pool[rng.below(choices as u32) as usize].clone();
    mutate(&mut input, pool, target.bytes_max, rng);
    if !rng.one_in(UNMENDED_ONE_IN) {
        (target.mend)(&mut input);
    }
    input
}

/// The seeds stay, the rest of the pool turns over.
fn keep(input: Vec<u8>, pool: &mut Vec<Vec<u8>>, seeds_len: usize, rng: &mut Rng) {
    if pool.len() < seeds_len + POOL_LEN_MAX {
        pool.push(input);
    } else if rng.one_in(4) {
        let at = seeds_len + rng.below(POOL_LEN_MAX as u32) as usize;
        pool[at] = input;
    }
}
