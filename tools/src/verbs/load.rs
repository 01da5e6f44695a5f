//! `pinion load`: open-loop load over the order port; latency counts from the time at which each request was scheduled.
//!
//! ```text
//!  schedule --due--> flow --request--> connections --batch--> node
//!  histogram <--now - due-- connections <--first answer------ node
//! ```
//! A late sender does not shift the schedule: the delay of a request counts as its latency, so a stall of the node
//! shows in every request that it delayed (no coordinated omission). `--depth N` is a closed loop: each connection
//! keeps N requests under way and sends the next one when one is answered, so latency counts from the sending.

use crate::client::market_data;
use crate::client::node_address::{NodeAddress, NodeEndpoints};
use crate::client::setup::{Credentials, NewMarket, Setup, fresh_name};
use crate::load_generator::connection::Connection;
use crate::load_generator::flow::{Flow, Grid, Profile, RESTING_MAX};
use crate::load_generator::tally::Tally;
use crate::terminal::clock::fresh_cl_ord_id;
use anyhow::{Context, Result, ensure};
use api::binary::stream::SessionSeq;
use api::client::{ClientError, OrderClient};
use api::decimal::{PriceE9, QtyE8};
use book::ids::ClOrdId;
use book::units::Ppm;
use clap::Args;
use node::config::human::parse_duration;
use node::status::exit;
use serde_json::json;
use std::time::{Duration, Instant};

/// The longest wait for the answers to the last requests.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Requests sent before answers are read again.
const TURN_REQUESTS_MAX: usize = 256;
/// A shorter wait does not sleep in the kernel: the client waits in milliseconds.
const SLEEP_MIN: Duration = Duration::from_millis(2);
/// The middle price of the market that a load adds for itself, in ticks.
const MID_TICKS: i64 = 100_000;
const SYMBOL: &str = "LOAD";
const ASSETS: [&str; 2] = ["LOADCOIN", "LOADCASH"];

/// Load a running node over its order port and print latencies.
#[derive(Args, Debug)]
pub struct Load {
    #[arg(long, value_enum)]
    pub profile: Profile,
    /// Requests a second, over all connections
    #[arg(long, default_value_t = 1_000)]
    pub rate: u32,
    #[arg(long, default_value_t = 1)]
    pub connections: usize,
    /// How long to send, as in 500ms, 10s, 5m
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Closed loop: keep N requests under way on each connection, sent as fast as they are answered
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    pub depth: Option<usize>,
    /// Print `sent ID`, `ack ID` and `nack ID` for every new order as it happens
    #[arg(long)]
    pub trace: bool,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Log-in names, one for each connection [default: accounts are added through the admin API]
    #[arg(long, value_delimiter = ',', requires_all = ["password", "symbol"])]
    pub user: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub password: Vec<String>,
    /// The market to load [default: one is added through the admin API]
    #[arg(long, value_name = "MARKET")]
    pub symbol: Option<String>,
    #[command(flatten)]
    pub node: NodeAddress,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Print what would be done, and send nothing
    #[arg(long)]
    pub dry_run: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).filter(|d| !d.is_zero()).ok_or_else(|| format!("{text:?} is not a duration such as 10s"))
}

impl Load {
    pub fn run(&self) -> Result<u8> {
        ensure!(0 < self.connections && self.connections <= 1_024, "--connections is 1 to 1024");
        ensure!(0 < self.rate && self.depth != Some(0), "--rate and --depth must be above zero");
        let given = self.user.len();
        ensure!(given == self.password.len(), "--user has {given} names, --password has {}", self.password.len());
        ensure!(
            given == 0 || given == self.connections,
            "--user has {given} names for {} connections; give one for each",
            self.connections
        );
        let node = self.node.resolve()?;
        if self.dry_run {
            println!(
                "{} at {} for {:?}, {}; nothing was sent",
                self.profile.name(),
                node.orders,
                self.duration,
                self.pace()
            );
            return Ok(exit::OK);
        }
        let (symbol, logins) = self.logins(&node)?;
        let (feed, market) = market_data::follow(node.market, &symbol)?;
        let book = feed.depth().book(market.0).context("the market is in the feed")?;
        let grid = Grid::of(book.definition());
        drop(feed);
        let mut connections = Vec::new();
        for (idx, login) in logins.iter().enumerate() {
            let connecting = || format!("logging in as {} at {} (see --orders)", login.user, node.orders);
            let client = OrderClient::connect(node.orders, &login.user, &login.password, SessionSeq::HEAD);
            let resting_max = RESTING_MAX / self.connections.min(RESTING_MAX);
            let flow = Flow::new(self.profile, grid, MID_TICKS, resting_max, self.seed + idx as u64);
            connections.push(Connection::new(client.with_context(connecting)?, flow, self.trace));
        }
        let (tally, elapsed, failure) = self.drive(&mut connections);
        self.report(&tally, elapsed, connections.iter().map(Connection::in_flight).sum());
        match failure {
            None => Ok(exit::OK),
            Some(error) => Err(error).context("a connection failed before the load was complete"),
        }
    }

