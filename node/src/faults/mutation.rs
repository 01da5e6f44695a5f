//! Planted faults (mutations): each breaks one promise of the node, and the simulator must catch it.
//!
//! A fault is planted by name for the calling thread, so that one build can try them all. Invariant: without the
//! feature `mutation`, [`is`] is the constant `false` and the compiled node contains no part of any fault.

#[cfg(feature = "mutation")]
use std::cell::Cell;

/// One planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Answers leave when a command is applied, before it is durable.
    AnswerBeforeSync,
    /// The gateway sends answers that are applied and not yet released.
    WatermarkIgnored,
    /// Market data is published before its command is durable.
    FeedBeforeSync,
    /// The admin API answers before its command is durable.
    AdminAnswerBeforeRelease,
    /// A session that resumes misses one message.
    ResumeOffByOne,
    /// Messages for a session without a connection are lost.
    MessageLostWhileAway,
    /// Received bytes that had to wait for room in the ingress are dropped.
    StalledBytesForgotten,
    /// A mass cancel that one command cannot finish is never continued.
    MassCancelAbandoned,
    /// The high-water mark is never written.
    MarkNotNoted,
    /// `seq_stored` advances when a frame is appended to the store, before the flush.
    StoredBeforeFlush,
    /// A snapshot's header names the sequence before its own.
    SnapshotOffByOne,
    /// The history's rows and its watermark are written in two batches.
    CursorApart,
}

impl Mutation {
    pub const ALL: [Mutation; 12] = [
        Mutation::AnswerBeforeSync,
        Mutation::WatermarkIgnored,
        Mutation::FeedBeforeSync,
        Mutation::AdminAnswerBeforeRelease,
        Mutation::ResumeOffByOne,
        Mutation::MessageLostWhileAway,
        Mutation::StalledBytesForgotten,
        Mutation::MassCancelAbandoned,
        Mutation::MarkNotNoted,
        Mutation::StoredBeforeFlush,
        Mutation::SnapshotOffByOne,
        Mutation::CursorApart,
    ];
}

#[cfg(feature = "mutation")]
thread_local! {
    static CHOSEN: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Whether this fault is planted in the calling thread.
#[cfg(feature = "mutation")]
#[inline]
pub fn is(mutation: Mutation) -> bool {
    CHOSEN.get() == Some(mutation)
}

/// Without the feature no fault is ever planted.
#[cfg(not(feature = "mutation"))]
#[inline(always)]
pub const fn is(_mutation: Mutation) -> bool {
    false
}

/// A hook that is a statement of its own: runs `wrong` if the fault is planted.
#[inline]
pub fn when(mutation: Mutation, wrong: impl FnOnce()) {
    if is(mutation) {
        wrong();
    }
}

/// A hook at the end of a statement: gives the value itself, or `wrong` if the fault is planted.
pub trait Planted: Sized {
    #[inline]
    fn planted(self, mutation: Mutation, wrong: impl FnOnce() -> Self) -> Self {
        if is(mutation) { wrong() } else { self }
    }
}

impl<T> Planted for T {}

/// Plants a fault in the calling thread, or removes the planted one.
#[cfg(feature = "mutation")]
pub fn plant(mutation: Option<Mutation>) {
    CHOSEN.set(mutation);
}

/// Plants a fault of any crate in the calling thread, by its name; false if there is none of that name.
#[cfg(feature = "mutation")]
pub fn plant_by_name(name: &str) -> bool {
    let book = book::mutation::Mutation::ALL.into_iter().find(|mutation| format!("{mutation:?}") == name);
    let wal = wal::mutation::Mutation::ALL.into_iter().find(|mutation| format!("{mutation:?}") == name);
    let own = Mutation::ALL.into_iter().find(|mutation| format!("{mutation:?}") == name);
    let found = book.is_some() || wal.is_some() || own.is_some();
    book::mutation::plant(book);
    wal::mutation::plant(wal);
    plant(own);
    found
}

/// Removes every planted fault from the calling thread.
#[cfg(feature = "mutation")]
pub fn plant_none() {
    book::mutation::plant(None);
    wal::mutation::plant(None);
    plant(None);
}
