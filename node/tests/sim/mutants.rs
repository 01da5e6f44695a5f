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
    mutant("YoungestFirst", 20),
    mutant("FeeForgotten", 20),
    mutant("ReleaseTooMuch", 20),
    mutant("ImprovementKept", 20),
    mutant("ResendTakenTwice", 20),
    mutant("ClockInApply", 20),
    mutant("IdsForgottenInSnapshot", 20),
    mutant("SyncSkipped", 20),
    mutant("SyncErrorIgnored", 200),
    mutant("TornTailKept", 300),
    mutant("HoleAccepted", 100),
    mutant("SegmentReusedEarly", 60),
    mutant("FlushSkipped", 20),
    mutant("SnapshotUnsynced", 20),
    mutant("DirectorySyncSkipped", 200),
    mutant("AnswerBeforeSync", 20),
    mutant("WatermarkIgnored", 20),
    mutant("FeedBeforeSync", 20),
    mutant("ResumeOffByOne", 20),
    mutant("MessageLostWhileAway", 20),
    mutant("StalledBytesForgotten", 400),
    mutant("MassCancelAbandoned", 300),
    mutant("MarkNotNoted", 60),
    mutant("StoredBeforeFlush", 20),
    mutant("SnapshotOffByOne", 20),
    mutant("CursorApart", 60),
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
