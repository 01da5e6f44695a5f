//! Recorded days through a real node: every trade and every book, and the same state after a restart.
#![allow(clippy::print_stdout, reason = "a test says which data it could not find")]

mod common;

use api::binary::depth::DepthBook;
use book::command::Side;
use common::{Place, Running, recorded};
use std::path::Path;
use tools::client::market_data;
use tools::offline::as_of::StateReader;
use tools::recorded_day::day::Day;
use tools::recorded_day::drive::Comparison;
use tools::recorded_day::published_book::PublishedBook;
use tools::verbs::replay_day::{DaySession, prepare, replay};

const GOOG: &str = "lobster/lobster_GOOG_2012-06-21_10.cmds.zst";
const GOOG_BOOK: &str = "lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip";
const ARL: &str = "nasdaq/ARL_20250717.cmds.zst";

fn run_day(running: &Running, day: &Day, published: Option<&PublishedBook>) -> (DaySession, Comparison) {
    let session = prepare(&mut running.setup(), day, None).expect("a market is added");
    let addresses = running.node().addresses;
    let comparison = replay(addresses.orders, addresses.market, &session, day, published).expect("the day is replayed");
    (session, comparison)
}

/// Every order of a market's public book, in priority order.
fn public_book(running: &Running, symbol: &str) -> Vec<(u64, i64, i64)> {
    let depth = market_data::snapshot(running.node().addresses.market).expect("a snapshot");
    let book: &DepthBook = market_data::find(&depth, symbol).expect("the day's market");
    [Side::Buy, Side::Sell]
        .into_iter()
        .flat_map(|side| book.orders(side))
        .map(|order| (order.order_id, order.price_e9, order.qty_e8))
        .collect()
}

/// Replays the day, stops the node and starts it again: nothing may have changed.
fn check(day: &Path, published: Option<&PublishedBook>, trades: u64, rows: u64) {
    let day = Day::load(day).expect("a recorded day");
    let place = Place::new();
    let running = place.start();
    let (session, comparison) = run_day(&running, &day, published);
    assert_eq!(comparison.difference_first, None);
    assert_eq!((comparison.trades_equal, comparison.trades_expected), (trades, trades));
    assert_eq!((comparison.rows_equal, comparison.rows_checked), (rows, rows));
    assert!(comparison.is_equal());
    println!("{} commands in {:?}", comparison.commands, comparison.elapsed);

    let before = public_book(&running, &session.symbol);
    assert_eq!(running.stop(), 0);
    let replayed =
        StateReader::open(&place.data_dir()).and_then(|reader| reader.state(None)).expect("the log is intact");
    let running = place.start();
    assert_eq!(running.node().state_hash, replayed.replica.engine.state_hash());
    assert_eq!(running.node().log.tail.seq.0, replayed.seq().0);
    assert_eq!(public_book(&running, &session.symbol), before);
}

#[test]
fn a_quiet_day_from_the_empty_book() {
    let Some(day) = recorded(ARL) else { return };
    check(&day, None, 11, 804);
}

#[test]
fn a_busy_day_of_ten_levels() {
    let (Some(day), Some(book)) = (recorded(GOOG), recorded(GOOG_BOOK)) else { return };
    let published = PublishedBook::load(&book).expect("the published book");
    check(&day, Some(&published), 7_765, 144_187);
}

#[test]
fn a_wrong_expectation_is_found_and_named() {
    let text = "N 1 B 5800000 100\nN 2 B 5800000 50\nA 3 S 5800000 120\nT 1 5800000 100\nT 2 5800000 25\nC 1 1 1 - - -\n\
                D 2\nD 2\n";
    let day = Day::parse(text).expect("a day");
    let place = Place::new();
    let running = place.start();
    let (_, comparison) = run_day(&running, &day, None);
    assert!(!comparison.is_equal());
    assert_eq!((comparison.trades_equal, comparison.trades_expected), (1, 2));
    assert_eq!((comparison.rows_equal, comparison.rows_checked), (0, 1));
    let first = comparison.difference_first.expect("there is one");
    assert!(first.starts_with("line 5: the node traded 20 at"), "{first}");
    // The second trade, the book, and a cancel of an order that is gone.
    assert_eq!(comparison.differences, 3);
}

#[test]
fn an_order_id_may_be_used_again_and_a_reduction_keeps_its_priority() {
    let text = "N 1 B 100 30\nN 2 B 100 10\nA 7 S 100 5\nT 1 100 5\nR 1 5\nA 9 S 100 25\nT 1 100 20\nT 2 100 5\nC 100 5 1 - - -\n\
                N 1 S 101 7\nC 100 5 1 101 7 1\nM 8 B 101 10\nT 1 101 7\nC 101 3 1 - - -\nZ\nC - - - - - -\n\
                N 1 B 100 1\nC 100 1 1 - - -\nA 3 S 101 5\nC 100 1 1 - - -\n";
    // A price of 100 in the wire's unit is finer than the smallest unit of money, so the prices are multiplied.
    let text = text.replace(" 100 ", " 100000000000 ").replace(" 101 ", " 101000000000 ");
    let day = Day::parse(&text).expect("a day");
    let place = Place::new();
    let running = place.start();
    let (_, comparison) = run_day(&running, &day, None);
    assert_eq!(comparison.difference_first, None);
    assert_eq!((comparison.trades_equal, comparison.rows_equal), (4, 6));
}
