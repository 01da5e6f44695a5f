//! Requests with their usual values filled in, for clients: create one, change the fields that differ, send it.

use crate::binary::orders::*;
use crate::binary::sbe::PRICE_NULL;
use crate::decimal::{PriceE9, QtyE8};
use book::command::{CodMode, CodScope, MassScope, Side, StpMode};
use book::ids::{ClOrdId, MarketId, OrderId};
use zerocopy::FromZeros;
use zerocopy::little_endian::{I64, U32, U64};

/// The order that a request is for: by the exchange's id, or by the client's id on the same session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    OrderId(OrderId),
    ClOrdId(ClOrdId),
}

impl Target {
    fn ids(self) -> (U64, U64) {
        match self {
            Self::OrderId(id) => (U64::new(id.0), U64::ZERO),
            Self::ClOrdId(id) => (U64::ZERO, U64::new(id.0)),
        }
    }
}

impl NewOrder {
    /// A limit order that rests until it is cancelled. Self-trade prevention cancels it as the taker.
    pub fn limit(cl_ord_id: ClOrdId, market: MarketId, side: Side, price: PriceE9, qty: QtyE8) -> Self {
        Self {
            cl_ord_id: U64::new(cl_ord_id.0),
            price_e9: I64::new(price.0),
            qty_e8: I64::new(qty.0),
            instrument_id: U32::new(market.0),
            side: side_code(side),
            ord_type: ORD_TYPE_LIMIT,
            tif: TIF_GTC,
            stp_mode: StpMode::CancelTaker as u8,
            ..Self::new_zeroed()
        }
    }

    /// A market order: trades at once against what rests within the price band; the remainder is cancelled.
    pub fn market(cl_ord_id: ClOrdId, market: MarketId, side: Side, qty: QtyE8) -> Self {
        let limit = Self::limit(cl_ord_id, market, side, PriceE9(PRICE_NULL), qty);
        Self { ord_type: ORD_TYPE_MARKET, tif: TIF_IOC, ..limit }
    }

    /// A market order for an amount of the quote asset, which a buy spends and a sell raises.
    pub fn market_by_quote(cl_ord_id: ClOrdId, market: MarketId, side: Side, amount: QtyE8) -> Self {
        Self { exec_inst: EXEC_QUOTE_QTY, ..Self::market(cl_ord_id, market, side, amount) }
    }
}

impl ReplaceOrder {
    /// Sets the price and the open quantity.
    pub fn open(cl_ord_id: ClOrdId, target: Target, market: MarketId, price: PriceE9, qty: QtyE8) -> Self {
        let (order_id, orig_cl_ord_id) = target.ids();
        Self {
            cl_ord_id: U64::new(cl_ord_id.0),
            orig_cl_ord_id,
            order_id,
            price_e9: I64::new(price.0),
            qty_e8: I64::new(qty.0),
            instrument_id: U32::new(market.0),
            ..Self::new_zeroed()
        }
    }

    /// Sets the price and the total quantity, of which the quantity that is already filled is subtracted.
    pub fn total(cl_ord_id: ClOrdId, target: Target, market: MarketId, price: PriceE9, qty: QtyE8) -> Self {
        Self { in_flight_mitigation: 1, ..Self::open(cl_ord_id, target, market, price, qty) }
    }
}

impl CancelOrder {
    pub fn new(cl_ord_id: ClOrdId, target: Target, market: MarketId) -> Self {
        let (order_id, orig_cl_ord_id) = target.ids();
        Self {
            cl_ord_id: U64::new(cl_ord_id.0),
            orig_cl_ord_id,
            order_id,
            instrument_id: U32::new(market.0),
            ..Self::new_zeroed()
        }
    }
}

impl MassCancel {
    /// Cancels every order of the scope, without filters.
    pub fn all(cl_ord_id: ClOrdId, scope: MassScope) -> Self {
        assert!(scope != MassScope::Market, "the mass cancel of a market is an administrator's command");
        Self {
            cl_ord_id: U64::new(cl_ord_id.0),
            low_price_e9: I64::new(PRICE_NULL),
            high_price_e9: I64::new(PRICE_NULL),
            scope: if scope == MassScope::Session { SCOPE_SESSION } else { SCOPE_ACCOUNT },
            ..Self::new_zeroed()
        }
    }
}

impl StatusRequest {
    /// Requests every open order of the account on one market, or on all markets with `MarketId::NONE`.
    pub fn all(request: ClOrdId, market: MarketId) -> Self {
        Self { cl_ord_id: U64::new(request.0), instrument_id: U32::new(market.0), ..Self::new_zeroed() }
    }

    /// Requests the status of one order.
    pub fn one(request: ClOrdId, target: Target, market: MarketId) -> Self {
        let (order_id, orig_cl_ord_id) = target.ids();
        Self { orig_cl_ord_id, order_id, ..Self::all(request, market) }
    }
}

impl SetSession {
    /// Sets when the session's orders are cancelled, which orders, and the grace window in which a login keeps them.
    pub fn cancel_on_disconnect(request: ClOrdId, mode: CodMode, scope: CodScope, window_ms: u32) -> Self {
        // The codes of `CodMode` are those of `codMode`, which `tests/layouts.rs` compares with the schema.
        Self {
            cl_ord_id: U64::new(request.0),
            cod_window_ms: U32::new(window_ms),
            cod_mode: mode as u8,
            cod_scope: if scope == CodScope::Session { SCOPE_SESSION } else { SCOPE_ACCOUNT },
            ..Self::new_zeroed()
        }
    }
}
