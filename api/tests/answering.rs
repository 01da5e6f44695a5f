//! The answers of each session to commands that a real engine has applied.

mod samples;

use api::binary::encode::{EncodeContext, ExecId, ExecIds, answers};
use api::binary::orders::*;
use api::binary::requests::Target;
use api::binary::sbe::PRICE_NULL;
use book::command::{CodMode, CodScope, Command, DownCause, MassScope, SessionDown, Side};
use book::event::Event;
use book::ids::{AccountId, ClOrdId, SessionId};
use book::units::{Seq, Stamp, TsNs};
use samples::{Exchange, MARKET, price, qty, sender};

/// The answers since the last call: session number, then the fields that the tests check.
fn take_answers(x: &mut Exchange) -> Vec<String> {
    let show = |(session, bytes): (SessionId, Vec<u8>)| {
        let answer = Answer::read(&bytes).expect("an answer of ours");
        format!("{} {}", session.0, show(&answer))
    };
    std::mem::take(&mut x.answers).into_iter().map(show).collect()
}

fn show(answer: &Answer) -> String {
    let q = |n: zerocopy::little_endian::I64| api::decimal::QtyE8(n.get()).to_string();
    let p = |n: zerocopy::little_endian::I64| {
        if n.get() == PRICE_NULL { "null".into() } else { api::decimal::PriceE9(n.get()).to_string() }
    };
    match answer {
        Answer::OrderAccepted(m) => {
            format!("accepted {} {} @ {} leaves {}", m.cl_ord_id, q(m.qty_e8), p(m.price_e9), q(m.leaves_qty_e8))
        }
        Answer::OrderRejected(m) => format!("rejected {} reason {} template {}", m.cl_ord_id, m.reason, m.ref_template),
        Answer::OrderExecuted(m) => format!(
            "executed {} {} @ {} leaves {} cum {} fee {} of {} side {} liq {} status {}",
            m.cl_ord_id,
            q(m.last_qty_e8),
            p(m.last_px_e9),
            q(m.leaves_qty_e8),
            q(m.cum_qty_e8),
            q(m.fee_e8),
            m.fee_asset,
            m.side,
            m.liquidity,
            m.status
        ),
        Answer::OrderCanceled(m) => format!(
            "canceled {} req {} qty {} cum {} reason {}",
            m.cl_ord_id,
            m.req_cl_ord_id,
            q(m.canceled_qty_e8),
            q(m.cum_qty_e8),
            m.reason
        ),
        Answer::OrderReplaced(m) => format!(
            "replaced {} orig {} @ {} leaves {} kept {} status {}",
            m.cl_ord_id,
            m.orig_cl_ord_id,
            p(m.price_e9),
            q(m.leaves_qty_e8),
            m.kept_priority,
            m.status
        ),
        Answer::CancelRejected(m) => format!(
            "cancel-rejected {} orig {} reason {} template {}",
            m.cl_ord_id, m.orig_cl_ord_id, m.reason, m.ref_template
        ),
        Answer::MassCancelReport(m) => {
            format!("mass {} count {} kill {} more {}", m.cl_ord_id, m.affected_orders, m.kill_switch_active, m.more)
        }
        Answer::OrderStatus(m) => format!(
            "status {} of {} @ {} qty {} leaves {} status {} remaining {}",
            m.req_cl_ord_id,
            m.cl_ord_id,
            p(m.price_e9),
            q(m.qty_e8),
            q(m.leaves_qty_e8),
            m.status,
            m.remaining
        ),
        Answer::SessionState(m) => format!(
            "state {} last {} open {} cod {}/{}/{} kill {}",
            m.req_cl_ord_id,
            m.last_cl_ord_id,
            m.open_orders,
            m.cod_mode,
            m.cod_scope,
            m.cod_window_ms,
            m.kill_switch_active
        ),
        other => panic!("never sent: {other:?}"),
    }
}

fn limit(id: u64, side: Side, p: &str, q: &str) -> NewOrder {
    NewOrder::limit(ClOrdId(id), MARKET, side, price(p), qty(q))
}

