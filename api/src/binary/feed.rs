//! Events to the public feed: every order that rests, every change of it and every trade, without the owners.
//!
//! Invariants: `rptSeq` of an instrument grows by one with every message that changes its book; the last message of a
//! command that has flags carries `lastInEvent`, and only after that message is the book certain not to be crossed.

use crate::binary::market::*;
use crate::binary::orders::side_code;
use crate::decimal::QtyE8;
use crate::instruments::{Instrument, Instruments};
use book::command::MarketStatus;
use book::event::{Amended, Event, Fill, Rested};
use book::ids::{MarketId, OrderId, Symbol};
use book::units::{PriceTicks, QtyLots, Stamp, TsNs};
use zerocopy::little_endian::{I64, U32, U64};

/// Encodes the events of commands as public messages.
///
/// The newest message is held until the next one or the end of the command, because `lastInEvent` depends on which of
/// the two follows. An order that has lost its place in the queue is held until the next event, which shows whether it
/// rests again (`OrderReplace`) or is gone (`OrderDelete`).
#[derive(Clone, Debug, Default)]
pub struct FeedEncoder {
    /// Last `rptSeq` by market; the first element belongs to market 1.
    rpt_seqs: Vec<u64>,
    held: Option<MarketMessage>,
    moving: Option<Moving>,
}

/// An order that an amendment has taken out of its queue.
#[derive(Clone, Copy, Debug)]
struct Moving {
    order_id: OrderId,
    market: MarketId,
}

impl FeedEncoder {
    /// Continues a feed after the given numbers, which `rpt_seqs` returned.
    pub fn resume(rpt_seqs: Vec<u64>) -> Self {
        Self { rpt_seqs, held: None, moving: None }
    }

    /// The last `rptSeq` by market; the first element belongs to market 1.
    pub fn rpt_seqs(&self) -> &[u64] {
        &self.rpt_seqs
    }

