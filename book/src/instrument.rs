//! Assets and markets: the rules of what can be traded, and of what a trade costs.
//!
//! Invariant: in every market each price times each quantity is a whole number of quote units. `MarketRules::new`
//! refuses any other market, so that no amount of a trade is ever rounded. Only fees round (see `fees`).

use crate::command::{MarketLimits, MarketSpec, MarketStatus, Side};
use crate::fees::{FeeAsset, MarketFees};
use crate::ids::{AssetId, MarketId, Symbol};
use crate::mutation::{Mutation, Planted};
use crate::reject::AdminReason;
use crate::rules::Rules;
use crate::units::{
    BaseUnitsPerLot, PPM_ONE, PRICE_TICKS_MAX, Ppm, PriceTicks, QTY_LOTS_MAX, QtyLots, QuoteUnitsPerTickLot, TsNs,
    UNITS_MAX, Units,
};
use bincode::{Decode, Encode};

/// The largest number of decimal places of an asset: the wire carries amounts in 1e-8.
pub const ASSET_SCALE_MAX: u8 = 8;
pub const ASSETS_MAX: u32 = 1 << 16;
pub const MARKETS_MAX: u32 = 1 << 20;
/// The widest price band: a thousand times the reference price.
const PRICE_BAND_MAX: i32 = 1_000_000_000;

/// The smallest order of a market with fees is worth at least so many units of the asset in which they are paid. A fee
/// is rounded up by less than one unit, so that rounding never takes more than a hundredth.
pub const UNITS_WITH_FEE_MIN: u64 = 100;

/// Prices on the wire count 1e-9 and quantities 1e-8.
pub const PRICE_WIRE_SCALE: u32 = 9;
pub const QTY_WIRE_SCALE: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Asset {
    pub id: AssetId,
    pub symbol: Symbol,
    /// Decimal places: one BTC is `10^scale` units.
    pub scale: u8,
}

/// A market's rules as they are now. Invariant: made by `MarketRules::new`, so that amounts are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MarketRules {
    pub id: MarketId,
    pub symbol: Symbol,
    pub base: AssetId,
    pub quote: AssetId,
    pub tick_e9: u64,
    pub lot_e8: u64,
    pub quote_per_tick_lot: QuoteUnitsPerTickLot,
    pub base_per_lot: BaseUnitsPerLot,
    pub limits: MarketLimits,
    pub fees: MarketFees,
    pub status: MarketStatus,
}

impl MarketRules {
    /// The rules of no market, in the place of one that was removed.
    pub(crate) fn removed() -> Self {
        Self {
            id: MarketId::NONE,
            symbol: Symbol::NONE,
            base: AssetId::NONE,
            quote: AssetId::NONE,
            tick_e9: 0,
            lot_e8: 0,
            quote_per_tick_lot: QuoteUnitsPerTickLot(0),
            base_per_lot: BaseUnitsPerLot(0),
            limits: MarketLimits {
                qty_min: QtyLots(0),
                qty_max: QtyLots(0),
                notional_min: Units(0),
                price_band: Ppm(0),
            },
            fees: MarketFees::NONE,
            status: MarketStatus::Closed,
        }
    }

    /// The rules of a new market, or why it is refused: first of all when some price times some quantity would not be a
    /// whole number of quote units.
    pub fn new(id: MarketId, spec: &MarketSpec, base: &Asset, quote: &Asset) -> Result<Self, AdminReason> {
        if !spec.symbol.is_valid() {
            return Err(AdminReason::NameInvalid);
        }
        if base.id == quote.id {
            return Err(AdminReason::SameAsset);
        }
        if spec.status == MarketStatus::Closed {
            return Err(AdminReason::StatusChange);
        }
        let base_per_lot = base_units_per_lot(spec.lot_e8, base.scale)?;
        let quote_per_tick_lot = quote_units_per_tick_lot(spec.tick_e9, spec.lot_e8, quote.scale)?;
        let rules = Self {
            id,
            symbol: spec.symbol,
            base: base.id,
            quote: quote.id,
            tick_e9: spec.tick_e9,
            lot_e8: spec.lot_e8,
            quote_per_tick_lot,
            base_per_lot,
            limits: spec.limits,
            fees: spec.fees,
            status: spec.status,
        };
        check_limits(&rules, &spec.limits)?;
        spec.fees.check_rates()?;
        assert!(0 < rules.base_per_lot.0 && 0 < rules.quote_per_tick_lot.0, "a lot is worth something on both sides");
        Ok(rules)
    }

