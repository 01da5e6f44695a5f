//! A violated promise.

use std::fmt;

/// The promise, for tables and for comparing failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invariant {
    /// A message was sent about a command that a power cut could still lose.
    SentBeforeDurable,
    /// A durable command is missing after a start.
    DurableLost,
    /// A start found a command that was never written.
    NeverWritten,
    /// A start refused an undamaged directory.
    StartRefused,
    /// A start accepted a directory with damage that it can detect.
    DamageAccepted,
    /// A session's stream differs from the one that the log gives.
    StreamDiffers,
    /// The public feed differs from the one that the log gives.
    FeedDiffers,
    /// A start has less of the live stream in memory than the node before it had.
    LiveForgotten,
    /// An administrator's answer differs from the one that the log gives.
    AnswerDiffers,
    /// An administrator's command is in the log without its actor.
    ActorMissing,
    /// The naive twin has other events or balances.
    TwinDiffers,
    /// Funds are not conserved, or the full check of the state finds a difference.
    StateInconsistent,
    /// The live state differs from the one that the log gives.
    HashDiffers,
    /// A watermark is above its bound.
    Watermark,
    /// The node sent a malformed or unexpected message, or dropped a request.
    Protocol,
    /// After all faults have ended, an answer is missing.
    Liveness,
    /// A loop failed or reported damage without an injected fault.
    FailedWithoutFault,
    /// An assertion of the product itself.
    Assertion,
}

#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub invariant: Invariant,
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(invariant: Invariant, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.detail)
    }
}

pub(crate) type Checked<T = ()> = Result<T, Violation>;

/// Returns a violation unless the promise is kept.
pub(crate) fn ensure(kept: bool, invariant: Invariant, detail: impl FnOnce() -> String) -> Checked {
    if kept { Ok(()) } else { Err(Violation::new(invariant, detail())) }
}