    /// Encodes all events of one command, which have been applied to `instruments` before.
    pub fn encode<'e>(
        &mut self,
        stamp: Stamp,
        events: impl IntoIterator<Item = &'e Event>,
        instruments: &Instruments,
        out: &mut impl FnMut(&[u8]),
    ) {
        for event in events {
            self.push(stamp, event, instruments, out);
        }
        self.finish(stamp, out);
    }

    /// Encodes one event of a command. Call `finish` after the last one.
    pub fn push(&mut self, stamp: Stamp, event: &Event, instruments: &Instruments, out: &mut impl FnMut(&[u8])) {
        // Only some engines emit transfers, and all of them must produce the same feed.
        if matches!(event, Event::Transfer(_)) {
            return;
        }
        if let Some(moving) = self.moving.take() {
            match event {
                Event::Rested(e) if e.order_id == moving.order_id => {
                    let instrument = instruments.at(e.market);
                    let message = self.replaced(stamp.ts, e, instrument);
                    return self.emit(message, out);
                }
                _ => self.delete(stamp.ts, moving, out),
            }
        }
        self.push_event(stamp.ts, event, instruments, out);
    }

    /// Ends the command: the held message goes out as its last.
    pub fn finish(&mut self, stamp: Stamp, out: &mut impl FnMut(&[u8])) {
        if let Some(moving) = self.moving.take() {
            self.delete(stamp.ts, moving, out);
        }
        if let Some(mut last) = self.held.take() {
            if let Some(flags) = flags_mut(&mut last) {
                *flags |= FLAG_LAST_IN_EVENT;
            }
            last.write(out);
        }
    }

    fn push_event(&mut self, ts: TsNs, event: &Event, instruments: &Instruments, out: &mut impl FnMut(&[u8])) {
        match event {
            Event::Rested(e) => {
                let message = self.added(ts, e, instruments.at(e.market));
                self.emit(message, out);
            }
            Event::Fill(e) => {
                let message = self.executed(ts, e, instruments.at(e.market));
                self.emit(message, out);
            }
            Event::Reduced(e) if e.was_resting => {
                let before = QtyLots(e.leaves.0 + e.qty.0);
                let canceled = instruments.at(e.market).qty_e8_less(before, e.leaves);
                self.reduced(ts, e.order_id, e.market, canceled, out);
            }
            Event::Amended(e) => self.amended(ts, e, instruments, out),
            Event::Canceled(e) if e.was_resting => {
                self.delete(ts, Moving { order_id: e.order_id, market: e.market }, out);
            }
            Event::MarketAdded(rules) | Event::MarketRulesChanged(rules) => {
                let rpt_seq = *self.rpt_seq(rules.id);
                let message = definition(instruments.at(rules.id), ts, rpt_seq, 0);
                self.emit(message.into(), out);
            }
            Event::MarketStatusChanged { market, status } => self.emit(trading_status(ts, *market, *status), out),
            _ => {}
        }
    }

    fn amended(&mut self, ts: TsNs, e: &Amended, instruments: &Instruments, out: &mut impl FnMut(&[u8])) {
        if !e.kept_priority {
            self.moving = Some(Moving { order_id: e.order_id, market: e.market });
            return;
        }
        assert!(e.leaves <= e.leaves_before, "an order that keeps its place in the queue does not grow");
        let canceled = instruments.at(e.market).qty_e8_less(e.leaves_before, e.leaves);
        self.reduced(ts, e.order_id, e.market, canceled, out);
    }

    fn delete(&mut self, ts: TsNs, gone: Moving, out: &mut impl FnMut(&[u8])) {
        let message = OrderDelete {
            event_time_ns: U64::new(ts.0),
            order_id: U64::new(gone.order_id.0),
            rpt_seq: self.next_rpt_seq(gone.market),
            instrument_id: U32::new(gone.market.0),
            flags: 0,
            pad: [0; 3],
        };
        self.emit(message.into(), out);
    }

    /// An order that stays has become smaller. There is nothing to publish where a reader sees the same quantity as
    /// before: an amendment that changes only the client order id, or an order that still has more than the wire shows.
    fn reduced(&mut self, ts: TsNs, order_id: OrderId, market: MarketId, canceled: QtyE8, out: &mut impl FnMut(&[u8])) {
        if canceled.0 == 0 {
            return;
        }
        let message = OrderReduce {
            event_time_ns: U64::new(ts.0),
            order_id: U64::new(order_id.0),
            canceled_qty_e8: I64::new(canceled.0),
            rpt_seq: self.next_rpt_seq(market),
            instrument_id: U32::new(market.0),
            flags: 0,
            pad: [0; 3],
        };
        self.emit(message.into(), out);
    }

    fn added(&mut self, ts: TsNs, e: &Rested, instrument: &Instrument) -> MarketMessage {
        let (price, qty) = wire_terms(instrument, e.price, e.qty);
        let message = OrderAdd {
            event_time_ns: U64::new(ts.0),
            order_id: U64::new(e.order_id.0),
            price_e9: price,
            qty_e8: qty,
            rpt_seq: self.next_rpt_seq(e.market),
            instrument_id: U32::new(e.market.0),
            side: side_code(e.side),
            flags: 0,
            pad: [0; 2],
        };
        message.into()
    }

    fn replaced(&mut self, ts: TsNs, e: &Rested, instrument: &Instrument) -> MarketMessage {
        let (price, qty) = wire_terms(instrument, e.price, e.qty);
        let message = OrderReplace {
            event_time_ns: U64::new(ts.0),
            order_id: U64::new(e.order_id.0),
            new_order_id: U64::new(e.order_id.0),
            price_e9: price,
            qty_e8: qty,
            rpt_seq: self.next_rpt_seq(e.market),
            instrument_id: U32::new(e.market.0),
            flags: 0,
            pad: [0; 3],
        };
        message.into()
    }

    fn executed(&mut self, ts: TsNs, e: &Fill, instrument: &Instrument) -> MarketMessage {
        let (price, qty) = wire_terms(instrument, e.price, e.qty);
        let message = OrderExecuted {
            event_time_ns: U64::new(ts.0),
            order_id: U64::new(e.maker.order_id.0),
            trade_id: U64::new(e.trade_id.0),
            price_e9: price,
            qty_e8: qty,
            leaves_qty_e8: I64::new(instrument.qty_e8(e.maker.leaves).0),
            rpt_seq: self.next_rpt_seq(e.market),
            instrument_id: U32::new(e.market.0),
            aggressor: side_code(e.taker_side),
            flags: 0,
            pad: [0; 2],
        };
        message.into()
    }

    /// Holds a message and writes the one that was held before it.
    #[inline]
    fn emit(&mut self, message: MarketMessage, out: &mut impl FnMut(&[u8])) {
        if let Some(before) = self.held.replace(message) {
            before.write(out);
        }
    }

    fn next_rpt_seq(&mut self, market: MarketId) -> U64 {
        let rpt_seq = self.rpt_seq(market);
        *rpt_seq = rpt_seq.checked_add(1).expect("an instrument has fewer messages than 64 bits can count");
        U64::new(*rpt_seq)
    }

    fn rpt_seq(&mut self, market: MarketId) -> &mut u64 {
        assert!(!market.is_none(), "an event names its market");
        let idx = market.0 as usize - 1;
        // Grows only when a market is announced, which is not on the hot path.
        if self.rpt_seqs.len() <= idx {
            self.rpt_seqs.resize(idx + 1, 0);
        }
        &mut self.rpt_seqs[idx]
    }
}

