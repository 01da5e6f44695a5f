//! Runs one target under libFuzzer, which learns from the branches that an input takes. Built by `./dev fuzz` alone.
//!
//! libFuzzer reads the command line itself, so the target's name comes in `PINION_FUZZ_TARGET`.
#![no_main]

use book::testing::workload::rng::Rng;
use fuzz::mutation::mutate;
use fuzz::target::{Outcome, Target};
use fuzz::targets;
use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::sync::LazyLock;

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("PINION_FUZZ_TARGET").unwrap_or_default();
    targets::find(&name).expect("PINION_FUZZ_TARGET names a target")
});
static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| (TARGET.seeds)());

fuzz_target!(|input: &[u8]| -> Corpus {
    match (TARGET.check)(input) {
        Outcome::Decoded | Outcome::Refused => Corpus::Keep,
    }
});

// libFuzzer's own mutations use the comparisons of the run, ours use complete valid inputs. Both leave wrong checksums,
// which are repaired in seven of eight cases.
fuzz_mutator!(|bytes: &mut [u8], len: usize, len_max: usize, seed: u32| {
    let mut rng = Rng::new(u64::from(seed));
    let len =
        if rng.one_in(3) { mutate_by_seeds(bytes, len, len_max, &mut rng) } else { fuzzer_mutate(bytes, len, len_max) };
    if !rng.one_in(8) {
        (TARGET.repair)(&mut bytes[..len]);
    }
    len
});

fn mutate_by_seeds(bytes: &mut [u8], len: usize, len_max: usize, rng: &mut Rng) -> usize {
    let mut input = bytes[..len].to_vec();
    mutate(&mut input, &SEEDS, len_max, rng);
    bytes[..input.len()].copy_from_slice(&input);
    input.len()
}
