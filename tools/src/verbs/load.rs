//! `pinion load`: open-loop load over the order port, latencies counted from the moment each request was due.
//!
//! ```text
//!  schedule --due--> flow --request--> line (one connection each) --batch--> node
//!  histogram <--now - due-- line <--first answer to the request------------- node
//! ```
//! A sender that is late does not shift the schedule: what waits behind it is counted as waiting, so a stall of the node
//! shows in every request that it held up (no coordinated omission). `--depth N` is the other kind: each connection keeps
//! N requests under way and sends the next when one is answered, so latencies are from the sending.

use crate::client::market_data;
use crate::client::node_address::{Found, NodeAddress};
use crate::client::setup::{Credentials, NewMarket, Setup, fresh_name};
use crate::load_generator::connection::Line;
use crate::load_generator::flow::{Flow, Grid, LIVE_MAX, Profile};
use crate::terminal::clock::fresh_cl_ord_id;
use anyhow::{Context, Result, ensure};
use api::binary::stream::SessionSeq;
use api::client::{ClientError, OrderClient};
use api::decimal::{PriceE9, QtyE8};
use book::ids::ClOrdId;
use book::units::Ppm;
use clap::Args;
use hdrhistogram::Histogram;
use node::config::human::parse_duration;
use node::status::exit;
use serde_json::json;
use std::time::{Duration, Instant};

/// Answers that may still come after the last request.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// Requests of one turn, between two looks at the answers.
const TURN_REQUESTS_MAX: usize = 256;
/// A wait that is worth a sleep in the kernel; the client waits in whole milliseconds.
const SLEEP_MIN: Duration = Duration::from_millis(2);
/// Middle of the market that a load sets up for itself, in ticks.
const MID_TICKS: i64 = 100_000;
const SYMBOL: &str = "LOAD";
const ASSETS: [&str; 2] = ["LOADCOIN", "LOADCASH"];
const LATENCY_NS_MAX: u64 = 60_000_000_000;

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
    /// As in 500ms, 10s, 5m
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Closed loop: so many requests under way on each connection, sent as fast as they are answered
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    pub depth: Option<usize>,
    /// Print `sent ID`, `ack ID` and `nack ID` for every new order as it happens
    #[arg(long)]
    pub trace: bool,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Log-ins, one for each connection; without them accounts are set up through the admin API
    #[arg(long, value_delimiter = ',', requires_all = ["password", "symbol"])]
    pub user: Vec<String>,
    #[arg(long, value_delimiter = ',')]
    pub password: Vec<String>,
    /// The market to load; one is set up where none is given
    #[arg(long, value_name = "MARKET")]
    pub symbol: Option<String>,
    #[command(flatten)]
    pub node: NodeAddress,
    /// One line of JSON
    #[arg(long)]
    pub json: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).filter(|d| !d.is_zero()).ok_or_else(|| format!("{text:?} does not look like 10s"))
}

/// What the node did with the requests.
#[derive(Debug)]
pub struct Tally {
    pub sent: u64,
    pub answered: u64,
    pub rejected: u64,
    /// Cancels and amendments of orders that had traded away.
    pub late: u64,
    pub fills: u64,
    /// The farthest that the sender was behind its own schedule.
    pub behind_max: Duration,
    pub latency_ns: Histogram<u64>,
}

