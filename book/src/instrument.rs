//! Assets and markets: the rules of what can be traded, and of what a trade costs.
//!
//! Invariant: in every market each price times each quantity is a whole number of quote units. `MarketRules::new`
//! refuses any other market, so that no amount of a trade is ever rounded. Only fees round, in favour of the house.

use crate::command::{FeeTier, MarketLimits, MarketSpec, MarketStatus, Side};
use crate::ids::{AssetId, MarketId, Symbol};
use crate::mutation::{Mutation, Planted};
use crate::reject::AdminReason;
use crate::units::{
    BaseUnitsPerLot, FeeUnits, PRICE_TICKS_MAX, Ppm, PriceTicks, QTY_LOTS_MAX, QtyLots, QuoteUnitsPerTickLot, TsNs,
    UNITS_MAX, Units,
};
use bincode::{Decode, Encode};

/// The largest number of decimal places of an asset: the wire carries amounts in 1e-8.
pub const ASSET_SCALE_MAX: u8 = 8;
pub const ASSETS_MAX: u32 = 1 << 16;
pub const MARKETS_MAX: u32 = 1 << 20;
/// The largest fee or rebate of a market: a tenth of what is received.
pub const FEE_PPM_MAX: i32 = 100_000;
/// A fee tier may at most double a market's fee, and never turns a fee into a rebate.
pub const FEE_SCALE_MAX: i32 = 2_000_000;
pub const FEE_TIERS: usize = 16;
/// One, in parts per million.
const PPM_ONE: u64 = 1_000_000;
/// The widest price band: a thousand times the reference price.
const PRICE_BAND_MAX: i32 = 1_000_000_000;
const _: () = assert!(FEE_PPM_MAX as u64 * FEE_SCALE_MAX as u64 / PPM_ONE <= PPM_ONE / 5, "a fee is at most a fifth");

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
    pub maker_fee: Ppm,
    pub taker_fee: Ppm,
    pub status: MarketStatus,
}

impl MarketRules {
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
            maker_fee: spec.maker_fee,
            taker_fee: spec.taker_fee,
            status: spec.status,
        };
        check_limits(&rules, &spec.limits)?;
        check_fees(spec.maker_fee, spec.taker_fee)?;
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

    /// What `qty` of an order holds: quote units at its limit for a buy, base units for a sell. `None` for more than
    /// can be counted, which admission refuses.
    #[inline]
    pub(crate) fn hold_checked(&self, side: Side, price: PriceTicks, qty: QtyLots) -> Option<Units> {
        match side {
            Side::Buy => price.notional(qty, self.quote_per_tick_lot),
            Side::Sell => qty.base_units(self.base_per_lot),
        }
    }

    /// The same for an order that was admitted.
    #[inline]
    pub(crate) fn hold(&self, side: Side, price: PriceTicks, qty: QtyLots) -> Units {
        self.hold_checked(side, price, qty).expect("admission computed the hold of at least this much")
    }

    /// The lowest and the highest price that the band around `reference` allows; every price when there is no band.
    pub fn price_band(&self, reference: Option<PriceTicks>) -> (PriceTicks, PriceTicks) {
        let all = (PriceTicks(1), PriceTicks(PRICE_TICKS_MAX));
        let (Some(reference), true) = (reference, self.limits.price_band.0 > 0) else { return all };
        let width = u128::from(reference.0) * self.limits.price_band.0.unsigned_abs() as u128 / u128::from(PPM_ONE);
        let width = u32::try_from(width).unwrap_or(PRICE_TICKS_MAX);
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

/// Whether both fees are in range and together not below zero.
pub fn check_fees(maker: Ppm, taker: Ppm) -> Result<(), AdminReason> {
    let in_range = |fee: Ppm| -FEE_PPM_MAX <= fee.0 && fee.0 <= FEE_PPM_MAX;
    if !in_range(maker) || !in_range(taker) {
        return Err(AdminReason::OutOfRange);
    }
    if maker.0 + taker.0 < 0 { Err(AdminReason::FeesNegative) } else { Ok(()) }
}

/// Whether there is such a tier and its scales are in range.
pub fn check_fee_tier(tier: u8, fees: FeeTier) -> Result<(), AdminReason> {
    let in_range = |scale: Ppm| 0 <= scale.0 && scale.0 <= FEE_SCALE_MAX;
    let ok = usize::from(tier) < FEE_TIERS && in_range(fees.maker_scale) && in_range(fees.taker_scale);
    if ok { Ok(()) } else { Err(AdminReason::OutOfRange) }
}

/// A market's fee for an account of a tier, rounded up. Rebates are the same for every tier.
pub fn scaled_fee(fee: Ppm, scale: Ppm) -> Ppm {
    if fee.0 <= 0 || scale.0 == PPM_ONE as i32 {
        return fee;
    }
    let scaled = (fee.0 as u64 * scale.0 as u64).div_ceil(PPM_ONE);
    assert!(scaled <= PPM_ONE / 5, "a tier at most doubles a fee of at most a tenth");
    Ppm(scaled as i32)
}

/// `received * rate`, rounded in favour of the house: a fee up, a rebate down.
///
/// Never above `received`, because a rate is at most twice `FEE_PPM_MAX`: an account that was filled can always pay.
pub fn fee_on(received: Units, rate: Ppm) -> FeeUnits {
    let rate_abs = u64::from(rate.0.unsigned_abs());
    let round_up = if rate.0 > 0 { PPM_ONE - 1 } else { 0 };
    let amount = match received.0.checked_mul(rate_abs).and_then(|x| x.checked_add(round_up)) {
        Some(product) => product / PPM_ONE,
        // Above 1.8e13 units the product needs 128 bits; the division of 64 bits is five times faster.
        None => {
            let wide = (u128::from(received.0) * u128::from(rate_abs) + u128::from(round_up)) / u128::from(PPM_ONE);
            u64::try_from(wide).expect("a fee is at most a fifth of an amount that fits")
        }
    };
    let amount = amount.planted(Mutation::FeeTooHigh, |amount| amount + received.0);
    assert!(amount <= received.0, "a fee is at most what was received");
    let amount = i64::try_from(amount).expect("a fee is at most a fifth of UNITS_MAX");
    FeeUnits(if rate.0 < 0 { -amount } else { amount })
}

/// Whether a command is refused as stale: it got its place in the log after its `valid_until`.
pub fn is_stale(valid_until: TsNs, now: TsNs) -> bool {
    valid_until.0 != 0 && valid_until < now
}
