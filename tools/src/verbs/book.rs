//! `pinion book`: a market's order book, as the public feed has it now.

use crate::client::market_data::{find, markets_text, name_text, snapshot};
use crate::client::node_address::NodeAddress;
use anyhow::{Result, bail};
use api::binary::depth::{DepthBook, Level};
use api::binary::market::{
    STATE_CANCEL_ONLY, STATE_CLOSED, STATE_HALT, STATE_POST_ONLY, STATE_PRE_OPEN, STATE_TRADING,
};
use api::decimal::{PriceE9, QtyE8};
use book::command::Side;
use clap::Args;
use node::status::exit;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Print a market's order book.
#[derive(Args, Debug)]
pub struct Book {
    /// The market's name
    #[arg(value_name = "MARKET")]
    symbol: String,
    /// Levels of each side
    #[arg(long, default_value_t = 10)]
    depth: usize,
    #[command(flatten)]
    feed: FeedAddress,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// The options that name a node's public feed.
#[derive(Args, Clone, Debug)]
pub struct FeedAddress {
    /// Market data [default: 127.0.0.1:9002]
    #[arg(long, value_name = "ADDR")]
    pub market: Option<SocketAddr>,
    /// The node's configuration, for its addresses
    #[arg(long, value_name = "FILE", env = "PINION_CONFIG")]
    pub config: Option<PathBuf>,
}

impl FeedAddress {
    pub fn resolve(&self) -> Result<SocketAddr> {
        let node = NodeAddress { config: self.config.clone(), market: self.market, ..NodeAddress::default() };
        Ok(node.resolve()?.market)
    }
}

impl Book {
    pub fn run(&self) -> Result<u8> {
        let depth = snapshot(self.feed.resolve()?)?;
        let Some(book) = find(&depth, &self.symbol) else {
            bail!("there is no market {}; {}", self.symbol, markets_text(&depth));
        };
        if self.json {
            println!("{}", self.as_json(book))
        } else {
            print!("{}", self.as_text(book))
        }
        Ok(exit::OK)
    }

    fn as_json(&self, book: &DepthBook) -> Value {
        let side = |side| -> Vec<Value> {
            book.top(side, self.depth)
                .map(|Level { price_e9, qty_e8, orders }| {
                    json!({ "price": PriceE9(price_e9).to_string(), "qty": QtyE8(qty_e8).to_string(), "orders": orders })
                })
                .collect()
        };
        json!({
            "market": self.symbol, "state": state_word(book.definition().state), "rpt_seq": book.rpt_seq(),
            "orders": book.order_count(), "bids": side(Side::Buy), "asks": side(Side::Sell),
        })
    }

    fn as_text(&self, book: &DepthBook) -> String {
        let definition = book.definition();
        let (base, quote) = (name_text(&definition.base_asset), name_text(&definition.quote_asset));
        let mut text = format!(
            "{} ({base} for {quote}), {}, {} orders\n{:>6} {:>16} {:>16} | {:<16} {:<16} {:<6}\n",
            self.symbol,
            state_word(definition.state),
            book.order_count(),
            "orders",
            "qty",
            "bid",
            "ask",
            "qty",
            "orders"
        );
        let (mut bids, mut asks) = (book.top(Side::Buy, self.depth), book.top(Side::Sell, self.depth));
        loop {
            let (bid, ask) = (bids.next(), asks.next());
            if bid.is_none() && ask.is_none() {
                return text;
            }
            let ([bid_orders, bid_qty, bid_price], [ask_orders, ask_qty, ask_price]) = (cells(bid), cells(ask));
            let line = format!(
                "{bid_orders:>6} {bid_qty:>16} {bid_price:>16} | {ask_price:<16} {ask_qty:<16} {ask_orders:<6}"
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
}

fn cells(level: Option<Level>) -> [String; 3] {
    level.map_or_else(Default::default, |Level { price_e9, qty_e8, orders }| {
        [orders.to_string(), QtyE8(qty_e8).to_string(), PriceE9(price_e9).to_string()]
    })
}

pub fn state_word(state: u8) -> &'static str {
    match state {
        STATE_PRE_OPEN => "before the open",
        STATE_TRADING => "trading",
        STATE_HALT => "halted",
        STATE_CANCEL_ONLY => "cancel only",
        STATE_CLOSED => "closed",
        STATE_POST_ONLY => "post only",
        _ => "in an unknown state",
    }
}