impl Tally {
    pub fn new() -> Self {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("bounds that the histogram takes");
        Self { sent: 0, answered: 0, rejected: 0, late: 0, fills: 0, behind_max: Duration::ZERO, latency_ns }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Load {
    pub fn run(&self) -> Result<u8> {
        ensure!(0 < self.connections && self.connections <= 1_024, "--connections is 1 to 1024");
        ensure!(0 < self.rate && self.depth != Some(0), "--rate and --depth are above zero");
        let given = self.user.len();
        ensure!(given == self.password.len(), "as many --password as --user");
        ensure!(given == 0 || given == self.connections, "one --user and --password for each of --connections");
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
        let mut lines = Vec::new();
        for (idx, login) in logins.iter().enumerate() {
            let connecting = || format!("logging in as {} at {} (see --orders)", login.user, node.orders);
            let client = OrderClient::connect(node.orders, &login.user, &login.password, SessionSeq::HEAD);
            let resting_max = LIVE_MAX / self.connections.min(LIVE_MAX);
            let flow = Flow::new(self.profile, grid, MID_TICKS, resting_max, self.seed + idx as u64);
            lines.push(Line::new(client.with_context(connecting)?, flow, self.trace));
        }
        let (tally, elapsed, failure) = self.drive(&mut lines);
        self.report(&tally, elapsed, lines.iter().map(Line::waiting).sum());
        match failure {
            None => Ok(exit::OK),
            Some(error) => Err(error).context("the load ended early"),
        }
    }

    /// The market and who trades on it.
    fn logins(&self, node: &Found) -> Result<(String, Vec<Credentials>)> {
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
    fn drive(&self, lines: &mut [Line]) -> (Tally, Duration, Option<ClientError>) {
        let mut tally = Tally::new();
        let mut ids = Ids(fresh_cl_ord_id());
        let started = Instant::now();
        let outcome = match self.depth {
            None => self.open_loop(lines, started, &mut ids, &mut tally),
            Some(depth) => self.closed_loop(lines, depth, started, &mut ids, &mut tally),
        };
        let elapsed = started.elapsed();
        let outcome = outcome.and_then(|()| drain(lines, &mut tally));
        (tally, elapsed, outcome.err())
    }

    fn open_loop(
        &self,
        lines: &mut [Line],
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
                tally.behind_max = tally.behind_max.max(now - due);
                lines[next as usize % self.connections].send(ids.next(), due)?;
                tally.sent += 1;
                next += 1;
                turn += 1;
            }
            let mut work = turn;
            for line in &mut *lines {
                line.flush()?;
                work += line.receive(tally)?;
            }
            if work == 0 && next < total {
                rest(lines, due_at(next).saturating_duration_since(Instant::now()), tally)?;
            }
        }
        Ok(())
    }

    fn closed_loop(
        &self,
        lines: &mut [Line],
        depth: usize,
        started: Instant,
        ids: &mut Ids,
        tally: &mut Tally,
    ) -> Result<(), ClientError> {
        while started.elapsed() < self.duration {
            let mut work = 0;
            for line in &mut *lines {
                while line.waiting() < depth {
                    line.send(ids.next(), Instant::now())?;
                    tally.sent += 1;
                    work += 1;
                }
                line.flush()?;
                work += line.receive(tally)?;
            }
            if work == 0 {
                rest(lines, SLEEP_MIN, tally)?;
            }
        }
        Ok(())
    }

    fn report(&self, tally: &Tally, elapsed: Duration, unanswered: usize) {
        let latency = &tally.latency_ns;
        let at = |percentile: f64| latency.value_at_quantile(percentile / 100.0);
        let per_second = tally.answered as f64 / elapsed.as_secs_f64();
        let Tally { sent, answered, rejected, late, fills, behind_max, .. } = tally;
        let text = if self.json {
            json!({
                "profile": self.profile.name(), "connections": self.connections, "depth": self.depth,
                "rate": self.depth.is_none().then_some(self.rate), "seconds": elapsed.as_secs_f64(),
                "sent": sent, "answered": answered, "unanswered": unanswered, "rejected": rejected, "late": late,
                "fills": fills, "answered_per_second": per_second, "behind_max_ns": behind_max.as_nanos() as u64,
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
                 p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}\nthe sender was at most {:.1} us behind",
                self.profile.name(),
                self.pace(),
                us(at(50.0)),
                us(at(90.0)),
                us(at(99.0)),
                us(at(99.9)),
                us(latency.max()),
                us(behind_max.as_nanos() as u64),
            )
        };
        // A trace is for programs, and the report is not a line of it.
        if self.trace { eprintln!("{text}") } else { println!("{text}") }
    }
}

/// Client order ids, growing over all connections, so that one id names one order of the whole run.
#[derive(Debug)]
struct Ids(ClOrdId);

impl Ids {
    fn next(&mut self) -> ClOrdId {
        self.0 = ClOrdId(self.0.0 + 1);
        self.0
    }
}

/// Nothing to do for `wait`: one connection can sleep until its answers come, several must be looked at in turn.
fn rest(lines: &mut [Line], wait: Duration, tally: &mut Tally) -> Result<(), ClientError> {
    match lines {
        [line] if SLEEP_MIN <= wait => line.receive_within(wait - Duration::from_millis(1), tally).map(|_count| ()),
        _ if SLEEP_MIN <= wait => {
            std::thread::sleep(Duration::from_micros(50));
            Ok(())
        }
        _ => {
            std::thread::yield_now();
            Ok(())
        }
    }
}

fn drain(lines: &mut [Line], tally: &mut Tally) -> Result<(), ClientError> {
    let deadline = Instant::now() + DRAIN_MAX;
    for line in lines {
        while 0 < line.waiting() && Instant::now() < deadline {
            line.receive_within(Duration::from_millis(10), tally)?;
        }
    }
    Ok(())
}

/// A market for load, and an account with a session for each connection. The market is the same for every run.
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
