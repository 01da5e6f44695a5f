//! The messages of order entry (schema 701): their layouts, and the codes in their fields.
//!
//! The name of a raw field ends in its unit: `_e9` is a price in 1e-9 of the quote asset, `_e8` an amount in 1e-8 of an
//! asset, `_ns` nanoseconds since 1970. Templates, offsets and codes are published and never change; new ones are added
//! at the end. `docs/protocol/ORDER-ENTRY.md` describes every field, `docs/protocol/pinion-orders.xml` is the schema.

use crate::binary::sbe::{message_set, wire_message};
use book::command::Side;
use zerocopy::little_endian::{I64, U16, U32, U64};

pub const ORDERS_SCHEMA: u16 = 701;

/// `side`. `SIDE_BOTH` exists in requests that select orders, not in orders.
pub const SIDE_BOTH: u8 = 0;
pub const SIDE_BUY: u8 = 1;
pub const SIDE_SELL: u8 = 2;

/// `ordType`.
pub const ORD_TYPE_MARKET: u8 = 1;
pub const ORD_TYPE_LIMIT: u8 = 2;
pub const ORD_TYPE_STOP: u8 = 3;
pub const ORD_TYPE_STOP_LIMIT: u8 = 4;

/// `tif`.
pub const TIF_DAY: u8 = 0;
pub const TIF_GTC: u8 = 1;
pub const TIF_IOC: u8 = 3;
pub const TIF_FOK: u8 = 4;
pub const TIF_GTD: u8 = 6;

/// Bits of `execInst`.
pub const EXEC_POST_ONLY: u8 = 1 << 0;
pub const EXEC_POST_ONLY_REPRICE: u8 = 1 << 1;
pub const EXEC_MMP: u8 = 1 << 2;
pub const EXEC_PERSIST_ON_DISCONNECT: u8 = 1 << 3;
pub const EXEC_HIDDEN: u8 = 1 << 4;
/// The quantity is an amount of the quote asset: market orders only.
pub const EXEC_QUOTE_QTY: u8 = 1 << 5;
pub const EXEC_ALL: u8 = (1 << 6) - 1;

/// `status`.
pub const STATUS_NEW: u8 = 0;
pub const STATUS_PARTIALLY_FILLED: u8 = 1;
pub const STATUS_FILLED: u8 = 2;
pub const STATUS_CANCELED: u8 = 4;
pub const STATUS_REJECTED: u8 = 8;

/// `scope` of a mass cancel and of cancel-on-disconnect.
pub const SCOPE_SESSION: u8 = 1;
pub const SCOPE_ACCOUNT: u8 = 2;
pub const SCOPE_QUOTE_SET: u8 = 3;

/// `liquidity`.
pub const LIQUIDITY_MAKER: u8 = 1;
pub const LIQUIDITY_TAKER: u8 = 2;

/// The code of a side, in both schemas.
pub fn side_code(side: Side) -> u8 {
    match side {
        Side::Buy => SIDE_BUY,
        Side::Sell => SIDE_SELL,
    }
}

/// The side with this code; `None` for any other number.
pub fn side_of(code: u8) -> Option<Side> {
    match code {
        SIDE_BUY => Some(Side::Buy),
        SIDE_SELL => Some(Side::Sell),
        _ => None,
    }
}

wire_message! {
    NewOrder in ORDERS_SCHEMA, template 1, block NEW_ORDER_BLOCK = 80 {
        cl_ord_id / "clOrdId": U64 = 0,
        sending_time_ns / "sendingTime": U64 = 8,
        price_e9 / "price": I64 = 16,
        qty_e8 / "qty": I64 = 24,
        display_qty_e8 / "displayQty": I64 = 32,
        min_qty_e8 / "minQty": I64 = 40,
        expire_time_ns / "expireTime": U64 = 48,
        valid_until_ns / "validUntil": U64 = 56,
        instrument_id / "instrumentId": U32 = 64,
        account / "account": U32 = 68,
        stp_group / "stpGroup": U16 = 72,
        side / "side": u8 = 74,
        ord_type / "ordType": u8 = 75,
        tif / "tif": u8 = 76,
        stp_mode / "stpMode": u8 = 77,
        exec_inst / "execInst": u8 = 78,
        cancel_group / "cancelGroup": u8 = 79,
    }
}

wire_message! {
    ReplaceOrder in ORDERS_SCHEMA, template 2, block REPLACE_ORDER_BLOCK = 64 {
        cl_ord_id / "clOrdId": U64 = 0,
        sending_time_ns / "sendingTime": U64 = 8,
        orig_cl_ord_id / "origClOrdId": U64 = 16,
        order_id / "orderId": U64 = 24,
        price_e9 / "price": I64 = 32,
        qty_e8 / "qty": I64 = 40,
        display_qty_e8 / "displayQty": I64 = 48,
        instrument_id / "instrumentId": U32 = 56,
        exec_inst / "execInst": u8 = 60,
        in_flight_mitigation / "inFlightMitigation": u8 = 61,
        ; pad 2 at 62
    }
}

