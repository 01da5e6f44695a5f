//! Panics planted in the threads of a running node: a pinned thread ends the process, every other one is started again
//! and the node goes on trading.

mod common;

use api::binary::stream::SessionSeq;
use api::client::{BookFollower, ClientError, OrderClient, book_sync};
use book::command::Side;
use common::http;
use common::load::{Trader, trade_while, two_traders};
use common::process::{Process, Start};
use common::{NodeDir, PASSWORD, PATIENCE, wait_until};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

const TOKEN: &str = "kJ3nR8vXq2LmZ7tYw5BpC9dFgH4sAe6U";
/// Orders of each trader that a thread must come through after its panic.
const ORDERS: u64 = 300;
const WORKERS: [&str; 7] = ["store_writer", "store_merger", "shadow", "feed", "passwords", "resend", "ops"];

/// A node in a process of its own, with faults, two traders and the ops token.
struct Struck {
    process: Process,
    traders: Vec<Trader>,
    node_dir: NodeDir,
}

impl Struck {
    fn with(extra: &str, fault: &str) -> Self {
        let node_dir = NodeDir::with(&format!("ops_token_file = \"token\"\n{extra}"));
        let token = node_dir.dir.path().join("token");
        std::fs::write(&token, TOKEN).expect("the directory is writable");
        std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).expect("the file is ours");
        let running = node_dir.start();
        let traders = two_traders(&running);
        assert_eq!(running.stop(), 0);
        let process = Start::with_fault(&node_dir.config_file(), fault).run();
        Self { process, traders, node_dir }
    }

    /// Trades until every trader has so many more answers.
    fn trade(&mut self) {
        trade_while(&mut self.traders, self.process.orders, |load| load.until_answered(ORDERS));
    }

    fn health(&self) -> Value {
        let (_, body) = http::request(self.process.ops, "GET", "/health", TOKEN, "");
        serde_json::from_str(&body).unwrap_or(Value::Null)
    }

    fn restarts(&self, thread: &str) -> u64 {
        let health = self.health();
        let found = health["threads"].as_array().into_iter().flatten().find(|found| found["name"] == thread);
        found.and_then(|found| found["restarts"].as_u64()).unwrap_or(0)
    }

    /// Waits until `/health` and `/metrics` count so many restarts of a thread.
    fn wait_for_restarts(&self, thread: &str, count: u64) {
        wait_until(&format!("{thread} is started again"), || count <= self.restarts(thread));
        let sample = format!("pinion_thread_restarts_total{{thread=\"{thread}\"}} ");
        let metrics = || http::request(self.process.ops, "GET", "/metrics", TOKEN, "").1;
        let counted = |line: &str| line.strip_prefix(&sample)?.parse::<u64>().ok();
        wait_until(&sample, || metrics().lines().find_map(counted).is_some_and(|found| count <= found));
    }

    /// Stops the node in order, compares the traders' streams with those of a node without faults, and the state with
    /// that of a replay.
    fn finish(mut self) -> String {
        for trader in &mut self.traders {
            trader.check(self.process.orders).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        let ended = self.process.terminate();
        assert_eq!(ended.code, Some(0), "{}", ended.output);
        let replayed = common::replay::replayed(&self.node_dir);
        let process = Start::new(&self.node_dir.config_file()).run();
        assert_eq!((process.seq, process.state_hash.clone()), (replayed.0, replayed.1.to_string()));
        for trader in &mut self.traders {
            trader.check(process.orders).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        assert_eq!(process.terminate().code, Some(0));
        ended.output
    }
}

#[test]
fn a_store_writer_that_panics_stores_each_frame_once() {
    // The first panic comes before the frames are stored, the second one after.
    let mut node = Struck::with("", "panic:store_writer:7,panic:store_writer:2");
    node.trade();
    node.wait_for_restarts("store_writer", 2);
    node.trade();
    assert_eq!(node.health()["status"], "ok");
    node.finish();
}

#[test]
fn a_store_merger_that_panics_merges_on() {
    let node = Struck::with("", "panic:store_merger:1");
    node.wait_for_restarts("store_merger", 1);
    node.finish();
}

#[test]
fn a_shadow_that_panics_continues_history_and_snapshots() {
    let mut node = Struck::with("[snapshot]\nevery_commands = 1000\n", "panic:shadow:100,panic:shadow:1500");
    node.trade();
    node.wait_for_restarts("shadow", 1);
    node.trade();
    node.wait_for_restarts("shadow", 2);
    node.trade();
    let health = node.health();
    let caught_up = || {
        let health = node.health();
        health["watermarks"]["seq_shadow"] == health["watermarks"]["seq_durable"]
    };
    wait_until("the shadow follows again", caught_up);
    assert_eq!((&health["status"], &health["shadow"]["hash_differs_at"]), (&json!("ok"), &Value::Null));
    // A panic of the shadow is none of the engine: the next start is not refused for it.
    assert_eq!(node::replica::crash_guard::read(&node.node_dir.data_dir()), Vec::<u64>::new());
    node.finish();
}

#[test]
fn a_feed_that_panics_continues_with_the_same_numbers_and_books() {
    let mut node = Struck::with("", "panic:feed:100");
    let market = node.process.market;
    let mut reader = book_sync(market).expect("a snapshot and the live stream");
    node.trade();
    node.wait_for_restarts("feed", 1);
    let lost = loop {
        match reader.poll(PATIENCE) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the connection is still open"),
            Err(error) => break error,
        }
    };
    assert!(matches!(lost, ClientError::Closed { .. } | ClientError::Io { .. }), "{lost}");
    let mut follower = book_sync(market).expect("a snapshot and the live stream");
    assert!(reader.next_seq() <= follower.next_seq(), "no number is given out twice");
    node.trade();
    // What a reader has followed equals a snapshot of the node: every message came once.
    let fresh = book_sync(market).expect("a snapshot and the live stream");
    while follower.next_seq() < fresh.next_seq() {
        follower.poll(PATIENCE).expect("connected").expect("a message in time");
    }
    let orders = |follower: &BookFollower, side| {
        let books = follower.depth().books();
        books
            .flat_map(|book| book.orders(side))
            .map(|order| (order.order_id, order.price_e9, order.qty_e8))
            .collect::<Vec<_>>()
    };
    for side in [Side::Buy, Side::Sell] {
        assert_eq!(orders(&follower, side), orders(&fresh, side), "{side:?}");
    }
    let rpt_seqs = |follower: &BookFollower| follower.depth().books().map(|book| book.rpt_seq()).collect::<Vec<_>>();
    assert_eq!(rpt_seqs(&follower), rpt_seqs(&fresh));
    node.finish();
}

