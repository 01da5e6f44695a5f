//! `pinion demo`: an exchange on this machine, with markets, accounts and live trading, until Ctrl-C.
//!
//! ```text
//!  pinion demo --spawns--> pinion-node (its own process group: Ctrl-C stops the demo, which stops the node)
//!      |                       ^  ^
//!      |--admin API: markets --+  |
//!      +--order port: live flow --+
//! ```
//! The demo uses only the ports that every client has.

use crate::client::demo_node::{Addresses, DemoNode};
use crate::client::http_setup::HttpSetup;
use crate::client::market_data::definition;
use crate::client::ops_client::OpsClient;
use crate::client::setup::{Credentials, NewMarket, Setup, fresh_name};
use crate::load_generator::connection::Connection;
use crate::load_generator::flow::{Flow, Grid, Profile};
use crate::load_generator::tally::Tally;
use crate::terminal::clock::fresh_cl_ord_id;
use crate::terminal::interrupt::Interrupt;
use anyhow::{Context, Result, ensure};
use api::binary::stream::SessionSeq;
use api::client::{ClientError, OrderClient};
use api::decimal::{PriceE9, QtyE8};
use book::ids::ClOrdId;
use book::units::Ppm;
use clap::Args;
use node::config::secrets::Secret;
use node::status::exit;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Orders that the live flow leaves in each market's book.
const RESTING_MAX: usize = 120;
const ASSETS: [&str; 3] = ["BTC", "ETH", "USDT"];

/// Run a demo exchange with live trading until Ctrl-C.
#[derive(Args, Debug)]
pub struct Demo {
    /// The data directory: created where it is absent, kept at the end [default: a temporary one, deleted at the end]
    #[arg(long, value_name = "D")]
    data_dir: Option<PathBuf>,
    /// Requests a second of the live flow; 0 for none
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Use free ports, even where the usual ones are free
    #[arg(long)]
    free_ports: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// A market of the demo.
struct DemoMarket {
    symbol: &'static str,
    base: &'static str,
    tick_e9: i64,
    lot_e8: i64,
    mid_ticks: i64,
}

const MARKETS: [DemoMarket; 2] = [
    DemoMarket { symbol: "BTCUSDT", base: "BTC", tick_e9: 100_000_000, lot_e8: 10_000, mid_ticks: 600_000 },
    DemoMarket { symbol: "ETHUSDT", base: "ETH", tick_e9: 10_000_000, lot_e8: 100_000, mid_ticks: 300_000 },
];

impl Demo {
    pub fn run(&self) -> Result<u8> {
        ensure!(self.rate <= 100_000, "--rate is at most 100000; use `pinion load` for more");
        if self.dry_run {
            println!(
                "would start pinion-node with {} and {}, at {} requests a second",
                MARKETS[0].symbol, MARKETS[1].symbol, self.rate
            );
            return Ok(exit::OK);
        }
        let stopping = Interrupt::on_signals()?;
        let mut node = DemoNode::start(self.data_dir.as_deref(), self.free_ports)?;
        let outcome = self.serve(&mut node, &stopping);
        let code = node.stop()?;
        outcome?;
        print_line("stopped");
        Ok(code)
    }

    fn serve(&self, node: &mut DemoNode, stopping: &Interrupt) -> Result<()> {
        let token_file = node.token_file();
        let token =
            Secret::read(&token_file).with_context(|| format!("reading token file {}", token_file.display()))?;
        let mut setup = HttpSetup::new(OpsClient::new(node.addresses.ops, Some(token)));
        add_markets(&mut setup)?;
        let guest = add_trader(&mut setup, "guest", 100)?;
        let mut connections = Vec::new();
        for (idx, market) in MARKETS.iter().enumerate() {
            let login = add_trader(&mut setup, "flow", 1_000_000)?;
            connections.push(connect(&node.addresses, market, &login, idx as u64)?);
        }
        print_welcome(node, &guest)?;
        self.trade(node, &mut connections, stopping)
    }