    /// The market, and the sessions that trade on it.
    fn logins(&self, node: &NodeEndpoints) -> Result<(String, Vec<Credentials>)> {
        if let (Some(symbol), false) = (&self.symbol, self.user.is_empty()) {
            let pairs = self.user.iter().zip(&self.password);
            let login =
                |(user, password): (&String, &String)| Credentials { user: user.clone(), password: password.clone() };
            return Ok((symbol.clone(), pairs.map(login).collect()));
        }
        let mut setup = node.setup()?;
        let symbol = self.symbol.clone().unwrap_or_else(|| SYMBOL.to_owned());
        prepare(&mut setup, &symbol, self.connections).map(|logins| (symbol, logins))
    }

    fn pace(&self) -> String {
        match self.depth {
            Some(depth) => format!("{depth} under way on each of {} connections", self.connections),
            None => format!("{} requests a second over {} connections", self.rate, self.connections),
        }
    }

    /// Sends until the time is over or a connection fails, then waits for the answers that are under way.
    fn drive(&self, connections: &mut [Connection]) -> (Tally, Duration, Option<ClientError>) {
        let mut tally = Tally::new();
        let mut ids = Ids(fresh_cl_ord_id());
        let started = Instant::now();
        let outcome = match self.depth {
            None => self.open_loop(connections, started, &mut ids, &mut tally),
            Some(depth) => self.closed_loop(connections, depth, started, &mut ids, &mut tally),
        };
        let elapsed = started.elapsed();
        let outcome = outcome.and_then(|()| drain(connections, &mut tally));
        (tally, elapsed, outcome.err())
    }

    fn open_loop(
        &self,
        connections: &mut [Connection],
        started: Instant,
        ids: &mut Ids,
        tally: &mut Tally,
    ) -> Result<(), ClientError> {
        let total = (u128::from(self.rate) * self.duration.as_nanos() / 1_000_000_000) as u64;
        let due_at =
            |idx: u64| started + Duration::from_nanos((u128::from(idx) * 1_000_000_000 / u128::from(self.rate)) as u64);
        let mut next = 0;
        while next < total {
            let now = Instant::now();
            let mut turn = 0;
            while turn < TURN_REQUESTS_MAX && next < total && due_at(next) <= now {
                let due = due_at(next);
                tally.sender_lag_max = tally.sender_lag_max.max(now - due);
                connections[next as usize % self.connections].send(ids.next(), due)?;
                tally.sent += 1;
                next += 1;
                turn += 1;
            }
            let mut work = turn;
            for connection in &mut *connections {
                connection.flush()?;
                work += connection.receive(tally)?;
            }
            if work == 0 && next < total {
                wait(connections, due_at(next).saturating_duration_since(Instant::now()), tally)?;
            }
        }
        Ok(())
    }

    fn closed_loop(
        &self,
        connections: &mut [Connection],
        depth: usize,
        started: Instant,
        ids: &mut Ids,
        tally: &mut Tally,
    ) -> Result<(), ClientError> {
        while started.elapsed() < self.duration {
            let mut work = 0;
            for connection in &mut *connections {
                while connection.in_flight() < depth {
                    connection.send(ids.next(), Instant::now())?;
                    tally.sent += 1;
                    work += 1;
                }
                connection.flush()?;
                work += connection.receive(tally)?;
            }
            if work == 0 {
                wait(connections, SLEEP_MIN, tally)?;
            }
        }
        Ok(())
    }

