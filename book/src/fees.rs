//! What a market charges: the rates, the asset in which they are paid, and how they round.
//!
//! Invariants: the house never pays more in rebates than the same trade brought it in fees; what an order holds covers
//! the fee of its trade, so that an account that was filled can always pay.

use crate::mutation::{Mutation, Planted};
use crate::reject::AdminReason;
use crate::units::{FeeUnits, PPM_ONE, Ppm, Units};
use bincode::{Decode, Encode};

/// The largest fee or rebate of a market: a tenth of what is received.
pub const FEE_PPM_MAX: i32 = 100_000;
/// A fee tier may at most double a market's fee, and never turns a fee into a rebate.
pub const FEE_SCALE_MAX: i32 = 2_000_000;
pub const FEE_TIERS: usize = 16;
const _: () = assert!(FEE_PPM_MAX as u64 * FEE_SCALE_MAX as u64 / PPM_ONE <= PPM_ONE / 5, "a fee is at most a fifth");

/// The asset in which a market's fees are paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeeAsset {
    /// Each side pays from what it receives: the buyer in base, the seller in quote.
    #[default]
    Received,
    /// Both sides pay in quote, so that a buyer holds the fee beside the price.
    Quote,
}

impl FeeAsset {
    /// The word of the admin API and of the tools.
    pub fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Quote => "quote",
        }
    }
}

/// The fees of a market. Negative ones are rebates.
///
/// Stored as two numbers: rows that were written before there was a choice are those of fees from what is received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct MarketFees {
    maker: Ppm,
    /// The taker's fee; where fees are paid in quote, `IN_QUOTE` more.
    taker_coded: Ppm,
}

const IN_QUOTE: i32 = 1 << 24;
const _: () = assert!(FEE_PPM_MAX < IN_QUOTE / 2);

impl MarketFees {
    pub const NONE: Self = Self { maker: Ppm(0), taker_coded: Ppm(0) };

    /// What no market may have. Under rules 1 the number that stands for fees in quote is such a fee.
    pub(crate) const REFUSED: Self = Self { maker: Ppm(i32::MAX), taker_coded: Ppm(0) };

    /// Any two rates; `check_rates` says whether a market may have them.
    pub fn new(maker: Ppm, taker: Ppm, paid_in: FeeAsset) -> Self {
        let taker = Ppm(taker.0.clamp(-IN_QUOTE / 2, IN_QUOTE / 2 - 1));
        let taker_coded = if paid_in == FeeAsset::Quote { Ppm(taker.0 + IN_QUOTE) } else { taker };
        Self { maker, taker_coded }
    }

    /// Fees that each side pays from what it receives.
    pub fn received(maker: Ppm, taker: Ppm) -> Self {
        Self::new(maker, taker, FeeAsset::Received)
    }

    pub fn maker(self) -> Ppm {
        self.maker
    }

    #[inline]
    pub fn taker(self) -> Ppm {
        match self.paid_in() {
            FeeAsset::Received => self.taker_coded,
            FeeAsset::Quote => Ppm(self.taker_coded.0 - IN_QUOTE),
        }
    }

    /// The taker's fee with the choice of the asset in it.
    pub(crate) fn taker_stored(self) -> Ppm {
        self.taker_coded
    }

    #[inline]
    pub fn paid_in(self) -> FeeAsset {
        if self.taker_coded.0 < IN_QUOTE / 2 { FeeAsset::Received } else { FeeAsset::Quote }
    }

    /// The rate that a buyer holds beside the price: the higher fee where fees are paid in quote, otherwise none.
    #[inline]
    pub fn held_rate(self) -> Ppm {
        match self.paid_in() {
            FeeAsset::Received => Ppm(0),
            FeeAsset::Quote => self.maker.max(self.taker()).max(Ppm(0)),
        }
    }

    /// Whether both fees are in range and together not below zero.
    pub fn check_rates(self) -> Result<(), AdminReason> {
        let in_range = |fee: Ppm| -FEE_PPM_MAX <= fee.0 && fee.0 <= FEE_PPM_MAX;
        if !in_range(self.maker) || !in_range(self.taker()) {
            return Err(AdminReason::OutOfRange);
        }
        if self.maker.0 + self.taker().0 < 0 { Err(AdminReason::FeesNegative) } else { Ok(()) }
    }
}

/// Scales a market's fees for the accounts of a tier; 1,000,000 leaves them as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FeeTier {
    pub maker_scale: Ppm,
    pub taker_scale: Ppm,
}

/// Whether there is such a tier and its scales are in range.
pub fn check_fee_tier(tier: u8, fees: FeeTier) -> Result<(), AdminReason> {
    let in_range = |scale: Ppm| 0 <= scale.0 && scale.0 <= FEE_SCALE_MAX;
    let ok = usize::from(tier) < FEE_TIERS && in_range(fees.maker_scale) && in_range(fees.taker_scale);
    if ok { Ok(()) } else { Err(AdminReason::OutOfRange) }
}

/// A market's fee for an account of a tier, rounded up. Rebates are the same for every tier. Where a buyer holds its
/// fee, no tier raises it above what is held.
pub fn scaled_fee(fees: MarketFees, fee: Ppm, scale: Ppm) -> Ppm {
    if fee.0 <= 0 || scale.0 == PPM_ONE as i32 {
        return fee;
    }
    let scaled = (fee.0 as u64 * scale.0 as u64).div_ceil(PPM_ONE);
    assert!(scaled <= PPM_ONE / 5, "a tier at most doubles a fee of at most a tenth");
    let scaled = Ppm(scaled as i32);
    match fees.paid_in() {
        FeeAsset::Received => scaled,
        FeeAsset::Quote => scaled.min(fee),
    }
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
