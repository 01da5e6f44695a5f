//! Reject reasons and their numbers on the wire.
//!
//! The engine orders reasons by precedence; on the wire each has the number under which it was first published, which
//! never changes.

use book::reject::RejectReason;

/// Every reason that can be sent, with its number on the wire, in order of precedence.
///
/// The schema reserves two more: 9 (`DuplicateClOrdId`) is never sent because a repeated id is ignored, 16
/// (`MmpFrozen`) because market maker protection does not exist yet.
pub const REASONS: [(RejectReason, u16); 25] = [
    (RejectReason::Malformed, 18),
    (RejectReason::Unsupported, 17),
    (RejectReason::NotAuthorised, 19),
    (RejectReason::StaleRequest, 20),
    (RejectReason::Throttled, 14),
    (RejectReason::AccountNotTrading, 21),
    (RejectReason::KillSwitch, 15),
    (RejectReason::IntakeStopped, 40),
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

/// The place of each reason in the table, by its number in the log.
const PLACES: [u8; REASON_MAX + 1] = {
    let mut places = [u8::MAX; REASON_MAX + 1];
    let mut idx = 0;
    while idx < REASONS.len() {
        assert!(places[REASONS[idx].0 as usize] == u8::MAX, "a reason stands in the table once");
        places[REASONS[idx].0 as usize] = idx as u8;
        idx += 1;
    }
    places
};
const REASON_MAX: usize = RejectReason::IntakeStopped as usize;

/// The number of a reason on the wire.
#[inline]
pub fn wire_of(reason: RejectReason) -> u16 {
    REASONS[usize::from(PLACES[reason as usize])].1
}

/// The reason with this number; `None` for reserved and unknown numbers.
pub fn reason_of(wire: u16) -> Option<RejectReason> {
    REASONS.iter().find(|(_, number)| *number == wire).map(|(reason, _)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_of_precedence() {
        assert!(REASONS.is_sorted_by(|a, b| a.0.rank() < b.0.rank()));
    }
}
