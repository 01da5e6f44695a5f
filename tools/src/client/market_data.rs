//! Finds markets by name in a node's public feed.

use anyhow::{Context, Result, bail};
use api::binary::depth::{Depth, DepthBook};
use api::binary::login::SessionName;
use api::binary::market::{FLAG_LAST_IN_EVENT, InstrumentDefinition, MarketMessage, Name};
use api::binary::snapshot::SnapshotReader;
use api::binary::stream::SessionSeq;
use api::client::{BookFollower, MarketClient, book_sync};
use book::ids::MarketId;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A market that was just added reaches the feed within this time.
const MARKET_APPEARS_WITHIN: Duration = Duration::from_secs(5);
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(15);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// A name as text, without its padding.
pub fn name_text(name: &Name) -> String {
    let text: Vec<u8> = name.iter().copied().take_while(|byte| *byte != 0 && *byte != b' ').collect();
    String::from_utf8_lossy(&text).into_owned()
}

pub fn find<'d>(depth: &'d Depth, symbol: &str) -> Option<&'d DepthBook> {
    depth.books().find(|book| name_text(&book.definition().symbol) == symbol)
}

pub fn market_id(definition: &InstrumentDefinition) -> MarketId {
    MarketId(definition.instrument_id.get())
}

/// Every book as it is now.
pub fn snapshot(market: SocketAddr) -> Result<Depth> {
    let connecting = || format!("reading market data from {market} (does a node listen there? see --market)");
    let mut client = MarketClient::connect(market, SessionName::SNAP, SessionSeq::FIRST).with_context(connecting)?;
    let mut reader = SnapshotReader::default();
    let deadline = Instant::now() + SNAPSHOT_WITHIN;
    while Instant::now() < deadline {
        if let Some(raw) = client.poll_raw(POLL_EVERY).with_context(connecting)?
            && let Some(snapshot) = reader.read(raw.message)?
        {
            return Ok(snapshot.depth);
        }
    }
    bail!("reading market data from {market}: no complete snapshot within {} s", SNAPSHOT_WITHIN.as_secs())
}

/// The definition of one market. Where the name is wrong, the error lists the markets of the node.
pub fn definition(market: SocketAddr, symbol: &str) -> Result<InstrumentDefinition> {
    let depth = snapshot(market)?;
    match find(&depth, symbol) {
        Some(book) => Ok(*book.definition()),
        None => bail!("there is no market {symbol}; {}", markets_text(&depth)),
    }
}

/// A sentence that lists the markets of the node.
pub fn markets_text(depth: &Depth) -> String {
    let names: Vec<String> = depth.books().map(|book| name_text(&book.definition().symbol)).collect();
    if names.is_empty() { "the node has none yet".to_owned() } else { format!("the node has {}", names.join(", ")) }
}

/// Follows the feed from now on, and waits until it has the market.
pub fn follow(market: SocketAddr, symbol: &str) -> Result<(BookFollower, MarketId)> {
    let mut feed = book_sync(market).with_context(|| format!("following the feed of {market} (see --market)"))?;
    let deadline = Instant::now() + MARKET_APPEARS_WITHIN;
    loop {
        if let Some(book) = find(feed.depth(), symbol) {
            let id = MarketId(book.instrument());
            return Ok((feed, id));
        }
        if deadline < Instant::now() {
            bail!("there is no market {symbol}; {}", markets_text(feed.depth()));
        }
        feed.poll(POLL_EVERY)?;
    }
}

/// The fields that every message about a book has.
pub struct PublicHeader {
    pub instrument: u32,
    pub ts_ns: u64,
    /// Whether this is the last message of its command, after which the book is consistent.
    pub is_last: bool,
}

impl PublicHeader {
    pub fn of(message: &MarketMessage) -> Option<Self> {
        let (instrument, ts, flags) = match message {
            MarketMessage::OrderAdd(m) => (m.instrument_id, m.event_time_ns, m.flags),
            MarketMessage::OrderReduce(m) => (m.instrument_id, m.event_time_ns, m.flags),
            MarketMessage::OrderDelete(m) => (m.instrument_id, m.event_time_ns, m.flags),
            MarketMessage::OrderReplace(m) => (m.instrument_id, m.event_time_ns, m.flags),
            MarketMessage::OrderExecuted(m) => (m.instrument_id, m.event_time_ns, m.flags),
            _ => return None,
        };
        Some(Self { instrument: instrument.get(), ts_ns: ts.get(), is_last: flags & FLAG_LAST_IN_EVENT != 0 })
    }
}
