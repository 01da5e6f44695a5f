//! Rows of a published order book, which are compared with a book that the test built.

use super::market_packets::published;
use crate::meter;
use crate::target::{Outcome, Target, repair_nothing};
use api::binary::depth::{Depth, DepthBook};
use api::binary::market::MarketMessage;
use api::decimal::PriceE9;
use book::command::Side;
use book::testing::workload::Profile;
use std::sync::LazyLock;
use tools::recorded_day::published_book::PublishedBook;

pub const TARGET: Target =
    Target { name: "published_book", seeds, repair: repair_nothing, check, bytes_max: 1024, round_inputs: 8_000 };

const UNIT: PriceE9 = PriceE9(100_000);
const SHARE_E8: i64 = 100_000_000;
const DUMMY: &str = "9999999999,0";

/// A book with some levels on both sides; the same for every input.
static DEPTH: LazyLock<Depth> = LazyLock::new(|| {
    let mut depth = Depth::default();
    for message in published(Profile::Maker, 60) {
        let message = MarketMessage::read(&message).expect("a published message can be read");
        depth.apply(&message).expect("a published message has the next number");
    }
    depth
});

fn depth() -> &'static DepthBook {
    DEPTH.book(1).expect("the workload has a first market")
}

fn check(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    let own = depth();
    let book = meter::within(64 * input.len() + 4096, || PublishedBook::new(text.to_owned()));
    assert_eq!(book.rows_count(), text.split_inclusive('\n').count());
    assert!(book.compare(book.rows_count(), UNIT, own).is_err(), "there is no row after the last");
    let mut equal = false;
    for (row, line) in text.split_inclusive('\n').enumerate() {
        let Ok(difference) = book.compare(row, UNIT, own) else { continue };
        if difference.is_none() {
            let levels = line.trim_end().split(',').count() / 4;
            let written = write(own, levels);
            let numbers =
                |text: &str| text.split(',').map(|word| word.trim().parse().ok()).collect::<Vec<Option<i64>>>();
            let same = |(found, expected): (&Option<i64>, &Option<i64>)| found == expected || is_dummy(expected);
            let (found, expected) = (numbers(line), numbers(&written));
            assert!(found.len() == expected.len(), "{line:?} has the columns of {levels} levels");
            // The size of an absent level may be anything.
            let pairs = found.chunks(2).zip(expected.chunks(2));
            let all = pairs.flat_map(|(f, e)| if is_dummy(&e[0]) { vec![] } else { f.iter().zip(e).collect() });
            assert!(all.into_iter().all(same), "{line:?} is not {written:?}");
            equal = true;
        }
    }
    if equal { Outcome::Decoded } else { Outcome::Refused }
}

fn is_dummy(price: &Option<i64>) -> bool {
    price.is_some_and(|price| price.unsigned_abs() == 9_999_999_999)
}

/// Writes the best levels as a row of the published book.
fn write(book: &DepthBook, levels: usize) -> String {
    let side = |side| {
        let mut levels = book.levels(side);
        move || match levels.next() {
            Some(level) => format!("{},{}", level.price_e9 / UNIT.0, level.qty_e8 / SHARE_E8),
            None => DUMMY.to_owned(),
        }
    };
    let (mut ask, mut bid) = (side(Side::Sell), side(Side::Buy));
    (0..levels).map(|_| format!("{},{}", ask(), bid())).collect::<Vec<_>>().join(",")
}

fn seeds() -> Vec<Vec<u8>> {
    let rows = [1, 3, 40].map(|levels| write(depth(), levels));
    vec![rows[0].clone().into(), format!("{}\n{}\n", rows[2], rows[1]).into()]
}
