//! What every request decodes to: a command, a refusal with its reason, or an error that closes the connection.

mod samples;

use api::binary::decode::{Decoded, ProtocolError, Sender, decode};
use api::binary::orders::*;
use api::binary::requests::Target;
use api::binary::sbe::{Framed, Message, PRICE_NULL, SbeError};
use book::command::{AmendQty, BlockChange, CodMode, CodScope, Command, MassScope, OrderKind, Side, StpMode, Tif};
use book::ids::{AccountId, ClOrdId, MarketId, OrderId, SessionId};
use book::reject::RejectReason;
use book::units::{PriceTicks, QtyLots, TsNs, Units};
use samples::{MARKET, price, qty};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{I64, U16, U32, U64};

fn decoded<M: Message>(message: M) -> Command {
    decoded_for(&samples::sender(1), message)
}

fn decoded_for<M: Message>(sender: &Sender, message: M) -> Command {
    let instruments = samples::exchange().instruments;
    match decode(Framed::new(message).as_bytes(), sender, &instruments).expect("a message") {
        Decoded::Command(command) | Decoded::SetSession { command, .. } => command,
    }
}

/// The reason of a refusal, after checking its other fields.
fn refused<M: Message>(message: M) -> Option<RejectReason> {
    match decoded(message) {
        Command::Refuse(refuse) => {
            assert_eq!((refuse.template, refuse.session), (M::TEMPLATE, SessionId(1)));
            assert_eq!(refuse.consumes_id, matches!(M::TEMPLATE, 1 | 2 | 5));
            Some(refuse.reason)
        }
        _ => None,
    }
}

fn limit() -> NewOrder {
    NewOrder::limit(ClOrdId(7), MARKET, Side::Buy, price("100.01"), qty("1.5"))
}

fn market() -> NewOrder {
    NewOrder::market(ClOrdId(7), MARKET, Side::Sell, qty("0.0001"))
}

#[test]
fn a_limit_order_becomes_ticks_and_lots() {
    let message = NewOrder {
        account: U32::new(9),
        stp_group: U16::new(3),
        stp_mode: 4,
        valid_until_ns: U64::new(99),
        cancel_group: 5,
        exec_inst: EXEC_POST_ONLY | EXEC_PERSIST_ON_DISCONNECT,
        ..limit()
    };
    let Command::Place(order) = decoded(message) else { panic!("refused") };
    assert_eq!(order.kind, OrderKind::Limit { price: PriceTicks(10_001), qty: QtyLots(15_000) });
    assert_eq!((order.session, order.cl_ord_id, order.account), (SessionId(1), ClOrdId(7), AccountId(9)));
    assert_eq!((order.market, order.side, order.tif), (MARKET, Side::Buy, Tif::GtcPostOnly));
    assert_eq!((order.stp, order.stp_group, order.cancel_group), (StpMode::CancelBoth, 3, 5));
    assert_eq!((order.valid_until, order.persist_on_disconnect), (TsNs(99), true));
    let Command::Place(own) = decoded(limit()) else { panic!("refused") };
    assert_eq!(own.account, AccountId(1), "no account is the session's own");
}

#[test]
fn market_orders_by_quantity_and_by_quote() {
    let Command::Place(order) = decoded(market()) else { panic!("refused") };
    assert_eq!((order.kind, order.tif), (OrderKind::Market { qty: QtyLots(1) }, Tif::Ioc));
    let by_quote = NewOrder::market_by_quote(ClOrdId(7), MARKET, Side::Buy, qty("12.5"));
    let Command::Place(order) = decoded(NewOrder { tif: TIF_FOK, ..by_quote }) else { panic!("refused") };
    assert_eq!((order.kind, order.tif), (OrderKind::MarketByQuote { quote: Units(12_500_000) }, Tif::Fok));
}

