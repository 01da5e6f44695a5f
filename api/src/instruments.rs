//! Every market's tick, lot, assets and names: what converts the numbers of the wire to the engine's units and back.
//!
//! Invariants: the tables follow from the engine's events alone; a price that is not a multiple of the tick, or a
//! quantity that is not a multiple of the lot, is refused and never rounded. Ids are dense, so tables are indexed and
//! no lookup on the pinned core hashes.

use crate::decimal::{Fixed, PriceE9, QtyE8};
use book::event::Event;
use book::ids::{AssetId, MarketId, Symbol};
use book::instrument::{
    ASSET_SCALE_MAX, ASSETS_MAX, Asset, MARKETS_MAX, MarketRules, PRICE_WIRE_SCALE, QTY_WIRE_SCALE,
};
use book::reject::RejectReason;
use book::units::{FeeUnits, PriceTicks, QTY_LOTS_MAX, QtyLots, Units};

/// Largest amount or price on the wire, because `i64::MAX` is the null price. Larger ones are written as this value,
/// which therefore means "this much or more".
///
/// A sum over orders can be larger: every order is bounded by its market's largest quantity, the number of orders is
/// not. Prices are not: a client writes its limit in the same field.
pub const WIRE_AMOUNT_MAX: i64 = i64::MAX - 1;

const _: () = assert!(ASSET_SCALE_MAX as u32 <= QTY_WIRE_SCALE);

/// A market and its two assets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instrument {
    pub rules: MarketRules,
    pub base: Asset,
    pub quote: Asset,
}

/// All assets and markets of the exchange.
#[derive(Clone, Debug, Default)]
pub struct Instruments {
    /// By id; the first element has id 1.
    assets: Vec<Asset>,
    /// By id as well; none in the place of a market that was removed.
    instruments: Vec<Option<Instrument>>,
}

impl Instruments {
    /// Applies an event about assets and markets; other events are ignored. Apply an event before encoding it.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::AssetAdded(asset) => self.add_asset(*asset),
            Event::MarketAdded(rules) | Event::MarketRulesChanged(rules) => self.set_market(*rules),
            Event::MarketStatusChanged { market, status } => {
                let instrument = self.instruments[idx(market.0)].as_mut();
                instrument.expect("a market whose status changes is there").rules.status = *status;
            }
            Event::MarketRemoved { market } => self.instruments[idx(market.0)] = None,
            _ => {}
        }
    }

    /// Adds an asset. Assets are added in the order of their ids.
    pub fn add_asset(&mut self, asset: Asset) {
        assert!(asset.id.0 as usize == self.assets.len() + 1 && asset.id.0 <= ASSETS_MAX, "asset ids are dense");
        assert!(asset.scale <= ASSET_SCALE_MAX);
        self.assets.push(asset);
    }

    /// Adds a market, after all that have lower ids and were not removed, or replaces the rules of a known one.
    pub fn set_market(&mut self, rules: MarketRules) {
        let asset = |id: AssetId| *self.assets.get(idx(id.0)).expect("a market's assets are added before it");
        let instrument = Instrument { rules, base: asset(rules.base), quote: asset(rules.quote) };
        let at = idx(rules.id.0);
        assert!(rules.id.0 <= MARKETS_MAX, "an exchange gives no more market ids than that");
        if self.instruments.len() <= at {
            self.instruments.resize(at + 1, None);
        }
        let is_same =
            |before: &Instrument| before.rules.tick_e9 == rules.tick_e9 && before.rules.lot_e8 == rules.lot_e8;
        assert!(self.instruments[at].as_ref().is_none_or(is_same), "tick and lot of a market never change");
        self.instruments[at] = Some(instrument);
    }

    /// The market that a client names, if it exists.
    #[inline]
    pub fn find(&self, id: MarketId) -> Option<&Instrument> {
        if id.is_none() { None } else { self.instruments.get(idx(id.0))?.as_ref() }
    }

    /// The market that an event names. It exists.
    #[inline]
    pub fn at(&self, id: MarketId) -> &Instrument {
        self.instruments[idx(id.0)].as_ref().expect("an event names a market that is there")
    }

    pub fn find_by_symbol(&self, symbol: Symbol) -> Option<&Instrument> {
        self.all().find(|i| i.rules.symbol == symbol)
    }

    pub fn asset(&self, id: AssetId) -> Option<&Asset> {
        if id.is_none() { None } else { self.assets.get(idx(id.0)) }
    }

    pub fn find_asset(&self, symbol: Symbol) -> Option<&Asset> {
        self.assets.iter().find(|a| a.symbol == symbol)
    }

    /// In the order of ids.
    pub fn assets(&self) -> &[Asset] {
        &self.assets
    }

    /// In the order of ids.
    pub fn all(&self) -> impl Iterator<Item = &Instrument> {
        self.instruments.iter().flatten()
    }
}

