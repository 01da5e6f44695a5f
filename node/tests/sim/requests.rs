//! Requests of the clients.

use crate::context::Context;
use api::binary::orders::*;
use api::binary::sbe::{Framed, Message, PRICE_NULL};
use book::command::StpMode;
use book::testing::workload::rng::Rng;
use zerocopy::IntoBytes;

/// The tick and the lot of every market, in wire units.
pub(crate) const PRICE_ONE: i64 = 1_000_000_000;
pub(crate) const LOT: i64 = 100_000_000;
const MID_TICKS: u32 = 10_000;

/// One of a client's own orders, by its messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub cl_ord_id: u64,
    pub order_id: u64,
    pub market: u32,
    pub price_ticks: u32,
}

pub(crate) fn any(id: u64, own: &[Own], context: &mut Context<'_>) -> Vec<u8> {
    let rng = &mut *context.rng;
    match rng.below(100) {
        0..2 => framed(mass_cancel(id, rng)),
        2..4 => framed(StatusRequest {
            cl_ord_id: id.into(),
            orig_cl_ord_id: pick(own, rng).map_or(0, |own| own.cl_ord_id).into(),
            order_id: 0.into(),
            instrument_id: rng.below(3).into(),
            account: 0.into(),
        }),
        4 => framed(SetSession {
            cl_ord_id: id.into(),
            cod_window_ms: rng.pick(&[0, 5, 10_000]).into(),
            cod_mode: if context.options.cancel_on_disconnect { rng.below(4) as u8 } else { 0 },
            cod_scope: rng.pick(&[SCOPE_SESSION, SCOPE_ACCOUNT]),
            stage_times: rng.below(2) as u8,
            pad: [0; 1],
        }),
        5..30 => framed(cancel(id, pick(own, rng), rng)),
        30..45 => match pick(own, rng) {
            Some(own) => framed(replace(id, own, context)),
            None => framed(new_order(id, context)),
        },
        _ => framed(new_order(id, context)),
    }
}

/// A bid that rests far from all other orders and holds little.
pub(crate) fn far_bid(id: u64) -> Vec<u8> {
    // Worth as much as a market demands at least.
    framed(NewOrder { price_e9: PRICE_ONE.into(), qty_e8: (100 * LOT).into(), side: SIDE_BUY, ..plain(id, 1) })
}

pub(crate) fn cancel_everything(id: u64) -> Vec<u8> {
    framed(mass(id))
}

/// Asks for every open order of the account.
pub(crate) fn status_of_all(id: u64) -> Vec<u8> {
    let none = 0.into();
    framed(StatusRequest {
        cl_ord_id: id.into(),
        orig_cl_ord_id: none,
        order_id: none,
        instrument_id: 0.into(),
        account: 0.into(),
    })
}

/// Cancels everything of the session and blocks it.
pub(crate) fn kill(id: u64) -> Vec<u8> {
    framed(MassCancel { block_new_orders: 1, ..mass(id) })
}

fn pick(own: &[Own], rng: &mut Rng) -> Option<Own> {
    own.get(rng.below(own.len().max(1) as u32) as usize).copied()
}

fn cancel(id: u64, own: Option<Own>, rng: &mut Rng) -> CancelOrder {
    let by_name = rng.one_in(2);
    CancelOrder {
        cl_ord_id: id.into(),
        sending_time_ns: 0.into(),
        orig_cl_ord_id: if by_name { own.map_or(1, |own| own.cl_ord_id) } else { 0 }.into(),
        order_id: if by_name { 0 } else { own.map_or(1, |own| own.order_id) }.into(),
        instrument_id: own.map_or(1, |own| own.market).into(),
        pad: [0; 4],
    }
}

fn replace(id: u64, own: Own, context: &mut Context<'_>) -> ReplaceOrder {
    let (rng, levels) = (&mut *context.rng, context.options.price_levels);
    let price = if rng.one_in(2) { own.price_ticks } else { price_near(rng, levels, 0) };
    ReplaceOrder {
        cl_ord_id: id.into(),
        sending_time_ns: 0.into(),
        orig_cl_ord_id: own.cl_ord_id.into(),
        order_id: 0.into(),
        price_e9: (i64::from(price) * PRICE_ONE).into(),
        qty_e8: ((1 + i64::from(rng.below(20))) * LOT).into(),
        display_qty_e8: 0.into(),
        instrument_id: own.market.into(),
        exec_inst: 0,
        in_flight_mitigation: rng.below(2) as u8,
        pad: [0; 2],
    }
}

fn framed<M: Message>(message: M) -> Vec<u8> {
    Framed::new(message).as_bytes().to_vec()
}