wire_message! {
    CancelOrder in ORDERS_SCHEMA, template 3, block CANCEL_ORDER_BLOCK = 40 {
        cl_ord_id / "clOrdId": U64 = 0,
        sending_time_ns / "sendingTime": U64 = 8,
        orig_cl_ord_id / "origClOrdId": U64 = 16,
        order_id / "orderId": U64 = 24,
        instrument_id / "instrumentId": U32 = 32,
        ; pad 4 at 36
    }
}

wire_message! {
    MassCancel in ORDERS_SCHEMA, template 4, block MASS_CANCEL_BLOCK = 48 {
        cl_ord_id / "clOrdId": U64 = 0,
        sending_time_ns / "sendingTime": U64 = 8,
        low_price_e9 / "lowPrice": I64 = 16,
        high_price_e9 / "highPrice": I64 = 24,
        instrument_id / "instrumentId": U32 = 32,
        account / "account": U32 = 36,
        scope / "scope": u8 = 40,
        side / "side": u8 = 41,
        cancel_group / "cancelGroup": u8 = 42,
        block_new_orders / "blockNewOrders": u8 = 43,
        quote_set / "quoteSet": U16 = 44,
        ; pad 2 at 46
    }
}

wire_message! {
    MassQuote in ORDERS_SCHEMA, template 5, block MASS_QUOTE_BLOCK = 32 {
        cl_ord_id / "clOrdId": U64 = 0,
        sending_time_ns / "sendingTime": U64 = 8,
        account / "account": U32 = 16,
        quote_set / "quoteSet": U16 = 20,
        stp_group / "stpGroup": U16 = 22,
        stp_mode / "stpMode": u8 = 24,
        exec_inst / "execInst": u8 = 25,
        mmp_reset / "mmpReset": u8 = 26,
        ; pad 5 at 27
    }
}

wire_message! {
    StatusRequest in ORDERS_SCHEMA, template 6, block STATUS_REQUEST_BLOCK = 32 {
        cl_ord_id / "clOrdId": U64 = 0,
        orig_cl_ord_id / "origClOrdId": U64 = 8,
        order_id / "orderId": U64 = 16,
        instrument_id / "instrumentId": U32 = 24,
        account / "account": U32 = 28,
    }
}

wire_message! {
    SetSession in ORDERS_SCHEMA, template 7, block SET_SESSION_BLOCK = 16 {
        cl_ord_id / "clOrdId": U64 = 0,
        cod_window_ms / "codWindowMs": U32 = 8,
        cod_mode / "codMode": u8 = 12,
        cod_scope / "codScope": u8 = 13,
        stage_times / "stageTimes": u8 = 14,
        ; pad 1 at 15
    }
}

wire_message! {
    OrderAccepted in ORDERS_SCHEMA, template 101, block ORDER_ACCEPTED_BLOCK = 88 {
        cl_ord_id / "clOrdId": U64 = 0,
        order_id / "orderId": U64 = 8,
        exec_id / "execId": U64 = 16,
        gateway_in_time_ns / "gatewayInTime": U64 = 24,
        transact_time_ns / "transactTime": U64 = 32,
        price_e9 / "price": I64 = 40,
        qty_e8 / "qty": I64 = 48,
        leaves_qty_e8 / "leavesQty": I64 = 56,
        expire_time_ns / "expireTime": U64 = 64,
        instrument_id / "instrumentId": U32 = 72,
        account / "account": U32 = 76,
        side / "side": u8 = 80,
        ord_type / "ordType": u8 = 81,
        tif / "tif": u8 = 82,
        exec_inst / "execInst": u8 = 83,
        status / "status": u8 = 84,
        ; pad 3 at 85
    }
}

wire_message! {
    OrderRejected in ORDERS_SCHEMA, template 102, block ORDER_REJECTED_BLOCK = 40 {
        cl_ord_id / "clOrdId": U64 = 0,
        exec_id / "execId": U64 = 8,
        gateway_in_time_ns / "gatewayInTime": U64 = 16,
        transact_time_ns / "transactTime": U64 = 24,
        instrument_id / "instrumentId": U32 = 32,
        reason / "reason": U16 = 36,
        ref_template / "refTemplate": U16 = 38,
    }
}