#[test]
fn a_login_whose_check_panics_is_closed_and_not_refused() {
    let mut node = Struck::with("", "panic:passwords:1");
    let connect = || OrderClient::connect(node.process.orders, "MM1", PASSWORD, SessionSeq::HEAD);
    let outcome = connect().map(|_| ());
    // An answer would say that the password is wrong.
    assert!(matches!(outcome, Err(ClientError::Closed { .. } | ClientError::Io { .. })), "{outcome:?}");
    node.wait_for_restarts("passwords", 1);
    connect().expect("the next one is logged in");
    node.trade();
    node.finish();
}

#[test]
fn a_resend_that_panics_is_sent_at_the_next_login() {
    let mut node = Struck::with("[session]\nresend_max = 64\n", "panic:resend:1");
    node.trade();
    let mut client = OrderClient::connect(node.process.orders, "MM1", PASSWORD, SessionSeq::FIRST).expect("logged in");
    let lost = client.poll(PATIENCE);
    assert!(lost.is_err(), "the messages cannot be read: {lost:?}");
    node.wait_for_restarts("resend", 1);
    // Each trader reads its stream from the first message on.
    node.finish();
}

#[test]
fn an_ops_thread_that_panics_serves_again_and_knows_every_name() {
    let node = Struck::with("", "panic:ops:300,panic:ops_command:2");
    let add = |name: &str| {
        let body = json!({ "name": name }).to_string();
        http::request(node.process.ops, "POST", "/admin/account/add", TOKEN, &body)
    };
    node.wait_for_restarts("ops", 1);
    let (status, answer) = add("alice");
    assert_eq!(status, 200, "{answer}");
    // The command is in the log, and its answer is lost.
    let (status, answer) = add("bob");
    assert_eq!(status, 500, "{answer}");
    assert!(answer.contains("panic:ops_command"), "{answer}");
    assert_eq!(node.restarts("ops"), 2);
    let funds = json!({ "account": "bob", "asset": "USD", "amount": "5", "ref": "R1" }).to_string();
    let (status, answer) = http::request(node.process.ops, "POST", "/admin/deposit", TOKEN, &funds);
    assert_eq!(status, 200, "the name is known: {answer}");
    node.finish();
}

#[test]
fn three_panics_within_a_minute_degrade_and_trading_goes_on() {
    let faults = WORKERS.map(|worker| format!("panic:{worker}:1"));
    let shadow = "panic:shadow:1,panic:shadow:1,panic:shadow:1";
    let mut node = Struck::with("", &format!("{},{shadow}", faults.join(",")));
    let _ = OrderClient::connect(node.process.orders, "MM1", PASSWORD, SessionSeq::HEAD);
    node.wait_for_restarts("passwords", 1);
    node.trade();
    node.wait_for_restarts("shadow", 4);
    node.trade();
    let health = node.health();
    assert_eq!(health["status"], "degraded", "{health}");
    let detail = health["detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with("shadow: panicked 3 times within 60 s") && detail.contains("panic:shadow"), "{detail}");
    let (status, _) = http::request(node.process.ops, "GET", "/ready", TOKEN, "");
    assert_eq!(status, 200, "orders are accepted");
    let output = node.finish();
    assert!(output.contains("the thread panicked and is started again"), "{output}");
}

/// Runs until the pinned thread has panicked, with a load that it cannot finish.
fn a_pinned_panic_loses_nothing(threads: &str, thread: &str) {
    let node_dir = NodeDir::with_threads(threads, "");
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    assert_eq!(running.stop(), 0);
    let process = Start::with_fault(&node_dir.config_file(), &format!("panic:{thread}:3000")).run();
    let orders = process.orders;
    let ended = trade_while(&mut traders, orders, |_| process.wait());
    let aborted = ExitStatus::from_raw(libc::SIGABRT).signal();
    assert_eq!((ended.code, ended.signal), (None, aborted), "{}", ended.output);
    assert!(ended.output.contains("a pinned thread panicked"), "{}", ended.output);
    let process = Start::new(&node_dir.config_file()).run();
    for trader in &mut traders {
        trader.check(process.orders).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    assert_eq!(process.terminate().code, Some(0));
}

#[test]
fn a_panic_of_the_core_ends_the_process_and_loses_nothing() {
    a_pinned_panic_loses_nothing("single", "core");
}

#[test]
fn a_panic_of_the_engine_ends_the_process_and_loses_nothing() {
    a_pinned_panic_loses_nothing("pipeline", "engine");
}

#[test]
fn a_panic_of_the_gateway_ends_the_process_and_loses_nothing() {
    a_pinned_panic_loses_nothing("pipeline", "gateway");
}