fn price_near(rng: &mut Rng, levels: u32, shift: u32) -> u32 {
    MID_TICKS + shift + rng.below(levels) - levels / 2
}

fn plain(id: u64, market: u32) -> NewOrder {
    NewOrder {
        cl_ord_id: id.into(),
        sending_time_ns: 0.into(),
        price_e9: 0.into(),
        qty_e8: 0.into(),
        display_qty_e8: 0.into(),
        min_qty_e8: 0.into(),
        expire_time_ns: 0.into(),
        valid_until_ns: 0.into(),
        instrument_id: market.into(),
        account: 0.into(),
        stp_group: 0.into(),
        side: SIDE_BUY,
        ord_type: ORD_TYPE_LIMIT,
        tif: TIF_GTC,
        stp_mode: StpMode::CancelTaker as u8,
        exec_inst: 0,
        cancel_group: 0,
    }
}

/// A time until which a request is valid; sometimes it has passed already.
fn valid_until(context: &mut Context<'_>) -> u64 {
    let now = context.now.0;
    context.rng.pick(&[0, 0, 0, 0, now - 1, now + u64::from(context.options.step_ns_max)])
}

fn new_order(id: u64, context: &mut Context<'_>) -> NewOrder {
    let valid_until_ns = valid_until(context).into();
    let (rng, levels) = (&mut *context.rng, context.options.price_levels);
    let order = plain(id, rng.pick(&[1, 1, 1, 2, 2, 2, 3]));
    let side = rng.pick(&[SIDE_BUY, SIDE_SELL]);
    // Asks a little above bids, so that some orders rest and some trade.
    let shift = if side == SIDE_SELL { levels / 2 } else { 0 };
    let qty = (2 + i64::from(rng.below(20))) * LOT;
    let price = i64::from(price_near(rng, levels, shift)) * PRICE_ONE;
    let stp_mode =
        rng.pick(&[StpMode::None, StpMode::CancelTaker, StpMode::CancelMaker, StpMode::CancelBoth, StpMode::Decrement])
            as u8;
    let cancel_group = rng.below(3) as u8;
    let stp_group = (rng.below(3) as u16).into();
    let base = NewOrder {
        qty_e8: qty.into(),
        price_e9: price.into(),
        side,
        stp_mode,
        stp_group,
        cancel_group,
        valid_until_ns,
        ..order
    };
    match rng.below(20) {
        0 => NewOrder { tif: TIF_FOK, ..base },
        1..4 => NewOrder { tif: TIF_IOC, ..base },
        4 => NewOrder { ord_type: ORD_TYPE_MARKET, tif: TIF_IOC, price_e9: PRICE_NULL.into(), ..base },
        5 => NewOrder {
            ord_type: ORD_TYPE_MARKET,
            tif: TIF_IOC,
            price_e9: PRICE_NULL.into(),
            exec_inst: EXEC_QUOTE_QTY,
            qty_e8: (i64::from(rng.below(1_000_000)) * LOT / 100).into(),
            ..base
        },
        6..8 => NewOrder { exec_inst: EXEC_POST_ONLY, ..base },
        8 => NewOrder { exec_inst: EXEC_PERSIST_ON_DISCONNECT, ..base },
        9 => NewOrder { qty_e8: rng.pick(&[0, 1, -1, i64::MAX]).into(), ..base },
        _ => base,
    }
}

fn mass(id: u64) -> MassCancel {
    MassCancel {
        cl_ord_id: id.into(),
        sending_time_ns: 0.into(),
        low_price_e9: PRICE_NULL.into(),
        high_price_e9: PRICE_NULL.into(),
        instrument_id: 0.into(),
        account: 0.into(),
        scope: SCOPE_SESSION,
        side: SIDE_BOTH,
        cancel_group: 0,
        block_new_orders: 0,
        quote_set: 0.into(),
        pad: [0; 2],
    }
}

fn mass_cancel(id: u64, rng: &mut Rng) -> MassCancel {
    let bound = |rng: &mut Rng, shift: i64| {
        let price = (i64::from(MID_TICKS) + shift) * PRICE_ONE;
        rng.pick(&[PRICE_NULL, PRICE_NULL, price])
    };
    MassCancel {
        low_price_e9: bound(rng, -2).into(),
        high_price_e9: bound(rng, 2).into(),
        instrument_id: rng.below(3).into(),
        scope: rng.pick(&[SCOPE_SESSION, SCOPE_ACCOUNT]),
        side: rng.pick(&[SIDE_BOTH, SIDE_BUY, SIDE_SELL]),
        cancel_group: rng.below(3) as u8,
        ..mass(id)
    }
}