#[test]
fn new_orders_that_are_refused() {
    use RejectReason::{Malformed, PriceTick, QtyRange, QtyStep, UnknownInstrument, Unsupported};
    let i64 = |n| I64::new(n);
    let cases = [
        (Malformed, NewOrder { cl_ord_id: U64::ZERO, ..limit() }),
        (Malformed, NewOrder { side: 0, ..limit() }),
        (Malformed, NewOrder { side: 3, ..limit() }),
        (Malformed, NewOrder { ord_type: 0, ..limit() }),
        (Malformed, NewOrder { ord_type: 5, ..limit() }),
        (Malformed, NewOrder { tif: 2, ..limit() }),
        (Malformed, NewOrder { stp_mode: 0, ..limit() }),
        (Malformed, NewOrder { stp_mode: 6, ..limit() }),
        (Malformed, NewOrder { exec_inst: 1 << 6, ..limit() }),
        (Malformed, NewOrder { exec_inst: EXEC_POST_ONLY, tif: TIF_IOC, ..limit() }),
        (Malformed, NewOrder { exec_inst: EXEC_POST_ONLY, tif: TIF_FOK, ..limit() }),
        (Malformed, NewOrder { exec_inst: EXEC_POST_ONLY, ..market() }),
        (Malformed, NewOrder { exec_inst: EXEC_QUOTE_QTY, ..limit() }),
        (Malformed, NewOrder { tif: TIF_GTC, ..market() }),
        (Malformed, NewOrder { price_e9: i64(1), ..market() }),
        (Malformed, NewOrder { price_e9: i64(PRICE_NULL), ..limit() }),
        (Malformed, NewOrder { display_qty_e8: i64(-1), ..limit() }),
        (Malformed, NewOrder { min_qty_e8: i64(-1), ..limit() }),
        (Malformed, NewOrder { expire_time_ns: U64::new(1), ..limit() }),
        (Unsupported, NewOrder { ord_type: ORD_TYPE_STOP, ..limit() }),
        (Unsupported, NewOrder { ord_type: ORD_TYPE_STOP_LIMIT, ..limit() }),
        (Unsupported, NewOrder { tif: TIF_DAY, ..limit() }),
        (Unsupported, NewOrder { tif: TIF_GTD, expire_time_ns: U64::new(1), ..limit() }),
        (Unsupported, NewOrder { display_qty_e8: i64(1), ..limit() }),
        (Unsupported, NewOrder { min_qty_e8: i64(1), ..limit() }),
        (Unsupported, NewOrder { exec_inst: EXEC_HIDDEN, ..limit() }),
        (Unsupported, NewOrder { exec_inst: EXEC_MMP, ..limit() }),
        (Unsupported, NewOrder { exec_inst: EXEC_POST_ONLY_REPRICE, ..limit() }),
        (UnknownInstrument, NewOrder { instrument_id: U32::ZERO, ..limit() }),
        (UnknownInstrument, NewOrder { instrument_id: U32::new(2), ..limit() }),
        (PriceTick, NewOrder { price_e9: i64(0), ..limit() }),
        (PriceTick, NewOrder { price_e9: i64(-10_000_000), ..limit() }),
        (PriceTick, NewOrder { price_e9: i64(10_000_001), ..limit() }),
        (PriceTick, NewOrder { price_e9: i64((1 << 32) * 10_000_000), ..limit() }),
        (QtyRange, NewOrder { qty_e8: i64(0), ..limit() }),
        (QtyRange, NewOrder { qty_e8: i64(-10_000), ..limit() }),
        (QtyStep, NewOrder { qty_e8: i64(10_001), ..limit() }),
        // The quote asset has six places.
        (QtyStep, NewOrder { exec_inst: EXEC_QUOTE_QTY, qty_e8: i64(101), ..market() }),
        (QtyRange, NewOrder { exec_inst: EXEC_QUOTE_QTY, qty_e8: i64(0), ..market() }),
        // With several reasons, the first by precedence is reported.
        (Malformed, NewOrder { side: 9, ord_type: ORD_TYPE_STOP, instrument_id: U32::ZERO, ..limit() }),
        (Unsupported, NewOrder { ord_type: ORD_TYPE_STOP, instrument_id: U32::ZERO, ..limit() }),
        (UnknownInstrument, NewOrder { instrument_id: U32::ZERO, qty_e8: i64(0), ..limit() }),
        (PriceTick, NewOrder { price_e9: i64(1), qty_e8: i64(0), ..limit() }),
    ];
    for (idx, (reason, message)) in cases.into_iter().enumerate() {
        assert_eq!(refused(message), Some(reason), "case {idx}: {message:?}");
    }
    assert_eq!(refused(NewOrder { display_qty_e8: I64::new(150_000_000), ..limit() }), None, "all of it is shown");
    assert_eq!(refused(NewOrder { price_e9: I64::new((1 << 32) * 10_000_000 - 10_000_000), ..limit() }), None);
}

