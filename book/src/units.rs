//! Quantities with their unit in the type: ticks, lots, asset units, time.
//!
//! Every amount is an integer. `PriceTicks x QtyLots x QuoteUnitsPerTickLot` is exact by construction of a market
//! (see `instrument`), so nothing here rounds; only fees do, and they say so.
//!
//! Invariant: an amount that is stored is at most `UNITS_MAX` and never below zero. Amounts change by `credit` and
//! `debit`, quantities by `grow` and `reduce`; each carries the reason why it cannot fail, and the process ends with
//! that reason when it does, because the state is wrong then and the log still has the right one.

use bincode::{Decode, Encode};

/// A price as a count of the market's ticks, 1 to `PRICE_TICKS_MAX`.
///
/// 32 bits keep an order in one cache line; a market whose prices would not fit needs a coarser tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct PriceTicks(pub u32);

/// A quantity as a count of the market's lots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct QtyLots(pub u64);

/// An amount of one asset in its smallest unit: one satoshi, one cent, `10^-scale` of the asset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Units(pub u64);

/// What one tick times one lot is worth in units of the quote asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct QuoteUnitsPerTickLot(pub u64);

/// How many units of the base asset one lot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BaseUnitsPerLot(pub u64);

/// A fee rate in parts per million of what is received; negative is a rebate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Ppm(pub i32);

/// One, in parts per million.
pub(crate) const PPM_ONE: u64 = 1_000_000;

/// A fee in units of the received asset. A negative one is a rebate: a share of the other side's fee, in the asset in
/// which that side paid it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct FeeUnits(pub i64);

/// Nanoseconds since 1970-01-01 UTC; zero means "none" where a field is optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct TsNs(pub u64);

/// The place of a command in the log: 1, 2, 3 ... without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Seq(pub u64);

/// Sequence and time of a command, given once by the node before the command is journaled and applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Stamp {
    pub seq: Seq,
    pub ts: TsNs,
}

pub const PRICE_TICKS_MAX: u32 = u32::MAX;

/// The largest amount of a balance or a notional: half of the type, so that a sum of two never wraps.
pub const UNITS_MAX: u64 = i64::MAX as u64;

/// The largest quantity of one order, in lots: half of the type, for the same reason.
pub const QTY_LOTS_MAX: u64 = i64::MAX as u64;

const _: () = assert!(UNITS_MAX.checked_add(UNITS_MAX).is_some() && QTY_LOTS_MAX.checked_add(QTY_LOTS_MAX).is_some());

impl PriceTicks {
    /// What `qty` at this price costs in quote units, or `None` above `UNITS_MAX`.
    pub fn notional(self, qty: QtyLots, scale: QuoteUnitsPerTickLot) -> Option<Units> {
        let per_lot = u64::from(self.0).checked_mul(scale.0)?;
        let total = per_lot.checked_mul(qty.0)?;
        (total <= UNITS_MAX).then_some(Units(total))
    }
}

impl Units {
    /// Adds an amount that came from elsewhere, so that the sum can be counted.
    #[inline]
    pub fn credit(&mut self, amount: Self, why: &'static str) {
        match self.0.checked_add(amount.0) {
            Some(sum) if sum <= UNITS_MAX => self.0 = sum,
            _ => impossible(why, self.0, amount.0),
        }
    }

    /// Takes off an amount that is known to be there.
    #[inline]
    pub fn debit(&mut self, amount: Self, why: &'static str) {
        *self = self.minus(amount, why);
    }

    /// What remains without an amount that is known to be at most this one.
    #[inline]
    pub fn minus(self, amount: Self, why: &'static str) -> Self {
        match self.0.checked_sub(amount.0) {
            Some(rest) => Self(rest),
            None => impossible(why, self.0, amount.0),
        }
    }
}

impl QtyLots {
    /// Adds a quantity, so that the sum can be counted.
    #[inline]
    pub fn grow(&mut self, qty: Self, why: &'static str) {
        match self.0.checked_add(qty.0) {
            Some(sum) if sum <= QTY_LOTS_MAX => self.0 = sum,
            _ => impossible(why, self.0, qty.0),
        }
    }

    /// Takes off a quantity that is known to be there.
    #[inline]
    pub fn reduce(&mut self, qty: Self, why: &'static str) {
        match self.0.checked_sub(qty.0) {
            Some(rest) => self.0 = rest,
            None => impossible(why, self.0, qty.0),
        }
    }

    /// The same quantity in base units, or `None` above `UNITS_MAX`.
    pub fn base_units(self, scale: BaseUnitsPerLot) -> Option<Units> {
        let total = self.0.checked_mul(scale.0)?;
        (total <= UNITS_MAX).then_some(Units(total))
    }
}

impl FeeUnits {
    /// What the account pays; nothing when this is a rebate.
    #[inline]
    pub fn charge(self) -> Units {
        Units(self.0.max(0).unsigned_abs())
    }

    /// What the account gets; nothing when this is a fee.
    #[inline]
    pub fn rebate(self) -> Units {
        Units(self.0.min(0).unsigned_abs())
    }
}

impl Seq {
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Ends the process with the fact that does not hold. A function of its own, so that the operations above stay small.
#[cold]
#[inline(never)]
#[track_caller]
fn impossible(why: &'static str, from: u64, change: u64) -> ! {
    panic!("broken invariant: {why} (from {from}, by {change})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dies(change: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(change).is_err()
    }

    #[test]
    fn amounts_and_quantities_stay_between_zero_and_their_limit() {
        assert!(dies(|| Units(UNITS_MAX).credit(Units(1), "test")));
        assert!(dies(|| Units(0).debit(Units(1), "test")));
        assert!(dies(|| QtyLots(QTY_LOTS_MAX).grow(QtyLots(1), "test")));
        assert!(dies(|| QtyLots(0).reduce(QtyLots(1), "test")));
        let mut amount = Units(5);
        amount.credit(Units(UNITS_MAX - 5), "test");
        amount.debit(Units(UNITS_MAX), "test");
        assert_eq!(amount, Units(0));
    }

    #[test]
    fn a_fee_is_a_charge_or_a_rebate() {
        assert_eq!((FeeUnits(3).charge(), FeeUnits(3).rebate()), (Units(3), Units(0)));
        assert_eq!((FeeUnits(-3).charge(), FeeUnits(-3).rebate()), (Units(0), Units(3)));
    }
}
