//! The shadow and what it keeps: snapshots, history, a short log; starts from them, damaged ones among them; a command
//! that crashes every start; a state that parts from the live one.

mod common;

use api::binary::stream::SessionSeq;
use book::codec;
use book::command::{Admin, Command, FundsMove, Side};
use book::engine::{Capacity, Engine};
use book::event::{Event, LedgerAccount, NoSink};
use book::ids::{AccountId, AssetId, ClientKey, SessionId};
use book::units::{Seq, TsNs, Units};
use common::files::{files_of, flip};
use common::load::{Trader, trade_so_many, two_traders};
use common::process::Start;
use common::{ONE, PRICE_ONE, Place, until};
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
use wal::quarantine::{Quarantine, Quarantined};
use wal::recover::{Inspection, inspect};

const OFTEN: &str = "[snapshot]\nevery_commands = 1000\nkeep = 2\n[store]\nretain_for = \"1ms\"\n";
const NEVER: &str = "[snapshot]\nevery_commands = 1000000000\nevery = \"24h\"\non_stop = false\n";

fn snapshots(place: &Place) -> Vec<PathBuf> {
    let directory = Directory::open_read_only(&place.data_dir()).expect("a data directory");
    snapshots::list(&directory).expect("readable").into_iter().map(|file| file.path).collect()
}

fn take_snapshot(running: &common::Running) -> u64 {
    snapshot_of(&running.node().port)
}

fn snapshot_of(port: &ShadowPort) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(port.snapshot()).expect("asked").expect("taken").0.tail.seq.0
}

/// Price and quantity of each level, in wire units, as the newest snapshot has it; the tick is one, and so is the lot.
fn resting_in_newest(place: &Place) -> Vec<(i64, i64)> {
    let directory = Directory::open_read_only(&place.data_dir()).expect("a data directory");
    let any = wal::units::Lsn(u64::MAX);
    let found = snapshots::newest(&directory, any, &mut || Engine::new(Capacity::default())).expect("readable");
    let (replica, _) = found.newest.expect("taken at the stop");
    let mut levels = std::collections::BTreeMap::new();
    for (_, order) in replica.engine.pool().orders.iter() {
        *levels.entry(i64::from(order.price.0) * PRICE_ONE).or_default() += order.leaves.0 as i64 * ONE;
    }
    levels.into_iter().collect()
}

/// Sequence and state hash of the whole log, applied from its first record on.
fn replayed(place: &Place) -> (u64, String) {
    let directory = Directory::open_read_only(&place.data_dir()).expect("a data directory");
    let quarantine = Quarantine::read(directory.path()).expect("whole");
    let mut engine = Engine::new(Capacity::default());
    inspect(&directory, wal::units::Lsn(1), |seq, bytes| {
        apply_record(&mut engine, &quarantine, Seq(seq.0), bytes, &mut NoSink)?;
        Ok(())
    })
    .expect("a whole log");
    assert!(engine.divergence().is_none(), "{:?}", engine.divergence());
    engine.verify().expect("consistent");
    (engine.stamp().seq.0, engine.state_hash().to_string())
}

/// The binary starts, says this sequence and hash, and tells every session its whole past.
fn comes_back(place: &Place, traders: &mut [Trader]) -> (u64, String) {
    let process = Start::new(&place.config_file()).run();
    for trader in traders {
        trader.check(process.orders).unwrap_or_else(|what| panic!("{what}"));
    }
    let came = (process.seq, process.state_hash.clone());
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    came
}

#[test]
fn a_start_from_a_snapshot_and_a_tail_is_the_state_of_the_whole_log() {
    let place = Place::with(&format!("{NEVER}[shadow]\ncheck_every_commands = 64\n"));
    let running = place.start();
    let mut traders = two_traders(&running);
    trade_so_many(&running, &mut traders, 5_000);
    let status = std::sync::Arc::clone(&running.node().status);
    assert_eq!(take_snapshot(&running), status.watermarks.snapshot.get().0);
    trade_so_many(&running, &mut traders, 500);
    assert_eq!(running.stop(), 0);
    assert_eq!(status.watermarks.shadow.get().0, status.watermarks.durable.get().0, "the shadow goes to the end");
    assert_eq!(status.seq_hash_differs.get(), 0);
    let whole = replayed(&place);
    assert!(status.watermarks.snapshot.get().0 < whole.0, "there is a tail behind the snapshot");
    assert_eq!(comes_back(&place, &mut traders), whole);
}