#[test]
fn amendments() {
    let target = Target::ClOrdId(ClOrdId(3));
    let open = ReplaceOrder::open(ClOrdId(8), target, MARKET, price("2"), qty("1"));
    let Command::Amend(amend) = decoded(open) else { panic!("refused") };
    assert_eq!((amend.price, amend.qty, amend.qty_means), (PriceTicks(200), QtyLots(10_000), AmendQty::Open));
    assert_eq!((amend.target.cl_ord_id, amend.target.order_id), (ClOrdId(3), OrderId::NONE));
    let Command::Amend(total) = decoded(ReplaceOrder { in_flight_mitigation: 1, ..open }) else { panic!("refused") };
    assert_eq!(total.qty_means, AmendQty::Total);
    use RejectReason::{Malformed, PriceTick, QtyStep, UnknownInstrument, Unsupported};
    let cases = [
        (Malformed, ReplaceOrder { cl_ord_id: U64::ZERO, ..open }),
        (Malformed, ReplaceOrder { orig_cl_ord_id: U64::ZERO, ..open }),
        (Malformed, ReplaceOrder { price_e9: I64::new(PRICE_NULL), ..open }),
        (Malformed, ReplaceOrder { in_flight_mitigation: 2, ..open }),
        (Malformed, ReplaceOrder { exec_inst: 1 << 7, ..open }),
        (Unsupported, ReplaceOrder { exec_inst: EXEC_POST_ONLY, ..open }),
        (Unsupported, ReplaceOrder { display_qty_e8: I64::new(5), ..open }),
        (UnknownInstrument, ReplaceOrder { instrument_id: U32::ZERO, ..open }),
        (PriceTick, ReplaceOrder { price_e9: I64::new(3), ..open }),
        (QtyStep, ReplaceOrder { qty_e8: I64::new(3), ..open }),
    ];
    for (idx, (reason, message)) in cases.into_iter().enumerate() {
        assert_eq!(refused(message), Some(reason), "case {idx}");
    }
}

#[test]
fn cancels() {
    let cancel = CancelOrder::new(ClOrdId(8), Target::OrderId(OrderId(1 << 24)), MarketId::NONE);
    let Command::Cancel(command) = decoded(cancel) else { panic!("refused") };
    assert_eq!((command.market, command.target.order_id), (MarketId::NONE, OrderId(1 << 24)));
    assert_eq!(refused(CancelOrder { order_id: U64::ZERO, ..cancel }), Some(RejectReason::Malformed));
}

#[test]
fn mass_cancels() {
    let all = MassCancel::all(ClOrdId(9), MassScope::Session);
    let Command::MassCancel(mass) = decoded(all) else { panic!("refused") };
    assert_eq!((mass.scope, mass.market, mass.side), (MassScope::Session, MarketId::NONE, None));
    assert_eq!((mass.price_min, mass.price_max, mass.block), (None, None, BlockChange::Keep));
    let ranged = MassCancel {
        instrument_id: U32::new(1),
        low_price_e9: I64::new(price("1.001").0),
        high_price_e9: I64::new(price("2.009").0),
        side: SIDE_SELL,
        scope: SCOPE_ACCOUNT,
        cancel_group: 4,
        block_new_orders: 1,
        ..all
    };
    let Command::MassCancel(mass) = decoded(ranged) else { panic!("refused") };
    assert_eq!((mass.price_min, mass.price_max), (Some(PriceTicks(101)), Some(PriceTicks(200))), "bounds go inwards");
    assert_eq!((mass.scope, mass.side, mass.cancel_group), (MassScope::Account, Some(Side::Sell), 4));
    assert_eq!(mass.block, BlockChange::Set);
    let high = MassCancel { high_price_e9: I64::new(i64::MAX - 1), ..ranged };
    let Command::MassCancel(mass) = decoded(high) else { panic!("refused") };
    assert_eq!(mass.price_max, None, "above every price");
    use RejectReason::{Malformed, PriceTick, UnknownInstrument, Unsupported};
    let cases = [
        (Malformed, MassCancel { scope: 0, ..all }),
        (Malformed, MassCancel { scope: 4, ..all }),
        (Malformed, MassCancel { side: 3, ..all }),
        (Malformed, MassCancel { block_new_orders: 2, ..all }),
        (Malformed, MassCancel { instrument_id: U32::ZERO, ..ranged }),
        (Malformed, MassCancel { high_price_e9: I64::new(0), ..ranged }),
        (Malformed, MassCancel { low_price_e9: I64::new(-1), ..ranged }),
        (Malformed, MassCancel { low_price_e9: I64::new(price("3").0), ..ranged }),
        (PriceTick, MassCancel { low_price_e9: I64::new(i64::MAX - 1), high_price_e9: I64::new(PRICE_NULL), ..ranged }),
        (Unsupported, MassCancel { scope: SCOPE_QUOTE_SET, ..all }),
        (Unsupported, MassCancel { quote_set: U16::new(1), ..all }),
        (UnknownInstrument, MassCancel { instrument_id: U32::new(2), ..all }),
    ];
    for (idx, (reason, message)) in cases.into_iter().enumerate() {
        assert_eq!(refused(message), Some(reason), "case {idx}");
    }
}

