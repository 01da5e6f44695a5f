//! Two recorded days of NASDAQ: every expected trade in order, and the book equal to the published one at every check.

use crate::exchange::{Exchange, MARKET, accepted, amend, cancel, limit};
use crate::shared;
use book::command::{AmendQty, Command, Side, Tif};
use book::event::Event;
use book::ids::OrderId;
use std::collections::HashMap;

/// A trade as the recording expects it or the engine gives it: maker, price, quantity.
type Trade = (u64, u64, u64);

/// Plays a recording line by line. The grammar is in the data's README.
struct Day {
    exchange: Exchange,
    /// Prices of the recording per tick of the market.
    price_unit: u64,
    /// By the recording's ids, which may be used again.
    orders: HashMap<u64, OrderId>,
    ids: HashMap<OrderId, u64>,
    /// Trades of the last marketable order that the recording has not named yet, last first.
    unnamed: Vec<Trade>,
    trades: usize,
}

impl Day {
    fn new(price_unit: u64) -> Self {
        Self {
            exchange: Exchange::new(),
            price_unit,
            orders: HashMap::new(),
            ids: HashMap::new(),
            unnamed: Vec::new(),
            trades: 0,
        }
    }

    fn ticks(&self, price: u64) -> u32 {
        assert_eq!(price % self.price_unit, 0, "the price is on the tick");
        u32::try_from(price / self.price_unit).expect("the price fits")
    }

    fn play(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |idx: usize| words[idx].parse::<u64>().unwrap_or_else(|_| panic!("'{line}'"));
        if words[0] != "T" {
            assert!(self.unnamed.is_empty(), "before '{line}': trades that were not expected: {:?}", self.unnamed);
        }
        match words[0] {
            "N" | "n" => self.place(number(1), words[2], number(3), number(4), Tif::Gtc),
            "M" => self.place(number(1), words[2], number(3), number(4), Tif::Gtc),
            "A" => self.place(number(1), words[2], number(3), number(4), Tif::Ioc),
            "D" | "d" => {
                let gone = self.exchange.apply(&cancel(self.orders[&number(1)]));
                assert!(matches!(gone, [Event::Canceled(_)]), "'{line}': {gone:?}");
            }
            "R" | "r" => self.reduce(number(1), number(2)),
            "T" => {
                let expected = (number(1), number(2), number(3));
                assert_eq!(self.unnamed.pop(), Some(expected), "trade {}", self.trades);
                self.trades += 1;
            }
            "Z" => assert_eq!(self.exchange.engine.pool().orders.len(), 0, "the day begins with an empty book"),
            _ => panic!("'{line}' is not in the grammar"),
        }
        if matches!(words[0], "N" | "n") {
            assert!(self.unnamed.is_empty(), "'{line}' was to rest without a trade: {:?}", self.unnamed);
        }
    }

    fn place(&mut self, id: u64, side: &str, price: u64, qty: u64, tif: Tif) {
        let side = if side == "B" { Side::Buy } else { Side::Sell };
        let order = limit(side, self.ticks(price), qty, tif);
        let events = self.exchange.apply(&Command::Place(order));
        let order_id = accepted(events);
        let (ids, unit) = (&self.ids, self.price_unit);
        let fills = events.iter().filter_map(|e| match e {
            Event::Fill(fill) => Some((ids[&fill.maker.order_id], u64::from(fill.price.0) * unit, fill.qty.0)),
            _ => None,
        });
        self.unnamed = fills.collect();
        self.unnamed.reverse();
        self.orders.insert(id, order_id);
        self.ids.insert(order_id, id);
    }

    /// Takes a quantity off an order, which keeps its rank.
    fn reduce(&mut self, id: u64, qty: u64) {
        let order_id = self.orders[&id];
        let slot = self.exchange.engine.pool().orders.find(order_id).expect("a reduced order is open");
        let order = *self.exchange.engine.pool().orders.get(slot);
        let events = self.exchange.apply(&amend(order_id, order.price.0, order.leaves.0 - qty, AmendQty::Open));
        assert!(matches!(events, [Event::Amended(amended)] if amended.kept_priority), "{events:?}");
    }

    /// Price and quantity of the best levels, in the recording's units, and how many orders each has.
    fn levels(&self, side: Side, count: usize) -> Vec<(u64, u64, u32)> {
        let engine = &self.exchange.engine;
        let book = &engine.market(MARKET).expect("the market is there").book;
        let levels = book.depth(engine.pool(), side).take(count);
        levels.map(|l| (u64::from(l.price.0) * self.price_unit, l.qty.0, l.order_count)).collect()
    }
}

