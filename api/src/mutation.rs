//! Planted faults of the books that a reader builds: each must be caught by the test that its line names.
//!
//! The simulated clients have no amounts as large as these faults need, so the simulator does not look for them.
//! Invariant: without the feature `mutation` none of them is compiled.

book::planted_faults! {
    /// The total of a price level is a plain number of 64 bits (`api/tests/level_totals.rs`, fuzz target `engine`).
    LevelTotalNarrow,
    /// An update of the best levels begins after changes that no update has covered (`api/tests/level_totals.rs`).
    TopLeavesGap,
}
