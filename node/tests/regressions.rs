//! Defects found in real exchanges, each under its number in the project's list of regressions, and defects that this
//! node had itself.

mod common;

use api::binary::orders::{Answer, CancelOrder, NewOrder, OrderCanceled, TIF_IOC};
use api::binary::requests::Target;
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use book::codec;
use book::command::{
    Acted, Admin, BlockChange, Command, MarketStatus, MassCancel, MassScope, OrderKind, OrderRef, PlaceOrder, Query,
    Side, StpMode, Tif,
};
use book::engine::{CANCELS_PER_COMMAND_MAX, Capacity, Engine};
use book::event::Event;
use book::ids::{AccountId, ClOrdId, ClientKey, MarketId, OrderId, SessionId};
use book::units::{PriceTicks, QtyLots, TsNs};
use common::load::{Trader, trade_while};
use common::log::append;
use common::process::Start;
use common::{NodeDir, ONE, RunningNode, limit, next};
use node::replica::questions::shadow_port;
use node::replica::recover::restore;
use node::rings::admin_port::AdminPortError;
use node::shadow::{Shadow, ShadowWiring};
use node::status::recovery::Recovery;
use std::sync::Arc;
use std::time::Duration;
use wal::directory::Directory;
use wal::quarantine::Quarantine;

fn traders(running: &RunningNode) -> MarketId {
    let market = running.add_market();
    running.add_trader("MM1");
    running.add_trader("MM2");
    market
}

fn accepted(client: &mut OrderClient) -> api::binary::orders::OrderAccepted {
    match next(client).message {
        Answer::OrderAccepted(accepted) => accepted,
        other => panic!("{other:?}"),
    }
}

fn executed(client: &mut OrderClient) -> api::binary::orders::OrderExecuted {
    match next(client).message {
        Answer::OrderExecuted(executed) => executed,
        other => panic!("{other:?}"),
    }
}

fn canceled(client: &mut OrderClient) -> OrderCanceled {
    match next(client).message {
        Answer::OrderCanceled(canceled) => canceled,
        other => panic!("{other:?}"),
    }
}

#[test]
fn regression_01_a_crash_between_accept_and_apply_loses_nothing() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    assert_eq!(running.stop(), 0);
    let start = Start::new(&node_dir.config_file());
    let mut both = [("MM1", Side::Sell), ("MM2", Side::Buy)].map(|(user, side)| Trader::new(user, market, side));
    for round in 1..=5 {
        let process = start.run();
        let address = process.orders;
        // A crash at another place in each round.
        trade_while(&mut both, address, |load| {
            load.until_answered(100 * round);
            process.kill();
        });
        let process = start.run();
        for trader in &mut both {
            trader.check(process.orders).unwrap_or_else(|what| panic!("round {round}: {what}"));
        }
    }
}

#[test]
fn regression_02_a_restart_keeps_quantities_and_queue_positions() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut maker = running.connect("MM1", SessionSeq::HEAD);
    let mut taker = running.connect("MM2", SessionSeq::HEAD);
    for id in [1, 2] {
        maker.new_order(&limit(id, market, Side::Sell, 100, 10)).expect("connected");
        accepted(&mut maker);
    }
    taker.new_order(&limit(1, market, Side::Buy, 100, 3)).expect("connected");
    assert_eq!(executed(&mut maker).cum_qty_e8.get(), 3 * ONE);
    let from = maker.next_seq();
    drop((maker, taker));
    assert_eq!(running.stop(), 0);
    let running = node_dir.start();
    let mut maker = running.connect("MM1", from);
    let mut taker = running.connect("MM2", SessionSeq::HEAD);
    taker.new_order(&limit(2, market, Side::Buy, 100, 8)).expect("connected");
    // The older order trades first, with its remaining quantity, then the younger one.
    let (first, second) = (executed(&mut maker), executed(&mut maker));
    assert_eq!((first.cl_ord_id.get(), first.cum_qty_e8.get(), first.leaves_qty_e8.get()), (1, 10 * ONE, 0));
    assert_eq!((second.cl_ord_id.get(), second.cum_qty_e8.get(), second.leaves_qty_e8.get()), (2, ONE, 9 * ONE));
}