    /// Sends the live flow, one request at a time, to the markets in turn.
    #[expect(clippy::disallowed_methods, reason = "the demo paces its flow")]
    fn trade(&self, node: &mut DemoNode, connections: &mut [Connection], stopping: &Interrupt) -> Result<()> {
        let mut tally = Tally::new();
        let mut id = fresh_cl_ord_id();
        let pause = if self.rate == 0 { Duration::from_millis(100) } else { Duration::from_secs(1) / self.rate };
        let mut due = Instant::now();
        let mut turn = 0;
        while !stopping.is_set() {
            node.check_alive()?;
            let connection = &mut connections[turn % MARKETS.len()];
            turn += 1;
            id = ClOrdId(id.0 + 1);
            match self.step(connection, id, due, &mut tally) {
                // A signal to all processes stops the node at the same time as the demo.
                Err(_) if stopping.is_set() => break,
                outcome => outcome.context("sending the live flow to the demo's node")?,
            }
            due += pause;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        print_line(&format!("\n{} requests were sent, {} trades made", tally.sent, tally.fills));
        Ok(())
    }

    fn step(
        &self,
        connection: &mut Connection,
        id: ClOrdId,
        due: Instant,
        tally: &mut Tally,
    ) -> Result<(), ClientError> {
        if 0 < self.rate {
            connection.send(id, due)?;
            connection.flush()?;
            tally.sent += 1;
        }
        connection.receive(tally).map(|_count| ())
    }
}

/// Prints a line. A closed pipe is ignored: the demo still stops its node in order.
fn print_line(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}

fn add_markets(setup: &mut dyn Setup) -> Result<()> {
    for asset in ASSETS {
        setup.ensure_asset(asset, 8)?;
    }
    for market in &MARKETS {
        setup.ensure_market(&NewMarket {
            symbol: market.symbol.to_owned(),
            base: market.base.to_owned(),
            quote: "USDT".to_owned(),
            tick: PriceE9(market.tick_e9),
            lot: QtyE8(market.lot_e8),
            qty_max: QtyE8(9_000 * 100_000_000),
            maker_fee: Ppm(0),
            taker_fee: Ppm(200),
        })?;
    }
    Ok(())
}

/// Adds an account with some of every asset. Passwords are not stored, so every start of a demo adds new sessions.
fn add_trader(setup: &mut dyn Setup, kind: &str, coins: i64) -> Result<Credentials> {
    let user = fresh_name(6)?;
    let account = setup.add_account(&format!("demo {kind} {user}"))?;
    for (asset, amount) in [("BTC", coins), ("ETH", 10 * coins), ("USDT", 10_000 * coins)] {
        setup.deposit(account, asset, QtyE8(amount * 100_000_000))?;
    }
    setup.add_session(account, &user)
}

fn connect(addresses: &Addresses, market: &DemoMarket, login: &Credentials, seed: u64) -> Result<Connection> {
    let grid = Grid::of(&definition(addresses.market, market.symbol)?);
    let client = OrderClient::connect(addresses.orders, &login.user, &login.password, SessionSeq::HEAD)?;
    Ok(Connection::new(client, Flow::new(Profile::Mixed, grid, market.mid_ticks, RESTING_MAX, seed), false))
}

fn print_welcome(node: &DemoNode, guest: &Credentials) -> Result<()> {
    let Addresses { orders, market, ops } = node.addresses;
    let pinion = std::env::current_exe().context("finding this program")?;
    let pinion = pinion.display();
    // Addresses are printed only where they are not the default, to keep the commands short.
    let usual = node.addresses == Addresses::usual();
    let (feed, client, url) = if usual {
        (String::new(), String::new(), String::new())
    } else {
        (
            format!(" --market {market}"),
            format!(" --orders {orders} --market-data {market}"),
            format!(" --url http://{ops}"),
        )
    };
    println!("A Pinion exchange is running; Ctrl-C stops it.\n");
    println!("  order entry     {orders}   binary, SBE messages in SoupBinTCP sessions");
    println!("  market data     {market}   every order, live; snapshots; best prices");
    println!("  operations      http://{ops}/health   also /ready, /metrics, /version");
    println!("  data directory  {}\n", node.data_dir().display());
    println!("Look at it:");
    println!("  {pinion} book BTCUSDT{feed}");
    println!("  {pinion} watch ETHUSDT{feed}");
    println!("  {pinion} status{url}");
    println!("  {pinion} top{url}");
    println!("  {pinion} log tail --data-dir {}\n", node.data_dir().display());
    println!("Place an order and see it in the book, as its lowest bid:");
    println!(
        "  {pinion} order --user {} --password {} --market BTCUSDT --side buy --price 59000.5 --qty 0.25{client}",
        guest.user, guest.password
    );
    println!("  {pinion} book BTCUSDT --depth 200{feed}\n");
    println!("Trade at the market, and cancel what is left of your orders:");
    println!(
        "  {pinion} order --user {} --password {} --market BTCUSDT --side buy --type market --qty 0.01{client}",
        guest.user, guest.password
    );
    println!("  {pinion} cancel --user {} --password {} --all{client}\n", guest.user, guest.password);
    println!("Quote with a program of your own: docs/QUICKSTART.md begins with these lines");
    for line in exports(node, guest) {
        println!("  {line}");
    }
    Ok(())
}

/// Shell lines that tell a client, and `pinion` itself, where this node is and who may trade on it.
fn exports(node: &DemoNode, guest: &Credentials) -> Vec<String> {
    let Addresses { orders, market, ops } = node.addresses;
    let (symbol, config) = (MARKETS[0].symbol, node.config_file());
    let mut lines = vec![
        format!("export PINION_ORDERS={orders} PINION_MARKET_DATA={market} PINION_MARKET={symbol}"),
        format!("export PINION_USER={} PINION_PASSWORD={}", guest.user, guest.password),
    ];
    // The node was started with these over its file, so a program that reads the file needs them too.
    if node.addresses != Addresses::usual() {
        let listen = |name: &str, address| format!("PINION__LISTEN__{name}={address}");
        let listeners = [listen("ORDERS", orders), listen("MARKET", market), listen("OPS", ops)];
        lines.push(format!("export {}", listeners.join(" ")));
    }
    lines.push(format!("export PINION_CONFIG='{}'", config.display()));
    lines
}