    fn report(&self, tally: &Tally, elapsed: Duration, unanswered: usize) {
        let latency = &tally.latency_ns;
        let at = |percentile: f64| latency.value_at_quantile(percentile / 100.0);
        let per_second = tally.answered as f64 / elapsed.as_secs_f64();
        let Tally { sent, answered, rejected, late, fills, sender_lag_max, .. } = tally;
        let text = if self.json {
            json!({
                "profile": self.profile.name(), "connections": self.connections, "depth": self.depth,
                "rate": self.depth.is_none().then_some(self.rate), "seconds": elapsed.as_secs_f64(),
                "sent": sent, "answered": answered, "unanswered": unanswered, "rejected": rejected, "late": late,
                "fills": fills, "answered_per_second": per_second, "behind_max_ns": sender_lag_max.as_nanos() as u64,
                "latency_ns": {
                    "p50": at(50.0), "p90": at(90.0), "p99": at(99.0), "p99.9": at(99.9), "max": latency.max(),
                    "mean": latency.mean(),
                },
            })
            .to_string()
        } else {
            let us = |ns: u64| ns as f64 / 1e3;
            format!(
                "{}: {}\nsent {sent}, answered {answered} ({per_second:.0} a second), unanswered {unanswered}, \
                 rejected {rejected}, late {late}, fills {fills}\nlatency in us from the scheduled time: \
                 p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}\nthe sender was at most {:.1} us late",
                self.profile.name(),
                self.pace(),
                us(at(50.0)),
                us(at(90.0)),
                us(at(99.0)),
                us(at(99.9)),
                us(latency.max()),
                us(sender_lag_max.as_nanos() as u64),
            )
        };
        // A trace is read by programs, and the report is not a part of it.
        if self.trace { eprintln!("{text}") } else { println!("{text}") }
    }
}

/// Client order ids, increasing over all connections, so that an id belongs to one order of the run.
#[derive(Debug)]
struct Ids(ClOrdId);

impl Ids {
    fn next(&mut self) -> ClOrdId {
        self.0 = ClOrdId(self.0.0 + 1);
        self.0
    }
}

/// Waits without work for up to `idle`. A single connection sleeps until an answer arrives; several are polled in turn.
#[expect(clippy::disallowed_methods, reason = "the load is paced by its schedule")]
fn wait(connections: &mut [Connection], idle: Duration, tally: &mut Tally) -> Result<(), ClientError> {
    match connections {
        [connection] if SLEEP_MIN <= idle => {
            connection.receive_within(idle - Duration::from_millis(1), tally).map(|_received| ())
        }
        _ if SLEEP_MIN <= idle => {
            std::thread::sleep(Duration::from_micros(50));
            Ok(())
        }
        _ => {
            std::thread::yield_now();
            Ok(())
        }
    }
}

fn drain(connections: &mut [Connection], tally: &mut Tally) -> Result<(), ClientError> {
    let deadline = Instant::now() + DRAIN_MAX;
    for connection in connections {
        while 0 < connection.in_flight() && Instant::now() < deadline {
            connection.receive_within(Duration::from_millis(10), tally)?;
        }
    }
    Ok(())
}

/// Adds a market for load, and an account with a session for each connection. All runs share the market.
pub fn prepare(setup: &mut dyn Setup, symbol: &str, connections: usize) -> Result<Vec<Credentials>> {
    for asset in ASSETS {
        setup.ensure_asset(asset, 8)?;
    }
    setup.ensure_market(&NewMarket {
        symbol: symbol.to_owned(),
        base: ASSETS[0].to_owned(),
        quote: ASSETS[1].to_owned(),
        tick: PriceE9(10_000_000),
        lot: QtyE8(100_000),
        qty_max: QtyE8(1_000_000_000_000),
        maker_fee: Ppm(0),
        taker_fee: Ppm(0),
    })?;
    let tag = fresh_name(6)?;
    let enough = QtyE8(1_000_000_000 * 100_000_000);
    (0..connections)
        .map(|_| {
            let user = fresh_name(6)?;
            let account = setup.add_account(&format!("load {tag} {user}"))?;
            for asset in ASSETS {
                setup.deposit(account, asset, enough)?;
            }
            setup.add_session(account, &user)
        })
        .collect()
}