#[test]
fn a_trade_is_answered_to_both_sides_with_fee_and_rebate() {
    let mut x = samples::exchange();
    x.send(&sender(1), limit(1, Side::Sell, "100", "2"));
    x.send(&sender(2), limit(1, Side::Buy, "101", "0.5"));
    assert_eq!(
        take_answers(&mut x),
        [
            "1 accepted 1 2 @ 100 leaves 2",
            "2 accepted 1 0.5 @ 101 leaves 0.5",
            // The rebate is 50 of the taker's 200 ppm, in the asset that the taker received.
            "1 executed 1 0.5 @ 100 leaves 1.5 cum 0.5 fee -0.000025 of 1 side 2 liq 1 status 1",
            "2 executed 1 0.5 @ 100 leaves 0 cum 0.5 fee 0.0001 of 1 side 1 liq 2 status 2",
        ]
    );
    // The other way round the taker receives the quote asset, which has six places.
    x.send(&sender(1), limit(2, Side::Buy, "90", "1"));
    x.send(&sender(2), NewOrder::market(ClOrdId(2), MARKET, Side::Sell, qty("2")));
    assert_eq!(
        take_answers(&mut x),
        [
            "1 accepted 2 1 @ 90 leaves 1",
            "2 accepted 2 2 @ null leaves 2",
            "1 executed 2 1 @ 90 leaves 0 cum 1 fee -0.0045 of 2 side 1 liq 1 status 2",
            "2 executed 2 1 @ 90 leaves 1 cum 1 fee 0.018 of 2 side 2 liq 2 status 1",
            "2 canceled 2 req 0 qty 1 cum 1 reason 14",
        ]
    );
}

#[test]
fn refusals_of_the_decoder_and_the_engine() {
    let mut x = samples::exchange();
    x.send(&sender(1), NewOrder { side: 7, ..limit(1, Side::Buy, "1", "1") });
    x.send(&sender(1), NewOrder { side: 7, ..limit(1, Side::Buy, "1", "1") });
    x.send(&sender(1), limit(2, Side::Buy, "1000000", "9999"));
    let by = Target::ClOrdId(ClOrdId(55));
    x.send(&sender(1), ReplaceOrder::open(ClOrdId(3), by, MARKET, api::decimal::PriceE9(3), qty("1")));
    x.send(&sender(1), ReplaceOrder::open(ClOrdId(4), by, MARKET, price("1"), qty("1")));
    x.send(&sender(1), CancelOrder::new(ClOrdId(5), by, MARKET));
    x.send(&sender(1), MassCancel { scope: 9, ..MassCancel::all(ClOrdId(6), MassScope::Session) });
    assert_eq!(
        take_answers(&mut x),
        [
            // The resend of a refused order is ignored: the refusal has consumed its id.
            "1 rejected 1 reason 18 template 1",
            "1 rejected 2 reason 8 template 0",
            "1 cancel-rejected 3 orig 0 reason 3 template 2",
            "1 cancel-rejected 4 orig 55 reason 10 template 2",
            "1 cancel-rejected 5 orig 55 reason 10 template 3",
            "1 rejected 6 reason 18 template 4",
        ]
    );
}

#[test]
fn amendments_keep_or_lose_their_place_in_the_queue() {
    let mut x = samples::exchange();
    x.send(&sender(1), limit(1, Side::Sell, "100", "2"));
    let by = |id| Target::ClOrdId(ClOrdId(id));
    x.send(&sender(1), ReplaceOrder::open(ClOrdId(2), by(1), MARKET, price("100"), qty("1.5")));
    x.send(&sender(1), ReplaceOrder::total(ClOrdId(3), by(2), MARKET, price("99"), qty("3")));
    x.send(&sender(1), StatusRequest::one(ClOrdId(4), by(3), MARKET));
    x.send(&sender(1), StatusRequest::one(ClOrdId(5), by(1), MARKET));
    assert_eq!(
        take_answers(&mut x)[1..],
        [
            "1 replaced 2 orig 1 @ 100 leaves 1.5 kept 1 status 0",
            "1 replaced 3 orig 2 @ 99 leaves 3 kept 0 status 0",
            "1 status 4 of 3 @ 99 qty 3 leaves 3 status 0 remaining 0",
            "1 status 5 of 1 @ null qty 0 leaves 0 status 8 remaining 0",
        ]
    );
}

