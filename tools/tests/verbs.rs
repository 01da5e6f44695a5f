//! The verbs of a client and of the log, as processes against a node in the test's process.

mod common;

use common::{Place, Running, stage};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Output};
use tools::client::setup::Credentials;
use tools::offline::as_of::StateReader;

fn pinion(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pinion")).args(arguments).output().expect("the tool runs")
}

/// Runs the tool, which must exit with `code`; returns its output.
fn output_of(code: i32, arguments: &[&str]) -> String {
    let output = pinion(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}{err}");
    out.into_owned()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

struct Exchange {
    place: Place,
    running: Running,
    login: Credentials,
}

impl Exchange {
    fn new() -> Self {
        let place = Place::new();
        let running = place.start();
        let login = stage(&running);
        // The feed may announce the market after the admin's answer.
        tools::client::market_data::follow(running.node().addresses.market, "BTCUSDT").expect("announced");
        Self { place, running, login }
    }

    /// The options of a verb that trades.
    fn trader(&self) -> Vec<String> {
        let addresses = self.running.node().addresses;
        [
            ("--user", self.login.user.clone()),
            ("--password", self.login.password.clone()),
            ("--orders", addresses.orders.to_string()),
            ("--market-data", addresses.market.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }

    fn trade(&self, code: i32, verb: &str, more: &[&str]) -> String {
        let trader = self.trader();
        let mut arguments = vec![verb];
        arguments.extend(trader.iter().map(String::as_str));
        arguments.extend(more);
        output_of(code, &arguments)
    }

    fn book(&self, more: &[&str]) -> String {
        let market = self.running.node().addresses.market.to_string();
        let mut arguments = vec!["book", "BTCUSDT", "--market", &market];
        arguments.extend(more);
        output_of(0, &arguments)
    }
}

#[test]
fn an_order_is_in_the_book_until_it_is_canceled() {
    let exchange = Exchange::new();
    let limit = ["--market", "BTCUSDT", "--side", "buy", "--price", "100.5", "--qty", "0.25"];
    let placed = exchange.trade(0, "order", &limit);
    assert!(placed.contains("buy 0.25 at 100.5") && placed.contains("open"), "{placed}");

    let book = json_lines(&exchange.book(&["--json"]));
    let bid = serde_json::json!({ "price": "100.5", "qty": "0.25", "orders": 1 });
    assert_eq!((&book[0]["bids"], &book[0]["asks"]), (&Value::from(vec![bid]), &Value::from(Vec::<Value>::new())));
    assert!(exchange.book(&[]).contains("1             0.25            100.5 |"), "{}", exchange.book(&[]));

    let canceled = exchange.trade(0, "cancel", &["--all", "--json"]);
    assert_eq!(json_lines(&canceled).last().expect("a report")["orders"], 1);
    assert_eq!(json_lines(&exchange.book(&["--json"]))[0]["orders"], 0);
    // There is nothing left to cancel, which the node reports.
    assert!(exchange.trade(1, "cancel", &["--order-id", "77"]).contains("UnknownOrder"));
}

#[test]
fn an_order_under_a_used_id_fails_and_says_why() {
    let exchange = Exchange::new();
    let order = |id| ["--market", "BTCUSDT", "--side", "buy", "--price", "100", "--qty", "1", "--cl-ord-id", id];
    exchange.trade(0, "order", &order("7"));
    for used in ["7", "6"] {
        let mut arguments = vec!["order"];
        let trader = exchange.trader();
        arguments.extend(trader.iter().map(String::as_str));
        arguments.extend(order(used));
        let output = pinion(&arguments);
        let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((output.status.code(), &*text), (Some(1), ""), "{error}");
        assert!(error.contains(&format!("client order id {used} was used before")), "{error}");
    }
    exchange.trade(0, "order", &order("8"));
}

#[test]
fn orders_that_stay_open_after_a_mass_cancel_are_said() {
    let exchange = Exchange::new();
    let order = ["--market", "BTCUSDT", "--side", "buy", "--price", "100", "--qty", "1"];
    exchange.trade(0, "order", &order);
    exchange.trade(0, "order", &order);
    // Only on the market that is named, so what is open elsewhere is no failure.
    assert!(exchange.trade(0, "cancel", &["--all", "--market", "BTCUSDT"]).contains("canceled   2 orders"));
    assert!(exchange.trade(0, "cancel", &["--all"]).contains("canceled   0 orders"));
}

#[test]
fn a_taker_gets_its_answers_and_a_price_off_the_tick_is_refused() {
    let exchange = Exchange::new();
    exchange.trade(0, "order", &["--market", "BTCUSDT", "--side", "sell", "--price", "101", "--qty", "2"]);
    let taker = ["--market", "BTCUSDT", "--side", "buy", "--type", "market", "--qty", "0.5", "--json"];
    let answers = json_lines(&exchange.trade(0, "order", &taker));
    let kinds: Vec<&str> = answers.iter().filter_map(|answer| answer["answer"].as_str()).collect();
    // The account's market order meets its own offer: the taker is canceled, and the offer stays in the book.
    assert_eq!(kinds, ["accepted", "canceled", "status"], "{answers:?}");

    for (more, expected) in [
        (["--price", "100.3", "--qty", "1"], "the market's step, 0.5"),
        (["--price", "100", "--qty", "0.3"], "the market's step, 0.25"),
        (["--price", "1e5", "--qty", "1"], "not a digit"),
    ] {
        let mut arguments = vec!["order", "--market", "BTCUSDT", "--side", "buy"];
        let trader = exchange.trader();
        arguments.extend(trader.iter().map(String::as_str));
        arguments.extend(more);
        let output = pinion(&arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && error.contains(expected), "{more:?}: {error}");
    }
    let market = exchange.running.node().addresses.market.to_string();
    let output = pinion(&["book", "NOPE", "--market", &market]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("the node has BTCUSDT"));
}

/// Runs `pinion load` with the exchange's session.
fn load(exchange: &Exchange, more: &[&str]) -> String {
    let addresses = exchange.running.node().addresses;
    let (orders, market) = (addresses.orders.to_string(), addresses.market.to_string());
    let login = &exchange.login;
    let mut arguments = vec!["load", "--symbol", "BTCUSDT", "--user", &login.user, "--password", &login.password];
    arguments.extend(["--orders", &orders, "--market", &market]);
    arguments.extend(more);
    output_of(0, &arguments)
}

#[test]
fn every_acknowledged_order_of_a_load_is_in_the_log() {
    let exchange = Exchange::new();
    let traced = load(&exchange, &["--profile", "mixed", "--rate", "2000", "--duration", "1s", "--trace"]);
    let mut ids: [BTreeSet<u64>; 3] = Default::default();
    for line in traced.lines() {
        let (what, id) = line.split_once(' ').expect("two words");
        let at = ["sent", "ack", "nack"].iter().position(|word| *word == what).expect("a word of the trace");
        assert!(ids[at].insert(id.parse().expect("a client order id")), "the trace has a line twice: {line}");
    }
    let [sent, ack, nack] = ids;
    assert!(500 < ack.len() && nack.is_empty(), "{} sent, {} acknowledged", sent.len(), ack.len());
    assert_eq!(ack, sent);

    // While the node runs.
    let data_dir = exchange.place.data_dir();
    let data_dir = data_dir.to_str().expect("UTF-8");
    let dumped = output_of(0, &["log", "dump", "--client-ids", "--data-dir", data_dir]);
    let dumped: BTreeSet<u64> = dumped.lines().map(|line| line.parse().expect("an id a line")).collect();
    assert_eq!(dumped, ack);
    assert_eq!(exchange.running.stop(), 0);
}

#[test]
fn a_closed_loop_gets_an_answer_to_every_request() {
    let exchange = Exchange::new();
    let report = load(&exchange, &["--profile", "rest", "--depth", "1", "--duration", "300ms", "--json"]);
    let report = &json_lines(&report)[0];
    assert_eq!((&report["sent"], &report["unanswered"], &report["depth"]), (&report["answered"], &0.into(), &1.into()));
    assert!(report["latency_ns"]["p50"].as_u64() <= report["latency_ns"]["max"].as_u64());
    assert_eq!(exchange.running.stop(), 0);
}

#[test]
fn the_log_verbs_dump_count_and_verify() {
    let exchange = Exchange::new();
    exchange.trade(
        0,
        "order",
        &["--market", "BTCUSDT", "--side", "buy", "--price", "7", "--qty", "1", "--cl-ord-id", "12"],
    );
    assert_eq!(exchange.running.stop(), 0);
    let data_dir = exchange.place.data_dir();
    let replayed = StateReader::open(&data_dir).and_then(|reader| reader.state(None)).expect("the log is intact");
    let data_dir = data_dir.to_str().expect("UTF-8");
    let log = |what: &str, more: &[&str]| {
        let mut arguments = vec!["log", what, "--data-dir", data_dir];
        arguments.extend(more);
        output_of(0, &arguments)
    };

    let mut dumped = json_lines(&log("dump", &["--json"]));
    let newest: Vec<Value> = dumped[dumped.len() - 2..].to_vec();
    let count = dumped.len() as u64;
    // The live engine writes its checks at any place.
    dumped.retain(|line| line["command"] != "check");
    let commands: Vec<&str> = dumped.iter().filter_map(|line| line["command"].as_str()).collect();
    let own = ["opened", "set_rules", "begin_run"];
    let expected =
        ["add_asset", "add_asset", "add_market", "add_account", "deposit", "deposit", "add_session", "place", "query"];
    assert_eq!(commands[..12], [&own[..], &expected].concat());
    let place = &dumped[10];
    assert_eq!((&place["price_ticks"], &place["qty_lots"]), (&14.into(), &4.into()));
    assert!(dumped[9].get("password_hash").is_none());
    assert_eq!(log("dump", &["--client-ids"]), "12\n");
    let seq = place["seq"].to_string();
    assert_eq!(json_lines(&log("dump", &["--json", "--from", &seq, "--to", &seq])), dumped[10..11]);
    assert_eq!(json_lines(&log("tail", &["--json", "-n", "2"])), newest);

    let verified = &json_lines(&log("verify", &["--json"]))[0];
    assert_eq!(verified["state_hash"], replayed.replica.engine.state_hash().to_string());
    assert_eq!((&verified["seq_first"], &verified["seq_last"]), (&1.into(), &count.into()));
    let inspected = &json_lines(&log("inspect", &["--json"]))[0];
    assert_eq!(inspected["chain"], verified["chain"]);
    let stats = &json_lines(&log("stats", &["--json"]))[0];
    assert_eq!((&stats["commands"], &stats["by_command"]["deposit"]), (&verified["seq_last"], &2.into()));
}

#[test]
fn a_path_without_a_data_directory_has_an_exit_code() {
    let output = pinion(&["log", "verify", "--data-dir", "/nonexistent"]);
    assert_eq!(output.status.code(), Some(i32::from(node::status::exit::NOT_FOUND)));
}
