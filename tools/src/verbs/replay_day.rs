//! `pinion replay-day`: sends a recorded day to a running node, and compares the node's own feed with it.

use crate::client::market_data;
use crate::client::node_address::NodeAddress;
use crate::client::setup::{Credentials, NewMarket, Setup, fresh_name};
use crate::offline::as_of::{StateAt, StateReader};
use crate::recorded_day::day::{Day, SHARE_E8};
use crate::recorded_day::drive::{Comparison, DayReplay};
use crate::recorded_day::published_book::PublishedBook;
use crate::terminal::progress::Progress;
use anyhow::{Context, Result};
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use api::decimal::{PriceE9, QtyE8};
use book::ids::ClOrdId;
use book::instrument::ASSET_SCALE_MAX;
use book::units::Ppm;
use clap::Args;
use node::status::exit;
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Shares and money that the day's account gets, far more than any day moves.
const PLENTY: QtyE8 = QtyE8(40_000_000_000 * SHARE_E8);
const ORDER_SHARES_MAX: i64 = 1_000_000_000;

/// Send a recorded trading day to a running node, and compare every trade and every checked book.
#[derive(Args, Debug)]
pub struct ReplayDay {
    /// The day: FILE.cmds or FILE.cmds.zst
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The published order book that the day's K lines refer to, CSV or zip
    #[arg(long, value_name = "FILE")]
    pub book: Option<PathBuf>,
    #[command(flatten)]
    pub node: NodeAddress,
    /// Trade on an existing market without orders, with --user and --password, instead of adding one
    #[arg(long, requires_all = ["symbol", "user", "password"])]
    pub no_setup: bool,
    /// The market's name [default: a random one]
    #[arg(long, value_name = "MARKET")]
    pub symbol: Option<String>,
    #[arg(long, requires = "no_setup")]
    pub user: Option<String>,
    #[arg(long, requires = "no_setup")]
    pub password: Option<String>,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Read the files, print what would be done, and send nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// The market and the session of a replay.
#[derive(Clone, Debug)]
pub struct DaySession {
    pub symbol: String,
    pub login: Credentials,
    pub cl_ord_id_first: ClOrdId,
}

impl ReplayDay {
    pub fn run(&self) -> Result<u8> {
        let day = Day::load(&self.file)?;
        let published = self.book.as_deref().map(PublishedBook::load).transpose()?;
        if self.dry_run {
            self.describe(&day, published.as_ref());
            return Ok(exit::OK);
        }
        let node = self.node.resolve()?;
        let session = match (&self.symbol, &self.user, &self.password) {
            (Some(symbol), Some(user), Some(password)) if self.no_setup => DaySession {
                symbol: symbol.clone(),
                login: Credentials { user: user.clone(), password: password.clone() },
                cl_ord_id_first: crate::terminal::clock::fresh_cl_ord_id(),
            },
            _ => prepare(&mut node.setup()?, &day, self.symbol.as_deref())?,
        };
        let comparison = replay(node.orders, node.market, &session, &day, published.as_ref())?;
        let state = node.data_dir.as_deref().map(|dir| StateReader::open(dir)?.engine_state(None)).transpose()?;
        self.report(&session, &comparison, state.as_ref());
        Ok(if comparison.is_equal() { exit::OK } else { exit::FAILED })
    }

    fn describe(&self, day: &Day, published: Option<&PublishedBook>) {
        let rows = published.map_or(0, PublishedBook::rows_count);
        let (commands, trades, checks) = (day.commands.len(), day.trades_count(), day.checks_count());
        println!(
            "{}: {commands} commands, {trades} trades and {checks} books to compare, tick {}, {rows} published rows; nothing was sent",
            self.file.display(),
            day.tick(),
        );
    }