#[test]
fn the_log_is_cut_behind_kept_snapshots_and_no_session_loses_its_past() {
    let place = Place::with(OFTEN);
    let running = place.start();
    let mut traders = two_traders(&running);
    let status = std::sync::Arc::clone(&running.node().status);
    for _ in 0..20 {
        trade_so_many(&running, &mut traders, 1_000);
        if status.watermarks.truncated.get().0 > 0 {
            break;
        }
    }
    until("a cut", || status.watermarks.truncated.get().0 > 0);
    assert_eq!(running.stop(), 0);
    let kept = snapshots(&place);
    assert!((2..=3).contains(&kept.len()), "two are kept and the one that the log begins behind: {kept:?}");
    let directory = Directory::open_read_only(&place.data_dir()).expect("a data directory");
    let inspection = Inspection::open(&directory).expect("whole");
    assert_eq!(inspection.base().expect("readable").seq.0, status.watermarks.truncated.get().0);
    let error = inspection.show(wal::units::Lsn(1), |_, _| Ok(())).expect_err("the log begins later");
    assert_eq!(exit::code_of(&error), 15, "{error}");
    drop(inspection);

    comes_back(&place, &mut traders);
    // The market's readers find the books of the snapshot's own state, and go on from there.
    let rests = resting_in_newest(&place);
    assert!(!rests.is_empty());
    let running = place.start();
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
    comes_back(&place, &mut traders);
}

/// A node that stopped behind two snapshots of its own accord and the one of the stop, those who traded on it, and what
/// it said of itself.
fn kept_twice() -> (Place, Vec<Trader>, std::sync::Arc<Status>) {
    let place = Place::with("[snapshot]\nevery_commands = 1000\n");
    let running = place.start();
    let mut traders = two_traders(&running);
    let status = std::sync::Arc::clone(&running.node().status);
    while status.snapshots.get() < 2 {
        trade_so_many(&running, &mut traders, 1_000);
    }
    assert_eq!(running.stop(), 0);
    (place, traders, status)
}

#[test]
fn nothing_is_kept_that_no_check_vouches_for() {
    let (place, _traders, status) = kept_twice();
    assert_eq!(
        status.watermarks.history.get().0,
        status.watermarks.durable.get().0,
        "a log that ends for good ends with a check"
    );
    let directory = Directory::open_read_only(&place.data_dir()).expect("a data directory");
    let kept: Vec<u64> = snapshots::list(&directory).expect("readable").into_iter().map(|file| file.seq.0).collect();
    assert!(3 <= kept.len() && kept.contains(&status.watermarks.durable.get().0), "two and one at the stop: {kept:?}");
    let inspection = Inspection::open(&directory).expect("whole");
    let mut walk = inspection.frames(wal::units::Lsn(1)).expect("whole");
    let mut found = Vec::new();
    while let Some((frame, _)) = walk.next_frame().expect("whole") {
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
fn one_snapshot_is_for_all_who_wish_for_one() {
    let place = Place::with(NEVER);
    let running = place.start();
    two_traders(&running);
    let taken: Vec<u64> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8)
            .map(|_| {
                let port = running.node().port.clone();
                scope.spawn(move || snapshot_of(&port))
            })
            .collect();
        asked.into_iter().map(|asked| asked.join().expect("answered")).collect()
    });
    assert!(taken.iter().all(|seq| *seq == taken[0]), "{taken:?}");
    assert_eq!(running.node().status.snapshots.get(), 1, "nothing happened in between");
    assert_eq!(running.stop(), 0);
}

