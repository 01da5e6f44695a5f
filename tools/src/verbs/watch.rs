//! `pinion watch`: prints a market's trades and best prices as they happen.

use crate::client::market_data::{PublicHeader, follow};
use crate::verbs::book::{FeedAddress, state_word};
use anyhow::{Context, Result};
use api::binary::depth::{DepthBook, Level};
use api::binary::market::{MarketMessage, OrderExecuted};
use api::binary::orders::SIDE_BUY;
use api::decimal::{PriceE9, QtyE8};
use book::command::Side;
use book::ids::MarketId;
use clap::Args;
use node::status::exit;
use serde_json::{Value, json};
use std::io::{Write, stdout};
use std::time::Duration;

const POLL_EVERY: Duration = Duration::from_secs(1);

/// Follow a market: every trade, and the best prices when they change.
#[derive(Args, Debug)]
pub struct Watch {
    /// The market's name
    #[arg(value_name = "MARKET")]
    symbol: String,
    #[command(flatten)]
    feed: FeedAddress,
    /// Exit after this many lines
    #[arg(long, value_name = "LINES")]
    count: Option<u64>,
    /// Print one line of JSON for each
    #[arg(long)]
    json: bool,
}

/// The best level of each side.
type Top = (Option<Level>, Option<Level>);

impl Watch {
    pub fn run(&self) -> Result<u8> {
        let (mut feed, market) = follow(self.feed.resolve()?, &self.symbol)?;
        let mut top = top_of(feed.depth().book(market.0).context("followed")?);
        let mut lines = self.print(&self.top_line(top), 0)?;
        while self.count.is_none_or(|count| lines < count) {
            let Some(received) = feed.poll(POLL_EVERY)? else { continue };
            match received.message {
                MarketMessage::OrderExecuted(m) if m.instrument_id.get() == market.0 => {
                    lines = self.print(&self.trade_line(&m), lines)?;
                }
                MarketMessage::TradingStatus(m) if m.instrument_id.get() == market.0 => {
                    lines = self.print(&self.state_line(m.state), lines)?;
                }
                _ => {}
            }
            if is_consistent_after(&received.message, market) {
                let now = top_of(feed.depth().book(market.0).context("followed")?);
                if now != top {
                    top = now;
                    lines = self.print(&self.top_line(top), lines)?;
                }
            }
        }
        Ok(exit::OK)
    }

    /// Prints a line and returns the number of lines so far. A closed pipe ends the watch.
    fn print(&self, line: &str, lines: u64) -> Result<u64> {
        if self.count.is_none_or(|count| lines < count) {
            let mut out = stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush()).context("writing to standard output")?;
        }
        Ok(lines + 1)
    }

    fn trade_line(&self, m: &OrderExecuted) -> String {
        let (price, qty) = (PriceE9(m.price_e9.get()).to_string(), QtyE8(m.qty_e8.get()).to_string());
        let aggressor = if m.aggressor == SIDE_BUY { "buy" } else { "sell" };
        if self.json {
            let ts_ns = m.event_time_ns.get();
            return json!({ "trade": m.trade_id.get(), "price": price, "qty": qty, "aggressor": aggressor, "ts_ns": ts_ns })
                .to_string();
        }
        format!("trade {:<10} {aggressor:<4} {qty} at {price}", m.trade_id.get())
    }

    fn state_line(&self, state: u8) -> String {
        let state = state_word(state);
        if self.json { json!({ "state": state }).to_string() } else { format!("market {state}") }
    }

    fn top_line(&self, (bid, ask): Top) -> String {
        if self.json {
            return json!({ "bid": level_json(bid), "ask": level_json(ask) }).to_string();
        }
        let text = |level: Option<Level>| match level {
            Some(level) => format!("{} x {}", QtyE8(level.qty_e8), PriceE9(level.price_e9)),
            None => "none".to_owned(),
        };
        format!("best  bid {} | ask {}", text(bid), text(ask))
    }
}

fn top_of(book: &DepthBook) -> Top {
    (book.levels(Side::Buy).next(), book.levels(Side::Sell).next())
}

fn level_json(level: Option<Level>) -> Value {
    level.map_or(
        Value::Null,
        |level| json!({ "price": PriceE9(level.price_e9).to_string(), "qty": QtyE8(level.qty_e8).to_string() }),
    )
}

/// Whether the market's book is consistent after this message, because it is the last one of its command.
fn is_consistent_after(message: &MarketMessage, market: MarketId) -> bool {
    PublicHeader::of(message).is_some_and(|header| header.instrument == market.0 && header.is_last)
}