#[test]
fn regression_03_accept_comes_first_and_cumulative_never_falls() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut maker = running.connect("MM1", SessionSeq::HEAD);
    let mut taker = running.connect("MM2", SessionSeq::HEAD);
    for id in 1..=5 {
        maker.new_order(&limit(id, market, Side::Sell, 100 + id as i64, 2)).expect("connected");
        accepted(&mut maker);
    }
    taker.new_order(&limit(1, market, Side::Buy, 105, 20)).expect("connected");
    assert_eq!(accepted(&mut taker).cl_ord_id.get(), 1);
    let cumulative: Vec<i64> = (0..5).map(|_| executed(&mut taker).cum_qty_e8.get() / ONE).collect();
    assert_eq!(cumulative, [2, 4, 6, 8, 10]);
}

#[test]
fn regression_04_an_immediate_order_ends_once_with_its_funds_back() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut maker = running.connect("MM1", SessionSeq::HEAD);
    maker.new_order(&limit(1, market, Side::Sell, 100, 1)).expect("connected");
    accepted(&mut maker);
    let mut taker = running.connect("MM2", SessionSeq::HEAD);
    // Each order holds most of the account's balance: if any of it stayed held, the next order would be refused.
    for id in 1..=20 {
        let order = NewOrder { tif: TIF_IOC, ..limit(id, market, Side::Buy, 100, 900_000) };
        taker.new_order(&order).expect("connected");
        accepted(&mut taker);
        if id == 1 {
            assert_eq!(executed(&mut taker).last_qty_e8.get(), ONE);
        }
        assert_eq!(canceled(&mut taker).cl_ord_id.get(), id);
    }
    assert!(matches!(taker.poll(Duration::ZERO), Ok(None)), "no message follows the end of an order");
}

#[test]
fn regression_06_a_cancel_of_a_filled_unknown_or_foreign_order_changes_nothing() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut maker = running.connect("MM1", SessionSeq::HEAD);
    let mut other = running.connect("MM2", SessionSeq::HEAD);
    maker.new_order(&limit(1, market, Side::Sell, 100, 1)).expect("connected");
    let id = OrderId(accepted(&mut maker).order_id.get());
    let foreign = CancelOrder::new(ClOrdId(1), Target::OrderId(id), market);
    other.cancel(&foreign).expect("connected");
    assert!(matches!(next(&mut other).message, Answer::CancelRejected(_)));
    other.new_order(&limit(2, market, Side::Buy, 100, 1)).expect("connected");
    accepted(&mut other);
    executed(&mut other);
    executed(&mut maker);
    for target in [Target::OrderId(id), Target::ClOrdId(ClOrdId(1)), Target::OrderId(OrderId(u64::MAX))] {
        maker.cancel(&CancelOrder::new(ClOrdId(7), target, market)).expect("connected");
        assert!(matches!(next(&mut maker).message, Answer::CancelRejected(_)), "{target:?}");
    }
}

#[test]
fn regression_07_sequences_continue_over_a_restart() {
    let node_dir = NodeDir::new();
    let mut ids = Vec::new();
    let mut market = MarketId(1);
    for round in 0..3 {
        let running = node_dir.start();
        if round == 0 {
            market = traders(&running);
        }
        let mut client = running.connect("MM1", SessionSeq::HEAD);
        assert_eq!(client.next_seq(), SessionSeq(1 + 2 * round));
        for id in [2 * round + 1, 2 * round + 2] {
            client.new_order(&limit(id, market, Side::Buy, 10, 1)).expect("connected");
            let order = accepted(&mut client);
            ids.push((order.order_id.get(), order.exec_id.get(), order.transact_time_ns.get()));
        }
        drop(client);
        assert_eq!(running.stop(), 0);
    }
    assert!(ids.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1 && a.2 < b.2), "{ids:?}");
}