#[inline]
fn idx(id: u32) -> usize {
    assert!(0 < id, "0 is not an id");
    id as usize - 1
}

impl Instrument {
    pub fn id(&self) -> MarketId {
        self.rules.id
    }

    /// A price in ticks. It must be above zero and a multiple of the tick.
    #[inline]
    pub fn price_ticks(&self, price: PriceE9) -> Result<PriceTicks, RejectReason> {
        let price = u64::try_from(price.0).map_err(|_| RejectReason::PriceTick)?;
        let ticks = price / self.rules.tick_e9;
        if ticks == 0 || ticks * self.rules.tick_e9 != price {
            return Err(RejectReason::PriceTick);
        }
        u32::try_from(ticks).map(PriceTicks).map_err(|_| RejectReason::PriceTick)
    }

    /// A quantity in lots. It must be above zero and a multiple of the lot. The engine checks the market's limits.
    #[inline]
    pub fn qty_lots(&self, qty: QtyE8) -> Result<QtyLots, RejectReason> {
        let qty = u64::try_from(qty.0).map_err(|_| RejectReason::QtyRange)?;
        if qty == 0 {
            return Err(RejectReason::QtyRange);
        }
        let lots = qty / self.rules.lot_e8;
        if lots * self.rules.lot_e8 != qty {
            return Err(RejectReason::QtyStep);
        }
        debug_assert!(lots <= QTY_LOTS_MAX);
        Ok(QtyLots(lots))
    }

    #[inline]
    pub fn price_e9(&self, price: PriceTicks) -> PriceE9 {
        PriceE9(saturated(u64::from(price.0), self.rules.tick_e9))
    }

    #[inline]
    pub fn qty_e8(&self, qty: QtyLots) -> QtyE8 {
        QtyE8(saturated(qty.0, self.rules.lot_e8))
    }

    /// What an order loses on the wire when its open quantity falls: the difference of the two values that a reader
    /// sees. It is zero when both are `WIRE_AMOUNT_MAX`.
    #[inline]
    pub fn qty_e8_less(&self, before: QtyLots, after: QtyLots) -> QtyE8 {
        let (before, after) = (self.qty_e8(before).0, self.qty_e8(after).0);
        assert!(after <= before, "the open quantity of an order falls");
        QtyE8(before - after)
    }

    /// A quantity of any size, for text.
    pub fn qty_exact(&self, qty: QtyLots) -> Fixed {
        Fixed { value: i128::from(qty.0) * i128::from(self.rules.lot_e8), scale: QTY_WIRE_SCALE }
    }

    /// A price of any size, for text.
    pub fn price_exact(&self, price: PriceTicks) -> Fixed {
        Fixed { value: i128::from(price.0) * i128::from(self.rules.tick_e9), scale: PRICE_WIRE_SCALE }
    }
}

/// An amount that is not below zero, at most `WIRE_AMOUNT_MAX`: the sum over a price level, for example.
#[inline]
pub fn saturated_sum(sum: i128) -> i64 {
    debug_assert!(0 <= sum);
    i64::try_from(sum).unwrap_or(WIRE_AMOUNT_MAX).min(WIRE_AMOUNT_MAX)
}

/// `count * step`, at most `WIRE_AMOUNT_MAX`.
#[inline]
fn saturated(count: u64, step: u64) -> i64 {
    let product = count.checked_mul(step).and_then(|product| i64::try_from(product).ok());
    product.unwrap_or(WIRE_AMOUNT_MAX).min(WIRE_AMOUNT_MAX)
}

/// The smallest unit of an asset, in 1e-8.
#[inline]
fn unit_e8(asset: &Asset) -> u64 {
    debug_assert!(asset.scale <= ASSET_SCALE_MAX);
    10u64.pow(QTY_WIRE_SCALE - u32::from(asset.scale))
}

/// An amount in units of an asset. It must be above zero and a multiple of the unit.
#[inline]
pub fn units_of(amount: QtyE8, asset: &Asset) -> Result<Units, RejectReason> {
    let amount = u64::try_from(amount.0).map_err(|_| RejectReason::QtyRange)?;
    if amount == 0 {
        return Err(RejectReason::QtyRange);
    }
    let unit = unit_e8(asset);
    if amount.is_multiple_of(unit) { Ok(Units(amount / unit)) } else { Err(RejectReason::QtyStep) }
}

#[inline]
pub fn fee_e8(fee: FeeUnits, asset: &Asset) -> QtyE8 {
    let amount = saturated(fee.0.unsigned_abs(), unit_e8(asset));
    QtyE8(if fee.0 < 0 { -amount } else { amount })
}
