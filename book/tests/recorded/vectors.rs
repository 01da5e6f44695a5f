//! The small cases of public suites, as far as they need no order type that is still to come.

use crate::exchange::{Exchange, MARKET, amend, cancel, limit, place, target};
use crate::shared;
use book::command::{AmendQty, CancelReplace, Command, OrderKind, PlaceOrder, ReplaceMode, Side, Tif};
use book::event::{CancelReason, Event};
use book::ids::{ClOrdId, OrderId};
use book::units::QtyLots;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// Cases that need what the exchange does not offer yet, with the reason; the numbers below count on this list.
const SKIPPED: [(&str, &str); 6] = [
    ("All-Or-None", "all-or-none orders that rest"),
    ("Hidden", "iceberg orders"),
    ("trailing stop", "trailing stops"),
    ("stop order", "stop orders"),
    ("stop-limit order", "stop-limit orders"),
    ("example", "call auctions"),
];

fn cases() -> Option<Vec<Value>> {
    let bytes = shared::read("data/vectors/vectors.jsonl")?;
    let text = String::from_utf8(bytes).expect("the vectors are text");
    Some(text.lines().map(|line| serde_json::from_str(line).expect("a case is JSON")).collect())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn integer(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("'{value}' is a number"))
}

fn side(word: &str) -> Side {
    if word.starts_with('B') { Side::Buy } else { Side::Sell }
}

/// One market that takes orders by the suite's ids and says what happened in the suite's words.
struct Suite {
    exchange: Exchange,
    orders: HashMap<u64, PlaceOrder>,
    ids: HashMap<u64, OrderId>,
    trades: Vec<[u64; 4]>,
    reports: Vec<String>,
}

impl Suite {
    fn new() -> Self {
        let exchange = Exchange::new();
        Self { exchange, orders: HashMap::new(), ids: HashMap::new(), trades: Vec::new(), reports: Vec::new() }
    }

    fn id(&self, id: u64) -> OrderId {
        self.ids.get(&id).copied().unwrap_or(OrderId(u64::MAX))
    }

    /// Applies a command about the order `id`; the trades go on record with their sequence in the case.
    fn apply(&mut self, seq: usize, id: u64, command: &Command) -> Vec<Event> {
        let events = self.exchange.apply(command).to_vec();
        for event in &events {
            match event {
                Event::Accepted(accepted) => drop(self.ids.insert(id, accepted.order_id)),
                Event::Fill(fill) => {
                    let (maker, taker) = (fill.maker.cl_ord_id.0, fill.taker.cl_ord_id.0);
                    self.trades.push([maker, taker, u64::from(fill.price.0), fill.qty.0]);
                    self.reports.push(format!("1,{seq},{},{},{maker},{taker}", fill.price.0, fill.qty.0));
                }
                _ => {}
            }
        }
        self.exchange.engine.verify().expect("the state is consistent");
        events
    }

    fn place(&mut self, seq: usize, id: u64, mut order: PlaceOrder) -> Vec<Event> {
        order.cl_ord_id = ClOrdId(id);
        self.orders.insert(id, order);
        let events = self.apply(seq, id, &Command::Place(order));
        self.go_on(seq, id, order, &events);
        events
    }

    /// One command meets at most 2,048 orders; a client that wants more sends the rest again.
    fn go_on(&mut self, seq: usize, id: u64, order: PlaceOrder, events: &[Event]) {
        let Some(Event::Canceled(canceled)) = events.last() else { return };
        let OrderKind::Limit { price, .. } = order.kind else { return };
        if canceled.reason == CancelReason::FillLimit {
            let rest = PlaceOrder { kind: OrderKind::Limit { price, qty: canceled.qty }, ..order };
            let events = self.apply(seq, id, &Command::Place(rest));
            self.go_on(seq, id, rest, &events);
        }
    }

    /// Cancel and place again on the same side, under another id or the same.
    fn replace(&mut self, seq: usize, id: u64, new_id: u64, price: u32, qty: u64) -> Vec<Event> {
        let side = self.orders.get(&id).map_or(Side::Buy, |order| order.side);
        self.replace_by(seq, id, new_id, limit(side, price, qty, Tif::Gtc))
    }

    fn replace_by(&mut self, seq: usize, id: u64, new_id: u64, mut order: PlaceOrder) -> Vec<Event> {
        order.cl_ord_id = ClOrdId(new_id);
        self.orders.insert(new_id, order);
        let (target, mode) = (target(self.id(id)), ReplaceMode::StopOnFailure);
        self.apply(seq, new_id, &Command::CancelReplace(CancelReplace { target, mode, place: order }))
    }

