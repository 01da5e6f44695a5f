//! `pinion replay-day`: a recorded day through a running node, proved on the node's own feed.

use crate::client::market_data;
use crate::client::node_address::NodeAddress;
use crate::client::setup::{Credentials, NewMarket, Setup, fresh_name};
use crate::offline::as_of::{Moment, Past};
use crate::recorded_day::day::{Day, SHARE_E8};
use crate::recorded_day::drive::{Proof, Replay};
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

/// Whole shares and whole units of money that the day's account gets: nothing of a day comes near it.
const PLENTY: QtyE8 = QtyE8(40_000_000_000 * SHARE_E8);
const ORDER_SHARES_MAX: i64 = 1_000_000_000;

/// Drive a recorded trading day through a running node and compare every trade and every checked book.
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
    /// Trade on an empty market that is there, with --user and --password, instead of adding one
    #[arg(long, requires_all = ["symbol", "user", "password"])]
    pub no_setup: bool,
    /// The market's name; drawn where it is not given
    #[arg(long, value_name = "MARKET")]
    pub symbol: Option<String>,
    #[arg(long, requires = "no_setup")]
    pub user: Option<String>,
    #[arg(long, requires = "no_setup")]
    pub password: Option<String>,
    /// One line of JSON
    #[arg(long)]
    pub json: bool,
    /// Only read the files and say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Where and as whom a day is traded.
#[derive(Clone, Debug)]
pub struct Stage {
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
        let stage = match (&self.symbol, &self.user, &self.password) {
            (Some(symbol), Some(user), Some(password)) if self.no_setup => Stage {
                symbol: symbol.clone(),
                login: Credentials { user: user.clone(), password: password.clone() },
                cl_ord_id_first: crate::terminal::clock::fresh_cl_ord_id(),
            },
            _ => prepare(&mut node.setup()?, &day, self.symbol.as_deref())?,
        };
        let proof = replay(node.orders, node.market, &stage, &day, published.as_ref())?;
        let hash = node.data_dir.as_deref().map(|dir| Past::open(dir)?.engine_state(None)).transpose()?;
        self.report(&stage, &proof, hash.as_ref());
        Ok(if proof.holds() { exit::OK } else { exit::FAILED })
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

    fn report(&self, stage: &Stage, proof: &Proof, moment: Option<&Moment>) {
        let seconds = proof.elapsed.as_secs_f64();
        let hash = moment.map(|moment| moment.replica.engine.state_hash().to_string());
        if self.json {
            let line = json!({
                "market": stage.symbol,
                "commands": proof.commands,
                "trades_expected": proof.trades_expected,
                "trades_equal": proof.trades_equal,
                "rows_checked": proof.rows_checked,
                "rows_equal": proof.rows_equal,
                "differences": proof.differences,
                "difference_first": proof.difference_first,
                "state_hash": hash,
                "state_hash_seq": moment.map(|moment| moment.seq().0),
                "seconds": seconds,
            });
            println!("{line}");
            return;
        }
        let Proof { commands, trades_expected, trades_equal, rows_checked, rows_equal, .. } = proof;
        let per_second = *commands as f64 / seconds;
        println!("market      {}", stage.symbol);
        println!(
            "commands    {commands} in {seconds:.2} s, {per_second:.0} a second, each durable before it was answered"
        );
        println!("trades      {trades_equal} of {trades_expected} equal");
        println!("books       {rows_equal} of {rows_checked} equal");
        match (moment, hash) {
            (Some(moment), Some(hash)) => println!("state hash  {hash} at sequence {}", moment.seq().0),
            _ => println!("state hash  unknown: --config tells where the log is"),
        }
        if let Some(difference) = &proof.difference_first {
            println!("DIFFERENT   {difference} ({} differences in all)", proof.differences);
        }
    }
}

/// Adds a market for the day, and an account that trades on it. Every run has its own, so a day can be run again.
pub fn prepare(setup: &mut dyn Setup, day: &Day, symbol: Option<&str>) -> Result<Stage> {
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
    Ok(Stage { symbol, login, cl_ord_id_first: ClOrdId(1) })
}

/// The fewest decimal places of money in which one tick is a whole number.
fn scale_for(tick: PriceE9) -> Result<u8> {
    let whole = |scale: &u8| (i128::from(tick.0) * 10i128.pow(u32::from(*scale))) % 1_000_000_000 == 0;
    (0..=ASSET_SCALE_MAX).find(whole).with_context(|| format!("a tick of {tick} is finer than money can be"))
}

pub fn replay(
    orders: SocketAddr,
    market: SocketAddr,
    stage: &Stage,
    day: &Day,
    published: Option<&PublishedBook>,
) -> Result<Proof> {
    let (feed, market_id) = market_data::follow(market, &stage.symbol)?;
    let Credentials { user, password } = &stage.login;
    let client = OrderClient::connect(orders, user, password, SessionSeq::HEAD)
        .with_context(|| format!("logging in as {user} at {orders} (see --orders)"))?;
    let mut progress = Progress::new("replay-day", day.commands.len());
    let replay = Replay::new(client, feed, market_id, stage.cl_ord_id_first, day, published)?;
    replay.run(day, |done| progress.at(done))
}
