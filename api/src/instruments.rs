//! What the wire needs to know of every market: its grid, its assets, its names.
//!
//! Filled from the book's own events, so that it says what the log says. Ids are dense, hence tables by index: no lookup
//! on the pinned core hashes. Wire numbers become ticks and lots here, and nothing off the grid gets through.

use crate::decimal::{PriceE9, QtyE8};
use book::event::Event;
use book::ids::{AssetId, MarketId, Symbol};
use book::instrument::{ASSET_SCALE_MAX, ASSETS_MAX, Asset, MARKETS_MAX, MarketRules, QTY_WIRE_SCALE};
use book::reject::RejectReason;
use book::units::{FeeUnits, PriceTicks, QTY_LOTS_MAX, QtyLots, Units};

/// Largest amount or price that is written. What is above (only a market with absurd limits gets there) is written as
/// this, and `i64::MAX` stays what it means in a price: none.
pub const WIRE_AMOUNT_MAX: i64 = i64::MAX - 1;

const _: () = assert!(ASSET_SCALE_MAX as u32 <= QTY_WIRE_SCALE);

/// A market as the wire sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instrument {
    pub rules: MarketRules,
    pub base: Asset,
    pub quote: Asset,
}

/// All assets and markets that the log has announced.
#[derive(Clone, Debug, Default)]
pub struct Instruments {
    /// By id, the first element belongs to id 1.
    assets: Vec<Asset>,
    instruments: Vec<Instrument>,
}

impl Instruments {
    /// Takes in what an event says about assets and markets; others are ignored. Apply before encoding the same event.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::AssetAdded(asset) => self.add_asset(*asset),
            Event::MarketAdded(rules) | Event::MarketRulesChanged(rules) => self.set_market(*rules),
            Event::MarketStatusChanged { market, status } => {
                self.instruments[idx(market.0)].rules.status = *status;
            }
            _ => {}
        }
    }

    /// Assets come in order of their ids.
    pub fn add_asset(&mut self, asset: Asset) {
        assert!(asset.id.0 as usize == self.assets.len() + 1 && asset.id.0 <= ASSETS_MAX, "asset ids are dense");
        assert!(asset.scale <= ASSET_SCALE_MAX);
        self.assets.push(asset);
    }

    /// A new market, which comes in order of ids, or new rules of a known one.
    pub fn set_market(&mut self, rules: MarketRules) {
        let asset = |id: AssetId| *self.assets.get(idx(id.0)).expect("a market's assets were announced before it");
        let instrument = Instrument { rules, base: asset(rules.base), quote: asset(rules.quote) };
        let at = idx(rules.id.0);
        assert!(at <= self.instruments.len() && rules.id.0 <= MARKETS_MAX, "market ids are dense");
        if at == self.instruments.len() {
            self.instruments.push(instrument);
        } else {
            let before = &self.instruments[at].rules;
            assert!(before.tick_e9 == rules.tick_e9 && before.lot_e8 == rules.lot_e8, "a grid never changes");
            self.instruments[at] = instrument;
        }
    }

    /// A market named by a client, which may name anything.
    #[inline]
    pub fn find(&self, id: MarketId) -> Option<&Instrument> {
        if id.is_none() { None } else { self.instruments.get(idx(id.0)) }
    }

    /// A market named by an event, which exists.
    #[inline]
    pub fn at(&self, id: MarketId) -> &Instrument {
        &self.instruments[idx(id.0)]
    }

    pub fn find_by_symbol(&self, symbol: Symbol) -> Option<&Instrument> {
        self.instruments.iter().find(|i| i.rules.symbol == symbol)
    }

    pub fn asset(&self, id: AssetId) -> Option<&Asset> {
        if id.is_none() { None } else { self.assets.get(idx(id.0)) }
    }

    pub fn find_asset(&self, symbol: Symbol) -> Option<&Asset> {
        self.assets.iter().find(|a| a.symbol == symbol)
    }

    /// By id.
    pub fn assets(&self) -> &[Asset] {
        &self.assets
    }

    /// By id.
    pub fn all(&self) -> &[Instrument] {
        &self.instruments
    }
}

#[inline]
fn idx(id: u32) -> usize {
    assert!(0 < id, "an id of zero names nothing");
    id as usize - 1
}

impl Instrument {
    pub fn id(&self) -> MarketId {
        self.rules.id
    }

    /// A price on this market's grid, above zero.
    #[inline]
    pub fn price_ticks(&self, price: PriceE9) -> Result<PriceTicks, RejectReason> {
        let price = u64::try_from(price.0).map_err(|_| RejectReason::PriceTick)?;
        let ticks = price / self.rules.tick_e9;
        if ticks == 0 || ticks * self.rules.tick_e9 != price {
            return Err(RejectReason::PriceTick);
        }
        u32::try_from(ticks).map(PriceTicks).map_err(|_| RejectReason::PriceTick)
    }

    /// A quantity of whole lots, above zero. The market's own minimum and maximum are the engine's to check.
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
}

/// `count * step`, or the largest amount that is written.
#[inline]
fn saturated(count: u64, step: u64) -> i64 {
    let product = count.checked_mul(step).and_then(|product| i64::try_from(product).ok());
    product.unwrap_or(WIRE_AMOUNT_MAX).min(WIRE_AMOUNT_MAX)
}

/// One of an asset's units in 1e-8, by its decimal places.
#[inline]
fn unit_e8(asset: &Asset) -> u64 {
    debug_assert!(asset.scale <= ASSET_SCALE_MAX);
    10u64.pow(QTY_WIRE_SCALE - u32::from(asset.scale))
}

/// An amount in 1e-8 as units of an asset: above zero and without parts of a unit.
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
pub fn amount_e8(units: Units, asset: &Asset) -> QtyE8 {
    QtyE8(saturated(units.0, unit_e8(asset)))
}

#[inline]
pub fn fee_e8(fee: FeeUnits, asset: &Asset) -> QtyE8 {
    let amount = saturated(fee.0.unsigned_abs(), unit_e8(asset));
    QtyE8(if fee.0 < 0 { -amount } else { amount })
}
