//! The simulator's own test: each planted fault must be noticed within so many seeds.

use crate::options::Options;
use crate::runs::run;

/// A planted fault, and the seeds within which it must be noticed.
struct Mutant {
    name: &'static str,
    seeds_max: u64,
}

const fn mutant(name: &'static str, seeds_max: u64) -> Mutant {
    Mutant { name, seeds_max }
}

const MUTANTS: [Mutant; 26] = [
    mutant("YoungestFirst", 200),
    mutant("FeeForgotten", 200),
    mutant("ReleaseTooMuch", 200),
    mutant("ImprovementKept", 200),
    mutant("ResendTakenTwice", 200),
    mutant("ClockInApply", 200),
    mutant("IdsForgottenInSnapshot", 200),
    mutant("SyncSkipped", 200),
    mutant("SyncErrorIgnored", 200),
    mutant("TornTailKept", 200),
    mutant("HoleAccepted", 200),
    mutant("SegmentReusedEarly", 200),
    mutant("FlushSkipped", 200),
    mutant("SnapshotUnsynced", 200),
    mutant("DirectorySyncSkipped", 200),
    mutant("AnswerBeforeSync", 200),
    mutant("WatermarkIgnored", 200),
    mutant("FeedBeforeSync", 200),
    mutant("ResumeOffByOne", 200),
    mutant("MessageLostWhileAway", 200),
    mutant("StalledBytesForgotten", 200),
    mutant("MassCancelAbandoned", 200),
    mutant("MarkNotNoted", 200),
    mutant("StoredBeforeFlush", 200),
    mutant("SnapshotOffByOne", 200),
    mutant("CursorApart", 200),
];

#[test]
fn every_planted_fault_is_noticed() {
    let mut missed = Vec::new();
    println!("{:<24} {:>5} of {:>3}  promise that broke", "planted fault", "seeds", "max");
    for Mutant { name, seeds_max } in MUTANTS {
        assert!(node::mutation::plant_by_name(name), "there is no fault called {name}");
        let noticed = (0..seeds_max).find_map(|seed| run(&Options::of(seed)).err().map(|failure| (seed, failure)));
        node::mutation::plant_none();
        match noticed {
            Some((seed, failure)) => {
                println!("{name:<24} {:>5} of {seeds_max:>3}  {:?}", seed + 1, failure.broken.invariant);
            }
            None => {
                println!("{name:<24}     - of {seeds_max:>3}  none");
                missed.push(name);
            }
        }
    }
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}
