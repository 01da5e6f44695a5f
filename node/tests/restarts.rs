//! What a restart leaves as it was, with real processes: the live stream of market data, the last acknowledged frame,
//! and what is known of a torn one. And the data directory that is older than its own backup.

mod common;

use api::binary::login::{LoginReject, SessionName};
use api::binary::stream::SessionSeq;
use api::client::{ClientError, MarketClient, OrderClient, Resumed, book_sync};
use book::codec;
use book::command::{Act, Actor, Admin, Command, Side};
use book::ids::MarketId;
use common::files::{copy_dir, flip, frames_of_the_head_only};
use common::process::{Process, Start};
use common::{NodeDir, PASSWORD, PATIENCE, http, limit, next, wait_until};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use wal::directory::Directory;
use wal::frame::Frame;
use wal::piece::PieceBuilder;
use wal::recover::{Inspection, inspect};
use wal::units::{Lsn, NodeId};

const TOKEN: &str = "a-token-of-enough-characters-for-tests";
const BLOCK: u64 = 4_096;

/// A directory whose exchange has one market and one trader, with a token for administrators.
fn prepared(extra: &str) -> (NodeDir, MarketId) {
    let node_dir = NodeDir::with(&format!("ops_token_file = \"token\"\n{extra}"));
    let token = node_dir.dir.path().join("token");
    fs::write(&token, TOKEN).expect("the path is writable");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&token, private).expect("the file is ours");
    let running = node_dir.start();
    let market = running.add_market();
    running.add_trader("MM1");
    assert_eq!(running.stop(), 0);
    (node_dir, market)
}

/// Orders with these ids, none of which trades.
fn trade(address: SocketAddr, market: MarketId, ids: std::ops::Range<u64>) {
    let mut client = OrderClient::connect(address, "MM1", PASSWORD, SessionSeq::HEAD).expect("logged in");
    for id in ids {
        let at = 90 + id as i64 % 10;
        client.new_order(&limit(id, market, Side::Buy, at, 1)).expect("sent");
        next(&mut client);
    }
}

fn live(address: SocketAddr, from: u64) -> Result<MarketClient, ClientError> {
    MarketClient::connect(address, SessionName::LIVE, SessionSeq(from))
}

/// The number of the next live message.
fn live_next(address: SocketAddr) -> u64 {
    live(address, 0).expect("logged in").next_seq().0
}

/// Every live message from `from` on that has been said.
fn recorded(address: SocketAddr, from: u64) -> Vec<Vec<u8>> {
    let end = live_next(address);
    let mut reader = live(address, from).expect("the message is in memory");
    assert_eq!(reader.next_seq().0, from);
    let mut messages = Vec::new();
    while reader.next_seq().0 < end {
        messages.push(reader.poll_raw(PATIENCE).expect("connected").expect("it was said").message.to_vec());
    }
    messages
}

fn health(process: &Process) -> Value {
    let (status, body) = http::request(process.ops, "GET", "/health", "", "");
    assert_eq!(status, 200);
    serde_json::from_str(&body).expect("JSON")
}

/// The stream of a node that was killed after a snapshot and of one that was stopped goes on from any number of before,
/// with the same bytes; a number that was never said is refused as such.
#[test]
fn live_is_resumed_from_the_same_messages_after_a_kill_and_after_a_stop() {
    let (node_dir, market) = prepared("");
    let running = node_dir.start();
    trade(running.orders(), market, 1..40);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let covers = running.node().status.watermarks.released.get();
    runtime.block_on(running.node().port.snapshot(covers)).expect("the shadow runs").expect("taken");
    trade(running.orders(), market, 40..60);
    assert_eq!(running.stop(), 0);

    let start = Start::new(&node_dir.config_file());
    let mut process = start.run();
    let mut before = recorded(process.market, 1);
    assert!(before.len() >= 59, "one message for each order: {}", before.len());
    let mut follower = book_sync(process.market).expect("the books");
    let mut ids = 60_u64..80;
    for end in ["kill", "stop", "kill"] {
        trade(process.orders, market, ids.clone());
        ids = ids.end..ids.end + 20;
        let after = recorded(process.market, 1);
        assert!(after.len() >= before.len() + 20 && after.starts_with(&before), "nothing said before has changed");
        before = after;
        if end == "kill" {
            assert_eq!(process.kill().signal, Some(9));
        } else {
            assert_eq!(process.terminate().code, Some(0));
        }
        process = start.run();
        assert!(recorded(process.market, 1) == before, "after a {end} the same messages are said again");
        let middle = before.len() as u64 / 2;
        assert!(recorded(process.market, middle) == before[middle as usize - 1..], "from any number");
        assert_eq!(follower.resume(process.market).expect("resumed"), Resumed::AtTheNextMessage);
        while follower.next_seq().0 <= before.len() as u64 {
            follower.poll(PATIENCE).expect("every message fits the books").expect("it was said");
        }
        let ahead = live(process.market, before.len() as u64 + 2);
        assert!(matches!(ahead, Err(ClientError::LoginRejected(LoginReject::NoSession))), "{ahead:?}");
    }
    process.kill();
}