#[test]
fn regression_11_a_halt_takes_effect_at_one_sequence() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    for id in 1..=2_000 {
        client.queue(&limit(id, market, Side::Buy, 10, 1)).expect("connected");
        if id == 1_000 {
            client.flush().expect("connected");
            running.admin(Admin::SetMarketStatus { market, status: MarketStatus::Halt });
        }
    }
    client.flush().expect("connected");
    let accepted: Vec<bool> =
        (0..2_000).map(|_| matches!(next(&mut client).message, Answer::OrderAccepted(_))).collect();
    let before = accepted.iter().take_while(|accepted| **accepted).count();
    assert!(accepted[before..].iter().all(|accepted| !accepted), "accepted, refused, and accepted again");
    assert!(before < 2_000, "the halt had no effect");
}

#[test]
fn regression_15_a_planned_restart_keeps_every_resting_order() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    let mut maker = running.connect("MM1", SessionSeq::HEAD);
    // The strictest cancel on disconnect, and a client that is still connected when the node stops.
    let set = api::binary::orders::SetSession::cancel_on_disconnect(
        ClOrdId(1),
        book::command::CodMode::Both,
        book::command::CodScope::Account,
        0,
    );
    maker.set_session(&set).expect("connected");
    next(&mut maker);
    for id in 1..=500 {
        maker.queue(&limit(id, market, Side::Sell, 100 + (id % 40) as i64, 1)).expect("connected");
    }
    maker.flush().expect("connected");
    for _ in 0..500 {
        accepted(&mut maker);
    }
    assert_eq!(running.stop(), 0);
    let running = node_dir.start();
    let status = &running.node().status;
    let from = status.gateway.at_ns.get();
    while status.gateway.at_ns.get() < from + 300_000_000 {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    assert_eq!(running.follow().depth().books().map(|book| book.order_count()).sum::<usize>(), 500);
}

/// Frames of one order each take a block of the head and few bytes of the store. The head filled up before the store
/// was flushed, and the node waited for ever.
#[test]
fn regression_small_frames_do_not_fill_the_head() {
    let node_dir = NodeDir::with("[journal]\nframes_in_flight = 1\n");
    let running = node_dir.start();
    let market = traders(&running);
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    // The head in these tests has about four thousand blocks.
    for id in 1..=5_000 {
        client.new_order(&NewOrder { tif: TIF_IOC, ..limit(id, market, Side::Buy, 10, 1) }).expect("connected");
        accepted(&mut client);
        canceled(&mut client);
    }
    drop(client);
    assert_eq!(running.stop(), 0);
    assert_eq!(node_dir.start().stop(), 0);
}

/// A mass cancel of more orders than one command may cancel, interrupted by a crash before its next part was in the
/// log: the client had received the announcement of more parts, and none followed.
#[test]
fn a_mass_cancel_that_a_crash_interrupted_is_completed_by_the_next_start() {
    the_next_part_follows(|_| {});
}

/// The same with a snapshot between the two parts: a start from it did not know of the mass cancel.
#[test]
fn a_mass_cancel_before_a_snapshot_is_completed_by_the_next_start() {
    the_next_part_follows(|node_dir| {
        let directory = Arc::new(Directory::open(&node_dir.data_dir()).expect("no node runs on the directory"));
        let new_engine = || Engine::new(Capacity::default());
        let (restored, store) = restore(&directory, &Quarantine::default(), new_engine, 1, &Recovery::default())
            .expect("the log is intact");
        assert!(!restored.continuations.is_empty());
        let (_port, inlet) = shadow_port();
        let (quarantine, end) = (Quarantine::default(), restored.engine.stamp().seq);
        let wiring = ShadowWiring::offline(Arc::clone(&directory), Arc::new(store), quarantine, inlet, end);
        let mut shadow = Shadow::begin(wiring, new_engine).expect("the shadow starts");
        let (header, _) = shadow
            .snapshot_at_end(restored.engine.state_hash())
            .expect("the state agrees with the log")
            .expect("the snapshot was taken");
        assert_eq!(header.tail, restored.log.tail, "the snapshot is at the end of the log");
    });
}

