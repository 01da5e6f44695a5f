//! The shadow and its output: snapshots, history, a truncated log; starts from them, also from damaged ones; a command
//! that crashes every start; a state that differs from the live one.

mod common;
#[cfg(feature = "fault-injection")]
#[path = "shadow/injected.rs"]
mod injected;

use api::binary::stream::SessionSeq;
use book::codec;
use book::command::{Admin, Command, FundsMove, Side};
use book::engine::{Capacity, Engine};
use book::event::{Event, LedgerAccount};
use book::ids::{AccountId, AssetId, ClientKey, SessionId};
use book::units::{Seq, TsNs, Units};
use common::files::{files_of, flip};
use common::load::{Trader, trade_so_many, two_traders};
use common::process::Start;
use common::replay::replayed;
use common::{NodeDir, ONE, PRICE_ONE, wait_until};
use node::history::{History, Kind};
use node::replica::apply_record;
use node::replica::questions::{SHADOW_REQUESTS_MAX, ShadowPort, ShadowPortError};
use node::replica::snapshots;
use node::status::Status;
use node::status::exit;
use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;
use wal::directory::Directory;
use wal::frame::FRAME_MAGIC;
use wal::quarantine::Quarantine;
use wal::recover::Inspection;

const FREQUENT_SNAPSHOTS: &str = "[snapshot]\nevery_commands = 1000\nkeep = 2\n[store]\nretain_for = \"1ms\"\n";
const NO_SNAPSHOTS: &str = "[snapshot]\nevery_commands = 1000000000\nevery = \"24h\"\non_stop = false\n";

fn snapshots(node_dir: &NodeDir) -> Vec<PathBuf> {
    let directory = Directory::open_read_only(&node_dir.data_dir()).expect("it is a data directory");
    snapshots::list(&directory).expect("the path is readable").into_iter().map(|file| file.path).collect()
}

fn take_snapshot(running: &common::RunningNode) -> u64 {
    snapshot_of(&running.node().port, &running.node().status)
}

fn snapshot_of(port: &ShadowPort, status: &Status) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let covers = status.watermarks.released.get();
    runtime.block_on(port.snapshot(covers)).expect("the shadow runs").expect("the snapshot was taken").0.tail.seq.0
}

/// Price and quantity of each level of the newest snapshot in wire units; tick and lot are one.
fn resting_in_newest(node_dir: &NodeDir) -> Vec<(i64, i64)> {
    let directory = Directory::open_read_only(&node_dir.data_dir()).expect("it is a data directory");
    let any = wal::units::Lsn(u64::MAX);
    let found =
        snapshots::newest(&directory, any, &mut || Engine::new(Capacity::default())).expect("the path is readable");
    let (replica, _) = found.newest.expect("the stop took a snapshot");
    let mut levels = std::collections::BTreeMap::new();
    for (_, order) in replica.engine.pool().orders.iter() {
        *levels.entry(i64::from(order.price.0) * PRICE_ONE).or_default() += order.leaves.0 as i64 * ONE;
    }
    levels.into_iter().collect()
}

/// Starts the binary and checks the complete stream of every session; returns the sequence and state hash that it
/// printed.
fn restarts_intact(node_dir: &NodeDir, traders: &mut [Trader]) -> (u64, String) {
    let process = Start::new(&node_dir.config_file()).run();
    for trader in traders {
        trader.check(process.orders).unwrap_or_else(|what| panic!("{what}"));
    }
    let recovered = (process.seq, process.state_hash.clone());
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    recovered
}