/// Trades, and kills the node once its mark attests the last frame of the head. Returns the file of that frame, its
/// place in it, and the sequence of its first record.
fn killed_when_idle(start: &Start, node_dir: &NodeDir, market: MarketId) -> (PathBuf, u64, u64) {
    for round in 0_u64.. {
        let process = start.run();
        let first = 1_000 * (round + 1);
        trade(process.orders, market, first..first + 5);
        let is_attested =
            || mark(node_dir) >= health(&process)["watermarks"]["seq_applied"].as_u64().expect("a number");
        wait_until("the mark reaches the last command", is_attested);
        process.kill();
        let frames = frames_of_the_head_only(&node_dir.data_dir());
        // The shadow may have asked for a check in between, whose frame the mark need not have reached.
        if let Some((path, offset)) = frames.last() {
            let bytes = fs::read(path).expect("readable");
            let frame = Frame::decode(&bytes[*offset as usize..]).expect("an intact frame");
            if frame.seq_last().0 <= mark(node_dir) {
                return (path.clone(), *offset, frame.seq_first().0);
            }
        }
        assert!(round < 50, "the mark never attests the last frame");
    }
    unreachable!("the loop returns or fails")
}

fn mark(node_dir: &NodeDir) -> u64 {
    let directory = Directory::open_read_only(&node_dir.data_dir()).expect("a data directory");
    directory.mark_seq().expect("the mark is intact").0
}

#[test]
fn damage_to_the_last_acknowledged_frame_is_never_cut() {
    let (node_dir, market) = prepared("");
    let start = Start::new(&node_dir.config_file());
    let (path, offset, seq) = killed_when_idle(&start, &node_dir, market);
    // In its records, its checksum, its link.
    for at in [80, 37, 50] {
        flip(&path, offset + at);
        let ended = start.refused();
        assert_eq!(ended.code, Some(13), "{}", ended.output);
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        for named in [name, &format!("offset {offset}"), &format!("sequence {seq}"), "the mark"] {
            assert!(ended.output.contains(named), "{named} is missing: {}", ended.output);
        }
        flip(&path, offset + at);
    }
    // Not a trace of it is left: then the log is too short.
    let intact = fs::read(&path).expect("readable");
    let file = fs::OpenOptions::new().write(true).open(&path).expect("writable");
    file.write_all_at(&[0; BLOCK as usize], offset).expect("writable");
    let ended = start.refused();
    assert_eq!(ended.code, Some(21), "{}", ended.output);
    assert!(ended.output.contains(&format!("offset {offset}")), "{}", ended.output);
    fs::write(&path, intact).expect("writable");
    start.run().kill();
}

/// Writes after the last frame what a power cut in the middle of the next one leaves: its header, and not its records.
fn tear_after(path: &Path, offset: u64) -> u64 {
    let bytes = fs::read(path).expect("readable");
    let last = Frame::decode(&bytes[offset as usize..]).expect("an intact frame");
    let (seq, place) = (last.seq_last().0 + 1, offset + (last.bytes().len() as u64).next_multiple_of(BLOCK));
    let mut torn = last.bytes()[..72].to_vec();
    torn[16..24].copy_from_slice(&seq.to_le_bytes());
    torn[24..32].copy_from_slice(&last.seq_last().0.to_le_bytes());
    let file = fs::OpenOptions::new().write(true).open(path).expect("writable");
    file.write_all_at(&torn, place).expect("writable");
    seq
}

#[test]
fn a_torn_end_is_cut_logged_and_shown_until_it_is_acknowledged() {
    let (node_dir, market) = prepared("");
    let start = Start::new(&node_dir.config_file());
    let (path, offset, _) = killed_when_idle(&start, &node_dir, market);
    let seq = tear_after(&path, offset);
    let shown = |process: &Process| {
        let health = health(process);
        (health["torn_ends"].as_array().expect("a list").len(), health["torn_ends"][0]["seq"].as_u64())
    };
    let process = start.run();
    let output = process.output();
    assert!(output.contains(&format!("torn end off the log at sequence {seq}")), "{output}");
    assert!(output.contains("checksum differs"), "what is known of it is in the log: {output}");
    assert_eq!(shown(&process), (1, Some(seq)));
    assert!(health(&process)["detail"].as_str().is_some_and(|detail| detail.contains("acknowledge-torn-end")));
    process.kill();
    let process = start.run();
    assert_eq!(shown(&process), (1, Some(seq)), "it waits over a kill");
    let acknowledge = |seq: u64| {
        let body = format!("{{\"seq\":{seq}}}");
        http::request(process.ops, "POST", "/admin/torn-end/acknowledge", TOKEN, &body)
    };
    let (status, body) = acknowledge(seq + 1);
    assert!((400..500).contains(&status) && body.contains(&seq.to_string()), "{status} {body}");
    let (status, body) = acknowledge(seq);
    assert_eq!(status, 200, "{body}");
    assert_eq!(shown(&process), (0, None));
    assert_eq!(process.terminate().code, Some(0));
    let process = start.run();
    assert_eq!(shown(&process), (0, None), "and after a restart");
    process.kill();
    assert_eq!(acknowledged(&node_dir), [("POST /admin/torn-end/acknowledge".to_owned(), seq)]);
}

