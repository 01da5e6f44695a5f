//! `pinion state book`: a market's book at a sequence, as levels, as orders, or as a row of LOBSTER's order book file.

use super::parts::order;
use super::when::When;
use crate::offline::as_of::StateAt;
use crate::recorded_day::published_book::DUMMY_PRICE;
use crate::terminal::failure::Failure;
use crate::terminal::output::Output;
use crate::terminal::time_text;
use anyhow::{Result, ensure};
use api::instruments::Instrument;
use book::command::Side;
use book::engine::Market;
use book::order_book::DepthLevel;
use clap::Args;
use node::status::exit;
use serde_json::{Value, json};

/// LOBSTER counts prices in 1e-4 of the currency and quantities in whole shares.
const LOBSTER_PRICE_E9: i128 = 100_000;
const SHARE_E8: i128 = 100_000_000;

#[derive(Args, Debug)]
pub(super) struct BookAt {
    /// The market's name
    #[arg(value_name = "MARKET")]
    symbol: String,
    #[command(flatten)]
    when: When,
    /// Levels of each side
    #[arg(long, default_value_t = 10)]
    depth: usize,
    /// Print single orders, in the order in which they would trade, instead of levels
    #[arg(long)]
    orders: bool,
    /// Print one row with this many levels, as LOBSTER's order book files have it: ask price, ask size, bid price, ..
    #[arg(long, value_name = "LEVELS", conflicts_with_all = ["orders", "json"])]
    lobster: Option<usize>,
}

impl BookAt {
    pub(super) fn run(&self) -> Result<u8> {
        let state = self.when.state()?;
        let mut out = Output::new();
        out.text(self.show(&state)?)?;
        out.flush().map(|()| exit::OK)
    }

    fn show(&self, state: &StateAt) -> Result<String> {
        let engine = &state.replica.engine;
        let Some(market) = engine.markets().find(|market| market.rules.symbol.as_str() == self.symbol) else {
            let names: Vec<&str> = engine.markets().map(|market| market.rules.symbol.as_str()).collect();
            let (symbol, seq, names) = (&self.symbol, state.seq().0, names.join(", "));
            let message = format!("there is no market {symbol} at sequence {seq}; the markets are: {names}");
            return Err(Failure::of(exit::NOT_FOUND, message));
        };
        let view = BookView { state, market, instrument: state.replica.translator.instruments().at(market.rules.id) };
        match self.lobster {
            Some(levels) => view.lobster(levels),
            None if self.when.json => Ok(format!("{}\n", view.json(self.depth, self.orders))),
            None if self.orders => Ok(view.orders_text()),
            None => Ok(view.text(self.depth)),
        }
    }
}

struct BookView<'a> {
    state: &'a StateAt,
    market: &'a Market,
    instrument: &'a Instrument,
}

impl BookView<'_> {
    fn levels(&self, side: Side, depth: usize) -> impl Iterator<Item = DepthLevel> {
        self.market.book.depth(self.state.replica.engine.pool(), side).take(depth)
    }

    fn json(&self, depth: usize, orders: bool) -> Value {
        let stamp = self.state.replica.engine.stamp();
        let pool = self.state.replica.engine.pool();
        let levels = |side| -> Vec<Value> {
            self.levels(side, depth)
                .map(|level| {
                    let price = self.instrument.price_exact(level.price).to_string();
                    json!({ "price": price, "qty": self.instrument.qty_exact(level.qty).to_string(), "orders": level.order_count })
                })
                .collect()
        };
        let queue =
            |side| -> Vec<Value> { self.market.book.queue(pool, side).map(|(_, resting)| order(resting)).collect() };
        let side = |side| if orders { queue(side) } else { levels(side) };
        json!({
            "market": self.market.rules.symbol.as_str(), "seq": stamp.seq.0, "ts_ns": stamp.ts.0,
            "orders": self.market.tape.open_count, "bids": side(Side::Buy), "asks": side(Side::Sell),
        })
    }

    fn head(&self) -> String {
        let stamp = self.state.replica.engine.stamp();
        let (symbol, orders) = (self.market.rules.symbol.as_str(), self.market.tape.open_count);
        format!("{symbol} at sequence {}, {}, {orders} orders\n", stamp.seq.0, time_text::show(stamp.ts.0))
    }

    fn text(&self, depth: usize) -> String {
        let mut text = self.head();
        text += &format!("{:>6} {:>16} {:>16} | {:<16} {:<16} {:<6}\n", "orders", "qty", "bid", "ask", "qty", "orders");
        let cells = |level: Option<DepthLevel>| -> [String; 3] {
            level.map_or_else(Default::default, |level| {
                let (price, qty) = (self.instrument.price_exact(level.price), self.instrument.qty_exact(level.qty));
                [level.order_count.to_string(), qty.to_string(), price.to_string()]
            })
        };
        let (mut bids, mut asks) = (self.levels(Side::Buy, depth), self.levels(Side::Sell, depth));
        loop {
            let (bid, ask) = (bids.next(), asks.next());
            if bid.is_none() && ask.is_none() {
                return text;
            }
            let ([bid_orders, bid_qty, bid], [ask_orders, ask_qty, ask]) = (cells(bid), cells(ask));
            let line = format!("{bid_orders:>6} {bid_qty:>16} {bid:>16} | {ask:<16} {ask_qty:<16} {ask_orders:<6}");
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }

    fn orders_text(&self) -> String {
        let mut text = self.head();
        let pool = self.state.replica.engine.pool();
        for (word, side) in [("buy", Side::Buy), ("sell", Side::Sell)] {
            for (_, order) in self.market.book.queue(pool, side) {
                let (price, leaves) =
                    (self.instrument.price_exact(order.price), self.instrument.qty_exact(order.leaves));
                let (id, account) = (order.id.0, order.account.0);
                text += &format!("{word:<4} {leaves:>16} at {price:<16} order {id} of account {account}\n");
            }
        }
        text
    }

    /// A row of LOBSTER's file. An absent level has the dummy price and no size.
    fn lobster(&self, depth: usize) -> Result<String> {
        let (mut bids, mut asks) = (self.levels(Side::Buy, depth), self.levels(Side::Sell, depth));
        let mut columns = Vec::with_capacity(4 * depth);
        for _ in 0..depth {
            for (level, none) in [(asks.next(), DUMMY_PRICE), (bids.next(), -DUMMY_PRICE)] {
                let (price, size) = level.map_or(Ok((none.into(), 0)), |level| self.lobster_level(&level))?;
                columns.extend([price.to_string(), size.to_string()]);
            }
        }
        Ok(columns.join(",") + "\n")
    }

    fn lobster_level(&self, level: &DepthLevel) -> Result<(i128, i128)> {
        let (price, qty) = (self.instrument.price_exact(level.price).value, self.instrument.qty_exact(level.qty).value);
        let exact = price % LOBSTER_PRICE_E9 == 0 && qty % SHARE_E8 == 0;
        ensure!(
            exact,
            "--lobster has prices in 1e-4 and whole shares, and this market's steps are finer; use --json instead"
        );
        Ok((price / LOBSTER_PRICE_E9, qty / SHARE_E8))
    }
}