#[test]
fn quotes_queries_and_settings() {
    let samples = samples::requests();
    let Request::MassQuote(quote) = samples[4] else { panic!("the fifth is a quote") };
    assert_eq!(refused(quote), Some(RejectReason::Unsupported));
    let Command::Query(query) = decoded(StatusRequest::all(ClOrdId(1), MarketId::NONE)) else { panic!("refused") };
    assert_eq!((query.account, query.market), (AccountId(1), MarketId::NONE));
    let set = SetSession::cancel_on_disconnect(ClOrdId(2), CodMode::OnLogout, CodScope::Account, 750);
    let instruments = samples::exchange().instruments;
    for (byte, wanted) in [(0, false), (1, true)] {
        // The byte after the last field is padding and ignored.
        let message = SetSession { stage_times: byte, pad: [0xff], ..set };
        let decoded = decode(Framed::new(message).as_bytes(), &samples::sender(1), &instruments);
        let Ok(Decoded::SetSession { command: Command::SetSession(command), stage_times }) = decoded else {
            panic!("refused")
        };
        assert_eq!((command.cod_mode, command.cod_scope), (CodMode::OnLogout, CodScope::Account));
        assert_eq!((command.cod_window_ms, stage_times), (750, wanted));
    }
    assert_eq!(refused(SetSession { stage_times: 2, ..set }), Some(RejectReason::Malformed));
    assert_eq!(refused(SetSession { cod_mode: 4, ..set }), Some(RejectReason::Malformed));
    assert_eq!(refused(SetSession { cod_scope: 0, ..set }), Some(RejectReason::Malformed));
    assert_eq!(refused(SetSession { cod_scope: SCOPE_QUOTE_SET, ..set }), Some(RejectReason::Unsupported));
}

#[test]
fn a_drop_copy_may_request_status_and_nothing_else() {
    let reader = Sender { drop_copy: true, ..samples::sender(1) };
    let refused = |command| matches!(command, Command::Refuse(r) if r.reason == RejectReason::NotAuthorised);
    assert!(refused(decoded_for(&reader, limit())));
    let target = Target::ClOrdId(ClOrdId(1));
    assert!(refused(decoded_for(&reader, ReplaceOrder::open(ClOrdId(1), target, MARKET, price("1"), qty("1")))));
    assert!(refused(decoded_for(&reader, CancelOrder::new(ClOrdId(1), target, MARKET))));
    assert!(refused(decoded_for(&reader, MassCancel::all(ClOrdId(1), MassScope::Account))));
    let set = SetSession::cancel_on_disconnect(ClOrdId(2), CodMode::Both, CodScope::Account, 0);
    assert!(refused(decoded_for(&reader, set)));
    assert!(matches!(decoded_for(&reader, StatusRequest::all(ClOrdId(1), MARKET)), Command::Query(_)));
}

#[test]
fn bytes_outside_the_schema_are_errors() {
    let instruments = samples::exchange().instruments;
    let good = samples::bytes_of_request(&samples::requests()[0]);
    let with = |at: usize, value: u16| {
        let mut bytes = good.clone();
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let cases = [
        (good[..7].to_vec(), SbeError::NoHeader { len: 7 }),
        (vec![], SbeError::NoHeader { len: 0 }),
        (with(4, 702), SbeError::WrongSchema { found: 702, expected: 701 }),
        (with(6, 0), SbeError::UnknownVersion { version: 0 }),
        (with(2, 8), SbeError::UnknownTemplate { template: 8 }),
        (with(2, 101), SbeError::UnknownTemplate { template: 101 }),
        (with(0, 79), SbeError::ShortBlock { template: 1, len: 79, expected: 80 }),
        (with(0, 88), SbeError::ShortBlock { template: 1, len: 80, expected: 80 }),
        (good[..87].to_vec(), SbeError::ShortBlock { template: 1, len: 79, expected: 80 }),
    ];
    for (bytes, error) in cases {
        assert_eq!(decode(&bytes, &samples::sender(1), &instruments), Err(ProtocolError(error)));
    }
}

#[test]
fn fields_of_a_newer_version_are_skipped() {
    let instruments = samples::exchange().instruments;
    let mut bytes = Framed::new(limit()).as_bytes().to_vec();
    let plain = decode(&bytes, &samples::sender(1), &instruments);
    bytes[0] = 88;
    bytes[6] = 2;
    bytes.extend_from_slice(&[0xff; 8]);
    assert_eq!(decode(&bytes, &samples::sender(1), &instruments), plain);
}