#[test]
fn a_snapshot_and_the_log_after_it_give_the_state_of_the_complete_log() {
    let node_dir = NodeDir::with(&format!("{NO_SNAPSHOTS}[shadow]\ncheck_every_commands = 64\n"));
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    trade_so_many(&running, &mut traders, 5_000);
    let status = std::sync::Arc::clone(&running.node().status);
    assert_eq!(take_snapshot(&running), status.watermarks.snapshot.get().0);
    trade_so_many(&running, &mut traders, 500);
    assert_eq!(running.stop(), 0);
    assert_eq!(
        status.watermarks.shadow.get().0,
        status.watermarks.durable.get().0,
        "the shadow reaches the end of the log"
    );
    assert_eq!(status.seq_hash_differs.get(), 0);
    let expected = replayed(&node_dir);
    assert!(status.watermarks.snapshot.get().0 < expected.0, "the log has commands after the snapshot");
    assert_eq!(restarts_intact(&node_dir, &mut traders), expected);
}

#[test]
fn the_log_is_truncated_at_snapshots_and_every_stream_stays_complete() {
    let node_dir = NodeDir::with(FREQUENT_SNAPSHOTS);
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    let status = std::sync::Arc::clone(&running.node().status);
    for _ in 0..20 {
        trade_so_many(&running, &mut traders, 1_000);
        if status.watermarks.truncated.get().0 > 0 {
            break;
        }
    }
    wait_until("the log is truncated", || status.watermarks.truncated.get().0 > 0);
    assert_eq!(running.stop(), 0);
    let kept = snapshots(&node_dir);
    assert!((2..=3).contains(&kept.len()), "two are kept, and the one at which the log begins: {kept:?}");
    let directory = Directory::open_read_only(&node_dir.data_dir()).expect("it is a data directory");
    let inspection = Inspection::open(&directory).expect("the log is intact");
    assert_eq!(inspection.base().expect("the store is readable").seq.0, status.watermarks.truncated.get().0);
    let error = inspection.show(wal::units::Lsn(1), |_, _| Ok(())).expect_err("the log begins later");
    assert_eq!(exit::code_of(&error), 15, "{error}");
    drop(inspection);

    restarts_intact(&node_dir, &mut traders);
    // A market data client receives the books of the snapshot's state and the live stream after them.
    let rests = resting_in_newest(&node_dir);
    assert!(!rests.is_empty());
    let running = node_dir.start();
    let reader = running.follow();
    let book = reader.depth().books().next().expect("one market");
    let mut seen: Vec<(i64, i64)> = [Side::Buy, Side::Sell]
        .into_iter()
        .flat_map(|side| book.levels(side).map(|level| (level.price_e9, level.qty_e8)))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, rests);
    trade_so_many(&running, &mut traders, 500);
    assert_eq!(running.stop(), 0);
    restarts_intact(&node_dir, &mut traders);
}

/// Stops a node that has taken two snapshots on schedule and one at the stop; returns its traders and its status.
fn with_three_snapshots() -> (NodeDir, Vec<Trader>, std::sync::Arc<Status>) {
    let node_dir = NodeDir::with("[snapshot]\nevery_commands = 1000\n");
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    let status = std::sync::Arc::clone(&running.node().status);
    while status.snapshots.get() < 2 {
        trade_so_many(&running, &mut traders, 1_000);
    }
    assert_eq!(running.stop(), 0);
    (node_dir, traders, status)
}

#[test]
fn every_snapshot_is_at_a_check() {
    let (node_dir, _traders, status) = with_three_snapshots();
    assert_eq!(
        status.watermarks.history.get().0,
        status.watermarks.durable.get().0,
        "a clean stop ends the log with a check"
    );
    let directory = Directory::open_read_only(&node_dir.data_dir()).expect("it is a data directory");
    let kept: Vec<u64> =
        snapshots::list(&directory).expect("the path is readable").into_iter().map(|file| file.seq.0).collect();
    assert!(
        3 <= kept.len() && kept.contains(&status.watermarks.durable.get().0),
        "two on schedule and one at the stop: {kept:?}"
    );
    let inspection = Inspection::open(&directory).expect("the log is intact");
    let mut walk = inspection.frames(wal::units::Lsn(1)).expect("the log is intact");
    let mut found = Vec::new();
    while let Some((frame, _)) = walk.next_frame().expect("the log is intact") {
        for (seq, bytes) in frame.records() {
            let is_check = matches!(codec::decode(bytes).expect("a command").command, Command::Check(_));
            assert!(!is_check || seq == frame.seq_last(), "a check ends its frame");
            if is_check && kept.contains(&seq.0) {
                found.push(seq.0);
            }
        }
    }
    assert_eq!(found, kept);
}