    fn best(&self, side: Side) -> Option<u64> {
        let market = self.exchange.engine.market(MARKET).expect("the market is there");
        market.book.best_price(side).map(|price| u64::from(price.0))
    }

    /// Number of orders and their quantity, by side.
    fn totals(&self, side: Side) -> (u64, u64) {
        let engine = &self.exchange.engine;
        let book = &engine.market(MARKET).expect("the market is there").book;
        let levels = book.depth(engine.pool(), side);
        levels.fold((0, 0), |(count, qty), level| (count + u64::from(level.order_count), qty + level.qty.0))
    }
}

/// A step of the suites that write `id, side, px, qty, tif`; gives the reports of `check_meb.py`.
fn report_step(suite: &mut Suite, seq: usize, step: &Value) {
    let id = integer(&step["id"]);
    let price = step["px"].as_u64().unwrap_or(0) as u32;
    let qty = step["qty"].as_u64().unwrap_or(0);
    let number = |side: Side| u8::from(side == Side::Sell);
    match text(step, "op") {
        "new" => {
            let tif = if text(step, "tif") == "IOC" { Tif::Ioc } else { Tif::Gtc };
            let side = side(text(step, "side"));
            suite.reports.push(format!("0,{seq},{},{id},{price},{qty}", number(side)));
            let events = suite.place(seq, id, limit(side, price, qty, tif));
            let ended = |e: &Event| matches!(e, Event::Canceled(c) if c.reason == CancelReason::Ioc);
            if events.iter().any(ended) {
                suite.reports.push(format!("2,{seq},{},{id},{price}", number(side)));
            }
        }
        "cancel" => {
            let known = suite.orders.get(&id).copied();
            let command = cancel(suite.id(id));
            let events = suite.apply(seq, id, &command);
            let report = match (&events[..], known.map(|order| (order.side, order.kind))) {
                ([Event::Canceled(_)], Some((side, OrderKind::Limit { price, .. }))) => {
                    format!("2,{seq},{},{id},{}", number(side), price.0)
                }
                _ => format!("4,{seq},{id}"),
            };
            suite.reports.push(report);
        }
        "modify" => {
            let events = suite.replace(seq, id, id, price, qty);
            let report = if matches!(events[..], [Event::CancelRejected(_)]) {
                format!("5,{seq},{id}")
            } else {
                format!("3,{seq},{},{id},{price},{qty}", number(suite.orders[&id].side))
            };
            suite.reports.push(report);
        }
        other => panic!("'{other}' is not a step of this suite"),
    }
}

fn run_meb(case: &Value) {
    let mut suite = Suite::new();
    let steps = case["steps"].as_array().expect("a case has steps");
    for (seq, step) in steps.iter().enumerate() {
        report_step(&mut suite, seq, step);
    }
    let name = text(case, "name");
    let trades: Vec<[u64; 4]> = serde_json::from_value(case["expect_trades"].clone()).expect("trades of four numbers");
    assert_eq!(suite.trades, trades, "{name}");
    let hash: String = Sha256::digest(suite.reports.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, text(case, "expect_reports_sha256"), "{name}: {:#?}", suite.reports);
    assert_eq!(suite.best(Side::Buy), case["expect_best_bid"].as_u64(), "{name}");
    assert_eq!(suite.best(Side::Sell), case["expect_best_ask"].as_u64(), "{name}");
}

/// Two reports a trade, one per side; which comes first is free.
fn run_quantcup(case: &Value) {
    let mut suite = Suite::new();
    let mut traders: HashMap<u64, String> = HashMap::new();
    for (seq, step) in case["steps"].as_array().expect("a case has steps").iter().enumerate() {
        traders.insert(integer(&step["id"]), text(step, "trader").to_owned());
        report_step(&mut suite, seq, step);
    }
    let expected = case["expect_fills_per_side"].as_array().expect("fills").iter().map(|fill| {
        let word = |idx: usize| fill[idx].as_str().expect("a word").to_owned();
        (word(0), integer(&fill[1]), integer(&fill[2]), word(3))
    });
    let mut expected: Vec<_> = expected.collect();
    expected.chunks_mut(2).for_each(<[_]>::sort);
    let mut got = Vec::new();
    for [maker, taker, price, qty] in &suite.trades {
        let report = |id: &u64| {
            let word = if suite.orders[id].side == Side::Buy { "B" } else { "S" };
            (word.to_owned(), *price, *qty, traders[id].clone())
        };
        let mut pair = [report(maker), report(taker)];
        pair.sort();
        got.extend(pair);
    }
    assert_eq!(got, expected, "{}", text(case, "name"));
}