    /// The asset that an order of this side pays with, and therefore holds.
    #[inline]
    pub fn paid_in(&self, side: Side) -> AssetId {
        match side {
            Side::Buy => self.quote,
            Side::Sell => self.base,
        }
    }

    /// The asset in which an order of this side pays its fee.
    #[inline]
    pub fn fee_asset(&self, side: Side) -> AssetId {
        match self.fees.paid_in() {
            FeeAsset::Received => self.paid_in(side.opposite()),
            FeeAsset::Quote => self.quote,
        }
    }

    /// What `qty` of an order holds: quote units at its limit for a buy, with the fee where fees are paid in quote;
    /// base units for a sell. `None` for more than can be counted, which admission refuses.
    #[inline]
    pub(crate) fn hold_checked(&self, side: Side, price: PriceTicks, qty: QtyLots) -> Option<Units> {
        match side {
            Side::Buy if self.fees.held_rate() == Ppm(0) => self.worth(price, qty),
            Side::Buy => self.worth_with_fee(price, qty),
            Side::Sell => qty.base_units(self.base_per_lot),
        }
    }

    /// Price times quantity in quote units; `None` for more than can be counted.
    #[inline]
    pub(crate) fn worth(&self, price: PriceTicks, qty: QtyLots) -> Option<Units> {
        price.notional(qty, self.quote_per_tick_lot)
    }

    /// The same with the fee of each lot, rounded up. Lot by lot, so that a part of an order always holds its part,
    /// and the fee of a fill is at most what its lots hold.
    fn worth_with_fee(&self, price: PriceTicks, qty: QtyLots) -> Option<Units> {
        let lot = u128::from(self.worth(price, QtyLots(1))?.0);
        let rate = u128::from(self.fees.held_rate().0.unsigned_abs());
        let fee = (lot * rate).div_ceil(u128::from(PPM_ONE)).planted(Mutation::FeeNotHeld, |_| 0);
        let worth = u64::try_from((lot + fee).checked_mul(u128::from(qty.0))?).ok()?;
        (worth <= UNITS_MAX).then_some(Units(worth))
    }

    /// The same for an order that was admitted.
    #[inline]
    pub(crate) fn hold(&self, side: Side, price: PriceTicks, qty: QtyLots) -> Units {
        self.hold_checked(side, price, qty).expect("admission computed the hold of at least this much")
    }

    /// The lowest and the highest price that the band around `reference` allows; every price when there is no band.
    ///
    /// From rules 2 on a band reaches at least a tick up and down: narrower ones would allow no price but the last.
    pub fn price_band(&self, version: Rules, reference: Option<PriceTicks>) -> (PriceTicks, PriceTicks) {
        let all = (PriceTicks(1), PriceTicks(PRICE_TICKS_MAX));
        let (Some(reference), true) = (reference, self.limits.price_band.0 > 0) else { return all };
        let width = u128::from(reference.0) * self.limits.price_band.0.unsigned_abs() as u128 / u128::from(PPM_ONE);
        let width = u32::try_from(width).unwrap_or(PRICE_TICKS_MAX);
        let width_min = u32::from(Rules::Two <= version).planted(Mutation::BandOfNothing, |_| 0);
        let width = width.max(width_min);
        let (low, high) = (reference.0.saturating_sub(width).max(1), reference.0.saturating_add(width));
        assert!(low <= reference.0 && reference.0 <= high, "a band contains its reference");
        (PriceTicks(low), PriceTicks(high))
    }
}