wire_message! {
    OrderExecuted in ORDERS_SCHEMA, template 103, block ORDER_EXECUTED_BLOCK = 112 {
        cl_ord_id / "clOrdId": U64 = 0,
        order_id / "orderId": U64 = 8,
        exec_id / "execId": U64 = 16,
        trade_id / "tradeId": U64 = 24,
        transact_time_ns / "transactTime": U64 = 32,
        last_px_e9 / "lastPx": I64 = 40,
        last_qty_e8 / "lastQty": I64 = 48,
        leaves_qty_e8 / "leavesQty": I64 = 56,
        cum_qty_e8 / "cumQty": I64 = 64,
        fee_e8 / "fee": I64 = 72,
        gateway_in_time_ns / "gatewayInTime": U64 = 80,
        fee_asset / "feeAsset": U32 = 88,
        instrument_id / "instrumentId": U32 = 92,
        account / "account": U32 = 96,
        side / "side": u8 = 100,
        liquidity / "liquidity": u8 = 101,
        status / "status": u8 = 102,
        ; pad 9 at 103
    }
}

wire_message! {
    OrderCanceled in ORDERS_SCHEMA, template 104, block ORDER_CANCELED_BLOCK = 80 {
        cl_ord_id / "clOrdId": U64 = 0,
        req_cl_ord_id / "reqClOrdId": U64 = 8,
        order_id / "orderId": U64 = 16,
        exec_id / "execId": U64 = 24,
        gateway_in_time_ns / "gatewayInTime": U64 = 32,
        transact_time_ns / "transactTime": U64 = 40,
        cum_qty_e8 / "cumQty": I64 = 48,
        canceled_qty_e8 / "canceledQty": I64 = 56,
        instrument_id / "instrumentId": U32 = 64,
        account / "account": U32 = 68,
        side / "side": u8 = 72,
        reason / "reason": u8 = 73,
        status / "status": u8 = 74,
        ; pad 5 at 75
    }
}

wire_message! {
    OrderReplaced in ORDERS_SCHEMA, template 105, block ORDER_REPLACED_BLOCK = 80 {
        cl_ord_id / "clOrdId": U64 = 0,
        orig_cl_ord_id / "origClOrdId": U64 = 8,
        order_id / "orderId": U64 = 16,
        exec_id / "execId": U64 = 24,
        gateway_in_time_ns / "gatewayInTime": U64 = 32,
        transact_time_ns / "transactTime": U64 = 40,
        price_e9 / "price": I64 = 48,
        leaves_qty_e8 / "leavesQty": I64 = 56,
        cum_qty_e8 / "cumQty": I64 = 64,
        instrument_id / "instrumentId": U32 = 72,
        side / "side": u8 = 76,
        kept_priority / "keptPriority": u8 = 77,
        status / "status": u8 = 78,
        ; pad 1 at 79
    }
}

wire_message! {
    CancelRejected in ORDERS_SCHEMA, template 106, block CANCEL_REJECTED_BLOCK = 48 {
        cl_ord_id / "clOrdId": U64 = 0,
        orig_cl_ord_id / "origClOrdId": U64 = 8,
        order_id / "orderId": U64 = 16,
        gateway_in_time_ns / "gatewayInTime": U64 = 24,
        transact_time_ns / "transactTime": U64 = 32,
        reason / "reason": U16 = 40,
        ref_template / "refTemplate": U16 = 42,
        ; pad 4 at 44
    }
}

wire_message! {
    MassCancelReport in ORDERS_SCHEMA, template 107, block MASS_CANCEL_REPORT_BLOCK = 40 {
        cl_ord_id / "clOrdId": U64 = 0,
        exec_id / "execId": U64 = 8,
        transact_time_ns / "transactTime": U64 = 16,
        affected_orders / "affectedOrders": U32 = 24,
        instrument_id / "instrumentId": U32 = 28,
        kill_switch_active / "killSwitchActive": u8 = 32,
        more / "more": u8 = 33,
        scope / "scope": u8 = 34,
        ; pad 5 at 35
    }
}

wire_message! {
    MassQuoteAck in ORDERS_SCHEMA, template 108, block MASS_QUOTE_ACK_BLOCK = 48 {
        cl_ord_id / "clOrdId": U64 = 0,
        exec_id / "execId": U64 = 8,
        gateway_in_time_ns / "gatewayInTime": U64 = 16,
        transact_time_ns / "transactTime": U64 = 24,
        quote_set / "quoteSet": U16 = 32,
        accepted / "accepted": U16 = 34,
        rejected / "rejected": U16 = 36,
        ; pad 10 at 38
    }
}

