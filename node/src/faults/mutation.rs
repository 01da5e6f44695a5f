//! Planted faults: what a simulation must notice. Without the feature `mutation` none of them exists.
//!
//! A fault is chosen by name for the calling thread, so that one build tries them all. Invariant: without the feature
//! [`is`] is a constant, and nothing of a fault is left in what is compiled.

#[cfg(feature = "mutation")]
use std::cell::Cell;

/// One planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Answers leave when a command is applied.
    AnswerBeforeSync,
    /// The gateway hands out what is not released.
    WatermarkIgnored,
    /// The public is told before a command is durable.
    FeedBeforeSync,
    /// An administrator is told before a command is durable.
    AdminAnswerBeforeRelease,
    /// A session that comes back misses a message.
    ResumeOffByOne,
    /// A session without a line is told nothing.
    MessageLostWhileAway,
    /// Bytes that had to wait for room are dropped.
    StalledBytesForgotten,
    /// A mass cancel that one command cannot finish stays unfinished.
    MassCancelAbandoned,
    /// The high-water mark stays where it was.
    MarkNotNoted,
    /// The head is told stored when a frame is handed to the store.
    StoredBeforeFlush,
    /// A snapshot says the sequence before its own.
    SnapshotOffByOne,
    /// The history and the cursor that counts it are written apart.
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

/// A hook that is a statement: runs `wrong` where the fault is planted.
#[inline]
pub fn when(mutation: Mutation, wrong: impl FnOnce()) {
    if is(mutation) {
        wrong();
    }
}

/// A hook at the end of a statement: the value as it is, or `wrong` where the fault is planted.
pub trait Planted: Sized {
    #[inline]
    fn planted(self, mutation: Mutation, wrong: impl FnOnce() -> Self) -> Self {
        if is(mutation) { wrong() } else { self }
    }
}

impl<T> Planted for T {}

/// Plants a fault for this thread, or takes it away.
#[cfg(feature = "mutation")]
pub fn plant(mutation: Option<Mutation>) {
    CHOSEN.set(mutation);
}

/// Plants a fault of any crate by its name, for this thread; false where there is none of that name.
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

/// Takes every planted fault away again.
#[cfg(feature = "mutation")]
pub fn plant_none() {
    book::mutation::plant(None);
    wal::mutation::plant(None);
    plant(None);
}