/// `10^scale * lot`, which must be an integer.
fn base_units_per_lot(lot_e8: u64, base_scale: u8) -> Result<BaseUnitsPerLot, AdminReason> {
    exact_ratio(u128::from(lot_e8) * pow10(u32::from(base_scale)), pow10(QTY_WIRE_SCALE)).map(BaseUnitsPerLot)
}

/// `tick * lot * 10^scale`, which must be an integer.
fn quote_units_per_tick_lot(tick_e9: u64, lot_e8: u64, quote_scale: u8) -> Result<QuoteUnitsPerTickLot, AdminReason> {
    let product = u128::from(tick_e9) * u128::from(lot_e8);
    let numerator = product.checked_mul(pow10(u32::from(quote_scale))).ok_or(AdminReason::OutOfRange)?;
    exact_ratio(numerator, pow10(PRICE_WIRE_SCALE + QTY_WIRE_SCALE)).map(QuoteUnitsPerTickLot)
}

/// The quotient, when it is an integer that can be counted and not zero.
fn exact_ratio(numerator: u128, denominator: u128) -> Result<u64, AdminReason> {
    if numerator == 0 {
        return Err(AdminReason::OutOfRange);
    }
    if !numerator.is_multiple_of(denominator) {
        return Err(AdminReason::Inexact);
    }
    let ratio = u64::try_from(numerator / denominator).map_err(|_| AdminReason::OutOfRange)?;
    if ratio <= UNITS_MAX { Ok(ratio) } else { Err(AdminReason::OutOfRange) }
}

fn pow10(exponent: u32) -> u128 {
    10u128.pow(exponent)
}

/// Whether the limits are in order for a market with these rules.
pub fn check_limits(rules: &MarketRules, limits: &MarketLimits) -> Result<(), AdminReason> {
    let qty_ok = 0 < limits.qty_min.0 && limits.qty_min <= limits.qty_max && limits.qty_max.0 <= QTY_LOTS_MAX;
    let band_ok = 0 <= limits.price_band.0 && limits.price_band.0 <= PRICE_BAND_MAX;
    let notional_ok = limits.notional_min.0 <= UNITS_MAX;
    let base_countable = limits.qty_max.base_units(rules.base_per_lot).is_some();
    if qty_ok && band_ok && notional_ok && base_countable { Ok(()) } else { Err(AdminReason::OutOfRange) }
}

/// Whether rounding takes at most a hundredth of the smallest trade: of a lot where fees are paid in base, of the
/// smallest order where they are paid in quote, because the worth of a lot there depends on the price.
pub fn check_rounding(rules: &MarketRules) -> Result<(), AdminReason> {
    if rules.fees.maker() == Ppm(0) && rules.fees.taker() == Ppm(0) {
        return Ok(());
    }
    let in_base = rules.fees.paid_in() == FeeAsset::Received;
    let lot_is_fine = !in_base || UNITS_WITH_FEE_MIN <= rules.base_per_lot.0;
    let smallest = u128::from(rules.limits.qty_min.0) * u128::from(rules.quote_per_tick_lot.0);
    let smallest = smallest.max(u128::from(rules.limits.notional_min.0));
    let order_is_fine = u128::from(UNITS_WITH_FEE_MIN) <= smallest;
    let fine = (lot_is_fine && order_is_fine).planted(Mutation::FeeTakesLot, |_| true);
    if fine { Ok(()) } else { Err(AdminReason::FeeRounds) }
}

/// Whether a command is refused as stale: it got its place in the log after its `valid_until`.
pub fn is_stale(valid_until: TsNs, now: TsNs) -> bool {
    valid_until.0 != 0 && valid_until < now
}