wire_message! {
    OrderStatus in ORDERS_SCHEMA, template 109, block ORDER_STATUS_BLOCK = 96 {
        req_cl_ord_id / "reqClOrdId": U64 = 0,
        cl_ord_id / "clOrdId": U64 = 8,
        order_id / "orderId": U64 = 16,
        last_exec_id / "lastExecId": U64 = 24,
        transact_time_ns / "transactTime": U64 = 32,
        price_e9 / "price": I64 = 40,
        qty_e8 / "qty": I64 = 48,
        leaves_qty_e8 / "leavesQty": I64 = 56,
        cum_qty_e8 / "cumQty": I64 = 64,
        instrument_id / "instrumentId": U32 = 72,
        account / "account": U32 = 76,
        remaining / "remaining": U32 = 80,
        side / "side": u8 = 84,
        ord_type / "ordType": u8 = 85,
        tif / "tif": u8 = 86,
        status / "status": u8 = 87,
        exec_inst / "execInst": u8 = 88,
        ; pad 7 at 89
    }
}

wire_message! {
    SessionState in ORDERS_SCHEMA, template 110, block SESSION_STATE_BLOCK = 40 {
        req_cl_ord_id / "reqClOrdId": U64 = 0,
        last_cl_ord_id / "lastClOrdId": U64 = 8,
        transact_time_ns / "transactTime": U64 = 16,
        cod_window_ms / "codWindowMs": U32 = 24,
        open_orders / "openOrders": U32 = 28,
        cod_mode / "codMode": u8 = 32,
        cod_scope / "codScope": u8 = 33,
        kill_switch_active / "killSwitchActive": u8 = 34,
        ; pad 5 at 35
    }
}

wire_message! {
    MmpTriggered in ORDERS_SCHEMA, template 111, block MMP_TRIGGERED_BLOCK = 40 {
        exec_id / "execId": U64 = 0,
        transact_time_ns / "transactTime": U64 = 8,
        frozen_until_ns / "frozenUntil": U64 = 16,
        traded_qty_e8 / "tradedQty": I64 = 24,
        quote_set / "quoteSet": U16 = 32,
        trigger / "trigger": u8 = 34,
        ; pad 5 at 35
    }
}

wire_message! {
    TradeBust in ORDERS_SCHEMA, template 112, block TRADE_BUST_BLOCK = 40 {
        exec_id / "execId": U64 = 0,
        trade_id / "tradeId": U64 = 8,
        order_id / "orderId": U64 = 16,
        transact_time_ns / "transactTime": U64 = 24,
        instrument_id / "instrumentId": U32 = 32,
        ; pad 4 at 36
    }
}

wire_message! {
    StageTimes in ORDERS_SCHEMA, template 120, block STAGE_TIMES_BLOCK = 48 {
        cl_ord_id / "clOrdId": U64 = 0,
        exec_id / "execId": U64 = 8,
        received_time_ns / "receivedTime": U64 = 16,
        sequenced_time_ns / "sequencedTime": U64 = 24,
        durable_time_ns / "durableTime": U64 = 32,
        released_time_ns / "releasedTime": U64 = 40,
    }
}

wire_message! {
    /// One two-sided quote of a `MassQuote`. An entry of a group, which has no template.
    MassQuoteEntry in ORDERS_SCHEMA, template 0, block MASS_QUOTE_ENTRY_BLOCK = 40 {
        bid_px_e9 / "bidPx": I64 = 0,
        bid_qty_e8 / "bidQty": I64 = 8,
        ask_px_e9 / "askPx": I64 = 16,
        ask_qty_e8 / "askQty": I64 = 24,
        instrument_id / "instrumentId": U32 = 32,
        entry_id / "entryId": U32 = 36,
    }
}

wire_message! {
    /// The outcome of one entry of a `MassQuote`. An entry of a group, which has no template.
    MassQuoteAckEntry in ORDERS_SCHEMA, template 0, block MASS_QUOTE_ACK_ENTRY_BLOCK = 32 {
        bid_order_id / "bidOrderId": U64 = 0,
        ask_order_id / "askOrderId": U64 = 8,
        instrument_id / "instrumentId": U32 = 16,
        entry_id / "entryId": U32 = 20,
        bid_reject / "bidReject": U16 = 24,
        ask_reject / "askReject": U16 = 26,
        ; pad 4 at 28
    }
}

message_set! {
    /// The requests that a client may send.
    Request in ORDERS_SCHEMA { NewOrder, ReplaceOrder, CancelOrder, MassCancel, MassQuote, StatusRequest, SetSession }
}

message_set! {
    /// The answers that the node may send. All but `StageTimes` are sequenced.
    Answer in ORDERS_SCHEMA {
        OrderAccepted, OrderRejected, OrderExecuted, OrderCanceled, OrderReplaced, CancelRejected, MassCancelReport,
        MassQuoteAck, OrderStatus, SessionState, MmpTriggered, TradeBust, StageTimes,
    }
}
