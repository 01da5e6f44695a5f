//! The messages of market data (schema 702): their layouts, and the codes in their fields.
//!
//! Units are in the names as in `orders`. `rptSeq` numbers the messages that change an instrument's book, without gaps.
//! `docs/protocol/MARKET-DATA.md` describes every field, `docs/protocol/pinion-market.xml` is the schema.

use crate::binary::sbe::{
    Block, Framed, GROUP_SIZE_BYTES, GroupSize, HEADER_BYTES, SbeError, message_set, wire_message,
};
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};

pub const MARKET_SCHEMA: u16 = 702;

/// The name of an instrument or asset: ASCII, padded with zeros.
pub type Name = [u8; crate::binary::sbe::NAME_BYTES];

/// A bit of `flags`: the last message of a command. After it the book is complete and not crossed.
pub const FLAG_LAST_IN_EVENT: u8 = 1 << 0;
/// A bit of `flags`: the message is part of a snapshot.
pub const FLAG_SNAPSHOT: u8 = 1 << 1;

/// `state`.
pub const STATE_PRE_OPEN: u8 = 1;
pub const STATE_TRADING: u8 = 2;
pub const STATE_HALT: u8 = 3;
pub const STATE_CANCEL_ONLY: u8 = 4;
pub const STATE_CLOSED: u8 = 5;
pub const STATE_POST_ONLY: u8 = 6;

wire_message! {
    InstrumentDefinition in MARKET_SCHEMA, template 1, block INSTRUMENT_DEFINITION_BLOCK = 104 {
        event_time_ns / "eventTime": U64 = 0,
        symbol / "symbol": Name = 8,
        base_asset / "baseAsset": Name = 24,
        quote_asset / "quoteAsset": Name = 40,
        tick_size_e9 / "tickSize": I64 = 56,
        lot_size_e8 / "lotSize": I64 = 64,
        min_qty_e8 / "minQty": I64 = 72,
        max_qty_e8 / "maxQty": I64 = 80,
        instrument_id / "instrumentId": U32 = 88,
        state / "state": u8 = 92,
        flags / "flags": u8 = 93,
        base_scale / "baseScale": u8 = 94,
        quote_scale / "quoteScale": u8 = 95,
        rpt_seq / "rptSeq": U64 = 96,
    }
}

wire_message! {
    TradingStatus in MARKET_SCHEMA, template 2, block TRADING_STATUS_BLOCK = 16 {
        event_time_ns / "eventTime": U64 = 0,
        instrument_id / "instrumentId": U32 = 8,
        state / "state": u8 = 12,
        flags / "flags": u8 = 13,
        ; pad 2 at 14
    }
}

wire_message! {
    OrderAdd in MARKET_SCHEMA, template 10, block ORDER_ADD_BLOCK = 48 {
        event_time_ns / "eventTime": U64 = 0,
        order_id / "orderId": U64 = 8,
        price_e9 / "price": I64 = 16,
        qty_e8 / "qty": I64 = 24,
        rpt_seq / "rptSeq": U64 = 32,
        instrument_id / "instrumentId": U32 = 40,
        side / "side": u8 = 44,
        flags / "flags": u8 = 45,
        ; pad 2 at 46
    }
}

wire_message! {
    OrderReduce in MARKET_SCHEMA, template 11, block ORDER_REDUCE_BLOCK = 40 {
        event_time_ns / "eventTime": U64 = 0,
        order_id / "orderId": U64 = 8,
        canceled_qty_e8 / "canceledQty": I64 = 16,
        rpt_seq / "rptSeq": U64 = 24,
        instrument_id / "instrumentId": U32 = 32,
        flags / "flags": u8 = 36,
        ; pad 3 at 37
    }
}

wire_message! {
    OrderDelete in MARKET_SCHEMA, template 12, block ORDER_DELETE_BLOCK = 32 {
        event_time_ns / "eventTime": U64 = 0,
        order_id / "orderId": U64 = 8,
        rpt_seq / "rptSeq": U64 = 16,
        instrument_id / "instrumentId": U32 = 24,
        flags / "flags": u8 = 28,
        ; pad 3 at 29
    }
}

wire_message! {
    OrderReplace in MARKET_SCHEMA, template 13, block ORDER_REPLACE_BLOCK = 56 {
        event_time_ns / "eventTime": U64 = 0,
        order_id / "orderId": U64 = 8,
        new_order_id / "newOrderId": U64 = 16,
        price_e9 / "price": I64 = 24,
        qty_e8 / "qty": I64 = 32,
        rpt_seq / "rptSeq": U64 = 40,
        instrument_id / "instrumentId": U32 = 48,
        flags / "flags": u8 = 52,
        ; pad 3 at 53
    }
}

wire_message! {
    OrderExecuted in MARKET_SCHEMA, template 14, block ORDER_EXECUTED_BLOCK = 64 {
        event_time_ns / "eventTime": U64 = 0,
        order_id / "orderId": U64 = 8,
        trade_id / "tradeId": U64 = 16,
        price_e9 / "price": I64 = 24,
        qty_e8 / "qty": I64 = 32,
        leaves_qty_e8 / "leavesQty": I64 = 40,
        rpt_seq / "rptSeq": U64 = 48,
        instrument_id / "instrumentId": U32 = 56,
        aggressor / "aggressor": u8 = 60,
        flags / "flags": u8 = 61,
        ; pad 2 at 62
    }
}

