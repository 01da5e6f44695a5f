//! A crowd of connections at every port of a node that may have few descriptors: trading, snapshots and operators go
//! on.

mod common;

use api::binary::orders::{Answer, CancelOrder, NewOrder};
use api::binary::requests::Target;
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use api::decimal::{PriceE9, QtyE8};
use book::command::Side;
use book::ids::{ClOrdId, MarketId};
use common::Place;
use common::process::{NodeProcess, node_with_faults, pinion, text};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

const PATIENCE: Duration = Duration::from_secs(20);
/// The hard limit of the node's process, and limits that fit it.
const DESCRIPTORS: u64 = 1_024;
const LIMITS: [(&str, &str); 5] = [
    // No timeout ends the crowd within the test: a client in need of a place has to be given one.
    ("PINION__LIMITS__HEADER_TIMEOUT", "2m"),
    ("PINION__SESSION__LOGIN_TIMEOUT", "5m"),
    ("PINION__LIMITS__CONNECTIONS_MAX", "100"),
    ("PINION__LIMITS__MARKET_CONNECTIONS_MAX", "50"),
    ("PINION__LIMITS__OPS_CONNECTIONS_MAX", "64"),
];
/// Connections of the crowd, in rounds, and what the crowd's process has open besides.
const CROWD: usize = 5_000;
const ROUNDS: usize = 10;
const BESIDE: u64 = 200;
/// The node's sum without connections and store: what it prints where a start does not fit.
const OWN_FILES_MAX: u64 = 80;

/// A node with one market and three sessions.
struct Stage {
    node: NodeProcess,
    _place: Place,
    config: PathBuf,
    token: PathBuf,
    passwords: Vec<String>,
}

impl Stage {
    fn open(node: &Path) -> Self {
        let place = Place::empty();
        let dir = place.data_dir();
        pinion(&["init", "--data-dir", text(&dir), "--segment-bytes", "1MiB", "--ballast-bytes", "0"]).expect(0);
        let (config, token) = (dir.join("pinion.toml"), dir.join("secrets/ops_token"));
        let node = NodeProcess::start_with_descriptors(node, &config, &LIMITS, DESCRIPTORS);
        let mut stage = Self { node, _place: place, config, token, passwords: Vec::new() };
        stage.admin(&["asset", "add", "BTC", "--scale", "8"]);
        stage.admin(&["asset", "add", "USDT", "--scale", "8"]);
        let market = ["market", "add", "BTCUSDT", "--base", "BTC", "--quote", "USDT", "--tick", "1", "--lot", "1"];
        stage.admin(&market);
        stage.admin(&["account", "add", "alice"]);
        stage.admin(&["deposit", "--account", "alice", "--asset", "USDT", "--amount", "1000000", "--ref", "R1"]);
        for user in ["MM1", "MM2", "MM3"] {
            let added = stage.admin(&["session", "add", "--account", "alice", "--user", user]);
            stage.passwords.push(added["password"].as_str().expect("a password").to_owned());
        }
        stage
    }

    fn admin(&self, verb: &[&str]) -> Value {
        self.call(&[&["admin"], verb].concat())
    }

    fn call(&self, verb: &[&str]) -> Value {
        let at = ["--url", &self.node.ops, "--token-file", text(&self.token), "--json"];
        pinion(&[verb, &at[..]].concat()).expect(0).json()
    }

    fn client(&self, n: usize) -> Trader {
        let (user, password) = (format!("MM{n}"), &self.passwords[n - 1]);
        let client =
            OrderClient::connect(self.address("orders"), &user, password, SessionSeq::HEAD).expect("logged in");
        Trader { client, orders: 0 }
    }

    fn status(&self) -> String {
        pinion(&["status", "--url", &self.node.ops]).expect(0).out
    }

    fn health(&self) -> Value {
        pinion(&["status", "--url", &self.node.ops, "--json"]).expect(0).json()
    }

