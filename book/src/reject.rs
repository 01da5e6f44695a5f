//! Why an order, a cancel or an administrator's command was refused.

use bincode::{Decode, Encode};

/// Reasons to refuse a client's command, in order of precedence: when several hold, the first is reported.
///
/// The numbers are part of the log (refusals that the door decides are commands) and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[repr(u8)]
pub enum RejectReason {
    /// A field has a value outside its domain.
    Malformed = 1,
    /// The message or an option of it is in the schema but not offered yet.
    Unsupported = 2,
    /// The session may not trade for this account, or the account does not exist.
    NotAuthorised = 3,
    /// `validUntil` had passed when the order was sequenced.
    StaleRequest = 4,
    /// The session's or account's rate is used up.
    Throttled = 5,
    /// The account is suspended or closed.
    AccountNotTrading = 6,
    /// New orders are blocked for the session or account until the block is lifted.
    KillSwitch = 7,
    UnknownInstrument = 8,
    /// The market is halted, closed or in cancel-only.
    NotTrading = 9,
    /// The market takes only post-only orders now.
    PostOnlyPhase = 10,
    /// The price is zero, beyond the largest price, or not on the tick.
    PriceTick = 11,
    /// The quantity is not a whole number of lots.
    QtyStep = 12,
    /// The quantity is zero, below the market's minimum or above its maximum.
    QtyRange = 13,
    /// Price times quantity is below the market's minimum or too large to count.
    Notional = 14,
    /// The price is too far from the reference price.
    PriceBand = 15,
    /// The order to cancel or amend does not exist (any more), or belongs to somebody else.
    UnknownOrder = 16,
    /// The amendment leaves nothing open, because that much is filled already.
    TooLate = 17,
    /// The client's text id was used within 24 hours; the first outcome stands.
    DuplicateClientId = 18,
    /// The memory of client ids is full; nothing was done.
    ClientIdMemoryFull = 19,
    MaxOpenOrders = 20,
    /// The exchange holds as many open orders as it can.
    OrdersFull = 21,
    PostOnlyWouldCross = 22,
    InsufficientFunds = 23,
    /// A balance would pass the largest countable amount.
    BalanceOverflow = 24,
}

/// Reasons to refuse an administrator's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, thiserror::Error)]
pub enum AdminReason {
    #[error("the name is empty, too long, or has characters outside the allowed set")]
    NameInvalid,
    #[error("the name is taken")]
    NameTaken,
    #[error("no room for another: the limit is reached")]
    LimitReached,
    #[error("unknown asset")]
    UnknownAsset,
    #[error("unknown market")]
    UnknownMarket,
    #[error("unknown account")]
    UnknownAccount,
    #[error("unknown session")]
    UnknownSession,
    #[error("unknown key")]
    UnknownKey,
    #[error("the scale is above the largest allowed")]
    ScaleTooLarge,
    #[error("base and quote are the same asset")]
    SameAsset,
    #[error("tick, lot and asset scales do not make price x quantity a whole number of units")]
    Inexact,
    #[error("a value is outside its allowed range")]
    OutOfRange,
    #[error("maker and taker fee together are below zero: every trade would cost the house")]
    FeesNegative,
    #[error("the account's funds are too low")]
    InsufficientFunds,
    #[error("the amount would pass the largest countable balance")]
    BalanceOverflow,
    #[error("the reference was used before with other contents")]
    ReferenceConflict,
    #[error("an amount must be above zero")]
    AmountZero,
    #[error("a reference is required")]
    ReferenceMissing,
    #[error("the status change is not allowed from the present status")]
    StatusChange,
}
