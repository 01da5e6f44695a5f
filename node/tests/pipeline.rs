//! The node's other shapes: gateway and engine on a thread each, and a journal that is synced by interval. To a client
//! they are the same node.

mod common;

use api::binary::orders::Answer;
use api::binary::stream::SessionSeq;
use book::command::Side;
use common::load::{Trader, trade_so_many};
use common::{Place, limit, next};

const SHAPES: [&str; 4] = [
    "",
    "[journal]\nsync = \"interval\"\ninterval_us = 500\n",
    "[journal]\nsync = \"interval\"\ninterval_us = 1000000\n",
    "[journal]\nframes_in_flight = 1\nframe_bytes_max = \"20KiB\"\n",
];

fn places(threads: &str) -> impl Iterator<Item = Place> {
    SHAPES.iter().map(move |shape| Place::with_threads(threads, shape))
}

/// Two trade, the node restarts, and everything is as it was, to the byte.
fn trades_over_a_restart(place: &Place) {
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
    assert!(matches!(fill.message, Answer::OrderExecuted(m) if m.leaves_qty_e8.get() == 6 * common::ONE), "{fill:?}");
    drop((maker, taker));
    assert_eq!(running.stop(), 0);
    let running = place.start();
    let hash = running.node().state_hash;
    let mut maker = running.connect("MM1", SessionSeq::FIRST);
    assert!(matches!(next(&mut maker).message, Answer::OrderAccepted(_)));
    assert_eq!(next(&mut maker), fill);
    let book = running.follow();
    assert_eq!(book.depth().books().map(|book| book.order_count()).sum::<usize>(), 1);
    drop((maker, book));
    assert_eq!(running.stop(), 0);
    assert_eq!(place.start().node().state_hash, hash);
}

/// Load, a clean stop in the middle of it, and a check of every byte.
fn holds_under_load(place: &Place) {
    let running = place.start();
    let market = running.add_market();
    let mut traders = [("MM1", Side::Sell), ("MM2", Side::Buy)].map(|(user, side)| {
        running.add_trader(user);
        Trader::new(user, market, side)
    });
    trade_so_many(&running, &mut traders, 3_000);
    assert_eq!(running.stop(), 0);
    let running = place.start();
    for trader in &mut traders {
        trader.check(running.orders()).unwrap_or_else(|what| panic!("{what}"));
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn every_journal_trades_on_one_thread() {
    places("single").for_each(|place| trades_over_a_restart(&place));
}

#[test]
fn every_journal_trades_on_two_threads() {
    places("pipeline").for_each(|place| trades_over_a_restart(&place));
}

#[test]
fn every_journal_holds_under_load_on_one_thread() {
    places("single").for_each(|place| holds_under_load(&place));
}

#[test]
fn every_journal_holds_under_load_on_two_threads() {
    places("pipeline").for_each(|place| holds_under_load(&place));
}