    fn address(&self, port: &str) -> SocketAddr {
        let text = match port {
            "orders" => &self.node.orders,
            "market" => &self.node.market,
            _ => self.node.ops.strip_prefix("http://").expect("a URL"),
        };
        text.parse().expect("an address")
    }
}

struct Trader {
    client: OrderClient,
    orders: u64,
}

impl Trader {
    /// An order rests and is cancelled.
    fn trade(&mut self) {
        self.orders += 1;
        let (id, market) = (ClOrdId(self.orders), MarketId(1));
        let order = NewOrder::limit(id, market, Side::Buy, PriceE9(1_000_000_000), QtyE8(100_000_000));
        self.client.new_order(&order).expect("connected");
        assert!(matches!(self.next(), Answer::OrderAccepted(_)));
        self.client.cancel(&CancelOrder::new(id, Target::ClOrdId(id), market)).expect("connected");
        assert!(matches!(self.next(), Answer::OrderCanceled(_)));
    }

    fn next(&mut self) -> Answer {
        self.client.poll(PATIENCE).expect("connected").expect("an answer in time").message
    }
}

/// Opens connections that say nothing, from many addresses of this machine.
struct Crowd {
    runtime: tokio::runtime::Runtime,
    silent: Vec<TcpStream>,
}

impl Crowd {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, silent: Vec::new() }
    }

    fn connect(&mut self, count: usize, address: SocketAddr) {
        for _ in 0..count {
            let n = self.silent.len();
            let source = IpAddr::V4(Ipv4Addr::new(127, 1, (n / 40 / 200) as u8, (1 + n / 40 % 200) as u8));
            let stream = self.runtime.block_on(async {
                let socket = TcpSocket::new_v4().expect("the limit allows it");
                socket.bind(SocketAddr::new(source, 0)).expect("loopback has this address");
                socket.connect(address).await.expect("the node listens")
            });
            self.silent.push(stream);
        }
    }
}

/// Connections that this test may open: fewer where its own limit is lower.
fn crowd_size() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit");
    let size = maximum.map_or(CROWD, |maximum| CROWD.min(maximum.saturating_sub(BESIDE) as usize));
    assert!(2 * DESCRIPTORS as usize <= size, "{size} connections are no crowd: raise the hard limit of descriptors");
    size
}

#[test]
fn a_crowd_of_connections_starves_neither_trading_nor_snapshots_nor_operators() {
    let Some(node) = node_with_faults() else { return };
    let stage = Stage::open(&node);
    let (mut trader, mut crowd, size) = (stage.client(1), Crowd::new(), crowd_size());
    trader.trade();
    for _ in 0..ROUNDS {
        crowd.connect(size / ROUNDS / 2, stage.address("orders"));
        crowd.connect(size / ROUNDS / 4, stage.address("market"));
        crowd.connect(size / ROUNDS / 4, stage.address("ops"));
        trader.trade();
        let status = stage.status();
        assert!(status.contains("status                   degraded"), "{status}");
        assert!(status.contains("listeners: orders: all its connections are in use"), "{status}");
        let seq = stage.call(&["snapshot", "create"])["seq"].as_u64();
        assert!(seq.is_some_and(|seq| seq > 0), "{seq:?}");
        let (all, own) = open_files(&stage.node);
        assert!(
            all < DESCRIPTORS && own <= OWN_FILES_MAX,
            "{all} descriptors, {own} of them neither sockets nor tables"
        );
    }
    // New sessions and readers find a place among thousands that are silent.
    let mut second = stage.client(2);
    second.trade();
    tools::client::market_data::follow(stage.address("market"), "BTCUSDT").expect("a reader finds a place");
    let mut third = stage.client(3);
    third.trade();
    trader.trade();

    let health = stage.health();
    for (at, listener) in ["orders", "market", "ops"].into_iter().enumerate() {
        let found = &health["listeners"][at];
        assert_eq!((found["name"].as_str(), found["state"].as_str()), (Some(listener), Some("full")));
        assert_eq!(found["limited"].as_u64(), Some(1), "one episode: {found}");
        assert!(found["displaced"].as_u64().is_some_and(|count| count > 100), "{found}");
    }
    assert_eq!(health["descriptors"]["limit"].as_u64(), Some(DESCRIPTORS));
    pinion(&["snapshot", "status", "--config", text(&stage.config)]).expect(0);
    drop(crowd);
    stage.node.stop();
}

