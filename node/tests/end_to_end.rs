//! A whole node: sockets, journal, engine, feed. What is acknowledged is there after a restart, and comes again by number.

mod common;

use api::binary::orders::Answer;
use api::binary::stream::SessionSeq;
use book::command::Side;
use common::{Place, limit, next};

#[test]
fn two_traders_trade_and_a_restart_changes_nothing() {
    let place = Place::new();
    let running = place.start();
    let market = running.add_market();
    running.add_trader("MM1");
    running.add_trader("MM2");
    let mut maker = running.connect("MM1", SessionSeq::HEAD);
    let mut taker = running.connect("MM2", SessionSeq::HEAD);

    maker.new_order(&limit(1, market, Side::Sell, 100, 10)).expect("sent");
    assert!(matches!(next(&mut maker).message, Answer::OrderAccepted(_)));
    taker.new_order(&limit(1, market, Side::Buy, 100, 4)).expect("sent");
    assert!(matches!(next(&mut taker).message, Answer::OrderAccepted(_)));
    assert!(matches!(next(&mut taker).message, Answer::OrderExecuted(_)));
    let fill = next(&mut maker);
    let Answer::OrderExecuted(executed) = fill.message else { panic!("{fill:?}") };
    assert_eq!(executed.leaves_qty_e8.get(), 6 * common::ONE);
    assert_eq!(fill.seq, Some(SessionSeq(2)));
    let resume = maker.next_seq();
    drop((maker, taker));
    let hash_before = {
        assert_eq!(running.stop(), 0);
        place.start()
    };
    let again = hash_before.node().state_hash;
    let mut maker = hash_before.connect("MM1", SessionSeq::FIRST);
    assert!(matches!(next(&mut maker).message, Answer::OrderAccepted(_)));
    assert_eq!(next(&mut maker), fill);
    assert_eq!(maker.next_seq(), resume);
    drop(maker);
    assert_eq!(hash_before.stop(), 0);
    assert_eq!(place.start().node().state_hash, again);
}

#[test]
fn a_session_resumes_from_numbers_that_memory_no_longer_has() {
    let place = Place::with("[session]\nresend_max = 1024\n");
    let running = place.start();
    let market = running.add_market();
    running.add_trader("MM1");
    let mut client = running.connect("MM1", SessionSeq::HEAD);
    let mut told = Vec::new();
    for id in 1..=5_000 {
        client.new_order(&limit(id, market, Side::Sell, 100 + (id % 50) as i64, 1)).expect("sent");
        if id % 500 == 0 {
            while told.len() < id as usize {
                let received = client.poll_raw(common::PATIENCE).expect("connected").expect("an answer in time");
                told.push((received.seq, received.message.to_vec()));
            }
        }
    }
    for from in [1u64, 2, 3_000, 4_999] {
        let mut again = running.connect("MM1", SessionSeq(from));
        for expected in &told[from as usize - 1..] {
            let received = again.poll_raw(common::PATIENCE).expect("connected").expect("an answer in time");
            assert_eq!((received.seq, received.message.to_vec()), *expected);
        }
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_drop_copy_reads_along_and_may_not_trade() {
    let place = Place::new();
    let running = place.start();
    let market = running.add_market();
    let account = running.add_trader("MM1");
    running.add_trader("MM2");
    running.add_drop_copy(account, "COPY");
    let mut copy = running.connect("COPY", SessionSeq::HEAD);
    let mut maker = running.connect("MM1", SessionSeq::HEAD);
    let mut taker = running.connect("MM2", SessionSeq::HEAD);
    maker.new_order(&limit(1, market, Side::Sell, 100, 10)).expect("sent");
    assert_eq!(next(&mut maker).message, next(&mut copy).message);
    taker.new_order(&limit(1, market, Side::Buy, 100, 10)).expect("sent");
    assert_eq!(next(&mut maker).message, next(&mut copy).message);
    copy.new_order(&limit(1, market, Side::Sell, 100, 10)).expect("sent");
    assert!(matches!(next(&mut copy).message, Answer::OrderRejected(_)));
    assert_eq!(running.stop(), 0);
}
