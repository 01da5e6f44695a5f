//! The bytes of every message, pinned. A change here is a change of the protocol: `docs/protocol/CHANGELOG.md` has the
//! rules.
//!
//! `PINION_GOLDEN=write cargo test -p api --test golden` writes the file anew, for a reviewer to read the difference.

mod samples;

use api::binary::market::MarketMessage;
use api::binary::orders::{Answer, Request};
use std::fmt::Write;

const GOLDEN: &str = include_str!("golden/messages.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes anything");
        text
    })
}

fn name_of(schema: &str, bytes: &[u8]) -> &'static str {
    let orders = || Request::read(bytes).map(|m| m.name()).or_else(|_| Answer::read(bytes).map(|m| m.name()));
    let found = if schema == "orders" { orders() } else { MarketMessage::read(bytes).map(|m| m.name()) };
    found.expect("a message of ours")
}

#[test]
fn every_message_has_the_bytes_it_always_had() {
    let (orders, market) = samples::all_messages();
    let mut text = String::new();
    for (schema, messages) in [("orders", orders), ("market", market)] {
        for bytes in messages {
            writeln!(text, "{schema} {} {}", name_of(schema, &bytes), hex(&bytes)).expect("a string takes anything");
        }
    }
    if std::env::var_os("PINION_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/messages.txt");
        std::fs::write(path, &text).expect("the golden file can be written");
    }
    for (number, (now, golden)) in text.lines().zip(GOLDEN.lines()).enumerate() {
        assert_eq!(now, golden, "line {}", number + 1);
    }
    assert_eq!(text.lines().count(), GOLDEN.lines().count());
}

#[test]
fn every_message_is_among_the_pinned_ones() {
    let names: std::collections::BTreeSet<_> =
        GOLDEN.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    let orders = [
        "NewOrder",
        "ReplaceOrder",
        "CancelOrder",
        "MassCancel",
        "MassQuote",
        "StatusRequest",
        "SetSession",
        "OrderAccepted",
        "OrderRejected",
        "OrderExecuted",
        "OrderCanceled",
        "OrderReplaced",
        "CancelRejected",
        "MassCancelReport",
        "MassQuoteAck",
        "OrderStatus",
        "SessionState",
        "MmpTriggered",
        "TradeBust",
        "StageTimes",
    ];
    let market = [
        "InstrumentDefinition",
        "TradingStatus",
        "OrderAdd",
        "OrderReduce",
        "OrderDelete",
        "OrderReplace",
        "OrderExecuted",
        "Bbo",
        "LevelUpdate",
        "SnapshotBegin",
        "SnapshotEnd",
    ];
    let expected = orders.map(|n| format!("orders {n}")).into_iter().chain(market.map(|n| format!("market {n}")));
    assert_eq!(names, expected.collect());
}

/// The bytes of the examples of a page: the first word of every line of a code block.
fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("```").skip(1).step_by(2);
    blocks.map(|block| block.lines().filter_map(|line| line.split_whitespace().next()).collect()).collect()
}

#[test]
fn the_examples_of_the_reference_pages_are_pinned_messages() {
    let order_entry = examples(include_str!("../../docs/protocol/ORDER-ENTRY.md"));
    let market_data = examples(include_str!("../../docs/protocol/MARKET-DATA.md"));
    assert_eq!((order_entry.len(), market_data.len()), (2, 1));
    for example in order_entry.iter().chain(&market_data) {
        assert!(
            GOLDEN.lines().any(|line| line.split(' ').nth(2) == Some(example)),
            "no message has the bytes {example}"
        );
    }
}

/// Written out by hand from the schema, so that not every golden byte comes from the code it checks.
#[test]
fn a_new_order_by_hand() {
    let by_hand = concat!(
        "5000",
        "0100",
        "bd02",
        "0100", // blockLength 80, template 1, schema 701, version 1
        "6500000000000000",
        "00002a36fe9c9717", // clOrdId 101, sendingTime
        "80b97bbd4c270000",
        "80d1f00800000000", // price 43210.55, qty 1.5
        "80d1f00800000000",
        "0000000000000000", // displayQty, minQty
        "0000000000000000",
        "0000546cfc392f2f", // expireTime, validUntil
        "01000000",
        "01000000",
        "0102", // instrumentId, account, stpGroup 513
        "02",
        "02",
        "01",
        "02",
        "09",
        "09", // sell, limit, GTC, cancel taker, post-only + persist, group 9
    );
    assert_eq!(hex(&samples::bytes_of_request(&samples::requests()[0])), by_hand);
}
