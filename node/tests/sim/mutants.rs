//! The simulator's own test: each planted fault must be noticed within so many seeds.

use crate::broken::Invariant::{self, *};
use crate::options::Options;
use crate::runs::{Failure, run};
use std::collections::BTreeSet;

/// A planted fault, the seeds within which it must be noticed, and the promises of which it may break any first.
struct Mutant {
    name: &'static str,
    seeds_max: u64,
    breaks: &'static [Invariant],
}

const fn mutant(name: &'static str, seeds_max: u64, breaks: &'static [Invariant]) -> Mutant {
    Mutant { name, seeds_max, breaks }
}

const MUTANTS: [Mutant; 27] = [
    mutant("YoungestFirst", 20, &[Assertion]),
    mutant("FeeForgotten", 20, &[Assertion]),
    mutant("ReleaseTooMuch", 20, &[Assertion]),
    mutant("ImprovementKept", 20, &[Assertion]),
    mutant("ResendTakenTwice", 20, &[Assertion]),
    mutant("ClockInApply", 20, &[Assertion]),
    mutant("IdsForgottenInSnapshot", 20, &[Assertion]),
    mutant("SyncSkipped", 20, &[Assertion]),
    mutant("SyncErrorIgnored", 200, &[Assertion]),
    mutant("TornTailKept", 300, &[Assertion]),
    mutant("HoleAccepted", 100, &[Assertion]),
    mutant("SegmentReusedEarly", 60, &[Assertion]),
    mutant("FlushSkipped", 20, &[Assertion]),
    mutant("SnapshotUnsynced", 20, &[Assertion]),
    mutant("DirectorySyncSkipped", 200, &[Assertion]),
    mutant("AnswerBeforeSync", 20, &[Assertion]),
    mutant("WatermarkIgnored", 20, &[Assertion]),
    mutant("FeedBeforeSync", 20, &[Assertion]),
    mutant("AdminAnswerBeforeRelease", 40, &[Assertion]),
    mutant("ResumeOffByOne", 20, &[Assertion]),
    mutant("MessageLostWhileAway", 20, &[Assertion]),
    mutant("StalledBytesForgotten", 400, &[Assertion]),
    mutant("MassCancelAbandoned", 300, &[Assertion]),
    mutant("MarkNotNoted", 60, &[Assertion]),
    mutant("StoredBeforeFlush", 20, &[Assertion]),
    mutant("SnapshotOffByOne", 20, &[Assertion]),
    mutant("CursorApart", 60, &[Assertion]),
];

#[test]
fn every_planted_fault_has_its_row() {
    let book = book::mutation::Mutation::ALL.map(|mutation| format!("{mutation:?}"));
    let wal = wal::mutation::Mutation::ALL.map(|mutation| format!("{mutation:?}"));
    let node = node::mutation::Mutation::ALL.map(|mutation| format!("{mutation:?}"));
    let all: BTreeSet<String> = book.into_iter().chain(wal).chain(node).collect();
    let rows: BTreeSet<String> = MUTANTS.iter().map(|mutant| mutant.name.to_owned()).collect();
    assert_eq!(rows, all);
    assert_eq!(rows.len(), MUTANTS.len(), "each fault has one row");
}

#[test]
fn every_planted_fault_is_noticed() {
    let mut missed = Vec::new();
    println!("{:<26} {:>5} of {:>3}  promise that broke", "planted fault", "seeds", "max");
    for Mutant { name, seeds_max, breaks } in MUTANTS {
        assert!(node::mutation::plant_by_name(name), "there is no fault called {name}");
        let noticed = (0..seeds_max).find_map(|seed| run(&Options::of(seed)).err().map(|failure| (seed, failure)));
        node::mutation::plant_none();
        let Some((seed, Failure { broken, .. })) = noticed else {
            println!("{name:<26}     - of {seeds_max:>3}  none");
            missed.push(name.to_owned());
            continue;
        };
        println!("{name:<26} {:>5} of {seeds_max:>3}  {:?}", seed + 1, broken.invariant);
        if !breaks.contains(&broken.invariant) {
            missed.push(format!("{name}, by accident, seed {seed}: {}", broken.detail));
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:#?}");
}