/// What a start passes over comes by again when a new snapshot pushes old ones out.
#[test]
fn swapped_snapshots_do_not_end_the_node() {
    let place = Place::with(NEVER);
    let running = place.start();
    let mut traders = two_traders(&running);
    for _ in 0..2 {
        trade_so_many(&running, &mut traders, 200);
        take_snapshot(&running);
    }
    assert_eq!(running.stop(), 0);
    let files = snapshots(&place);
    let [first, second] = &files[..] else { panic!("two were taken: {files:?}") };
    let aside = place.dir.path().join("aside");
    for (from, to) in [(first, &aside), (second, first), (&aside, second)] {
        fs::rename(from, to).expect("ours");
    }
    let running = place.start();
    for _ in 0..2 {
        trade_so_many(&running, &mut traders, 200);
        take_snapshot(&running);
    }
    assert_eq!(running.stop(), 0);
    assert!(first.exists() && second.exists(), "whoever wants to look at them finds them");
    comes_back(&place, &mut traders);
}

#[test]
fn a_rotten_snapshot_keeps_nothing_alive_and_takes_no_place() {
    let two = NEVER.replace("[snapshot]", "[snapshot]\nkeep = 2");
    // Without a patrol: the shadow itself finds out, when it wants to rely on one.
    let place = Place::with(&format!("{two}[store]\nretain_for = \"1ms\"\n[shadow]\npatrol_bytes_per_second = 0\n"));
    let running = place.start();
    let mut traders = two_traders(&running);
    let mut taken = |running: &common::Running| {
        trade_so_many(running, &mut traders, 200);
        take_snapshot(running)
    };
    let (first, second) = (taken(&running), taken(&running));
    assert_eq!(running.stop(), 0);
    let files = snapshots(&place);
    assert_eq!(files.len(), 2);
    flip(&files[1], fs::metadata(&files[1]).expect("there").len() / 2);
    let name = files[1].file_name().expect("a name").to_string_lossy();

    let running = place.start();
    let status = std::sync::Arc::clone(&running.node().status);
    let third = taken(&running);
    assert_eq!(status.watermarks.truncated.get().0, first, "{second} is of no use, so the one before it is needed");
    assert!(files[0].exists());
    until("the rotten one is told", || status.damage().is_some_and(|said| said.contains(&*name)));
    taken(&running);
    assert_eq!(status.watermarks.truncated.get().0, third);
    assert!(!files[0].exists() && files[1].exists(), "the rotten one is left for whoever wants to look at it");
    assert_eq!(running.stop(), 0);
    comes_back(&place, &mut traders);
}

/// Files of the store that hold frames.
fn log_files(place: &Place) -> Vec<PathBuf> {
    let mut files = files_of(&place.data_dir().join("db"), "sst");
    files.retain(|path| fs::read(path).expect("readable").windows(4).any(|bytes| bytes == FRAME_MAGIC.to_le_bytes()));
    files
}

#[test]
fn the_patrol_finds_what_rots_and_trading_goes_on() {
    let place = Place::with(&format!("{NEVER}[shadow]\npatrol_bytes_per_second = \"256MiB\"\n"));
    let running = place.start();
    let mut traders = two_traders(&running);
    let status = std::sync::Arc::clone(&running.node().status);
    trade_so_many(&running, &mut traders, 1_000);
    take_snapshot(&running);
    let read_through = || {
        // The one under way may have been past it already.
        let enough = status.scrub_rounds.get() + 2;
        until("two more rounds", || enough <= status.scrub_rounds.get());
    };
    read_through();
    assert_eq!((status.damage_found.get(), status.damage()), (0, None), "all of it is whole");

    let file = log_files(&place).pop().expect("a snapshot flushes the store");
    flip(&file, fs::metadata(&file).expect("there").len() / 2);
    until("a finding", || status.damage_found.get() == 1);
    let said = status.damage().expect("noted");
    assert!(said.contains("db") && said.contains("sequence"), "{said}");
    let snapshot = snapshots(&place).pop().expect("taken");
    flip(&snapshot, fs::metadata(&snapshot).expect("there").len() / 2);
    until("another", || status.damage_found.get() == 2);
    let (said, name) = (status.damage().expect("noted"), snapshot.file_name().expect("a name").to_string_lossy());
    assert!(said.contains(&*name), "{said}");
    read_through();
    assert_eq!(status.damage_found.get(), 2, "each is told once");

    // Trading goes on, and a snapshot that is whole brings a start past both.
    trade_so_many(&running, &mut traders, 500);
    take_snapshot(&running);
    assert_eq!(running.stop(), 0);
    assert_eq!(status.damage_found.get(), 2);
    let process = Start::new(&place.config_file()).run();
    assert_eq!(process.seq, status.watermarks.durable.get().0);
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
}

