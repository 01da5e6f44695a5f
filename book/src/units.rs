//! Quantities with their unit in the type: ticks, lots, asset units, time.
//!
//! Every amount is an integer. `PriceTicks x QtyLots x QuoteUnitsPerTickLot` is exact by construction of a market
//! (see `instrument`), so nothing here rounds; only fees do, and they say so.

use bincode::{Decode, Encode};

/// A price as a count of the market's ticks, 1 to `PRICE_TICKS_MAX`.
///
/// 32 bits keep an order in one cache line; a market whose prices would not fit needs a coarser tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct PriceTicks(pub u32);

/// A quantity as a count of the market's lots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct QtyLots(pub u64);

/// An amount of one asset in its smallest unit, `10^-scale` of a whole.
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

/// A fee in units of the received asset; negative is a rebate paid by the house.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct FeeUnits(pub i64);

/// Nanoseconds since 1970-01-01 UTC; zero means "none" where a field is optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct TsNs(pub u64);

/// Position of a command in the log: 1, 2, 3 ... without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Seq(pub u64);

/// Sequence and time of a command, given once by the node before the command is journaled and applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Stamp {
    pub seq: Seq,
    pub ts: TsNs,
}

pub const PRICE_TICKS_MAX: u32 = u32::MAX;

/// Largest amount a balance or a notional may reach; half of the type, so that a sum of two never wraps.
pub const UNITS_MAX: u64 = i64::MAX as u64;

/// Largest quantity of one order, in lots; leaves room to add two before any check.
pub const QTY_LOTS_MAX: u64 = i64::MAX as u64;

impl PriceTicks {
    /// What `qty` at this price costs in quote units, or `None` above `UNITS_MAX`.
    pub fn notional(self, qty: QtyLots, scale: QuoteUnitsPerTickLot) -> Option<Units> {
        let per_lot = u64::from(self.0).checked_mul(scale.0)?;
        let total = per_lot.checked_mul(qty.0)?;
        (total <= UNITS_MAX).then_some(Units(total))
    }
}

impl QtyLots {
    /// The same quantity in base units, or `None` above `UNITS_MAX`.
    pub fn base_units(self, scale: BaseUnitsPerLot) -> Option<Units> {
        let total = self.0.checked_mul(scale.0)?;
        (total <= UNITS_MAX).then_some(Units(total))
    }
}

impl Seq {
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
