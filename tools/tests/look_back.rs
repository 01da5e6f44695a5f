//! The verbs that read the past: books as they were published, differences of states, replays, and the rules of
//! `recon`.

mod common;

use book::codec::{self, PayloadVersion};
use book::command::{Admin, Command};
use book::ids::Symbol;
use book::units::{Seq, TsNs};
use common::process::{pinion, pinion_with_closed_output, text};
use common::raw_log::append;
use common::trading::{seq_of, trade};
use common::traffic::Traffic;
use common::{Place, recorded, stage};
use node::history::{HistoryWriter, Kind};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use tools::recorded_day::day::{Check, Day};
use tools::recorded_day::published_book::PublishedBook;
use tools::verbs::replay_day::{prepare, replay};
use wal::directory::Directory;
use wal::quarantine::{Quarantine, Quarantined};
use wal::store::Rows;

const GOOG: &str = "lobster/lobster_GOOG_2012-06-21_10.cmds.zst";
const GOOG_BOOK: &str = "lobster/LOBSTER_SampleFile_GOOG_2012-06-21_10.zip";
/// The number of the day's books that are compared, unless PINION_BOOKS sets another: each is a replay of the log.
const BOOKS: usize = 12;

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// A stopped exchange that has traded, and a sequence in the middle of its log.
fn traded(rounds: usize) -> (Place, u64) {
    let place = Place::new();
    let running = place.start_with("[shadow]\ncheck_every_commands = 16\n");
    let login = stage(&running);
    tools::client::market_data::follow(running.node().addresses.market, "BTCUSDT").expect("announced");
    trade(&running, &login, rounds);
    let middle = seq_of(&running);
    trade(&running, &login, rounds);
    assert_eq!(running.stop(), 0);
    (place, middle)
}

#[test]
fn the_book_at_a_sequence_equals_the_published_row() {
    let (Some(day), Some(book)) = (recorded(GOOG), recorded(GOOG_BOOK)) else { return };
    let day = Day::load(&day).expect("a recorded day");
    let published = PublishedBook::load(&book).expect("the published book");
    let place = Place::new();
    let running = place.start_with("[snapshot]\nevery_commands = 20000\nkeep = 10\n");
    let session = prepare(&mut running.setup(), &day, None).expect("a market is added");
    let addresses = running.node().addresses;
    let comparison =
        replay(addresses.orders, addresses.market, &session, &day, Some(&published)).expect("the day is replayed");
    assert!(comparison.is_equal(), "{:?}", comparison.difference_first);
    let dir = place.data_dir();
    let row_at = |seq: u64| {
        let seq = seq.to_string();
        let arguments =
            ["state", "book", &session.symbol, "--data-dir", text(&dir), "--at-seq", &seq, "--lobster", "10"];
        pinion(&arguments).expect(0).out
    };
    // The session's commands are in the log in the order of the day.
    let dumped = pinion(&["log", "dump", "--data-dir", text(&dir), "--json"]).expect(0).out;
    let of_the_day = ["place", "cancel", "amend", "cancel_replace", "mass_cancel", "refuse"];
    let seqs: Vec<u64> = json_lines(&dumped)
        .iter()
        .filter(|line| of_the_day.contains(&line["command"].as_str().expect("a kind")))
        .map(|line| line["seq"].as_u64().expect("a sequence"))
        .collect();
    assert_eq!(seqs.len(), day.commands.len());
    let rows: Vec<(u64, usize)> = day
        .commands
        .iter()
        .zip(seqs)
        .filter_map(|(command, seq)| match command.checks.last()?.1 {
            Check::Row(row) => Some((seq, row)),
            Check::Top { .. } => None,
        })
        .collect();
    let books = std::env::var("PINION_BOOKS").map_or(BOOKS, |count| count.parse().expect("a number of books"));
    assert!(0 < books && books * 10 < rows.len(), "{books} of {}", rows.len());
    // Spread over the day; one half is read while the node runs, the other after it stopped.
    let picked: Vec<(u64, usize)> = rows.iter().copied().step_by(rows.len() / books).collect();
    let (first, second) = picked.split_at(picked.len() / 2);
    let compare = |(seq, row): (u64, usize)| {
        assert_eq!(row_at(seq).trim_end(), published.row(row).expect("a row"), "row {row} at sequence {seq}");
    };
    first.iter().copied().for_each(compare);
    assert_eq!(running.stop(), 0);
    second.iter().copied().for_each(compare);
    println!("{} books of {} equal at {picked:?}", picked.len(), rows.len());
    let shown = pinion(&["state", "book", &session.symbol, "--data-dir", text(&dir), "--json"]).expect(0).json();
    assert_eq!(shown["bids"].as_array().map(Vec::len), Some(10));
    let queue = pinion(&["state", "book", &session.symbol, "--data-dir", text(&dir), "--orders"]).expect(0).out;
    assert_eq!(queue.lines().count() as u64, shown["orders"].as_u64().expect("a count") + 1);
    pinion(&["state", "book", "NONE", "--data-dir", text(&dir)]).expect(12).error_contains(&session.symbol);
}