/// Descriptors that the node has open, and how many of them are neither sockets nor files of the store.
fn open_files(node: &NodeProcess) -> (u64, u64) {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", node.id())).expect("the node runs");
    // A file that is closed meanwhile has no link any more.
    let links: Vec<PathBuf> = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect();
    let is_in_store = |link: &PathBuf| link.components().any(|part| part.as_os_str() == "db");
    let is_own = |link: &&PathBuf| !text(link).starts_with("socket:[") && !is_in_store(link);
    (links.len() as u64, links.iter().filter(is_own).count() as u64)
}

#[test]
fn silent_connections_to_the_ops_port_do_not_lock_operators_out() {
    let Some(node) = node_with_faults() else { return };
    let stage = Stage::open(&node);
    let mut crowd = Crowd::new();
    crowd.connect(64, stage.address("ops"));
    assert!(stage.status().contains("ready") || stage.status().contains("degraded"));
    crowd.connect(640, stage.address("ops"));
    assert!(stage.status().contains("listeners: ops: all its connections are in use"));
    stage.call(&["snapshot", "create"]);
    drop(crowd);
    stage.node.stop();
}

#[test]
fn a_start_that_does_not_fit_its_hard_limit_is_refused_with_the_sum() {
    let Some(node) = node_with_faults() else { return };
    let place = Place::empty();
    let dir = place.data_dir();
    pinion(&["init", "--data-dir", text(&dir), "--segment-bytes", "1MiB", "--ballast-bytes", "0"]).expect(0);
    let config = dir.join("pinion.toml");
    let before = files(&dir);
    let (code, error) = NodeProcess::refused_with_descriptors(&node, &config, &[], DESCRIPTORS);
    assert_eq!(code, Some(3), "{error}");
    let counts = error.lines().filter_map(|line| line.trim().split_once("  ")?.0.parse::<u64>().ok());
    let sum: u64 = counts.sum();
    assert!(error.contains(&format!("may need {sum} open descriptors at once")), "{sum} in {error}");
    for words in [
        "the hard limit of this process is 1024",
        "    1024  connections to the orders port (limits.connections_max)",
        "     256  connections to the market port (limits.market_connections_max)",
        "      64  connections to the ops port (limits.ops_connections_max)",
        "store (RocksDB)",
        "snapshots",
        &format!("Raise the hard limit to at least {sum} (LimitNOFILE="),
        &format!("by {} together", sum - DESCRIPTORS),
    ] {
        assert!(error.contains(words), "{words:?} in {error}");
    }
    assert_eq!(files(&dir), before, "a refused start writes nothing");

    // The same start with exactly the sum runs, and the limit is that of the process: it was raised.
    let running = NodeProcess::start_with_descriptors(&node, &config, &[], sum);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.id())).expect("the node runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line of every kernel");
    let values: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(values, [sum.to_string(), sum.to_string()]);
    running.stop();
}

/// Names, sizes and times of change of all files in a directory.
fn files(dir: &Path) -> Vec<String> {
    let listed = std::process::Command::new("find").arg(dir).args(["-type", "f", "-printf", "%p %s %T@\n"]).output();
    let listed = String::from_utf8(listed.expect("find(1) is part of every system").stdout).expect("text");
    let mut lines: Vec<String> = listed.lines().filter(|line| !line.contains("/LOCK ")).map(str::to_owned).collect();
    lines.sort();
    lines
}