fn run_cpptrader(case: &Value) {
    let mut suite = Suite::new();
    let name = text(case, "name");
    for (seq, step) in case["steps"].as_array().expect("a case has steps").iter().enumerate() {
        match text(step, "expect") {
            "" => cpptrader_step(&mut suite, seq, step),
            what => {
                let totals = (suite.totals(Side::Buy), suite.totals(Side::Sell));
                let wanted = (integer(&step["bid"]), integer(&step["ask"]));
                let got = match what {
                    "book_orders" => (totals.0.0, totals.1.0),
                    "book_volume" => (totals.0.1, totals.1.1),
                    other => panic!("'{other}' is not known"),
                };
                assert_eq!(got, wanted, "{name}, step {seq}: {what}");
            }
        }
    }
}

fn cpptrader_step(suite: &mut Suite, seq: usize, step: &Value) {
    let args = step["args"].as_array().expect("a step has arguments");
    let number = |idx: usize| integer(&args[idx]);
    let ctor = text(step, "ctor");
    match (text(step, "op"), ctor) {
        ("new", "BuyLimit" | "SellLimit") => {
            let tif = match args.get(4).and_then(Value::as_str) {
                Some("IOC") => Tif::Ioc,
                Some("FOK") => Tif::Fok,
                None => Tif::Gtc,
                Some(other) => panic!("'{other}' is not offered"),
            };
            suite.place(seq, number(0), limit(side(ctor), number(2) as u32, number(3), tif));
        }
        ("new", "BuyMarket" | "SellMarket") => {
            let order = market_order(suite, side(ctor), number(2), args.get(3).map(integer));
            suite.place(seq, number(0), order);
        }
        ("modify", _) => drop(suite.replace(seq, number(0), number(0), number(1) as u32, number(2))),
        ("replace", "SellLimit") => {
            // A price of zero is that suite's "at any price"; the lowest here is one tick.
            let order = limit(Side::Sell, (number(2) as u32).max(1), number(3), Tif::Gtc);
            suite.replace_by(seq, integer(&step["id"]), number(0), order);
        }
        ("replace", "") => drop(suite.replace(seq, number(0), number(1), number(2) as u32, number(3))),
        ("mitigate", _) => {
            let order_id = suite.id(number(0));
            let command = amend(order_id, number(1) as u32, number(2), AmendQty::Total);
            let events = suite.apply(seq, number(0), &command);
            // Where that suite ends an order whose new total is filled already, the exchange says `TooLate`.
            if matches!(events[..], [Event::CancelRejected(_)]) {
                suite.apply(seq, number(0), &cancel(order_id));
            }
        }
        (op, ctor) => panic!("'{op} {ctor}' is not a step of the cases that are run"),
    }
}

/// A slippage bound makes a market order an immediate-or-cancel limit so far from the best price.
fn market_order(suite: &Suite, side: Side, qty: u64, slippage: Option<u64>) -> PlaceOrder {
    let Some(slippage) = slippage else { return place(side, OrderKind::Market { qty: QtyLots(qty) }, Tif::Ioc) };
    let best = suite.best(side.opposite()).expect("slippage counts from a best price");
    let price = if side == Side::Buy { best + slippage } else { best - slippage };
    limit(side, price as u32, qty, Tif::Ioc)
}

#[test]
fn public_cases_come_out_as_published() {
    let Some(cases) = cases() else { return };
    let mut run: BTreeMap<String, usize> = BTreeMap::new();
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &cases {
        let (suite, name) = (text(case, "suite"), text(case, "name"));
        let skip = |part: &str| match suite {
            "xetra_auction" => part == "example",
            "cpptrader" => name.contains(part),
            _ => false,
        };
        if let Some((_, reason)) = SKIPPED.iter().find(|(part, _)| skip(part)) {
            *skipped.entry(reason).or_default() += 1;
            continue;
        }
        match suite {
            "meb34" => run_meb(case),
            "quantcup14" => run_quantcup(case),
            "cpptrader" => run_cpptrader(case),
            other => panic!("the suite '{other}' is new: run it or say why not"),
        }
        *run.entry(suite.to_owned()).or_default() += 1;
    }
    let run: Vec<(&str, usize)> = run.iter().map(|(suite, count)| (suite.as_str(), *count)).collect();
    assert_eq!(run, [("cpptrader", 6), ("meb34", 34), ("quantcup14", 14)]);
    let skipped: Vec<(&str, usize)> = skipped.into_iter().collect();
    let expected = [
        ("all-or-none orders that rest", 3),
        ("call auctions", 9),
        ("iceberg orders", 1),
        ("stop orders", 2),
        ("stop-limit orders", 2),
        ("trailing stops", 1),
    ];
    assert_eq!(skipped, expected);
}
