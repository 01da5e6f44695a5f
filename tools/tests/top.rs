//! `pinion top` against a node that serves orders.

mod common;

use common::{Place, Running, stage};
use node::ops::registry::Registry;
use node::ops::{OpsServer, bind};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};

/// Lines in which a node that trades must show that it does.
const LINES_MAX: usize = 100;

fn pinion(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
    command.args(arguments).env_remove("PINION_CONFIG").stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Runs the tool, which must exit with `code`; returns its output, or its errors if it failed.
fn output_of(code: i32, arguments: &[&str]) -> String {
    let output = pinion(arguments).output().expect("the tool runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}{err}");
    if code == 0 { out.into_owned() } else { err.into_owned() }
}

/// A node and its ops listener.
struct Served {
    running: Running,
    edge: OpsServer,
    url: String,
    place: Place,
}

impl Served {
    fn start(listen: impl FnOnce(&Place) -> String) -> Self {
        let place = Place::new();
        let running = place.start();
        let config = place.config_with(&listen(&place));
        let listener = bind(&config).expect("a free port");
        let edge = OpsServer::spawn(&config, listener, running.node().ops_handles(), Registry::default())
            .expect("the edge starts");
        let url = format!("http://{}", edge.address());
        Self { running, edge, url, place }
    }

    fn stop(self) {
        assert_eq!(self.running.stop(), 0);
        self.edge.stop();
    }
}

/// Runs a load for some seconds.
fn load(running: &Running) -> Child {
    let login = stage(running);
    let addresses = running.node().addresses;
    // The feed may announce the market after the admin's answer.
    tools::client::market_data::follow(addresses.market, "BTCUSDT").expect("announced");
    let (orders, market) = (addresses.orders.to_string(), addresses.market.to_string());
    pinion(&["load", "--profile", "mixed", "--rate", "500", "--duration", "3s", "--json", "--symbol", "BTCUSDT"])
        .args(["--user", &login.user, "--password", &login.password, "--orders", &orders, "--market", &market])
        .spawn()
        .expect("the tool runs")
}

#[test]
fn a_trading_node_shows_its_rates_and_its_latencies() {
    let served = Served::start(|_| String::new());
    let load = load(&served.running);
    let mut live = pinion(&["top", "--json", "--interval", "200ms", "--url", &served.url]).spawn().expect("it runs");
    let lines = BufReader::new(live.stdout.take().expect("piped")).lines();
    let documents = lines.map(|line| serde_json::from_str::<Value>(&line.expect("text")).expect("a line of JSON"));
    let is_trading = |document: &Value| {
        document["per_second"]["commands"].as_f64().is_some_and(|rate| 0.0 < rate)
            && document["stages"]["total"]["interval"]["mean_ns"].as_u64().is_some_and(|ns| 0 < ns)
    };
    let trading = documents.take(LINES_MAX).find(is_trading).expect("the load shows");
    live.kill().and_then(|()| live.wait()).expect("ours to end");
    assert_eq!((trading["ready"].as_bool(), trading["counts"]["sessions_open"].as_u64()), (Some(true), Some(1)));

    let load = load.wait_with_output().expect("it ends");
    let load: Value = serde_json::from_slice(&load.stdout).expect("a report");
    let once = output_of(0, &["top", "--once", "--json", "--interval", "200ms", "--url", &served.url]);
    let once: Value = serde_json::from_str(once.trim_end()).expect("one document");
    assert_eq!(once["behind"]["released_behind_durable"], 0);
    for stage in ["queue", "journal", "release", "total"] {
        let times = &once["stages"][stage]["since_start"];
        assert!(load["answered"].as_u64() <= times["count"].as_u64(), "{times} of {load}");
        let names = ["p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"];
        let quantiles = names.map(|name| times[name].as_u64().expect("a number"));
        assert!(quantiles.is_sorted(), "{stage}: {times}");
    }
    let cycles = |document: &Value| {
        let loops = document["loops"].as_array().expect("a list").clone();
        loops.iter().map(|l| (l["name"].to_string(), l["cycles_per_second"].as_f64())).collect::<Vec<_>>()
    };
    assert!(cycles(&once).iter().all(|(_, rate)| rate.is_some_and(|rate| 0.0 < rate)), "{:?}", cycles(&once));
    assert_eq!(cycles(&once).len(), 4, "the old name of a loop is not shown: {:?}", cycles(&once));

    let page = output_of(0, &["top", "--once", "--interval", "100ms", "--url", &served.url]);
    for part in
        ["ready  (version", "commands   ", "durable", "journal   ", "p99.9", "engine       ok", "market readers"]
    {
        assert!(page.contains(part), "{part:?} is missing in\n{page}");
    }
    assert!(!page.contains('\x1b'), "plain text: {page:?}");
    served.stop();
}

#[test]
fn errors_say_what_to_do() {
    // The discard port, on which a machine that runs tests does not listen.
    for more in [&["--once"][..], &["--json"], &[]] {
        let mut arguments = vec!["top", "--url", "http://127.0.0.1:9"];
        arguments.extend(more);
        let error = output_of(1, &arguments);
        let expected = if more.is_empty() {
            "--once"
        } else {
            "http://127.0.0.1:9/metrics: cannot connect; is the node running, and is this its ops"
        };
        assert!(error.contains(expected), "{more:?}: {error}");
    }
    assert!(output_of(2, &["top", "--interval", "1ms"]).contains("at least 100 ms"));
}

#[test]
fn metrics_may_have_a_token() {
    let served = Served::start(|place| {
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(place.path().join("token")).expect("created");
        std::io::Write::write_all(&mut &file, b"kJ3nR8vXq2LmZ7tYw5BpC9dFgH4sAe6U").expect("written");
        "metrics_token_file = \"token\"\n".to_owned()
    });
    let top = ["top", "--once", "--interval", "100ms", "--url", &served.url];
    let error = output_of(1, &top);
    assert!(error.contains("listen.metrics_token_file") && error.contains("--token-file"), "{error}");
    let token = served.place.path().join("token");
    let page = output_of(0, &[&top[..], &["--token-file", token.to_str().expect("UTF-8")]].concat());
    assert!(page.contains("ready  (version"), "{page}");
    served.stop();
}