wire_message! {
    Bbo in MARKET_SCHEMA, template 20, block BBO_BLOCK = 56 {
        event_time_ns / "eventTime": U64 = 0,
        bid_px_e9 / "bidPx": I64 = 8,
        bid_qty_e8 / "bidQty": I64 = 16,
        ask_px_e9 / "askPx": I64 = 24,
        ask_qty_e8 / "askQty": I64 = 32,
        rpt_seq / "rptSeq": U64 = 40,
        instrument_id / "instrumentId": U32 = 48,
        ; pad 4 at 52
    }
}

wire_message! {
    LevelUpdate in MARKET_SCHEMA, template 21, block LEVEL_UPDATE_BLOCK = 32 {
        event_time_ns / "eventTime": U64 = 0,
        first_rpt_seq / "firstRptSeq": U64 = 8,
        last_rpt_seq / "lastRptSeq": U64 = 16,
        instrument_id / "instrumentId": U32 = 24,
        flags / "flags": u8 = 28,
        ; pad 3 at 29
    }
}

wire_message! {
    SnapshotBegin in MARKET_SCHEMA, template 100, block SNAPSHOT_BEGIN_BLOCK = 24 {
        event_time_ns / "eventTime": U64 = 0,
        as_of_seq / "asOfSeq": U64 = 8,
        instruments / "instruments": U32 = 16,
        ; pad 4 at 20
    }
}

wire_message! {
    SnapshotEnd in MARKET_SCHEMA, template 101, block SNAPSHOT_END_BLOCK = 24 {
        event_time_ns / "eventTime": U64 = 0,
        as_of_seq / "asOfSeq": U64 = 8,
        orders / "orders": U32 = 16,
        checksum / "checksum": U32 = 20,
    }
}

wire_message! {
    /// One price level of a `LevelUpdate`. An entry of a group, which has no template.
    LevelEntry in MARKET_SCHEMA, template 0, block LEVEL_ENTRY_BLOCK = 24 {
        price_e9 / "price": I64 = 0,
        /// Zero removes the level.
        qty_e8 / "qty": I64 = 8,
        orders / "orders": U32 = 16,
        side / "side": u8 = 20,
        ; pad 3 at 21
    }
}

message_set! {
    /// The messages of the market data port.
    MarketMessage in MARKET_SCHEMA {
        InstrumentDefinition, TradingStatus, OrderAdd, OrderReduce, OrderDelete, OrderReplace, OrderExecuted, Bbo,
        LevelUpdate, SnapshotBegin, SnapshotEnd,
    }
}

/// Largest number of levels in one `LevelUpdate`, both sides together.
pub const LEVELS_PER_UPDATE_MAX: usize = 256;
pub const LEVEL_UPDATE_BYTES_MAX: usize =
    HEADER_BYTES + LEVEL_UPDATE_BLOCK + GROUP_SIZE_BYTES + LEVELS_PER_UPDATE_MAX * LEVEL_ENTRY_BLOCK;

/// Writes an update with its levels to the front of `out` and returns its length in bytes.
///
/// `out` must have room for `LEVEL_UPDATE_BYTES_MAX` bytes, and `levels` hold at most `LEVELS_PER_UPDATE_MAX` levels.
pub fn write_level_update(update: LevelUpdate, levels: &[LevelEntry], out: &mut [u8]) -> usize {
    assert!(levels.len() <= LEVELS_PER_UPDATE_MAX && LEVEL_UPDATE_BYTES_MAX <= out.len());
    let group =
        GroupSize { block_length: U16::new(LEVEL_ENTRY_BLOCK as u16), num_in_group: U16::new(levels.len() as u16) };
    let mut len = 0;
    for part in [Framed::new(update).as_bytes(), group.as_bytes(), levels.as_bytes()] {
        out[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    len
}

/// The levels of a `LevelUpdate` message. Entries may be longer than this version knows; their tails are skipped.
pub fn read_levels(message: &[u8]) -> Result<impl Iterator<Item = LevelEntry> + '_, SbeError> {
    use crate::binary::sbe::Message;
    let block = Block::split(message, MARKET_SCHEMA)?;
    block.body::<LevelUpdate>()?;
    let short = |len| SbeError::ShortBlock { template: LevelUpdate::TEMPLATE, len, expected: LEVEL_ENTRY_BLOCK };
    let (group, entries) = GroupSize::read_from_prefix(block.after_block()).map_err(|_| short(0))?;
    let stride = usize::from(group.block_length.get());
    let len = stride * usize::from(group.num_in_group.get());
    if stride < LEVEL_ENTRY_BLOCK || entries.len() < len {
        return Err(short(stride.min(entries.len())));
    }
    Ok(entries[..len].chunks_exact(stride).filter_map(|entry| LevelEntry::read_from_prefix(entry).ok().map(|(e, _)| e)))
}