#[test]
fn state_diff_names_the_differences() {
    let (place, middle) = traded(2);
    let dir = place.data_dir();
    let middle = middle.to_string();
    let same =
        pinion(&["state", "diff", "--data-dir", text(&dir), "--at-seq", &middle, "--with-seq", &middle]).expect(0);
    assert!(same.out.starts_with("0 differences") && same.out.contains("the states are equal"), "{}", same.out);
    let differs =
        pinion(&["state", "diff", "--data-dir", text(&dir), "--at-seq", &middle, "--with-dir", text(&dir), "--json"]);
    assert_eq!(differs.expect(0).json()["differences"], 0);
    let differs =
        pinion(&["state", "diff", "--data-dir", text(&dir), "--at-seq", "5", "--with-seq", &middle, "--json"]);
    let lines = json_lines(&differs.expect(0).out);
    let parts: Vec<&str> = lines.iter().filter_map(|line| line["part"].as_str()).collect();
    assert!(parts.contains(&"balances") && parts.contains(&"sessions") && parts.contains(&"orders"), "{parts:?}");

    // Another directory has another state at the same sequence, which has an exit code of its own.
    let (other, _) = traded(1);
    let arguments = ["state", "diff", "--data-dir", text(&dir), "--at-seq", "7", "--with-dir"];
    let diverged = pinion(&[&arguments[..], &[text(&other.data_dir())]].concat()).expect(18);
    assert!(diverged.out.contains("session 1:") || diverged.out.contains("state hashes"), "{}", diverged.out);

    pinion(&["state", "diff", "--data-dir", text(&dir)]).expect(2).error_contains("--with-seq");
    let dump = pinion(&["state", "dump", "--data-dir", text(&dir), "--at-seq", &middle, "--json"]).expect(0).json();
    let hash = pinion(&["state", "hash", "--data-dir", text(&dir), "--at-seq", &middle, "--json"]).expect(0).json();
    assert_eq!(dump["state_hash"], hash["state_hash"]);
    assert_eq!(
        (dump["accounts"][0]["name"].as_str(), dump["markets"][0]["symbol"].as_str()),
        (Some("a trader"), Some("BTCUSDT"))
    );
    assert!(!dump.to_string().contains("argon2"), "password hashes are not printed");
    let rows = pinion(&["state", "dump", "--data-dir", text(&dir), "--at-seq", &middle]).expect(0).out;
    let count: usize = ["assets", "markets", "accounts", "balances", "sessions", "keys", "orders"]
        .iter()
        .map(|part| dump[part].as_array().expect("a list").len())
        .sum();
    assert_eq!(rows.lines().count(), count + 1);
    pinion(&["state", "hash", "--data-dir", text(&dir), "--at-seq", "999999"])
        .expect(15)
        .error_contains("has states from 0 to");
}

#[test]
fn a_replay_computes_the_same_hashes_and_compares_with_the_snapshots() {
    let place = Place::new();
    let running = place.start_with("[shadow]\ncheck_every_commands = 16\n");
    let login = stage(&running);
    tools::client::market_data::follow(running.node().addresses.market, "BTCUSDT").expect("announced");
    trade(&running, &login, 2);
    let kept = running.snapshot();
    trade(&running, &login, 4);
    assert_eq!(running.stop(), 0);
    let dir = place.data_dir();
    let replayed = pinion(&["replay", "--data-dir", text(&dir), "--hash-every", "10", "--json"]).expect(0).out;
    let replayed = json_lines(&replayed);
    let last = replayed.last().expect("a line");
    // The one that was requested, and the one from the stop.
    assert_eq!(last["snapshots_equal"], 2);
    for line in &replayed[..replayed.len() - 1] {
        let seq = line["seq"].to_string();
        let hash = pinion(&["state", "hash", "--data-dir", text(&dir), "--at-seq", &seq, "--json"]).expect(0).json();
        assert_eq!(hash["state_hash"], line["state_hash"]);
    }
    let from = (kept + 1).to_string();
    let part = pinion(&["replay", "--data-dir", text(&dir), "--from", &from, "--json"]).expect(0).json();
    assert_eq!((part["seq_snapshot"].as_u64(), &part["state_hash"]), (Some(kept), &last["state_hash"]));
    let to = kept.to_string();
    let part = pinion(&["replay", "--data-dir", text(&dir), "--to", &to, "--json"]).expect(0).json();
    assert_eq!((part["seq_snapshot"].as_u64(), part["commands"].as_u64()), (None, Some(kept)));
    pinion(&["replay", "--data-dir", text(&dir), "--from", "0"]).expect(2);
    pinion(&["replay", "--data-dir", text(&dir), "--from", "9", "--to", "8"]).expect(2).error_contains("is after --to");
    pinion(&["replay", "--data-dir", text(&dir), "--to", "99999"]).expect(15);
    pinion(&["replay", "--data-dir", text(place.path())]).expect(12);
}

