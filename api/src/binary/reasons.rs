//! Reject reasons as numbers on the wire.
//!
//! The log numbers them by precedence, the wire by history: a number once published keeps its meaning.

use book::reject::RejectReason;

/// Every reason that can be sent, with its wire number, in order of precedence.
///
/// 9 (`DuplicateClOrdId`) and 16 (`MmpFrozen`) are in the schema and never sent: a repeated id is ignored, and market
/// maker protection is not offered yet.
pub const REASONS: [(RejectReason, u16); 24] = [
    (RejectReason::Malformed, 18),
    (RejectReason::Unsupported, 17),
    (RejectReason::NotAuthorised, 19),
    (RejectReason::StaleRequest, 20),
    (RejectReason::Throttled, 14),
    (RejectReason::AccountNotTrading, 21),
    (RejectReason::KillSwitch, 15),
    (RejectReason::UnknownInstrument, 1),
    (RejectReason::NotTrading, 2),
    (RejectReason::PostOnlyPhase, 22),
    (RejectReason::PriceTick, 3),
    (RejectReason::QtyStep, 5),
    (RejectReason::QtyRange, 6),
    (RejectReason::Notional, 7),
    (RejectReason::PriceBand, 4),
    (RejectReason::UnknownOrder, 10),
    (RejectReason::TooLate, 11),
    (RejectReason::DuplicateClientId, 23),
    (RejectReason::ClientIdMemoryFull, 24),
    (RejectReason::MaxOpenOrders, 13),
    (RejectReason::OrdersFull, 25),
    (RejectReason::PostOnlyWouldCross, 12),
    (RejectReason::InsufficientFunds, 8),
    (RejectReason::BalanceOverflow, 26),
];

const _: () = {
    let mut idx = 0;
    while idx < REASONS.len() {
        assert!(
            REASONS[idx].0 as usize == idx + 1,
            "the table is in order of precedence, so that a reason is its index"
        );
        idx += 1;
    }
};

#[inline]
pub fn wire_of(reason: RejectReason) -> u16 {
    REASONS[reason as usize - 1].1
}

pub fn reason_of(wire: u16) -> Option<RejectReason> {
    REASONS.iter().find(|(_, number)| *number == wire).map(|(reason, _)| *reason)
}
