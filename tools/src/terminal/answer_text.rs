//! The answers of an order session, as JSON and as a line of text.

use api::binary::orders::{Answer, LIQUIDITY_MAKER, OrderAccepted, OrderStatus, SIDE_BUY};
use api::binary::reasons::reason_of;
use api::binary::sbe::PRICE_NULL;
use api::decimal::{PriceE9, QtyE8};
use book::event::CancelReason;
use serde_json::{Value, json};

/// One answer as an object, decimals as text; `None` for answers to requests that the tool does not send.
pub fn answer_json(answer: &Answer) -> Option<Value> {
    Some(match answer {
        Answer::OrderAccepted(m) => json!({
            "answer": "accepted", "cl_ord_id": m.cl_ord_id.get(), "order_id": m.order_id.get(), "price": price_of(m),
            "qty": qty(m.qty_e8.get()), "side": side(m.side), "ts_ns": m.transact_time_ns.get(),
        }),
        Answer::OrderRejected(m) => json!({
            "answer": "rejected", "cl_ord_id": m.cl_ord_id.get(), "reason": reason(m.reason.get()),
        }),
        Answer::OrderExecuted(m) => json!({
            "answer": "executed", "cl_ord_id": m.cl_ord_id.get(), "order_id": m.order_id.get(),
            "trade_id": m.trade_id.get(), "price": price(m.last_px_e9.get()), "qty": qty(m.last_qty_e8.get()),
            "leaves": qty(m.leaves_qty_e8.get()), "cum": qty(m.cum_qty_e8.get()), "fee": qty(m.fee_e8.get()),
            "fee_asset": m.fee_asset.get(), "side": side(m.side),
            "liquidity": if m.liquidity == LIQUIDITY_MAKER { "maker" } else { "taker" },
        }),
        Answer::OrderCanceled(m) => json!({
            "answer": "canceled", "cl_ord_id": m.cl_ord_id.get(), "order_id": m.order_id.get(),
            "qty": qty(m.canceled_qty_e8.get()), "cum": qty(m.cum_qty_e8.get()), "reason": cancel_reason(m.reason),
        }),
        Answer::OrderReplaced(m) => json!({
            "answer": "replaced", "cl_ord_id": m.cl_ord_id.get(), "order_id": m.order_id.get(),
            "price": price(m.price_e9.get()), "leaves": qty(m.leaves_qty_e8.get()),
            "kept_priority": m.kept_priority == 1,
        }),
        Answer::CancelRejected(m) => json!({
            "answer": "cancel_rejected", "orig_cl_ord_id": m.orig_cl_ord_id.get(), "order_id": m.order_id.get(),
            "reason": reason(m.reason.get()),
        }),
        Answer::MassCancelReport(m) => json!({
            "answer": "mass_canceled", "orders": m.affected_orders.get(), "more": m.more == 1,
        }),
        Answer::OrderStatus(m) => status_json(m),
        _ => return None,
    })
}

fn status_json(m: &OrderStatus) -> Value {
    if m.order_id.get() == 0 {
        return json!({ "answer": "status", "open": false });
    }
    json!({
        "answer": "status", "open": true, "cl_ord_id": m.cl_ord_id.get(), "order_id": m.order_id.get(),
        "price": price(m.price_e9.get()), "leaves": qty(m.leaves_qty_e8.get()), "cum": qty(m.cum_qty_e8.get()),
        "side": side(m.side),
    })
}

/// The same as a line of text.
pub fn answer_text(answer: &Answer) -> Option<String> {
    Some(match answer {
        Answer::OrderAccepted(m) => {
            let (side, qty, at) = (side(m.side), qty(m.qty_e8.get()), price_of(m));
            let at = at.map_or("at the market".to_owned(), |price| format!("at {price}"));
            format!("accepted   order {} (client id {}): {side} {qty} {at}", m.order_id.get(), m.cl_ord_id.get())
        }
        Answer::OrderRejected(m) => format!("rejected   {}", reason(m.reason.get())),
        Answer::OrderExecuted(m) => format!(
            "executed   {} at {}, trade {}, fee {} of asset {}; {} left",
            qty(m.last_qty_e8.get()),
            price(m.last_px_e9.get()),
            m.trade_id.get(),
            qty(m.fee_e8.get()),
            m.fee_asset.get(),
            qty(m.leaves_qty_e8.get())
        ),
        Answer::OrderCanceled(m) => format!(
            "canceled   order {}: {} ({}), {} had traded",
            m.order_id.get(),
            qty(m.canceled_qty_e8.get()),
            cancel_reason(m.reason),
            qty(m.cum_qty_e8.get())
        ),
        Answer::OrderReplaced(m) => format!(
            "replaced   order {}: {} open at {}",
            m.order_id.get(),
            qty(m.leaves_qty_e8.get()),
            price(m.price_e9.get())
        ),
        Answer::CancelRejected(m) => format!("refused    {}", reason(m.reason.get())),
        Answer::MassCancelReport(m) => format!("canceled   {} orders", m.affected_orders.get()),
        Answer::OrderStatus(m) if m.order_id.get() == 0 => "closed     the order is not open".to_owned(),
        Answer::OrderStatus(m) => format!(
            "open       order {}: {} at {}, {} filled",
            m.order_id.get(),
            qty(m.leaves_qty_e8.get()),
            price(m.price_e9.get()),
            qty(m.cum_qty_e8.get())
        ),
        _ => return None,
    })
}

/// Whether the answer refuses the request.
pub fn is_refusal(answer: &Answer) -> bool {
    matches!(answer, Answer::OrderRejected(_) | Answer::CancelRejected(_))
}

fn price_of(m: &OrderAccepted) -> Option<String> {
    let is_priced = m.price_e9.get() != PRICE_NULL && m.price_e9.get() != 0;
    is_priced.then(|| price(m.price_e9.get()))
}

fn price(price_e9: i64) -> String {
    PriceE9(price_e9).to_string()
}

fn qty(qty_e8: i64) -> String {
    QtyE8(qty_e8).to_string()
}

fn side(side: u8) -> &'static str {
    if side == SIDE_BUY { "buy" } else { "sell" }
}

fn reason(wire: u16) -> String {
    reason_of(wire).map_or_else(|| format!("reason {wire}"), |reason| format!("{reason:?}"))
}

fn cancel_reason(wire: u8) -> String {
    use CancelReason as R;
    let all = [
        R::User,
        R::MassCancel,
        R::Disconnect,
        R::KillSwitch,
        R::Ioc,
        R::Fok,
        R::SelfTrade,
        R::Replaced,
        R::Admin,
        R::NoLiquidity,
        R::FillLimit,
    ];
    let known = all.into_iter().find(|reason| *reason as u8 == wire);
    known.map_or_else(|| format!("reason {wire}"), |reason| format!("{reason:?}"))
}
