//! A promise that was not kept.

use std::fmt;

/// Which one, for tables and for telling one failure from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// Told of a command that a power cut could still take back.
    ToldBeforeDurable,
    /// What was durable is not there after a start.
    DurableLost,
    /// What a start found was never written.
    NeverWritten,
    /// A start refused a directory that nothing had damaged.
    StartRefused,
    /// A start took a directory whose damage it can know of.
    DamageAccepted,
    /// A session's stream is not what the log says.
    StreamDiffers,
    /// The public feed is not what the log says.
    FeedDiffers,
    /// An administrator was told something else than the log says.
    AnswerDiffers,
    /// The naive twin says otherwise.
    TwinDiffers,
    /// Money is not conserved, or the full walk over the state finds a difference.
    StateInconsistent,
    /// The live state is not what the log makes.
    HashDiffers,
    /// A watermark runs ahead of what it may.
    Watermark,
    /// The node said something that is no message, or nothing that was asked for.
    Protocol,
    /// Not everything was answered although nothing fails any more.
    Liveness,
    /// A loop failed, or said that something is damaged, and nothing had been done to it.
    FailedByItself,
    /// An assertion of the product itself.
    Assertion,
}

#[derive(Clone, Debug)]
pub struct Broken {
    pub invariant: Invariant,
    pub detail: String,
}

impl Broken {
    pub fn new(invariant: Invariant, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.detail)
    }
}

pub type Checked<T = ()> = Result<T, Broken>;

/// `Err` unless the promise is kept.
pub fn ensure(kept: bool, invariant: Invariant, detail: impl FnOnce() -> String) -> Checked {
    if kept { Ok(()) } else { Err(Broken::new(invariant, detail())) }
}
