//! A disk that fills up and a disk that hangs, under the data directory of a real process: new orders stop before it is
//! full, nothing is lost when it is, and a stop ends in time. Needs root, as `common::disk` says.

mod common;

use api::binary::orders::{Answer, CancelOrder};
use api::binary::reasons::wire_of;
use api::binary::requests::Target;
use api::binary::stream::SessionSeq;
use api::client::OrderClient;
use book::command::Side;
use book::ids::{ClOrdId, MarketId};
use book::reject::RejectReason;
use common::disk::LoopDisk;
use common::load::{Trader, trade_while, two_traders};
use common::process::{Process, Start};
use common::{NodeDir, PASSWORD, http, limit, next, wait_until};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

const TOKEN: &str = "kJ3nR8vXq2LmZ7tYw5BpC9dFgH4sAe6U";
const MARKET: MarketId = MarketId(1);
/// As by default, where tests of other things do without.
const WATCHED: &str = "[store]\nintake_stop_percent = 90\n";

/// A node on a disk of its own, with a market and the sessions MM1 and MM2.
struct Fixture {
    disk: LoopDisk,
    node_dir: NodeDir,
    traders: Vec<Trader>,
}

impl Fixture {
    fn new() -> Self {
        let disk = LoopDisk::ext4(160 << 20);
        let node_dir = NodeDir::at(&disk.path(), "");
        let running = node_dir.start();
        let traders = two_traders(&running);
        assert_eq!(running.stop(), 0);
        let token = disk.beside().join("token");
        fs::write(&token, TOKEN).expect("the directory is ours");
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        Self { disk, node_dir, traders }
    }

    fn start(&self, more: &str) -> Process {
        let token = self.disk.beside().join("token");
        let extra = format!("ops_token_file = {token:?}\n{more}");
        Start::new(&self.node_dir.config_file_in(self.disk.beside(), &extra)).run()
    }

    /// Fills the disk until so many percent of it are used, as df(1) counts.
    fn fill_to(&self, percent: u64) {
        // Where there was a filler it is made anew.
        let _ = fs::remove_file(self.disk.path().join("filler"));
        let output = Command::new("stat").args(["-f", "-c", "%b %f %a %S"]).arg(self.disk.path()).output();
        let text = String::from_utf8(output.expect("stat(1) is installed").stdout).expect("digits");
        let numbers: Vec<u64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        let (usable, block) = (numbers[0] - numbers[1] + numbers[2], numbers[3]);
        self.disk.fill(usable * (100 - percent) / 100 * block);
    }
}

fn connect(process: &Process) -> OrderClient {
    OrderClient::connect(process.orders, "MM1", PASSWORD, SessionSeq::HEAD).expect("logged in")
}

fn get(process: &Process, path: &str) -> Value {
    let (_, body) = http::request(process.ops, "GET", path, "", "");
    serde_json::from_str(&body).unwrap_or(Value::Null)
}