fn unpack(path: &str) -> Option<String> {
    let packed = shared::read(path)?;
    let bytes = zstd::decode_all(packed.as_slice()).expect("the recording unpacks");
    Some(String::from_utf8(bytes).expect("the recording is text"))
}

/// The deflated member of a zip file whose name ends so, by way of the central directory (PKWARE APPNOTE 4.3).
fn zip_member(zip: &[u8], name_end: &str) -> Vec<u8> {
    let u16_at = |at: usize| usize::from(u16::from_le_bytes(zip[at..at + 2].try_into().expect("two bytes")));
    let u32_at = |at: usize| u32::from_le_bytes(zip[at..at + 4].try_into().expect("four bytes")) as usize;
    let end = (0..zip.len() - 21).rev().find(|&at| zip[at..].starts_with(b"PK\x05\x06")).expect("an end record");
    let mut at = u32_at(end + 16);
    for _ in 0..u16_at(end + 10) {
        assert!(zip[at..].starts_with(b"PK\x01\x02"), "a central directory entry");
        let (packed_len, name_len) = (u32_at(at + 20), u16_at(at + 28));
        let name = &zip[at + 46..at + 46 + name_len];
        if name.ends_with(name_end.as_bytes()) {
            let local = u32_at(at + 42);
            let data = local + 30 + u16_at(local + 26) + u16_at(local + 28);
            return miniz_oxide::inflate::decompress_to_vec(&zip[data..data + packed_len]).expect("it inflates");
        }
        at += 46 + name_len + u16_at(at + 30) + u16_at(at + 32);
    }
    panic!("no {name_end} in the zip file");
}

/// Price and quantity of a side's levels, best first.
type Levels = Vec<(u64, u64)>;

/// Asks and bids of one row: price and size of each side in turn, with 9999999999 where there is no level.
fn row(line: &str) -> (Levels, Levels) {
    let numbers: Vec<i64> = line.trim().split(',').map(|n| n.parse().expect("a number")).collect();
    let side = |shift: usize| {
        let levels = numbers.chunks(4).map(|level| (level[shift], level[shift + 1]));
        levels.filter(|(price, _)| price.abs() < 9_999_999_999).map(|(p, q)| (p as u64, q as u64)).collect()
    };
    (side(0), side(2))
}

#[test]
fn a_day_of_goog_has_every_trade_and_every_published_book() {
    let Some(commands) = unpack("data/lobster/lobster_GOOG_2012-06-21_10.cmds.zst") else { return };
    let Some(zip) = shared::read("data/lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip") else { return };
    let book = String::from_utf8(zip_member(&zip, "orderbook_10.csv")).expect("a CSV file is text");
    let rows: Vec<&str> = book.lines().collect();
    let mut day = Day::new(1);
    let mut checked = 0;
    for line in commands.lines() {
        let Some(idx) = line.strip_prefix("K ") else {
            day.play(line);
            continue;
        };
        let (asks, bids) = row(rows[idx.parse::<usize>().expect("a row number")]);
        let levels =
            |side: Side| day.levels(side, 10).into_iter().map(|(price, qty, _)| (price, qty)).collect::<Vec<_>>();
        assert_eq!((levels(Side::Sell), levels(Side::Buy)), (asks, bids), "book at row {idx}");
        checked += 1;
    }
    day.exchange.engine.verify().expect("the state is consistent");
    assert_eq!((day.trades, checked), (7_765, 144_187));
    assert_eq!(commands.lines().count(), 304_681);
}

#[test]
fn a_day_of_arl_has_every_trade_and_every_published_top() {
    let Some(commands) = unpack("data/nasdaq/ARL_20250717.cmds.zst") else { return };
    // A hundredth of a cent is the smallest tick of that market.
    let mut day = Day::new(100_000);
    let mut checked = 0;
    for line in commands.lines() {
        let Some(state) = line.strip_prefix("C ") else {
            day.play(line);
            continue;
        };
        let top = |side: Side| match day.levels(side, 1).first() {
            Some((price, qty, count)) => format!("{price} {qty} {count}"),
            None => "- - -".to_owned(),
        };
        assert_eq!(format!("{} {}", top(Side::Buy), top(Side::Sell)), state, "state {checked}");
        checked += 1;
    }
    day.exchange.engine.verify().expect("the state is consistent");
    assert_eq!((day.trades, checked), (11, 804));
}
