//! Planted faults: mistakes that the simulator must detect. Without the feature `mutation` none of them is compiled.
//!
//! A fault is chosen by name for the calling thread, so that one build tries them all. Code reaches a fault through a
//! hook that ends a statement: `right.planted(Mutation::Name, |right| wrong)` replaces a value, and `planted!(Name,
//! return ..)` skips the rest of a function. Invariants: every fault is declared here; without its hooks a function
//! reads as if there were no faults; without the feature nothing of a fault is left in the compiled program.

#[cfg(feature = "mutation")]
use std::cell::Cell;

/// Declares the faults of this crate: the enum, and the list of all its values.
macro_rules! planted_faults {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// One planted fault. The simulator's table names each one and says how it is detected.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation { $($(#[$doc])* $name,)+ }

        impl Mutation {
            pub const ALL: [Mutation; [$(Mutation::$name),+].len()] = [$(Mutation::$name),+];
        }
    };
}

planted_faults! {
    /// A frame counts as synced as soon as it is written.
    SyncSkipped,
    /// A failed sync counts as done.
    SyncErrorIgnored,
    /// The blocks after a torn end are not wiped.
    TornTailKept,
    /// A missing frame counts as a torn end although later frames attest that it was durable.
    HoleAccepted,
    /// A segment is reused before the store has flushed the frames in it.
    SegmentReusedEarly,
    /// The store reports a flush that it has not done.
    FlushSkipped,
    /// A snapshot gets its final name before its bytes are synced.
    SnapshotUnsynced,
    /// The directory is not synced after a snapshot has got its final name.
    DirectorySyncSkipped,
    /// Small files of the store are never merged.
    SmallFilesKept,
    /// Files of the store are merged without having been read before.
    MergedUnread,
    /// The link of the head's last frame is not compared with the frame before it.
    LastLinkUnchecked,
    /// The head's copy of the store's last frame may differ from it.
    StoredCopyUnchecked,
    /// The first frame after a loaded state need not link to it.
    StartLinkUnchecked,
    /// A file that is replaced gets its final name before its bytes are synced.
    ReplacedUnsynced,
    /// The directory is not synced after a file in it was replaced, IDENTITY and QUARANTINE among them.
    ReplacedNameUnsynced,
    /// A new LINEAGE is not synced.
    CreatedUnsynced,
    /// The directory is not synced after LINEAGE was created in it.
    CreatedNameUnsynced,
    /// A new segment is not synced.
    SegmentUnsynced,
    /// The directory of new segments is not synced.
    SegmentNamesUnsynced,
    /// A new mark is not synced.
    MarkUnsynced,
    /// A data directory gets its IDENTITY before the names of its other files are durable.
    EntriesUnsynced,
    /// The directory above a new data directory is not synced.
    DirectoryNameUnsynced,
    /// The directory is not synced after the ballast was written again.
    BallastNameUnsynced,
    /// The directory is not synced after a snapshot was deleted.
    RemovalUnsynced,
    /// The checksum of a snapshot's header is not compared.
    SnapshotHeaderUnchecked,
    /// The checksum of a snapshot's piece is not compared.
    SnapshotPieceUnchecked,
    /// The hash over a snapshot file is not compared.
    SnapshotHashUnchecked,
    /// Without the folder of snapshots nothing can be listed.
    SnapshotsFolderNeeded,
    /// A sync that ends before its write counts as the sync of the frame.
    SyncOrderUnchecked,
    /// What a place outside of the directory has of its log is not compared.
    OutsideIgnored,
    /// A torn end is cut without a note of it.
    TornEndUnnoted,
    /// A broken frame at the log's end is cut as a torn one although the mark covers it.
    MarkAttestsNothing,
}

/// The hook that replaces a value.
pub(crate) trait Planted: Sized {
    #[inline(always)]
    fn planted(self, fault: Mutation, wrong: impl FnOnce(Self) -> Self) -> Self {
        if is(fault) { wrong(self) } else { self }
    }
}

impl<T> Planted for T {}

/// The hook that evaluates `effect`, which returns early.
macro_rules! planted {
    ($fault:ident, $effect:expr) => {
        if $crate::mutation::is($crate::mutation::Mutation::$fault) {
            $effect
        }
    };
}
pub(crate) use planted;

#[cfg(feature = "mutation")]
thread_local! {
    static CHOSEN: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Whether this fault is chosen for the calling thread.
#[cfg(feature = "mutation")]
#[inline]
pub fn is(mutation: Mutation) -> bool {
    CHOSEN.get() == Some(mutation)
}

/// Whether this fault is chosen: never, in a build without the feature.
#[cfg(not(feature = "mutation"))]
#[inline(always)]
pub const fn is(_mutation: Mutation) -> bool {
    false
}

/// Chooses the fault of the calling thread, or none.
#[cfg(feature = "mutation")]
pub fn plant(mutation: Option<Mutation>) {
    CHOSEN.set(mutation);
}