#[test]
fn simultaneous_requests_share_one_snapshot() {
    let node_dir = NodeDir::with(NO_SNAPSHOTS);
    let running = node_dir.start();
    two_traders(&running);
    let taken: Vec<u64> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|_| {
                let port = running.node().port.clone();
                let status = running.node().status.clone();
                scope.spawn(move || snapshot_of(&port, &status))
            })
            .collect();
        asked.into_iter().map(|asked| asked.join().expect("the node answered")).collect()
    });
    assert!(taken.iter().all(|seq| *seq == taken[0]), "{taken:?}");
    assert_eq!(running.node().status.snapshots.get(), 1, "no command was applied in between");
    assert_eq!(running.stop(), 0);
}

/// Each snapshot flushes the store, and each flush leaves a file.
#[test]
fn however_many_snapshots_are_taken_the_store_has_few_files() {
    let node_dir = NodeDir::with(NO_SNAPSHOTS);
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    for _ in 0..60 {
        trade_so_many(&running, &mut traders, 20);
        take_snapshot(&running);
    }
    let store = running.node().ops_handles().store;
    let log_files = || {
        let figures = store.upgrade().expect("the node runs").figures().expect("readable");
        figures.families[wal::table::Family::Log as usize].file_count()
    };
    let merges = || running.node().status.store_merges.get();
    wait_until("small files are merged", || 0 < merges() && log_files() < 32);
    assert_eq!(running.stop(), 0);
    let expected = replayed(&node_dir);
    assert_eq!(restarts_intact(&node_dir, &mut traders), expected);
}

/// A start skips snapshots under a wrong name; later ones that remove old snapshots meet them again.
#[test]
fn swapped_snapshots_do_not_end_the_node() {
    let node_dir = NodeDir::with(NO_SNAPSHOTS);
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    for _ in 0..2 {
        trade_so_many(&running, &mut traders, 200);
        take_snapshot(&running);
    }
    assert_eq!(running.stop(), 0);
    let files = snapshots(&node_dir);
    let [first, second] = &files[..] else { panic!("two were taken: {files:?}") };
    let aside = node_dir.dir.path().join("aside");
    for (from, to) in [(first, &aside), (second, first), (&aside, second)] {
        fs::rename(from, to).expect("the directory is writable");
    }
    let running = node_dir.start();
    for _ in 0..2 {
        trade_so_many(&running, &mut traders, 200);
        take_snapshot(&running);
    }
    assert_eq!(running.stop(), 0);
    assert!(first.exists() && second.exists(), "damaged snapshots stay for inspection");
    restarts_intact(&node_dir, &mut traders);
}

#[test]
fn a_damaged_snapshot_keeps_no_log_and_does_not_count_as_kept() {
    let two = NO_SNAPSHOTS.replace("[snapshot]", "[snapshot]\nkeep = 2");
    // Without the scrubber the shadow itself finds the damage, when it verifies a snapshot before it truncates the log.
    let node_dir =
        NodeDir::with(&format!("{two}[store]\nretain_for = \"1ms\"\n[shadow]\npatrol_bytes_per_second = 0\n"));
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    let mut taken = |running: &common::RunningNode| {
        trade_so_many(running, &mut traders, 200);
        take_snapshot(running)
    };
    let (first, second) = (taken(&running), taken(&running));
    assert_eq!(running.stop(), 0);
    let files = snapshots(&node_dir);
    assert_eq!(files.len(), 2);
    flip(&files[1], fs::metadata(&files[1]).expect("the file exists").len() / 2);
    let name = files[1].file_name().expect("a name").to_string_lossy();

    let running = node_dir.start();
    let status = std::sync::Arc::clone(&running.node().status);
    let third = taken(&running);
    assert_eq!(
        status.watermarks.truncated.get().0,
        first,
        "snapshot {second} is damaged, so the one before it is needed"
    );
    assert!(files[0].exists());
    wait_until("the damage is reported", || status.damage().is_some_and(|report| report.contains(&*name)));
    taken(&running);
    assert_eq!(status.watermarks.truncated.get().0, third);
    assert!(!files[0].exists() && files[1].exists(), "the damaged snapshot stays for inspection");
    assert_eq!(running.stop(), 0);
    restarts_intact(&node_dir, &mut traders);
}