/// The bytes of a command as the log has them.
fn record(ts_ns: u64, symbol: &str) -> Vec<u8> {
    let add = Admin::AddAsset { symbol: Symbol::new(symbol).expect("a symbol"), scale: 8 };
    let mut bytes = vec![0; 256];
    let len = codec::encode(PayloadVersion::default(), TsNs(ts_ns), &Command::Admin(Box::new(add)), &mut bytes)
        .expect("room");
    bytes.truncate(len);
    bytes
}

#[test]
fn a_quarantined_record_that_does_not_decode_is_shown_as_unreadable() {
    let place = Place::new();
    let dir = place.data_dir();
    append(&dir, &[&record(1_000, "BTC"), &[0xff; 9], &record(3_000, "ETH")]);
    let log = |verb: &[&str], code: i32| pinion(&[&["log"], verb, &["--data-dir", text(&dir)]].concat()).expect(code);
    let verbs = [&["dump"][..], &["tail"], &["stats"]];
    for verb in verbs {
        log(verb, 14).error_contains("sequence 2");
    }
    let mut quarantine = Quarantine::default();
    let entry = Quarantined { until: wal::units::Lsn(3), time_ns: 1, reason: "ticket 3".to_owned() };
    assert!(quarantine.add(wal::units::Lsn(2), entry));
    quarantine.write(&dir).expect("written");
    for verb in verbs {
        log(verb, 0);
    }
    for verb in ["dump", "tail"] {
        let lines = json_lines(&log(&[verb, "--json"], 0).out);
        assert_eq!((lines.len(), &lines[1]["seq"]), (3, &Value::from(2)));
        assert!(lines[1]["unreadable"].is_string() && lines[2]["symbol"] == "ETH", "{lines:?}");
    }
    let stats = log(&["stats", "--json"], 0).json();
    assert_eq!((&stats["commands"], &stats["by_command"]["unreadable"]), (&Value::from(3), &Value::from(1)));
    let part = log(&["stats", "--to", "2", "--json"], 0).json();
    assert_eq!((&part["commands"], &part["frames"]), (&Value::from(2), &Value::from(2)));
    // A restore to a time can end before, at and after it.
    for (time, seq) in [("1000", 2), ("2999", 2), ("3000", 3)] {
        let into = place.path().join(time);
        let arguments = ["restore", "--from", text(&dir), "--data-dir", text(&into), "--to-time", time, "--json"];
        assert_eq!(pinion(&arguments).expect(0).json()["seq"], seq);
    }
}

#[test]
fn a_follower_shows_every_command_of_a_running_node_once() {
    let place = Place::new();
    let running = place.start();
    let login = stage(&running);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_pinion"))
        .args(["log", "tail", "-n", "1", "--follow", "--json", "--data-dir", text(&place.data_dir())])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the tool runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || -> u64 {
        let line = lines.next().expect("another line comes").expect("text");
        serde_json::from_str::<Value>(&line).expect("JSON")["seq"].as_u64().expect("a sequence")
    };
    let mut last = next();
    let mut traffic = Traffic::new(&running, &login);
    for _ in 0..3 {
        traffic.commands(300);
        let until = seq_of(&running);
        assert!(last < until);
        while last < until {
            let seq = next();
            assert_eq!(seq, last + 1);
            last = seq;
        }
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("our own child").code(), Some(0));
    drop(traffic);
    assert_eq!(running.stop(), 0);
}

#[test]
fn a_range_that_begins_after_the_end_is_refused() {
    let place = Place::new();
    let dir = place.data_dir();
    append(&dir, &[&record(1_000, "BTC"), &record(2_000, "ETH")]);
    for verb in ["dump", "stats"] {
        let from = |from: &str, code: i32| {
            pinion(&["log", verb, "--data-dir", text(&dir), "--from", from, "--json"]).expect(code)
        };
        from("2", 0);
        // The next sequence is an empty range, because its command may still come.
        from("3", 0);
        from("4", 15).error_contains("has 1 to 2");
        from("0", 2);
    }
}

