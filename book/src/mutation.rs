//! Planted faults: what a simulation must notice. Without the feature `mutation` none of them exists.
//!
//! A fault is chosen by name for the calling thread, so that one build tries them all. Invariant: without the feature
//! [`is`] is a constant, and nothing of a fault is left in what is compiled.

#[cfg(feature = "mutation")]
use std::cell::Cell;

/// One planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The youngest order of a price trades first.
    YoungestFirst,
    /// A fee is told and not taken.
    FeeForgotten,
    /// An order that ends gives back one unit more than it held.
    ReleaseTooMuch,
    /// A buyer does not get back what it did not have to pay.
    ImprovementKept,
    /// A message under an id that was used is taken again.
    ResendTakenTwice,
    /// An outcome depends on a clock, not on the log alone.
    ClockInApply,
    /// A snapshot does not say which client order ids were used.
    IdsForgottenInSnapshot,
}

impl Mutation {
    pub const ALL: [Mutation; 7] = [
        Mutation::YoungestFirst,
        Mutation::FeeForgotten,
        Mutation::ReleaseTooMuch,
        Mutation::ImprovementKept,
        Mutation::ResendTakenTwice,
        Mutation::ClockInApply,
        Mutation::IdsForgottenInSnapshot,
    ];
}

#[cfg(feature = "mutation")]
thread_local! {
    static CHOSEN: Cell<Option<Mutation>> = const { Cell::new(None) };
    static CLOCK: Cell<u64> = const { Cell::new(0) };
}

/// Whether this fault is planted here.
#[cfg(feature = "mutation")]
#[inline]
pub fn is(mutation: Mutation) -> bool {
    CHOSEN.get() == Some(mutation)
}

/// Whether this fault is planted here: never.
#[cfg(not(feature = "mutation"))]
#[inline(always)]
pub const fn is(_mutation: Mutation) -> bool {
    false
}

/// Plants a fault for this thread, or takes it away.
#[cfg(feature = "mutation")]
pub fn plant(mutation: Option<Mutation>) {
    CHOSEN.set(mutation);
    CLOCK.set(0);
}

/// Looks at a clock: another answer each time, as a clock gives, and yet the same in each run of a simulation.
#[cfg(feature = "mutation")]
pub fn clock() -> u64 {
    CLOCK.set(CLOCK.get() + 1);
    CLOCK.get()
}

/// There is no clock.
#[cfg(not(feature = "mutation"))]
pub const fn clock() -> u64 {
    1
}
