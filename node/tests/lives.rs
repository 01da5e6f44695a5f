//! Lives of the streams, with real processes: what a client has seen and the log no longer has is never said again
//! about something else.

mod common;

use api::binary::login::SessionName;
use api::binary::market::MarketMessage;
use api::binary::orders::Answer;
use api::binary::stream::SessionSeq;
use api::client::{ClientError, MarketClient, OrderClient};
use book::command::{CodMode, Side};
use book::ids::MarketId;
use common::process::{Process, Start};
use common::{NodeDir, PASSWORD, PATIENCE, limit};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Every write waits far longer than the test takes, so that a kill loses what was answered.
const INTERVAL: &str = "[journal]\nsync = \"interval\"\ninterval_us = 10000000\n";
const ORDERS: u64 = 5;

fn prepared(extra: &str) -> (NodeDir, MarketId) {
    let node_dir = NodeDir::with(extra);
    let running = node_dir.start();
    let market = running.add_market();
    let account = running.add_trader("MM1");
    running.add_session(account, "MM2", CodMode::Off);
    assert_eq!(running.stop(), 0);
    (node_dir, market)
}

/// What a client has received: the name of its stream, the number of its next message, and the ids of its orders.
struct Received {
    name: String,
    next: SessionSeq,
    orders: BTreeSet<u64>,
}

fn trade(address: SocketAddr, market: MarketId, first_id: u64, from: SessionSeq) -> Received {
    let mut client = OrderClient::connect(address, "MM1", PASSWORD, from).expect("logged in");
    let name = client.session_name().as_str().to_owned();
    let mut orders = BTreeSet::new();
    for id in first_id..first_id + ORDERS {
        client.new_order(&limit(id, market, Side::Buy, 100, 1)).expect("sent");
        let answer = client.poll(PATIENCE).expect("connected").expect("an answer");
        let Answer::OrderAccepted(accepted) = answer.message else { panic!("{answer:?}") };
        assert!(orders.insert(accepted.order_id.get()), "an order id is given once");
    }
    Received { name, next: client.next_seq(), orders }
}

fn killed(process: Process) {
    assert_eq!(process.kill().signal, Some(9));
}

fn is_refused(outcome: Result<OrderClient, ClientError>) -> bool {
    matches!(outcome, Err(ClientError::LoginRejected(_)))
}

#[test]
fn after_a_crash_in_interval_mode_nothing_that_was_answered_is_said_again() {
    let (node_dir, market) = prepared(INTERVAL);
    let start = Start::new(&node_dir.config_file());
    let process = start.run();
    let before = trade(process.orders, market, 1, SessionSeq::FIRST);
    let seen = process.seq;
    killed(process);
    let process = start.run();
    assert!(process.seq < seen + ORDERS, "the answered orders are lost, or this test shows nothing");
    let old = OrderClient::connect(process.orders, "MM1", PASSWORD, before.next);
    assert!(is_refused(old), "the number belongs to a stream whose life is over");
    let after = trade(process.orders, market, 100, SessionSeq::HEAD);
    assert_ne!(after.name, before.name);
    assert!(before.next.0 + (1 << 34) <= after.next.0, "{:?} after {:?}", after.next, before.next);
    assert!(before.orders.is_disjoint(&after.orders), "{:?} and {:?}", before.orders, after.orders);
    // A clean stop ends the run: the life goes on.
    assert_eq!(process.terminate().code, Some(0));
    let process = start.run();
    let client = OrderClient::connect(process.orders, "MM1", PASSWORD, after.next).expect("the stream goes on");
    assert_eq!((client.session_name().as_str(), client.next_seq()), (after.name.as_str(), after.next));
    assert_eq!(process.terminate().code, Some(0));
}

#[test]
fn a_node_that_loses_nothing_keeps_its_life_over_kills() {
    let (node_dir, market) = prepared("");
    let start = Start::new(&node_dir.config_file());
    let process = start.run();
    let before = trade(process.orders, market, 1, SessionSeq::FIRST);
    killed(process);
    let process = start.run();
    let mut client =
        OrderClient::connect(process.orders, "MM1", PASSWORD, SessionSeq::FIRST).expect("the stream goes on");
    assert_eq!(client.session_name().as_str(), before.name);
    for _ in 0..ORDERS {
        assert!(client.poll(PATIENCE).expect("connected").is_some(), "every message is still there");
    }
    assert_eq!(client.next_seq(), before.next);
    assert_eq!(process.terminate().code, Some(0));
}

#[test]
fn the_numbers_of_live_go_on_far_after_the_lost_ones() {
    let (node_dir, market) = prepared(INTERVAL);
    let start = Start::new(&node_dir.config_file());
    let process = start.run();
    let live = |process: &Process, from| MarketClient::connect(process.market, SessionName::LIVE, from);
    let mut reader = live(&process, SessionSeq::HEAD).expect("logged in");
    trade(process.orders, market, 1, SessionSeq::FIRST);
    let mut seen = 0;
    while seen < ORDERS {
        let message = reader.poll(PATIENCE).expect("connected").expect("market data");
        seen += u64::from(matches!(message.message, MarketMessage::OrderAdd(_)));
    }
    let next = reader.next_seq();
    killed(process);
    let process = start.run();
    assert!(matches!(live(&process, next), Err(ClientError::LoginRejected(_))), "its next message was lost");
    let reader = live(&process, SessionSeq::HEAD).expect("logged in");
    assert!(next.0 + (1 << 34) <= reader.next_seq().0, "{:?} after {next:?}", reader.next_seq());
    assert_eq!(process.terminate().code, Some(0));
}
