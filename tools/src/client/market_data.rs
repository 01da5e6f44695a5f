//! Markets by name, from a node's public feed.

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

/// A market that was added a moment ago reaches the feed within this.
const APPEARS_WITHIN: Duration = Duration::from_secs(5);
const SNAPSHOT_MAX: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    let connecting = || format!("asking {market} for the market (is the node running there? see --market)");
    let mut client = MarketClient::connect(market, SessionName::SNAP, SessionSeq::FIRST).with_context(connecting)?;
    let mut reader = SnapshotReader::default();
    let deadline = Instant::now() + SNAPSHOT_MAX;
    while Instant::now() < deadline {
        if let Some(raw) = client.poll_raw(LOOK_EVERY).with_context(connecting)?
            && let Some(snapshot) = reader.read(raw.message)?
        {
            return Ok(snapshot.depth);
        }
    }
    bail!("no whole snapshot from {market} within {} s", SNAPSHOT_MAX.as_secs())
}

/// One market as it is announced now; what else there is where the name is wrong.
pub fn definition(market: SocketAddr, symbol: &str) -> Result<InstrumentDefinition> {
    let depth = snapshot(market)?;
    match find(&depth, symbol) {
        Some(book) => Ok(*book.definition()),
        None => bail!("there is no market {symbol}; {}", others(&depth)),
    }
}

/// Says which markets there are.
pub fn others(depth: &Depth) -> String {
    let names: Vec<String> = depth.books().map(|book| name_text(&book.definition().symbol)).collect();
    if names.is_empty() { "the node has none yet".to_owned() } else { format!("the node has {}", names.join(", ")) }
}

/// Follows the feed from now on, and waits until it knows the market.
pub fn follow(market: SocketAddr, symbol: &str) -> Result<(BookFollower, MarketId)> {
    let mut feed = book_sync(market).with_context(|| format!("following the feed of {market} (see --market)"))?;
    let deadline = Instant::now() + APPEARS_WITHIN;
    loop {
        if let Some(book) = find(feed.depth(), symbol) {
            let id = MarketId(book.instrument());
            return Ok((feed, id));
        }
        if deadline < Instant::now() {
            bail!("there is no market {symbol}; {}", others(feed.depth()));
        }
        feed.poll(LOOK_EVERY)?;
    }
}

/// What every message about a book has.
pub struct PublicHeader {
    pub instrument: u32,
    pub ts_ns: u64,
    /// The command's last message: the book is whole again.
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
