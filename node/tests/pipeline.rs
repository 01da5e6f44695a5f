//! The node's variants: gateway and engine on one thread or two, and journals with other settings. A client sees no
//! difference.

mod common;

use api::binary::orders::Answer;
use api::binary::stream::SessionSeq;
use book::command::Side;
use common::load::{Trader, trade_so_many};
use common::replay::replayed;
use common::{NodeDir, limit, next};

/// Settings of the journal.
const JOURNALS: [&str; 4] = [
    "",
    "[journal]\nsync = \"interval\"\ninterval_us = 500\n",
    "[journal]\nsync = \"interval\"\ninterval_us = 1000000\n",
    "[journal]\nframes_in_flight = 1\nframe_bytes_max = \"20KiB\"\n",
];

fn node_dirs(threads: &str) -> impl Iterator<Item = NodeDir> {
    JOURNALS.iter().map(move |journal| NodeDir::with_threads(threads, journal))
}

/// Two sessions trade, the node restarts, and state and messages are the same bytes.
fn trades_over_a_restart(node_dir: &NodeDir) {
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
    assert!(matches!(fill.message, Answer::OrderExecuted(m) if m.leaves_qty_e8.get() == 6 * common::ONE), "{fill:?}");
    drop((maker, taker));
    assert_eq!(running.stop(), 0);
    let (_, expected) = replayed(node_dir);
    let running = node_dir.start();
    assert_eq!(running.node().state_hash.to_string(), expected);
    let mut maker = running.connect("MM1", SessionSeq::FIRST);
    assert!(matches!(next(&mut maker).message, Answer::OrderAccepted(_)));
    assert_eq!(next(&mut maker), fill);
    let book = running.follow();
    assert_eq!(book.depth().books().map(|book| book.order_count()).sum::<usize>(), 1);
    drop((maker, book));
    assert_eq!(running.stop(), 0);
    let (_, expected) = replayed(node_dir);
    assert_eq!(node_dir.start().node().state_hash.to_string(), expected);
}

/// Makes a load with a clean stop in it and checks every byte of every stream.
fn holds_under_load(node_dir: &NodeDir) {
    let running = node_dir.start();
    let market = running.add_market();
    let mut traders = [("MM1", Side::Sell), ("MM2", Side::Buy)].map(|(user, side)| {
        running.add_trader(user);
        Trader::new(user, market, side)
    });
    trade_so_many(&running, &mut traders, 3_000);
    assert_eq!(running.stop(), 0);
    let running = node_dir.start();
    for trader in &mut traders {
        trader.check(running.orders()).unwrap_or_else(|what| panic!("{what}"));
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn every_journal_trades_on_one_thread() {
    node_dirs("single").for_each(|node_dir| trades_over_a_restart(&node_dir));
}

#[test]
fn every_journal_trades_on_two_threads() {
    node_dirs("pipeline").for_each(|node_dir| trades_over_a_restart(&node_dir));
}

#[test]
fn every_journal_holds_under_load_on_one_thread() {
    node_dirs("single").for_each(|node_dir| holds_under_load(&node_dir));
}

#[test]
fn every_journal_holds_under_load_on_two_threads() {
    node_dirs("pipeline").for_each(|node_dir| holds_under_load(&node_dir));
}
