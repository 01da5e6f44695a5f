//! The best levels of a book, told as differences: the conflatable session `TOP`.
//!
//! A slow reader is not waited for: whenever it can take more, it gets what changed since it was last told, however much
//! happened between. Its first update carries all levels.

use crate::binary::depth::{DepthBook, Level};
use crate::binary::feed::side_code;
use crate::binary::market::{
    Bbo, FLAG_LAST_IN_EVENT, LEVELS_PER_UPDATE_MAX, LevelEntry, LevelUpdate, write_level_update,
};
use crate::binary::sbe::PRICE_NULL;
use book::command::Side;
use book::units::TsNs;
use zerocopy::little_endian::{I64, U32, U64};

/// Levels of a side that `TOP` carries. Twice as many may change at once: all old ones go, all new ones come.
pub const TOP_LEVELS_MAX: usize = 20;

const _: () = assert!(4 * TOP_LEVELS_MAX <= LEVELS_PER_UPDATE_MAX);

const NO_LEVEL: Level = Level { price_e9: PRICE_NULL, qty_e8: 0, orders: 0 };

/// The best price and quantity of both sides; an empty side has a null price and no quantity.
pub fn bbo(book: &DepthBook, ts: TsNs) -> Bbo {
    let best = |side| book.levels(side).next().unwrap_or(NO_LEVEL);
    let (bid, ask) = (best(Side::Buy), best(Side::Sell));
    Bbo {
        event_time_ns: U64::new(ts.0),
        bid_px_e9: I64::new(bid.price_e9),
        bid_qty_e8: I64::new(bid.qty_e8),
        ask_px_e9: I64::new(ask.price_e9),
        ask_qty_e8: I64::new(ask.qty_e8),
        rpt_seq: U64::new(book.rpt_seq()),
        instrument_id: U32::new(book.instrument()),
        pad: [0; 4],
    }
}

/// What one reader was last told about one instrument.
#[derive(Clone, Debug, Default)]
pub struct TopState {
    rpt_seq: u64,
    /// Best first.
    buys: Vec<Level>,
    sells: Vec<Level>,
}

impl TopState {
    /// Writes what changed since the last call into `out` (`LEVEL_UPDATE_BYTES_MAX` bytes); `None` when nothing did.
    pub fn update(&mut self, book: &DepthBook, ts: TsNs, out: &mut [u8]) -> Option<usize> {
        let mut entries = [entry(Side::Buy, NO_LEVEL); 4 * TOP_LEVELS_MAX];
        let mut len = 0;
        for (side, told) in [(Side::Buy, &mut self.buys), (Side::Sell, &mut self.sells)] {
            differences(side, told, book, &mut |entry| {
                entries[len] = entry;
                len += 1;
            });
            told.clear();
            told.extend(book.top(side, TOP_LEVELS_MAX));
        }
        let first_rpt_seq = self.rpt_seq.saturating_add(1);
        self.rpt_seq = book.rpt_seq();
        if len == 0 {
            return None;
        }
        let update = LevelUpdate {
            event_time_ns: U64::new(ts.0),
            first_rpt_seq: U64::new(first_rpt_seq),
            last_rpt_seq: U64::new(book.rpt_seq()),
            instrument_id: U32::new(book.instrument()),
            flags: FLAG_LAST_IN_EVENT,
            pad: [0; 3],
        };
        Some(write_level_update(update, &entries[..len], out))
    }
}

/// Levels that are new or other than told, and those that were told and left the top.
fn differences(side: Side, told: &[Level], book: &DepthBook, see: &mut impl FnMut(LevelEntry)) {
    for level in book.top(side, TOP_LEVELS_MAX) {
        if !told.contains(&level) {
            see(entry(side, level));
        }
    }
    for level in told {
        if !book.top(side, TOP_LEVELS_MAX).any(|now| now.price_e9 == level.price_e9) {
            see(entry(side, Level { price_e9: level.price_e9, qty_e8: 0, orders: 0 }));
        }
    }
}

fn entry(side: Side, level: Level) -> LevelEntry {
    LevelEntry {
        price_e9: I64::new(level.price_e9),
        qty_e8: I64::new(level.qty_e8),
        orders: U32::new(level.orders),
        side: side_code(side),
        pad: [0; 3],
    }
}
