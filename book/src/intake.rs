//! The intake of the exchange as a whole: whether it accepts new orders, and who has stopped it.
//!
//! | stopped by | the node stops | the node lifts | an operator stops | an operator lifts |
//! |---|---|---|---|---|
//! | none | node | none | operator | none |
//! | the node | node | none | operator | none |
//! | an operator | operator | refused | operator | none |
//!
//! Invariant: what an operator has stopped, only an operator lifts. What only takes risk off is never refused for it.

use crate::mutation::{Mutation, Planted};
use crate::reject::RejectReason;
use bincode::{Decode, Encode};

/// What the exchange is to accept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum Intake {
    #[default]
    All = 1,
    /// Cancels, and amendments that only take quantity off.
    Cancels = 2,
}

/// What the exchange accepts, and whose decision that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum IntakeState {
    #[default]
    All = 0,
    StoppedByNode = 1,
    StoppedByOperator = 2,
}

impl IntakeState {
    /// Whether new orders are accepted, and amendments that add.
    pub(crate) fn admit(self) -> Result<(), RejectReason> {
        let is_open = (self == Self::All).planted(Mutation::IntakeIgnored, |_| true);
        if is_open { Ok(()) } else { Err(RejectReason::IntakeStopped) }
    }
}
