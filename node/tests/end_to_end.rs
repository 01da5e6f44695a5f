//! A complete node: sockets, journal, engine, feed. Everything acknowledged exists after a restart, and every message
//! can be requested again by its number.

mod common;

use api::binary::orders::Answer;
use api::binary::stream::SessionSeq;
use book::command::Side;
use common::replay::replayed;
use common::{NodeDir, limit, next};

#[test]
fn two_traders_trade_and_a_restart_changes_nothing() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = running.add_market();
    running.add_trader("MM1");
    running.add_trader("MM2");
    let mut maker = running.connect("MM1", SessionSeq::HEAD);
    let mut taker = running.connect("MM2", SessionSeq::HEAD);

    maker.new_order(&limit(1, market, Side::Sell, 100, 10)).expect("connected");
    assert!(matches!(next(&mut maker).message, Answer::OrderAccepted(_)));
    taker.new_order(&limit(1, market, Side::Buy, 100, 4)).expect("connected");
    assert!(matches!(next(&mut taker).message, Answer::OrderAccepted(_)));
    assert!(matches!(next(&mut taker).message, Answer::OrderExecuted(_)));
    let fill = next(&mut maker);
    let Answer::OrderExecuted(executed) = fill.message else { panic!("{fill:?}") };
    assert_eq!(executed.leaves_qty_e8.get(), 6 * common::ONE);
    assert_eq!(fill.seq, Some(SessionSeq(2)));
    let resume = maker.next_seq();
    drop((maker, taker));
    assert_eq!(running.stop(), 0);
    let (_, expected) = replayed(&node_dir);
    let restarted = node_dir.start();
    assert_eq!(restarted.node().state_hash.to_string(), expected);
    let mut maker = restarted.connect("MM1", SessionSeq::FIRST);
    assert!(matches!(next(&mut maker).message, Answer::OrderAccepted(_)));
    assert_eq!(next(&mut maker), fill);
    assert_eq!(maker.next_seq(), resume);
    drop(maker);
    assert_eq!(restarted.stop(), 0);
    let (_, expected) = replayed(&node_dir);
    assert_eq!(node_dir.start().node().state_hash.to_string(), expected);
}

#[test]
fn a_session_resumes_from_messages_that_are_no_longer_in_memory() {
    let node_dir = NodeDir::with("[session]\nresend_max = 1024\n");
    let running = node_dir.start();
    let market = running.add_market();
    running.add_trader("MM1");
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    let mut stream = Vec::new();
    for id in 1..=5_000 {
        client.new_order(&limit(id, market, Side::Sell, 100 + (id % 50) as i64, 1)).expect("connected");
        if id % 500 == 0 {
            while stream.len() < id as usize {
                let received = client.poll_raw(common::PATIENCE).expect("connected").expect("an answer in time");
                stream.push((received.seq, received.message.to_vec()));
            }
        }
    }
    for from in [1u64, 2, 3_000, 4_999] {
        let mut again = running.connect("MM1", SessionSeq(from));
        for expected in &stream[from as usize - 1..] {
            let received = again.poll_raw(common::PATIENCE).expect("connected").expect("an answer in time");
            assert_eq!((received.seq, received.message.to_vec()), *expected);
        }
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_drop_copy_receives_the_accounts_messages_and_may_not_trade() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let market = running.add_market();
    let account = running.add_trader("MM1");
    running.add_trader("MM2");
    running.add_drop_copy(account, "COPY");
    let mut copy = running.connect("COPY", SessionSeq::HEAD);
    let mut maker = running.connect("MM1", SessionSeq::HEAD);
    let mut taker = running.connect("MM2", SessionSeq::HEAD);
    maker.new_order(&limit(1, market, Side::Sell, 100, 10)).expect("connected");
    assert_eq!(next(&mut maker).message, next(&mut copy).message);
    taker.new_order(&limit(1, market, Side::Buy, 100, 10)).expect("connected");
    assert_eq!(next(&mut maker).message, next(&mut copy).message);
    copy.new_order(&limit(1, market, Side::Sell, 100, 10)).expect("connected");
    assert!(matches!(next(&mut copy).message, Answer::OrderRejected(_)));
    assert_eq!(running.stop(), 0);
}