#[test]
fn a_damaged_newest_snapshot_gives_way_to_the_one_before() {
    let (place, mut traders, _status) = kept_twice();
    let whole = replayed(&place);
    let newest = snapshots(&place).pop().expect("there are some");
    let mut bytes = fs::read(&newest).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&newest, &bytes).expect("written");
    let process = Start::new(&place.config_file()).run();
    assert_eq!((process.seq, process.state_hash.clone()), whole);
    let ended = process.terminate();
    let name = newest.file_name().and_then(|name| name.to_str()).expect("a name of ours");
    assert!(ended.said.contains(name) && ended.said.contains("the one before"), "{}", ended.said);
    // Cut short, every one of them: the log is whole, and a start from its first record is as good.
    for path in snapshots(&place) {
        let file = fs::File::options().write(true).open(&path).expect("there");
        file.set_len(file.metadata().expect("there").len() / 2).expect("cut");
    }
    assert_eq!(comes_back(&place, &mut traders), whole);
}

#[test]
fn without_a_whole_snapshot_a_short_log_is_refused() {
    let place = Place::with(OFTEN);
    let running = place.start();
    let mut traders = two_traders(&running);
    let status = std::sync::Arc::clone(&running.node().status);
    while status.watermarks.truncated.get().0 == 0 {
        trade_so_many(&running, &mut traders, 1_000);
    }
    assert_eq!(running.stop(), 0);
    for path in snapshots(&place) {
        fs::remove_file(path).expect("removed");
    }
    let ended = Start::new(&place.config_file()).refused();
    assert_eq!(ended.code, Some(13), "{}", ended.said);
    assert!(ended.said.contains("no snapshot"), "{}", ended.said);
}

#[test]
fn questions_see_what_they_name_and_the_history_adds_up() {
    let place = Place::with(NEVER);
    let running = place.start();
    let mut traders = two_traders(&running);
    trade_so_many(&running, &mut traders, 3_000);
    // Of somebody who does not trade, so that nothing else moves it.
    let account = running.add_trader("IDLE");
    let funds = FundsMove { account, asset: AssetId(2), amount: Units(77), reference: ClientKey(1 << 90) };
    let events = running.admin(Admin::Deposit(funds));
    let [Event::FundsMoved { available, .. }] = events[..] else { panic!("{events:?}") };
    let (port, status) = (running.node().port.clone(), std::sync::Arc::clone(&running.node().status));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    // The events were told, so the command is released: a question that names its sequence sees it.
    let seen = runtime.block_on(port.ask(Seq(status.watermarks.released.get().0), move |replica| {
        replica.engine.accounts().get(account).expect("there").available(AssetId(2))
    }));
    assert_eq!(seen.expect("answered"), available);
    runtime.block_on(port.wait_for_history(Seq(status.watermarks.durable.get().0))).expect("written");
    assert_eq!(running.stop(), 0);

    let directory = Directory::open_read_only(&place.data_dir()).expect("a data directory");
    let inspection = Inspection::open(&directory).expect("whole");
    let history = History::of(inspection.store());
    assert_eq!(history.watermark().expect("readable").0, status.watermarks.durable.get().0);
    let (mut engine, none) = (Engine::new(Capacity::default()), Quarantine::default());
    let mut events: Vec<Event> = Vec::new();
    inspection
        .show(wal::units::Lsn(1), |seq, bytes| {
            apply_record(&mut engine, &none, Seq(seq.0), bytes, &mut events)?;
            Ok(())
        })
        .expect("whole");
    for account in [AccountId(1), AccountId(2)] {
        let fills = read(&history, Kind::Fills, account);
        let all: Vec<Event> = events.iter().filter(|e| is_fill_of(e, account)).copied().collect();
        assert!(!fills.is_empty());
        assert_eq!(fills, all, "account {}", account.0);
        // The last transfer of each asset and place says what is there.
        let last = last_transfers(&read(&history, Kind::Ledger, account));
        let known = engine.accounts().get(account).expect("there");
        for asset in [AssetId(1), AssetId(2)] {
            let told = |place| last.get(&(asset, place)).copied();
            assert_eq!(told(LedgerAccount::Available(account)), Some(known.available(asset)), "{asset:?}");
            // What was never held was never told.
            let held = told(LedgerAccount::Held(account)).unwrap_or(Units(0));
            assert_eq!(held, known.held(asset), "{asset:?}");
        }
        assert!(last.keys().any(|(_, place)| *place == LedgerAccount::Held(account)), "orders hold money");
        let orders = read(&history, Kind::Orders, account);
        let accepted = |events: &[Event]| events.iter().filter(|e| is_accepted_of(e, account)).count();
        assert_eq!(accepted(&orders), accepted(&events));
    }
    // From the middle of the time on: only what came then.
    let middle = TsNs((engine.stamp().ts.0 + first_fill_at(&history).0) / 2);
    let mut late = 0;
    let _ = history.events(Kind::Fills, AccountId(1), middle..TsNs(u64::MAX), |stamp, _| {
        assert!(middle <= stamp.ts);
        late += 1;
        ControlFlow::Continue(())
    });
    assert!(late > 0 && late < read(&history, Kind::Fills, AccountId(1)).len());
    let mut told = 0;
    history
        .messages(SessionId(1), SessionSeq(5)..SessionSeq(15), |number, _, bytes| {
            assert_eq!((number.0, bytes), (5 + told, traders[0].told[4 + told as usize].as_slice()));
            told += 1;
            ControlFlow::Continue(())
        })
        .expect("readable");
    assert_eq!(told, 10);
}