#[test]
fn a_closed_output_pipe_does_not_fail_a_verb() {
    let place = Place::new();
    let (dir, to, into) = (place.data_dir(), place.path().join("backup"), place.path().join("restored"));
    append(&dir, &[&record(1_000, "BTC"), &record(2_000, "ETH")]);
    let (dir, to_text, into_text) = (text(&dir), text(&to), text(&into));
    pinion(&["backup", "run", "--once", "--data-dir", dir, "--to", to_text]).expect(0);
    let scratch = text(place.path());
    let closed = |arguments: &[&str]| assert_eq!(pinion_with_closed_output(arguments), Some(0), "{arguments:?}");
    closed(&["backup", "list", "--from", to_text]);
    closed(&["backup", "verify", "--from", to_text]);
    closed(&["backup", "prune", "--from", to_text, "--keep", "1"]);
    closed(&["backup", "drill", "--from", to_text, "--scratch", scratch]);
    closed(&["backup", "run", "--dry-run", "--data-dir", dir, "--to", to_text]);
    closed(&["restore", "--from", dir, "--data-dir", into_text, "--dry-run"]);
    closed(&["restore", "--from", dir, "--data-dir", into_text]);
    closed(&["log", "quarantine", "--data-dir", dir, "--seq", "2", "--reason", "ticket 4"]);
    assert!(Quarantine::read(Path::new(dir)).expect("intact").contains(wal::units::Lsn(2)));
    // The exit code still reports damage.
    let piece = std::fs::read_dir(to.join("0000000001/log")).expect("there").next().expect("one").expect("an entry");
    std::fs::write(piece.path(), "").expect("ours");
    assert_eq!(pinion_with_closed_output(&["backup", "verify", "--from", to_text]), Some(13));
}

/// Deletes one row of a kind, which no program does.
fn lose_history(dir: &Path, kind: Kind) {
    let directory = Directory::open(dir).expect("no other process has it open");
    let store = directory.store().expect("intact");
    let mut found = None;
    let prefix = [kind as u8];
    let outcome = store.history_scan(&prefix, &prefix, |key, _| {
        found = Some(key.to_vec());
        ControlFlow::Break(())
    });
    outcome.expect("read");
    let mut rows = Rows::new();
    rows.delete_history(found.expect("a row of that kind"));
    store.commit(rows).expect("written");
    store.flush().expect("written");
}

#[test]
fn recon_holds_every_rule_and_a_lost_row_breaks_one() {
    let (place, middle) = traded(3);
    let dir = place.data_dir();
    let recon = |code: i32, more: &[&str]| {
        let arguments = ["recon", "--data-dir", text(&dir), "--json"];
        pinion(&[&arguments[..], more].concat()).expect(code).json()
    };
    for at in [vec![], vec!["--at-seq".to_owned(), middle.to_string()]] {
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        let report = recon(0, &at);
        let rules: Vec<&str> =
            report["rules"].as_array().expect("rules").iter().filter_map(|r| r["rule"].as_str()).collect();
        for rule in ["conservation", "holds", "amounts", "books", "lists", "ledger", "house", "streams", "checks"] {
            assert!(rules.contains(&rule), "{rules:?}");
        }
    }
    println!("{}", pinion(&["recon", "--data-dir", text(&dir)]).expect(0).out);
    lose_history(&dir, Kind::Ledger);
    let broken = recon(17, &[]);
    let ledger =
        broken["rules"].as_array().expect("rules").iter().find(|rule| rule["rule"] == "ledger").expect("there");
    assert_eq!(ledger["holds"], false);
    assert!(ledger["named"][0].as_str().expect("text").contains("account 1, asset "), "{ledger}");
    lose_history(&dir, Kind::Stream);
    let page = pinion(&["recon", "--data-dir", text(&dir)]).expect(17).out;
    assert!(page.contains("BROKEN  streams") && page.contains("session 1: "), "{page}");
    assert!(page.contains("holds   holds"), "{page}");

    // A history with more commands than the log, as if the log were replaced by an older copy.
    let directory = Directory::open(&dir).expect("no other process has it open");
    let store = Arc::new(directory.store().expect("intact"));
    let mut writer = HistoryWriter::open(Arc::clone(&store)).expect("intact");
    let ahead = Seq(writer.watermark().0 + 1_000);
    writer.begin_after(ahead).expect("written");
    store.flush().expect("written");
    drop((writer, store, directory));
    let page = pinion(&["recon", "--data-dir", text(&dir)]).expect(17).out;
    assert!(page.contains("BROKEN  sequences") && page.contains(&format!("up to {}, the log", ahead.0)), "{page}");
}