#[test]
fn a_cancel_from_another_session_of_the_account_is_answered_to_both() {
    let mut x = samples::exchange();
    let other = api::binary::decode::Sender { session: SessionId(3), account: AccountId(1), drop_copy: false };
    x.send(&sender(1), limit(1, Side::Sell, "100", "2"));
    let target = Target::OrderId(samples::order_id(&x, 1));
    x.send(&other, ReplaceOrder::open(ClOrdId(1), target, MARKET, price("100"), qty("1")));
    x.send(&other, CancelOrder::new(ClOrdId(9), target, MARKET));
    assert_eq!(
        take_answers(&mut x)[1..],
        [
            "1 replaced 1 orig 1 @ 100 leaves 1 kept 1 status 0",
            "3 replaced 1 orig 1 @ 100 leaves 1 kept 1 status 0",
            "1 canceled 1 req 0 qty 1 cum 0 reason 1",
            "3 canceled 1 req 9 qty 1 cum 0 reason 1",
        ]
    );
}

#[test]
fn mass_cancel_settings_and_disconnect() {
    let mut x = samples::exchange();
    x.send(&sender(1), limit(1, Side::Sell, "100", "2"));
    x.send(&sender(1), SetSession::cancel_on_disconnect(ClOrdId(2), CodMode::Both, CodScope::Session, 9));
    x.apply(&Command::SessionDown(SessionDown {
        session: SessionId(1),
        cause: DownCause::Disconnect,
        continued: false,
    }));
    x.send(&sender(1), limit(3, Side::Sell, "100", "2"));
    x.send(&sender(1), MassCancel { block_new_orders: 1, ..MassCancel::all(ClOrdId(4), MassScope::Session) });
    x.send(&sender(1), limit(5, Side::Sell, "100", "2"));
    assert_eq!(
        take_answers(&mut x),
        [
            "1 accepted 1 2 @ 100 leaves 2",
            "1 state 2 last 1 open 1 cod 3/1/9 kill 0",
            "1 canceled 1 req 0 qty 2 cum 0 reason 3",
            "1 mass 0 count 1 kill 0 more 0",
            "1 accepted 3 2 @ 100 leaves 2",
            "1 canceled 3 req 4 qty 2 cum 0 reason 4",
            "1 mass 4 count 1 kill 1 more 0",
            "1 rejected 5 reason 15 template 0",
        ]
    );
}

#[test]
fn the_same_day_gives_the_same_bytes() {
    let (one, other) = (samples::day(), samples::day());
    assert_eq!(one.answers, other.answers);
    assert_eq!(one.public, other.public);
}

/// The live engine does not emit transfers and the shadow does; both give an answer the same execution id.
#[test]
fn execution_ids_do_not_count_transfers() {
    let mut x = samples::exchange();
    x.send(&sender(1), limit(1, Side::Sell, "100", "2"));
    x.send(&sender(2), limit(1, Side::Buy, "100", "2"));
    assert!(x.events.iter().any(|e| matches!(e, Event::Transfer(_))), "this engine emits transfers");
    let number = |events: &mut dyn Iterator<Item = &Event>| {
        let mut ids = ExecIds::of_command(Seq(x.seq), 0);
        events.filter_map(|e| ids.next(e)).map(ExecId::get).collect::<Vec<_>>()
    };
    let all = number(&mut x.events.iter());
    assert_eq!(all, number(&mut x.events.iter().filter(|e| !matches!(e, Event::Transfer(_)))));
    assert_eq!(all, (0..all.len() as u64).map(|idx| x.seq << 16 | idx).collect::<Vec<_>>());
}

#[test]
fn an_execution_id_is_refused_beyond_its_bits() {
    assert_eq!(ExecId::new(Seq(5), 7).map(ExecId::get), Some(5 << 16 | 7));
    assert_eq!(ExecId::new(Seq(5), 7).map(ExecId::seq), Some(Seq(5)));
    assert_eq!(ExecId::new(Seq(1 << 48), 0), None);
    assert_eq!(ExecId::new(Seq(1), 1 << 16), None);
}

#[test]
fn an_event_is_answered_to_at_most_two_sessions_that_exist() {
    let x = samples::day();
    let stamp = Stamp { seq: Seq(1), ts: TsNs(1) };
    let context = EncodeContext { stamp, exec_id: ExecId::new(stamp.seq, 0).expect("a small id"), gateway_in: TsNs(0) };
    for event in &x.events {
        let mut count = 0;
        answers(event, &x.instruments, &context, &mut |session, _| {
            assert!(!session.is_none());
            count += 1;
        });
        assert!(count <= 2, "{event:?}");
    }
}