/// Who acknowledged which torn end, from the log.
fn acknowledged(node_dir: &NodeDir) -> Vec<(String, u64)> {
    let directory = Directory::open_read_only(&node_dir.data_dir()).expect("a data directory");
    let mut found = Vec::new();
    let walked = inspect(&directory, Lsn(1), |_, bytes| {
        if let Command::Acted(acted) = codec::decode(bytes)?.command
            && let Act::Admin(admin) = &acted.act
            && let Admin::AcknowledgeTornEnd { seq } = admin
        {
            assert!(acted.actor == Actor::Ops && acted.address.starts_with("127.0.0.1:"), "{acted:?}");
            found.push((acted.method.clone(), seq.0));
        }
        Ok(())
    });
    walked.expect("the log is intact");
    found
}

/// Ships the complete log to a place, as `pinion backup run` does, in one piece. Returns its last sequence.
fn ship(data_dir: &Path, place: &Path) -> u64 {
    let node_id = Directory::open_read_only(data_dir).expect("a data directory").identity().node_id;
    ship_as(node_id, data_dir, place)
}

fn ship_as(node_id: NodeId, data_dir: &Path, place: &Path) -> u64 {
    let directory = Directory::open_read_only(data_dir).expect("a data directory");
    let inspection = Inspection::open(&directory).expect("the log is intact");
    let identity = directory.identity();
    let mut piece = PieceBuilder::new(node_id, identity.timeline, identity.origin().tail());
    let mut walk = inspection.frames(Lsn(1)).expect("from the first frame on");
    while let Some((frame, _)) = walk.next_frame().expect("intact") {
        piece.push(&frame, 1, 1);
    }
    let last = piece.after().seq.0;
    let (_, bytes) = piece.seal().expect("a piece has frames");
    let log = place.join("0000000001").join("log");
    fs::create_dir_all(&log).expect("the path is writable");
    fs::write(log.join(format!("{:020}-{last:020}.piece", 1)), bytes).expect("the path is writable");
    last
}

/// A complete older copy, its mark with it, is intact in every way: only what was shipped elsewhere shows that it is
/// old.
#[test]
fn an_older_copy_of_a_directory_is_refused_by_its_own_backup() {
    let (node_dir, market) = prepared("");
    let place = node_dir.dir.path().join("backup");
    let config = node_dir.config_file_with(&format!("ops_token_file = \"token\"\n[store]\nbackup_to = {place:?}\n"));
    let start = Start::new(&config);
    let process = start.run();
    assert!(process.output().contains("has no backup of this node yet"), "{}", process.output());
    assert_eq!(process.terminate().code, Some(0));
    let old = node_dir.dir.path().join("old");
    copy_dir(&node_dir.data_dir(), &old);
    let process = start.run();
    trade(process.orders, market, 1..30);
    assert_eq!(process.terminate().code, Some(0));
    let shipped = ship(&node_dir.data_dir(), &place);
    // The node that was shipped from goes on.
    start.run().kill();

    let newest = node_dir.dir.path().join("newest");
    fs::rename(node_dir.data_dir(), &newest).expect("no node runs");
    copy_dir(&old, &node_dir.data_dir());
    let before = fs::read(node_dir.data_dir().join("head/head-000.seg")).expect("readable");
    let ended = start.refused();
    assert_eq!(ended.code, Some(21), "{}", ended.output);
    for named in [format!("{shipped:020}.piece"), format!("sequence {shipped}"), "old copy".to_owned()] {
        assert!(ended.output.contains(&named), "{named} is missing: {}", ended.output);
    }
    assert!(before == fs::read(node_dir.data_dir().join("head/head-000.seg")).expect("readable"), "nothing is written");
    fs::remove_dir_all(node_dir.data_dir()).expect("no node runs");
    fs::rename(&newest, node_dir.data_dir()).expect("no node runs");
    start.run().kill();
}

#[test]
fn the_backup_of_another_node_is_refused() {
    let (node_dir, _) = prepared("");
    let place = node_dir.dir.path().join("backup");
    let config = node_dir.config_file_with(&format!("ops_token_file = \"token\"\n[store]\nbackup_to = {place:?}\n"));
    let start = Start::new(&config);
    ship_as(NodeId([8; 16]), &node_dir.data_dir(), &place);
    let ended = start.refused();
    assert_eq!(ended.code, Some(16), "{}", ended.output);
    // A broken header is damage of the backup, and is not passed over.
    ship(&node_dir.data_dir(), &place);
    let piece = common::files::files_of(&place.join("0000000001/log"), "piece").remove(0);
    flip(&piece, 20);
    assert_eq!(start.refused().code, Some(13));
    flip(&piece, 20);
    start.run().kill();
}
