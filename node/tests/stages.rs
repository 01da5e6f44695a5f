//! Stage times of orders in a node's `/metrics`.

mod common;

use api::binary::orders::Answer;
use api::binary::stream::SessionSeq;
use book::command::Side;
use book::ids::MarketId;
use common::{NodeDir, PATIENCE, RunningNode, limit, next};
use node::ops::registry::Registry;
use node::ops::{OpsServer, bind};
use node::rings::stage_times::STAGE_NAMES;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Several housekeeping periods of the core; in each it passes its records on.
const SETTLED_NS: u64 = 200_000_000;

/// The text of `/metrics`.
struct Metrics(String);

impl Metrics {
    fn ask(address: SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).expect("the node listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("the node reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("the node answers and closes");
        Self(answer)
    }

    /// The text of a series' value; `series` is its name without `pinion_stage_`.
    fn text(&self, series: &str) -> &str {
        let value = self.0.lines().find_map(|line| line.strip_prefix("pinion_stage_")?.strip_prefix(series));
        value.unwrap_or_else(|| panic!("{series} is missing in {}", self.0)).trim()
    }

    fn number(&self, series: &str) -> u64 {
        self.text(series).parse().expect("a whole number")
    }

    fn count(&self, stage: &str) -> u64 {
        self.number(&format!("seconds_count{{stage=\"{stage}\"}}"))
    }

    fn sum_ns(&self, stage: &str) -> u64 {
        let sum = self.text(&format!("seconds_sum{{stage=\"{stage}\"}}"));
        let (s, ns) = sum.split_once('.').expect("a decimal");
        format!("{s}{ns:0<9}").parse().expect("nanoseconds")
    }

    /// Bound and count of each bucket, in the order of the text.
    fn buckets(&self, stage: &str) -> Vec<(f64, u64)> {
        let start = format!("pinion_stage_seconds_bucket{{stage=\"{stage}\",le=\"");
        let bucket = |line: &str| {
            let (bound, count) = line.strip_prefix(&start)?.split_once("\"} ")?;
            Some((bound.parse().expect("seconds"), count.parse().expect("a count")))
        };
        self.0.lines().filter_map(bucket).collect()
    }

    /// p50, p90, p99, p99.9 and the maximum.
    fn quantiles_ns(&self, stage: &str) -> [u64; 5] {
        ["0.5", "0.9", "0.99", "0.999", "max"]
            .map(|quantile| self.number(&format!("quantile_ns{{stage=\"{stage}\",quantile=\"{quantile}\"}}")))
    }
}

#[test]
fn every_answered_command_is_in_the_times_of_each_stage() {
    for (threads, extra) in [("single", ""), ("pipeline", ""), ("single", "[journal]\nsync = \"interval\"\n")] {
        let node_dir = NodeDir::with_threads(threads, extra);
        let running = node_dir.start();
        let config = node_dir.config();
        let listener = bind(&config).expect("a free port");
        let server = OpsServer::spawn(&config, listener, running.node().ops_handles(), Registry::default())
            .expect("the ops server starts");
        let case = format!("{threads} {extra}");

        let started = Instant::now();
        let answered = trade(&running);
        let longest_ns = started.elapsed().as_nanos() as u64;
        let metrics = settled(&running, server.address(), answered);
        for stage in STAGE_NAMES {
            assert_eq!(metrics.count(stage), answered, "{case} {stage}");
            check_stage(&metrics, stage, longest_ns, &case);
        }
        let parts: u64 = STAGE_NAMES[..3].iter().map(|stage| metrics.sum_ns(stage)).sum();
        assert_eq!(parts, metrics.sum_ns("total"), "{case}: the stages add up to the total");
        // The journal stage has a time exactly where the acknowledgement waits for the disk.
        assert_eq!(0 < metrics.sum_ns("journal"), extra.is_empty(), "{case}");
        assert!(0 < running.node().status.frames.get(), "{case}");

        assert_eq!(running.stop(), 0);
        server.stop();
    }
}

/// Makes orders that rest, trade and are refused, and waits for each answer; a trade has an answer for two sessions.
/// Returns the number of orders.
fn trade(running: &RunningNode) -> u64 {
    const ORDERS: u64 = 60;
    let market = running.add_market();
    running.add_trader("MM1");
    running.add_trader("MM2");
    let mut maker = running.connect("MM1", SessionSeq::HEAD);
    let mut taker = running.connect("MM2", SessionSeq::HEAD);
    for id in 1..=ORDERS {
        maker.new_order(&limit(id, market, Side::Sell, 100, 1)).expect("connected");
        while !matches!(next(&mut maker).message, Answer::OrderAccepted(_)) {}
        let market = if id % 3 == 0 { MarketId(99) } else { market };
        taker.new_order(&limit(id, market, Side::Buy, 100, 1)).expect("connected");
        while !matches!(next(&mut taker).message, Answer::OrderRejected(_) | Answer::OrderExecuted(_)) {}
    }
    2 * ORDERS
}

/// The metrics when they have `answered` commands and the core has had time to pass on more.
fn settled(running: &RunningNode, address: SocketAddr, answered: u64) -> Metrics {
    let deadline = Instant::now() + PATIENCE;
    while Metrics::ask(address).count("total") < answered {
        assert!(Instant::now() < deadline, "the core does not pass its stage times on");
    }
    let at_ns = || running.node().status.gateway.at_ns.get();
    let until_ns = at_ns() + SETTLED_NS;
    while at_ns() < until_ns {
        assert!(Instant::now() < deadline, "the core does not run");
        std::thread::yield_now();
    }
    Metrics::ask(address)
}

fn check_stage(metrics: &Metrics, stage: &str, longest_ns: u64, case: &str) {
    let (buckets, count) = (metrics.buckets(stage), metrics.count(stage));
    let ends = (buckets.len(), buckets[0].0, buckets[21].0, buckets[22]);
    assert_eq!(ends, (23, 1e-6, 10.0, (f64::INFINITY, count)), "{case} {stage}: {buckets:?}");
    assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{case} {stage}: {buckets:?}");

    let quantiles = metrics.quantiles_ns(stage);
    let [median, .., max] = quantiles;
    // Quantiles have two digits: each is the end of its histogram step, at most a hundredth above the value.
    assert!(quantiles.is_sorted() && max <= longest_ns / 100 * 101, "{case} {stage}: {quantiles:?}");
    let sum_ns = metrics.sum_ns(stage);
    assert!(sum_ns <= count * max && count / 2 * (median / 101 * 100) <= sum_ns, "{case} {stage}: {sum_ns} ns");
}