    fn report(&self, session: &DaySession, comparison: &Comparison, state: Option<&StateAt>) {
        let seconds = comparison.elapsed.as_secs_f64();
        let hash = state.map(|state| state.replica.engine.state_hash().to_string());
        if self.json {
            let line = json!({
                "market": session.symbol,
                "commands": comparison.commands,
                "trades_expected": comparison.trades_expected,
                "trades_equal": comparison.trades_equal,
                "rows_checked": comparison.rows_checked,
                "rows_equal": comparison.rows_equal,
                "differences": comparison.differences,
                "difference_first": comparison.difference_first,
                "state_hash": hash,
                "state_hash_seq": state.map(|state| state.seq().0),
                "seconds": seconds,
            });
            println!("{line}");
            return;
        }
        let Comparison { commands, trades_expected, trades_equal, rows_checked, rows_equal, .. } = comparison;
        let per_second = *commands as f64 / seconds;
        println!("market      {}", session.symbol);
        println!(
            "commands    {commands} in {seconds:.2} s, {per_second:.0} a second, each durable before it was answered"
        );
        println!("trades      {trades_equal} of {trades_expected} equal");
        println!("books       {rows_equal} of {rows_checked} equal");
        match (state, hash) {
            (Some(state), Some(hash)) => println!("state hash  {hash} at sequence {}", state.seq().0),
            _ => println!("state hash  not computed: --config names the data directory"),
        }
        if let Some(difference) = &comparison.difference_first {
            println!("DIFFERENT   {difference} ({} differences in all)", comparison.differences);
        }
    }
}

/// Adds a market for the day, and an account that trades on it. Every run has its own, so a day can be run again.
pub fn prepare(setup: &mut dyn Setup, day: &Day, symbol: Option<&str>) -> Result<DaySession> {
    let tag = fresh_name(6)?;
    let (base, quote) = (format!("SHARE-{tag}"), format!("CASH-{tag}"));
    let symbol = symbol.map_or_else(|| format!("DAY-{tag}"), str::to_owned);
    setup.ensure_asset(&base, 0)?;
    setup.ensure_asset(&quote, scale_for(day.tick())?)?;
    setup.ensure_market(&NewMarket {
        symbol: symbol.clone(),
        base: base.clone(),
        quote: quote.clone(),
        tick: day.tick(),
        lot: QtyE8(SHARE_E8),
        qty_max: QtyE8(ORDER_SHARES_MAX * SHARE_E8),
        maker_fee: Ppm(0),
        taker_fee: Ppm(0),
    })?;
    let account = setup.add_account(&format!("day {tag}"))?;
    for asset in [&base, &quote] {
        setup.deposit(account, asset, PLENTY)?;
    }
    let login = setup.add_session(account, &tag)?;
    Ok(DaySession { symbol, login, cl_ord_id_first: ClOrdId(1) })
}

/// The fewest decimal places of the quote asset in which one tick is an integer.
fn scale_for(tick: PriceE9) -> Result<u8> {
    let is_integer = |scale: &u8| (i128::from(tick.0) * 10i128.pow(u32::from(*scale))) % 1_000_000_000 == 0;
    (0..=ASSET_SCALE_MAX)
        .find(is_integer)
        .with_context(|| format!("a tick of {tick} needs more than the {ASSET_SCALE_MAX} decimal places of an asset"))
}

pub fn replay(
    orders: SocketAddr,
    market: SocketAddr,
    session: &DaySession,
    day: &Day,
    published: Option<&PublishedBook>,
) -> Result<Comparison> {
    let (feed, market_id) = market_data::follow(market, &session.symbol)?;
    let Credentials { user, password } = &session.login;
    let client = OrderClient::connect(orders, user, password, SessionSeq::HEAD)
        .with_context(|| format!("logging in as {user} at {orders} (see --orders)"))?;
    let mut progress = Progress::new("replay-day", day.commands.len());
    let replay = DayReplay::new(client, feed, market_id, session.cl_ord_id_first, day, published)?;
    replay.run(day, |done| progress.at(done))
}