fn admin(process: &Process, intake: &str) -> (u16, Value) {
    let body = json!({ "intake": intake }).to_string();
    let (status, body) = http::request(process.ops, "POST", "/admin/intake", TOKEN, &body);
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn wait_for(process: &Process, part: &str, field: &str, value: &Value) {
    wait_until(&format!("{part}.{field} is {value}"), || get(process, "/health")[part][field] == *value);
}

/// Sends an order and returns why it was refused, if it was.
fn refused(client: &mut OrderClient, cl_ord_id: u64) -> Option<u16> {
    client.new_order(&limit(cl_ord_id, MARKET, Side::Sell, 100, 1)).expect("connected");
    match next(client).message {
        Answer::OrderAccepted(_) => None,
        Answer::OrderRejected(rejected) => Some(rejected.reason.get()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn new_orders_stop_before_the_disk_is_full_and_go_on_when_there_is_room() {
    let fixture = Fixture::new();
    let process = fixture.start(WATCHED);
    let mut client = connect(&process);
    assert_eq!(refused(&mut client, 1_001), None);
    wait_for(&process, "disk", "state", &"ok".into());

    fixture.fill_to(84);
    wait_for(&process, "disk", "state", &"filling".into());
    let found = get(&process, "/health");
    assert!(found["detail"].as_str().is_some_and(|detail| detail.starts_with("disk: ")), "{found}");
    assert_eq!(refused(&mut client, 1_002), None, "80 % only warn");

    fixture.fill_to(92);
    wait_for(&process, "intake", "stopped_by", &"node".into());
    let stopped = wire_of(RejectReason::IntakeStopped);
    assert_eq!(refused(&mut client, 1_003), Some(stopped));
    let cancel = CancelOrder::new(ClOrdId(1_004), Target::ClOrdId(ClOrdId(1_001)), MARKET);
    client.cancel(&cancel).expect("connected");
    let canceled = next(&mut client).message;
    assert!(matches!(canceled, Answer::OrderCanceled(_)), "{canceled:?}");
    assert!(process.output().contains("new orders are refused until it is not"), "{}", process.output());
    let (_, metrics) = http::request(process.ops, "GET", "/metrics", "", "");
    assert!(metrics.contains("\npinion_intake_stopped 1\n"), "{metrics}");

    // The stop is in the log, so it is there after a restart, and it is still the node's.
    assert_eq!(process.terminate().code, Some(0));
    let process = fixture.start(WATCHED);
    let mut client = connect(&process);
    assert_eq!(refused(&mut client, 1_005), Some(stopped));
    fixture.fill_to(70);
    wait_for(&process, "intake", "takes", &"all".into());
    assert_eq!(refused(&mut client, 1_006), None);
    assert_eq!(process.terminate().code, Some(0));
}

#[test]
fn what_an_operator_stops_the_node_does_not_lift_and_the_other_way_round() {
    let fixture = Fixture::new();
    let process = fixture.start(WATCHED);
    let mut client = connect(&process);
    assert_eq!(admin(&process, "cancels").0, 200);
    wait_for(&process, "intake", "stopped_by", &"operator".into());
    fixture.fill_to(92);
    wait_for(&process, "disk", "state", &"full".into());
    fixture.fill_to(50);
    wait_for(&process, "disk", "state", &"ok".into());
    assert_eq!(refused(&mut client, 1_001), Some(wire_of(RejectReason::IntakeStopped)));
    assert_eq!(admin(&process, "all").0, 200);
    assert_eq!(refused(&mut client, 1_002), None);

    fixture.fill_to(92);
    wait_for(&process, "intake", "stopped_by", &"node".into());
    assert_eq!(admin(&process, "all").0, 200);
    let cycles = |process: &Process| get(process, "/health")["clock"]["cycles"].as_u64().expect("a number");
    // Longer than the disk thread takes to look again.
    let before = cycles(&process);
    wait_until("time passes", || before + 30 < cycles(&process));
    assert_eq!(refused(&mut client, 1_003), None, "an operator has lifted it");
    assert_eq!(process.terminate().code, Some(0));
}

#[test]
fn the_last_message_of_a_full_disk_names_the_ballast() {
    let mut fixture = Fixture::new();
    let ballast = fixture.node_dir.data_dir().join("BALLAST");
    // Space for the bytes that the store still has to write when the disk is full.
    fs::write(&ballast, vec![0; 24 << 20]).expect("the file is ours");
    let never = "[store]\nintake_stop_percent = 100\nballast_bytes = \"1MiB\"\n";
    let process = fixture.start(never);
    fixture.disk.fill(256 << 10);
    let address = process.orders;
    let ended = trade_while(&mut fixture.traders, address, |_| process.wait());
    assert!(matches!(ended.code, Some(19 | 20)), "{ended:?}");
    let last = ended.output.lines().last().unwrap_or_default();
    assert!(last.contains("the disk is full") && last.contains(&*ballast.to_string_lossy()), "{last}");
    fs::remove_file(&ballast).expect("it is there");
    let process = fixture.start(never);
    for trader in &mut fixture.traders {
        trader.check(process.orders).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    assert_eq!(process.terminate().code, Some(0));
}

/// Freezes the file system, as a disk that does not answer.
struct Frozen<'a>(&'a LoopDisk);

impl<'a> Frozen<'a> {
    fn new(disk: &'a LoopDisk) -> Self {
        let done = Command::new("fsfreeze").arg("-f").arg(disk.path()).status();
        assert!(done.is_ok_and(|status| status.success()), "fsfreeze(8) is part of util-linux");
        Self(disk)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // It is frozen until here; nothing else can be done where this fails.
        let _ = Command::new("fsfreeze").arg("-u").arg(self.0.path()).status();
    }
}

#[test]
fn a_stop_on_a_disk_that_hangs_ends_in_time() {
    let fixture = Fixture::new();
    let process = {
        let token = fixture.disk.beside().join("token");
        let extra = format!("ops_token_file = {token:?}\n");
        let file = fixture.node_dir.config_file_in(fixture.disk.beside(), &extra);
        let text =
            fs::read_to_string(&file).expect("just written").replace("[listen]", "stop_timeout = \"1s\"\n[listen]");
        fs::write(&file, text).expect("the file is ours");
        Start::new(&file).run()
    };
    let mut client = connect(&process);
    assert_eq!(refused(&mut client, 1_001), None);
    let frozen = Frozen::new(&fixture.disk);
    client.new_order(&limit(1_002, MARKET, Side::Sell, 100, 1)).expect("connected");
    let asked = Instant::now();
    process.signal("TERM");
    wait_until("the stop is cut off", || process.output().contains("the stop takes longer than node.stop_timeout"));
    assert!(asked.elapsed() < Duration::from_secs(20));
    // The kernel keeps threads that it holds in a write until the disk answers.
    drop(frozen);
    let ended = process.wait();
    assert_eq!(ended.code, Some(20), "{}", ended.output);
    assert_eq!(fixture.start(WATCHED).terminate().code, Some(0));
}
