//! A subscriber to the live feed: its books are consistent after any messages.

use super::market_packets::{packets, payloads, published, renumber};
use crate::meter;
use crate::target::{Outcome, Target};
use api::binary::depth::{Depth, DepthBook};
use api::binary::market::{LEVEL_UPDATE_BYTES_MAX, MarketMessage};
use api::binary::top::{TopState, bbo};
use api::instruments::WIRE_AMOUNT_MAX;
use book::command::Side;
use book::testing::workload::Profile;
use book::units::TsNs;

pub const TARGET: Target =
    Target { name: "depth", seeds, repair: renumber, check, bytes_max: 8192, round_inputs: 4_000 };

fn check(input: &[u8]) -> Outcome {
    // Maps of maps: an order of 64 bytes on the wire may be alone on its level, which takes two tree nodes.
    let (depth, applied) = meter::within(64 * input.len() + (64 << 10), || follow(input));
    let mut orders = 0;
    for book in depth.books() {
        check_sums(book);
        orders += book.order_count();
    }
    assert!(orders <= applied, "no order without a message");
    if applied == 0 { Outcome::Refused } else { Outcome::Decoded }
}

/// Applies messages until one is refused; returns the books and the number of messages that were applied.
fn follow(input: &[u8]) -> (Depth, usize) {
    let mut depth = Depth::default();
    let mut applied = 0;
    for place in payloads(input) {
        let Ok(message) = MarketMessage::read(&input[place]) else { break };
        if depth.apply(&message).is_err() {
            break;
        }
        applied += 1;
    }
    (depth, applied)
}

/// Checks that levels are the sums of their orders, best first, and that the top of the book can be published.
pub fn check_sums(book: &DepthBook) {
    let mut orders_sum = 0;
    for side in [Side::Buy, Side::Sell] {
        let mut orders = book.orders(side).peekable();
        let mut previous = None;
        for level in book.levels(side) {
            let (mut qty, mut count) = (0i128, 0);
            while let Some(order) = orders.next_if(|order| order.price_e9 == level.price_e9) {
                assert!(order.side == side && 0 < order.qty_e8);
                assert_eq!(book.order(order.order_id), Some(order));
                qty += i128::from(order.qty_e8);
                count += 1;
            }
            let shown = qty.min(i128::from(WIRE_AMOUNT_MAX));
            assert_eq!((i128::from(level.qty_e8), level.orders), (shown, count), "a level is the sum of its orders");
            let better = previous
                .is_none_or(|price| if side == Side::Buy { level.price_e9 < price } else { price < level.price_e9 });
            assert!(better && 0 < count, "levels come best first, and none is empty");
            previous = Some(level.price_e9);
            orders_sum += count as usize;
        }
        assert!(orders.next().is_none(), "every order has a level");
    }
    assert_eq!(orders_sum, book.order_count());
    let _best = bbo(book, TsNs(1));
    let mut buffer = [0; LEVEL_UPDATE_BYTES_MAX];
    if let Some(len) = TopState::default().update(book, TsNs(1), &mut buffer) {
        MarketMessage::read(&buffer[..len]).expect("an update can be read");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mixed = published(Profile::Mixed, 40);
    let crosses = published(Profile::Crosses, 60);
    [mixed, crosses].iter().map(|messages| packets(&messages[..messages.len().min(80)])).collect()
}
