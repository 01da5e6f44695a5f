//! Planted faults: what a simulation must notice. Without the feature `mutation` none of them exists.
//!
//! A fault is chosen by name for the calling thread, so that one build tries them all. Invariant: without the feature
//! [`is`] is a constant, and nothing of a fault is left in what is compiled.

#[cfg(feature = "mutation")]
use std::cell::Cell;

/// One planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A frame counts as durable when it is written.
    SyncSkipped,
    /// A sync that failed counts as done.
    SyncErrorIgnored,
    /// What is behind a torn end is not wiped.
    TornTailKept,
    /// A missing frame is a torn end, whatever later frames say.
    HoleAccepted,
    /// A segment is written again before what it holds is stored.
    SegmentReusedEarly,
    /// The store says stored without a flush.
    FlushSkipped,
    /// A snapshot gets its name before its bytes are on disk.
    SnapshotUnsynced,
    /// The name of a snapshot is not made durable.
    DirectorySyncSkipped,
}

impl Mutation {
    pub const ALL: [Mutation; 8] = [
        Mutation::SyncSkipped,
        Mutation::SyncErrorIgnored,
        Mutation::TornTailKept,
        Mutation::HoleAccepted,
        Mutation::SegmentReusedEarly,
        Mutation::FlushSkipped,
        Mutation::SnapshotUnsynced,
        Mutation::DirectorySyncSkipped,
    ];
}

#[cfg(feature = "mutation")]
thread_local! {
    static CHOSEN: Cell<Option<Mutation>> = const { Cell::new(None) };
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
}