#[test]
fn questions_about_what_never_comes_are_refused_beyond_a_bound() {
    let place = Place::with(NEVER);
    let running = place.start();
    let port = running.node().port.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let refused = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    // The shadow takes them in as fast as it can, so each is asked until it is taken in or was refused for a while.
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
    until("what fits no more is refused", || {
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
    outcome.expect("readable");
    found
}

/// What the last transfer of an asset left at each end of it.
fn last_transfers(transfers: &[Event]) -> HashMap<(AssetId, LedgerAccount), Units> {
    let mut last = HashMap::new();
    for event in transfers {
        let Event::Transfer(transfer) = event else { panic!("{event:?} in a ledger") };
        last.insert((transfer.asset, transfer.debit), transfer.debit_after);
        last.insert((transfer.asset, transfer.credit), transfer.credit_after);
    }
    last
}

fn first_fill_at(history: &History<'_>) -> TsNs {
    let mut first = TsNs(0);
    let outcome = history.events(Kind::Fills, AccountId(1), TsNs(0)..TsNs(u64::MAX), |stamp, _| {
        first = stamp.ts;
        ControlFlow::Break(())
    });
    outcome.expect("readable");
    first
}

fn is_fill_of(event: &Event, account: AccountId) -> bool {
    matches!(event, Event::Fill(fill) if fill.maker.account == account || fill.taker.account == account)
}

fn is_accepted_of(event: &Event, account: AccountId) -> bool {
    matches!(event, Event::Accepted(accepted) if accepted.account == account)
}

#[cfg(feature = "fault-injection")]
mod injected {
    use super::*;
    use common::load::{trade_and_kill, trade_while};

    /// A directory with a few thousand commands behind a snapshot or none, killed under load.
    fn killed(extra: &str) -> (Place, Vec<Trader>) {
        let place = Place::with(extra);
        let running = place.start();
        let mut traders = two_traders(&running);
        trade_so_many(&running, &mut traders, 2_500);
        assert_eq!(running.stop(), 0);
        trade_and_kill(&Start::new(&place.config_file()), &mut traders);
        (place, traders)
    }

    #[test]
    fn twenty_crashes_during_recovery_change_nothing() {
        let (place, mut traders) = killed("[snapshot]\nevery_commands = 1000\n");
        let whole = replayed(&place);
        let first = {
            let directory = Directory::open_read_only(&place.data_dir()).expect("a data directory");
            snapshots::list(&directory).expect("readable").last().map_or(1, |newest| newest.seq.0 + 1)
        };
        assert!(first + 40 < whole.0, "there is a tail to crash in: {first} to {}", whole.0);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = first + (random >> 33) % (whole.0 - first + 1);
            let ended = Start::with_fault(&place.config_file(), &format!("die-at:{at}")).refused();
            assert_eq!(ended.signal, Some(9), "round {round} at {at}: {}", ended.said);
        }
        assert_eq!(replayed(&place), whole);
        assert_eq!(comes_back(&place, &mut traders), whole);
    }

    #[test]
    fn a_command_that_crashes_three_starts_is_named_and_can_be_left_out() {
        let (place, _traders) = killed(NEVER);
        let at = {
            let directory = Directory::open_read_only(&place.data_dir()).expect("a data directory");
            let inspection = Inspection::open(&directory).expect("whole");
            let history = History::of(inspection.store()).watermark().expect("readable").0;
            assert!(history < inspection.tail().seq.0, "the shadow had not written all of its history");
            history + 1
        };
        let fault = format!("crash-at:{at}");
        let start = Start::with_fault(&place.config_file(), &fault);
        for _ in 0..3 {
            let ended = start.refused();
            assert_ne!(ended.code, Some(22), "{}", ended.said);
        }
        let ended = start.refused();
        assert_eq!(ended.code, Some(22), "{}", ended.said);
        for named in [&format!("sequence {at}"), "pinion log quarantine"] {
            assert!(ended.said.contains(named), "{named:?} is not named in {}", ended.said);
        }
        {
            let directory = Directory::open(&place.data_dir()).expect("nobody runs");
            let end = Inspection::open(&directory).expect("intact").tail().seq;
            let mut list = Quarantine::read(directory.path()).expect("readable");
            let reason = "crashes, ticket 12".to_owned();
            assert!(list.add(wal::units::Lsn(at), Quarantined { until: end, time_ns: 0, reason }));
            list.write(directory.path()).expect("written");
        }
        // With the fault still there: whoever applies the log leaves the command out, and all come to the same state.
        let without = replayed(&place);
        let process = start.run();
        assert_eq!((process.seq, process.state_hash.clone()), without);
        assert_eq!(process.terminate().code, Some(0));
        assert_eq!(
            node::replica::crash_guard::read(&place.data_dir()),
            Vec::<u64>::new(),
            "forgotten when it is behind"
        );
    }

    #[test]
    fn a_shadow_that_differs_is_told_and_keeps_nothing() {
        const SNAPSHOT_EVERY: u64 = 1_000;
        const DIFFER_AT: u64 = 150;
        let place = Place::with(&format!(
            "[snapshot]\nevery_commands = {SNAPSHOT_EVERY}\n[shadow]\ncheck_every_commands = 100\n"
        ));
        let running = place.start();
        let mut traders = two_traders(&running);
        assert_eq!(running.stop(), 0);
        let before = snapshots(&place);
        let process = Start::with_fault(&place.config_file(), &format!("differ-at:{DIFFER_AT}")).run();
        let address = process.orders;
        // Each of them is a command, so a snapshot would have been taken.
        trade_while(&mut traders, address, |load| load.until_answered(SNAPSHOT_EVERY));
        let ended = process.terminate();
        assert_eq!(ended.code, Some(0), "trading goes on: {}", ended.said);
        let told = ended.said.lines().find(|line| line.contains("the shadow's state differs from the live engine's"));
        let told = told.unwrap_or_else(|| panic!("it is not told: {}", ended.said));
        let check = told.split_once("the check at sequence ").and_then(|(_, check)| check.split_once(" recorded "));
        let (seq, hashes) = check.unwrap_or_else(|| panic!("no check is named: {told}"));
        assert!(DIFFER_AT <= seq.parse().expect("a sequence"), "no check before it can differ: {told}");
        let (recorded, given) = hashes.split_once(", this state gives ").expect("both hashes are told");
        assert!(!given.starts_with(recorded), "they differ: {told}");
        assert_eq!(snapshots(&place), before, "a state that differs is not kept");
        comes_back(&place, &mut traders);
    }
}