/// The definition of a market, for the live stream and for snapshots.
pub fn definition(instrument: &Instrument, ts: TsNs, rpt_seq: u64, flags: u8) -> InstrumentDefinition {
    let rules = &instrument.rules;
    InstrumentDefinition {
        event_time_ns: U64::new(ts.0),
        symbol: name_of(rules.symbol),
        base_asset: name_of(instrument.base.symbol),
        quote_asset: name_of(instrument.quote.symbol),
        tick_size_e9: I64::new(instrument.price_e9(PriceTicks(1)).0),
        lot_size_e8: I64::new(instrument.qty_e8(QtyLots(1)).0),
        min_qty_e8: I64::new(instrument.qty_e8(rules.limits.qty_min).0),
        max_qty_e8: I64::new(instrument.qty_e8(rules.limits.qty_max).0),
        instrument_id: U32::new(rules.id.0),
        state: state_code(rules.status),
        flags,
        base_scale: instrument.base.scale,
        quote_scale: instrument.quote.scale,
        rpt_seq: U64::new(rpt_seq),
    }
}

fn trading_status(ts: TsNs, market: MarketId, status: MarketStatus) -> MarketMessage {
    let message = TradingStatus {
        event_time_ns: U64::new(ts.0),
        instrument_id: U32::new(market.0),
        state: state_code(status),
        flags: 0,
        pad: [0; 2],
    };
    message.into()
}

fn wire_terms(instrument: &Instrument, price: PriceTicks, qty: QtyLots) -> (I64, I64) {
    (I64::new(instrument.price_e9(price).0), I64::new(instrument.qty_e8(qty).0))
}

/// The code of a market's status.
pub fn state_code(status: MarketStatus) -> u8 {
    match status {
        MarketStatus::Trading => STATE_TRADING,
        MarketStatus::Halt => STATE_HALT,
        MarketStatus::CancelOnly => STATE_CANCEL_ONLY,
        MarketStatus::PostOnly => STATE_POST_ONLY,
        MarketStatus::Closed => STATE_CLOSED,
    }
}

/// A symbol as the fixed text of the schema, padded with zeros.
pub fn name_of(symbol: Symbol) -> Name {
    let text = symbol.as_str().as_bytes();
    let mut name = Name::default();
    name[..text.len()].copy_from_slice(text);
    name
}

fn flags_mut(message: &mut MarketMessage) -> Option<&mut u8> {
    Some(match message {
        MarketMessage::InstrumentDefinition(m) => &mut m.flags,
        MarketMessage::TradingStatus(m) => &mut m.flags,
        MarketMessage::OrderAdd(m) => &mut m.flags,
        MarketMessage::OrderReduce(m) => &mut m.flags,
        MarketMessage::OrderDelete(m) => &mut m.flags,
        MarketMessage::OrderReplace(m) => &mut m.flags,
        MarketMessage::OrderExecuted(m) => &mut m.flags,
        _ => return None,
    })
}
