//! The reasons why an order, a cancel or an administrator's command is refused.

use bincode::{Decode, Encode};

/// Reasons to refuse a client's command. When several hold, the one of the lowest [`RejectReason::rank`] is reported.
///
/// The numbers are part of the log, because refusals by the gateway are commands, and never change their meaning. They
/// do not say which reason comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[repr(u8)]
pub enum RejectReason {
    /// A field has a value outside its domain.
    Malformed = 1,
    /// The message or one of its options is in the schema, but is not offered yet.
    Unsupported = 2,
    /// The session may not trade for this account, or the account does not exist.
    NotAuthorised = 3,
    /// `validUntil` had passed when the order was sequenced.
    StaleRequest = 4,
    /// The session has used up its rate.
    Throttled = 5,
    /// The account is suspended or closed.
    AccountNotTrading = 6,
    /// New orders of the session or the account are blocked until the block is lifted.
    KillSwitch = 7,
    UnknownInstrument = 8,
    /// The market is halted or closed, or accepts cancels only.
    NotTrading = 9,
    /// The market accepts only post-only orders now.
    PostOnlyPhase = 10,
    /// The price is zero, larger than the largest price, or not a multiple of the tick.
    PriceTick = 11,
    /// The quantity is not a multiple of the lot.
    QtyStep = 12,
    /// The quantity is zero, or below the market's minimum, or above its maximum.
    QtyRange = 13,
    /// Price times quantity is below the market's minimum, or too large to count.
    Notional = 14,
    /// The price is too far from the reference price.
    PriceBand = 15,
    /// The order to cancel or amend does not exist, does not exist any more, or belongs to another account.
    UnknownOrder = 16,
    /// The amendment would leave nothing open, because so much is filled already.
    TooLate = 17,
    /// The client used this text id within the last 24 hours, and the first outcome stands.
    DuplicateClientId = 18,
    /// The memory of client ids is full, and nothing was done.
    ClientIdMemoryFull = 19,
    /// The account has as many open orders as it may have.
    MaxOpenOrders = 20,
    /// The exchange has as many open orders as it can have.
    OrdersFull = 21,
    PostOnlyWouldCross = 22,
    InsufficientFunds = 23,
    /// A balance would become too large to count.
    BalanceOverflow = 24,
    /// The exchange as a whole takes no new orders: its disk is nearly full, or an operator has stopped them.
    IntakeStopped = 40,
}

impl RejectReason {
    /// The precedence: lower comes first. Equal only for equal reasons.
    pub fn rank(self) -> u32 {
        // Room between two, so that a later reason finds its place without moving the others.
        const ROOM: u32 = 16;
        match self {
            Self::IntakeStopped => Self::KillSwitch as u32 * ROOM + ROOM / 2,
            reason => reason as u32 * ROOM,
        }
    }
}

/// Reasons to refuse an administrator's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, thiserror::Error)]
pub enum AdminReason {
    #[error("the name is empty or too long, or has a character that is not allowed")]
    NameInvalid,
    #[error("the name is already in use")]
    NameTaken,
    #[error("the limit is reached: there are as many of these as there may be")]
    LimitReached,
    #[error("there is no such asset")]
    UnknownAsset,
    #[error("there is no such market")]
    UnknownMarket,
    #[error("there is no such account")]
    UnknownAccount,
    #[error("there is no such session")]
    UnknownSession,
    #[error("there is no such key")]
    UnknownKey,
    #[error("an asset may have at most 8 decimal places")]
    ScaleTooLarge,
    #[error("base and quote must be two assets")]
    SameAsset,
    #[error("with this tick and lot, price times quantity is not always a whole number of units of the quote asset")]
    Inexact,
    #[error("a value is outside its allowed range")]
    OutOfRange,
    #[error("maker and taker fee together are below zero, so that every trade would cost the house")]
    FeesNegative,
    #[error("the account has less available than the amount")]
    InsufficientFunds,
    #[error("the balance would become too large to count")]
    BalanceOverflow,
    #[error("the reference was used before, for a payment with other contents")]
    ReferenceConflict,
    #[error("the amount must be larger than zero")]
    AmountZero,
    #[error("a payment needs a reference")]
    ReferenceMissing,
    #[error("the present status does not allow this change")]
    StatusChange,
    #[error("the actor has no right to this act")]
    NotAuthorised,
    #[error("the rules version is not above the present one: it is only ever raised")]
    RulesNotRaised,
    #[error("this build does not know the rules version")]
    RulesUnknown,
    #[error(
        "the data directory has format 1, which can hold no later rules: stop the node, run pinion upgrade format, start it"
    )]
    FormatTooOld,
    #[error("the parent of an account is its master, and never an agent")]
    ParentKind,
    #[error("the rules of this log do not have this yet: raise them with pinion admin rules raise")]
    RulesTooOld,
    #[error(
        "the market's fees could round to more than a hundredth: a lot has less than 100 units of the base asset, or the smallest order is worth less than 100 units of the quote asset. Take the fees in quote, or set a larger lot, minimum quantity or minimum notional"
    )]
    FeeRounds,
    #[error("buy orders rest in this market and hold the fee of their trade: cancel them before the fee changes")]
    OrdersHoldFee,
    #[error("orders rest in this market: cancel them before it is removed")]
    OrdersOpen,
}