fn the_next_part_follows(in_between: impl FnOnce(&NodeDir)) {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    assert_eq!(running.stop(), 0);
    let orders = (1..=u64::from(CANCELS_PER_COMMAND_MAX) + 60).map(|id| Command::Place(resting(id, market)));
    append(&node_dir, orders.chain([Command::MassCancel(everything())]));
    in_between(&node_dir);

    let running = node_dir.start();
    let mut client = running.connect("MM1", SessionSeq::FIRST);
    let mut canceled_count = 0;
    let reports: Vec<bool> = std::iter::from_fn(|| {
        loop {
            match next(&mut client).message {
                Answer::OrderCanceled(_) => canceled_count += 1,
                Answer::MassCancelReport(report) => return Some(report.more == 1),
                _ => {}
            }
        }
    })
    .take(2)
    .collect();
    assert_eq!((reports, canceled_count), (vec![true, false], CANCELS_PER_COMMAND_MAX + 60));
    assert_eq!(running.stop(), 0);
}

/// The node ended after the first part of the answer was in the log.
#[test]
fn the_next_part_of_a_status_request_follows_after_a_restart() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = traders(&running);
    assert_eq!(running.stop(), 0);
    let count = CANCELS_PER_COMMAND_MAX + 60;
    let orders = (1..=u64::from(count)).map(|id| Command::Place(resting(id, market)));
    let target = OrderRef { order_id: OrderId::NONE, cl_ord_id: ClOrdId(0), client_key: ClientKey::NONE };
    let (session, account, market) = (SessionId(1), AccountId(1), MarketId::NONE);
    let query = Query { session, request: ClOrdId(9_999), account, market, target };
    append(&node_dir, orders.chain([Command::Query(query)]));

    let running = node_dir.start();
    let mut client = running.connect("MM1", SessionSeq::FIRST);
    let mut reported = Vec::new();
    while reported.last() != Some(&0) {
        if let Answer::OrderStatus(status) = next(&mut client).message {
            reported.push(status.remaining.get());
        }
    }
    assert!(reported.into_iter().eq((0..count).rev()), "every open order is reported once");
    assert_eq!(running.stop(), 0);
}

fn resting(id: u64, market: MarketId) -> PlaceOrder {
    PlaceOrder {
        session: SessionId(1),
        cl_ord_id: ClOrdId(id),
        client_key: ClientKey::NONE,
        account: AccountId(1),
        market,
        side: Side::Buy,
        kind: OrderKind::Limit { price: PriceTicks(1), qty: QtyLots(1) },
        tif: Tif::Gtc,
        stp: StpMode::None,
        stp_group: 0,
        cancel_group: 0,
        persist_on_disconnect: false,
        valid_until: TsNs(0),
    }
}

fn everything() -> MassCancel {
    MassCancel {
        session: SessionId(1),
        cl_ord_id: ClOrdId(9_999),
        account: AccountId(1),
        scope: MassScope::Session,
        market: MarketId::NONE,
        side: None,
        price_min: None,
        price_max: None,
        cancel_group: 0,
        block: BlockChange::Keep,
        continued: false,
    }
}

/// The engine loop could only end at an act that fits no record of the log, so none reaches it.
#[test]
fn an_act_that_fits_no_record_is_refused_before_the_log() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    for texts in [codec::RECORD_BYTES_MAX, codec::RECORD_BYTES_MAX - 16] {
        let act = Acted::from(Admin::RevokeKey { key: "x".repeat(texts) });
        assert!(matches!(running.node().admin.send(act), Err(AdminPortError::TooLarge)), "{texts} bytes");
    }
    let unknown = running.admin(Admin::RevokeKey { key: "x".repeat(codec::RECORD_BYTES_MAX - 64) });
    assert!(matches!(unknown[..], [Event::AdminRejected { .. }]), "the largest that fits is answered: {unknown:?}");
    assert_eq!(running.stop(), 0);
}