/// Files of the store that contain frames.
fn log_files(node_dir: &NodeDir) -> Vec<PathBuf> {
    let mut files = files_of(&node_dir.data_dir().join("db"), "sst");
    files.retain(|path| {
        fs::read(path).expect("the path is readable").windows(4).any(|bytes| bytes == FRAME_MAGIC.to_le_bytes())
    });
    files
}

#[test]
fn the_scrubber_finds_damage_and_trading_continues() {
    let node_dir = NodeDir::with(&format!("{NO_SNAPSHOTS}[shadow]\npatrol_bytes_per_second = \"256MiB\"\n"));
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    let status = std::sync::Arc::clone(&running.node().status);
    trade_so_many(&running, &mut traders, 1_000);
    take_snapshot(&running);
    let read_through = || {
        // The round under way may have read the file before the damage.
        let enough = status.scrub_rounds.get() + 2;
        wait_until("two more rounds", || enough <= status.scrub_rounds.get());
    };
    read_through();
    assert_eq!((status.damage_found.get(), status.damage()), (0, None), "everything is intact");

    let file = log_files(&node_dir).pop().expect("a snapshot flushes the store");
    flip(&file, fs::metadata(&file).expect("the file exists").len() / 2);
    wait_until("the damage is found", || status.damage_found.get() == 1);
    let report = status.damage().expect("the damage was recorded");
    assert!(report.contains("db") && report.contains("sequence"), "{report}");
    let snapshot = snapshots(&node_dir).pop().expect("the snapshot was taken");
    flip(&snapshot, fs::metadata(&snapshot).expect("the file exists").len() / 2);
    wait_until("the second damage is found", || status.damage_found.get() == 2);
    let (report, name) =
        (status.damage().expect("the damage was recorded"), snapshot.file_name().expect("a name").to_string_lossy());
    assert!(report.contains(&*name), "{report}");
    read_through();
    assert_eq!(status.damage_found.get(), 2, "each damage is reported once");

    // Trading continues, and an intact snapshot lets a start skip both damaged files.
    trade_so_many(&running, &mut traders, 500);
    take_snapshot(&running);
    assert_eq!(running.stop(), 0);
    assert_eq!(status.damage_found.get(), 2);
    let process = Start::new(&node_dir.config_file()).run();
    assert_eq!(process.seq, status.watermarks.durable.get().0);
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.output);
}

