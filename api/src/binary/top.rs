//! The best levels of a book as conflated updates: the messages of the session `TOP`.
//!
//! An update carries the difference between the levels now and those of the reader's last update, however many changes
//! lie between the two; a slow reader gets fewer updates, not older ones. The first update carries all levels.
//! Invariants: a reader that applies every update has the best `TOP_LEVELS_MAX` levels as of `lastRptSeq`, and the next
//! update begins with the number after it.

use crate::binary::depth::{DepthBook, Level};
use crate::binary::market::{
    Bbo, FLAG_LAST_IN_EVENT, LEVELS_PER_UPDATE_MAX, LevelEntry, LevelUpdate, write_level_update,
};
use crate::binary::orders::side_code;
use crate::binary::sbe::PRICE_NULL;
use crate::mutation::{Mutation, Planted};
use book::command::Side;
use book::units::TsNs;
use zerocopy::little_endian::{I64, U32, U64};

/// Levels of a side that `TOP` carries. Twice as many can change at once: all old ones removed, all new ones added.
pub const TOP_LEVELS_MAX: usize = 20;

const _: () = assert!(4 * TOP_LEVELS_MAX <= LEVELS_PER_UPDATE_MAX);

const NO_LEVEL: Level = Level { price_e9: PRICE_NULL, qty_e8: 0, orders: 0 };

/// The best price and its quantity on both sides. An empty side has a null price and quantity zero.
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

/// The levels of one instrument as of a reader's last update.
#[derive(Clone, Debug, Default)]
pub struct TopState {
    rpt_seq: u64,
    /// Best price first.
    buys: Vec<Level>,
    sells: Vec<Level>,
}

impl TopState {
    /// Writes the changes since the last call to `out`, which has room for `LEVEL_UPDATE_BYTES_MAX` bytes. Returns the
    /// length of the update; `None` when no level has changed.
    pub fn update(&mut self, book: &DepthBook, ts: TsNs, out: &mut [u8]) -> Option<usize> {
        let mut entries = [entry(Side::Buy, NO_LEVEL); 4 * TOP_LEVELS_MAX];
        let mut len = 0;
        assert!(self.rpt_seq <= book.rpt_seq(), "a book moves forward between two updates");
        for (side, sent) in [(Side::Buy, &mut self.buys), (Side::Sell, &mut self.sells)] {
            differences(side, sent, book, &mut |entry| {
                entries[len] = entry;
                len += 1;
            });
            sent.clear();
            sent.extend(book.top(side, TOP_LEVELS_MAX));
        }
        if len == 0 {
            // Changes below the best levels have no update of their own: the next one covers them, so that the numbers
            // of a reader's updates have no gap.
            self.rpt_seq = self.rpt_seq.planted(Mutation::TopLeavesGap, |_| book.rpt_seq());
            return None;
        }
        let first_rpt_seq = self.rpt_seq.saturating_add(1);
        self.rpt_seq = book.rpt_seq();
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

/// The levels that are new or have changed, then those that have left the best ones, with quantity zero.
fn differences(side: Side, sent: &[Level], book: &DepthBook, see: &mut impl FnMut(LevelEntry)) {
    for level in book.top(side, TOP_LEVELS_MAX) {
        if !sent.contains(&level) {
            see(entry(side, level));
        }
    }
    for level in sent {
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