#[test]
fn a_damaged_newest_snapshot_is_replaced_by_the_one_before() {
    let (node_dir, mut traders, _status) = with_three_snapshots();
    let expected = replayed(&node_dir);
    let newest = snapshots(&node_dir).pop().expect("the list is not empty");
    let mut bytes = fs::read(&newest).expect("the path is readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&newest, &bytes).expect("the file is writable");
    let process = Start::new(&node_dir.config_file()).run();
    assert_eq!((process.seq, process.state_hash.clone()), expected);
    let ended = process.terminate();
    let name = newest.file_name().and_then(|name| name.to_str()).expect("the name is plain ASCII");
    assert!(ended.output.contains(name) && ended.output.contains("the one before"), "{}", ended.output);
    // All snapshots truncated: the log is intact, and a start from its first record reaches the same state.
    let expected = replayed(&node_dir);
    for path in snapshots(&node_dir) {
        let file = fs::File::options().write(true).open(&path).expect("the file exists");
        file.set_len(file.metadata().expect("the file exists").len() / 2).expect("the file was truncated");
    }
    assert_eq!(restarts_intact(&node_dir, &mut traders), expected);
}

#[test]
fn a_truncated_log_without_an_intact_snapshot_is_refused() {
    let node_dir = NodeDir::with(FREQUENT_SNAPSHOTS);
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    let status = std::sync::Arc::clone(&running.node().status);
    while status.watermarks.truncated.get().0 == 0 {
        trade_so_many(&running, &mut traders, 1_000);
    }
    assert_eq!(running.stop(), 0);
    for path in snapshots(&node_dir) {
        fs::remove_file(path).expect("the path was removed");
    }
    let ended = Start::new(&node_dir.config_file()).refused();
    assert_eq!(ended.code, Some(13), "{}", ended.output);
    assert!(ended.output.contains("no intact snapshot"), "{}", ended.output);
    let folder = node_dir.data_dir().join("snapshots");
    fs::remove_dir(&folder).expect("the folder is empty");
    let ended = Start::new(&node_dir.config_file()).refused();
    assert_eq!(ended.code, Some(13), "{}", ended.output);
    let missing = format!("the folder {} is missing", folder.display());
    assert!(ended.output.contains(&missing) && !folder.exists(), "{}", ended.output);
}

#[test]
fn questions_see_the_sequence_that_they_name_and_the_history_adds_up() {
    let node_dir = NodeDir::with(NO_SNAPSHOTS);
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    trade_so_many(&running, &mut traders, 3_000);
    // The account does not trade, so nothing else changes its balance.
    let account = running.add_trader("IDLE");
    let funds = FundsMove { account, asset: AssetId(2), amount: Units(77), reference: ClientKey(1 << 90) };
    let events = running.admin(Admin::Deposit(funds));
    let [Event::FundsMoved { available, .. }] = events[..] else { panic!("{events:?}") };
    let (port, status) = (running.node().port.clone(), std::sync::Arc::clone(&running.node().status));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    // The command was answered, so it is released, and a question that names its sequence sees it.
    let seen = runtime.block_on(port.ask(Seq(status.watermarks.released.get().0), move |replica| {
        replica.engine.accounts().get(account).expect("the account exists").available(AssetId(2))
    }));
    assert_eq!(seen.expect("the node answered"), available);
    runtime.block_on(port.wait_for_history(Seq(status.watermarks.durable.get().0))).expect("the history is written");
    assert_eq!(running.stop(), 0);

    let directory = Directory::open_read_only(&node_dir.data_dir()).expect("it is a data directory");
    let inspection = Inspection::open(&directory).expect("the log is intact");
    let history = History::of(inspection.store());
    assert_eq!(history.watermark().expect("the store is readable").0, status.watermarks.durable.get().0);
    let (mut engine, none) = (Engine::new(Capacity::default()), Quarantine::default());
    let mut events: Vec<Event> = Vec::new();
    inspection
        .show(wal::units::Lsn(1), |seq, bytes| {
            apply_record(&mut engine, &none, Seq(seq.0), bytes, &mut events)?;
            Ok(())
        })
        .expect("the log is intact");
    for account in [AccountId(1), AccountId(2)] {
        check_history_of(account, &history, &engine, &events);
    }
    check_ranges(&history, &traders[0]);
}

/// Checks that the history of an account is what a second application of the log gives.
fn check_history_of(account: AccountId, history: &History<'_>, engine: &Engine, events: &[Event]) {
    let fills = read(history, Kind::Fills, account);
    let all: Vec<Event> = events.iter().filter(|e| is_fill_of(e, account)).copied().collect();
    assert!(!fills.is_empty());
    assert_eq!(fills, all, "account {}", account.0);
    // The last transfer of an asset on each side has the balance at the end.
    let last = last_transfers(&read(history, Kind::Ledger, account));
    let known = engine.accounts().get(account).expect("the account exists");
    for asset in [AssetId(1), AssetId(2)] {
        let balance = |side| last.get(&(asset, side)).copied();
        assert_eq!(balance(LedgerAccount::Available(account)), Some(known.available(asset)), "{asset:?}");
        // An asset that was never held has no transfer.
        let held = balance(LedgerAccount::Held(account)).unwrap_or(Units(0));
        assert_eq!(held, known.held(asset), "{asset:?}");
    }
    assert!(last.keys().any(|(_, side)| *side == LedgerAccount::Held(account)), "orders have held balances");
    let orders = read(history, Kind::Orders, account);
    let accepted = |events: &[Event]| events.iter().filter(|e| is_accepted_of(e, account)).count();
    assert_eq!(accepted(&orders), accepted(events));
}

/// Checks reads of a part of the history: by time, and by the numbers of a session's messages.
fn check_ranges(history: &History<'_>, trader: &Trader) {
    // Read from the time of a fill in the middle: only later fills.
    let mut times = Vec::new();
    let _ = history.events(Kind::Fills, AccountId(1), TsNs(0)..TsNs(u64::MAX), |stamp, _| {
        times.push(stamp.ts);
        ControlFlow::Continue(())
    });
    let middle = times[times.len() / 2];
    let mut late = 0;
    let _ = history.events(Kind::Fills, AccountId(1), middle..TsNs(u64::MAX), |stamp, _| {
        assert!(middle <= stamp.ts);
        late += 1;
        ControlFlow::Continue(())
    });
    assert!(late > 0 && late < read(history, Kind::Fills, AccountId(1)).len());
    let mut count = 0;
    history
        .messages(SessionId(1), SessionSeq(5)..SessionSeq(15), |number, _, bytes| {
            assert_eq!((number.0, bytes), (5 + count, trader.received[4 + count as usize].as_slice()));
            count += 1;
            ControlFlow::Continue(())
        })
        .expect("the store is readable");
    assert_eq!(count, 10);
}

#[test]
fn questions_that_wait_are_refused_beyond_a_bound() {
    let node_dir = NodeDir::with(NO_SNAPSHOTS);
    let running = node_dir.start();
    let port = running.node().port.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let refused = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    // The shadow accepts questions as fast as it can, so each is repeated until it is accepted or was refused ten
    // times.
    const ASKED: usize = 3 * SHADOW_REQUESTS_MAX;
    for _ in 0..ASKED {
        let (port, refused) = (port.clone(), std::sync::Arc::clone(&refused));
        runtime.spawn(async move {
            for _ in 0..10 {
                match port.ask(Seq(u64::MAX), |_| ()).await {
                    Err(ShadowPortError::Busy) => std::thread::park_timeout(Duration::from_millis(1)),
                    _ => return,
                }
            }
            refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
    }
    wait_until("questions beyond the bound are refused", || {
        ASKED - 2 * SHADOW_REQUESTS_MAX <= refused.load(std::sync::atomic::Ordering::Relaxed)
    });
    assert_eq!(running.stop(), 0);
}

fn read(history: &History<'_>, kind: Kind, account: AccountId) -> Vec<Event> {
    let mut found = Vec::new();
    let outcome = history.events(kind, account, TsNs(0)..TsNs(u64::MAX), |_, event| {
        found.push(event);
        ControlFlow::Continue(())
    });
    outcome.expect("the store is readable");
    found
}

/// The balance after the last transfer of each asset on each side.
fn last_transfers(transfers: &[Event]) -> HashMap<(AssetId, LedgerAccount), Units> {
    let mut last = HashMap::new();
    for event in transfers {
        let Event::Transfer(transfer) = event else { panic!("{event:?} in a ledger") };
        last.insert((transfer.asset, transfer.debit), transfer.debit_after);
        last.insert((transfer.asset, transfer.credit), transfer.credit_after);
    }
    last
}

fn is_fill_of(event: &Event, account: AccountId) -> bool {
    matches!(event, Event::Fill(fill) if fill.maker.account == account || fill.taker.account == account)
}

fn is_accepted_of(event: &Event, account: AccountId) -> bool {
    matches!(event, Event::Accepted(accepted) if accepted.account == account)
}
