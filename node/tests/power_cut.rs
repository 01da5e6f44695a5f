//! Power cuts and kills under load, with an oracle: whatever was acknowledged is there afterwards, byte for byte, and
//! nothing that nobody sent.
//!
//! A short round by default; `PINION_CUTS=50` for 50 of each kind, as in `./dev nightly`. Needs root and xfsprogs.

mod common;

use api::binary::orders::Answer;
use book::codec;
use book::command::{Command, Side};
use book::engine::{Capacity, Engine};
use book::event::NoSink;
use book::units::Seq;
use common::Place;
use common::disk::{LoopDisk, VolatileDisk};
use common::load::{Trader, Wrong, trade_while};
use common::process::{Ended, Start};
use node::replica::apply_record;
use node::replica::snapshots;
use node::status::exit;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wal::directory::Directory;
use wal::quarantine::Quarantine;
use wal::recover::Inspection;
use wal::units::Tail;

/// Snapshots and truncation run all the time, so that cuts fall into them.
const KEEPING: &str = "[snapshot]\nevery_commands = 1000\nevery = \"1s\"\nkeep = 2\n[store]\nretain_for = \"1ms\"\n\
                       [shadow]\ncheck_every_commands = 128\n";
const DISK_BYTES: u64 = 512 << 20;
const CUTS_DEFAULT: u64 = 3;
/// Messages of earlier rounds that each round reads again.
const RECHECKED: usize = 2_000;
/// Rounds within which a node that acknowledges too early must be caught.
#[cfg(feature = "fault-injection")]
const ROUNDS_TO_CATCH: u64 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    /// The process is gone between two instructions; the page cache stays.
    Kill,
    /// The file system is cut off from its device, then the process.
    PowerCut,
}

/// What a whole run saw.
#[derive(Debug, Default)]
struct Figures {
    crashes: u64,
    acknowledged: usize,
    /// Orders that were not answered before the crash and are in the log all the same.
    known_besides: usize,
    messages: usize,
    restart_max: Duration,
    snapshots_checked: u64,
    /// Commands that are no longer in the log.
    truncated: u64,
}

/// What the node's data lies on.
enum Disk {
    Loop(LoopDisk),
    Volatile(VolatileDisk),
}

impl Disk {
    fn path(&self) -> PathBuf {
        match self {
            Self::Loop(disk) => disk.path(),
            Self::Volatile(disk) => disk.path(),
        }
    }

    fn beside(&self) -> &Path {
        match self {
            Self::Loop(disk) => disk.beside(),
            Self::Volatile(disk) => disk.beside(),
        }
    }

    fn cut_power(&self) {
        match self {
            Self::Loop(disk) => disk.cut_power(),
            Self::Volatile(disk) => disk.cut_power(),
        }
    }

    fn power_on_again(&mut self) -> Result<(), String> {
        match self {
            Self::Loop(disk) => disk.remount(),
            Self::Volatile(disk) => {
                disk.power_off();
                disk.power_on()?;
            }
        }
        Ok(())
    }
}

/// A node on a disk of its own, its clients, and what they remember.
struct Harness {
    disk: Disk,
    place: Place,
    start: Start,
    traders: Vec<Trader>,
    figures: Figures,
}

impl Harness {
    fn new(disk: Disk, fault: Option<&str>) -> Self {
        let place = Place::at(&disk.path(), KEEPING);
        let running = place.start();
        let market = running.add_market();
        let traders = ["MM1", "MM2", "MM3"].map(|user| {
            running.add_trader(user);
            Trader::new(user, market, if user == "MM2" { Side::Buy } else { Side::Sell })
        });
        assert_eq!(running.stop(), 0);
        let config = place.config_file_in(disk.beside(), KEEPING);
        let start = Start { config, fault: fault.map(str::to_owned) };
        Self { disk, place, start, traders: traders.into(), figures: Figures::default() }
    }

    /// Load, a crash somewhere in it, a restart that is checked, and a second restart to the same state.
    fn round(&mut self, crash: Crash, orders: u64) -> Result<(), Wrong> {
        let process = self.start.run();
        let address = process.orders;
        let disk = &self.disk;
        let known: Vec<usize> = self.traders.iter().map(|trader| trader.told.len()).collect();
        trade_while(&mut self.traders, address, |load| {
            load.until_answered(orders);
            if crash == Crash::PowerCut {
                disk.cut_power();
            }
            process.kill();
        });
        if crash == Crash::PowerCut {
            self.disk.power_on_again()?;
        }
        self.figures.crashes += 1;
        self.figures.acknowledged = self.traders.iter().map(|t| t.answered.len()).sum();
        let started = Instant::now();
        let process = self.start.try_run().map_err(|ended| refused("the node does not come back", &ended))?;
        self.figures.restart_max = self.figures.restart_max.max(started.elapsed());
        // Every tenth time the whole of it, else what this round may have touched and some of what was before.
        let whole = self.figures.crashes % 10 == 1;
        for (trader, known) in self.traders.iter_mut().zip(known) {
            trader.check_from(process.orders, if whole { 0 } else { known.saturating_sub(RECHECKED) })?;
        }
        let known: usize = self.traders.iter().map(|t| t.answered.len()).sum();
        self.figures.known_besides += known - self.figures.acknowledged;
        self.figures.messages = self.traders.iter().map(|t| t.told.len()).sum();
        let (seq, state_hash) = (process.seq, process.state_hash.clone());
        process.kill();
        self.check_log()?;
        let end = self.check_snapshots((seq, state_hash))?;
        let again = self.start.try_run().map_err(|ended| refused("a second restart fails", &ended))?;
        let found = (again.seq, again.state_hash.clone());
        if found != end {
            return Err(Wrong::Other(format!("the log ends with {end:?}, and a second restart with {found:?}")));
        }
        again.kill();
        Ok(())
    }

    /// From every snapshot that is there, or the first command, the log leads to the state that the node came back with;
    /// behind that are at most checks, which it recorded for those who asked about their past. Gives the log's end.
    fn check_snapshots(&mut self, came_back: (u64, String)) -> Result<(u64, String), String> {
        let directory = Directory::open_read_only(&self.place.data_dir()).map_err(|error| error.to_string())?;
        let inspection = Inspection::open(&directory).map_err(|error| error.to_string())?;
        let base = inspection.base().map_err(|error| error.to_string())?;
        self.figures.truncated = base.seq.0;
        let mut beginnings = Vec::new();
        for file in snapshots::list(&directory).map_err(|error| error.to_string())? {
            if base.seq <= file.seq {
                let engine = Engine::new(Capacity::default());
                let (replica, header) =
                    snapshots::load(&directory, &file, engine).map_err(|error| error.to_string())?;
                beginnings.push((replica.engine, header.tail));
            }
        }
        self.figures.snapshots_checked += beginnings.len() as u64;
        if base.seq.0 == 0 {
            beginnings.push((Engine::new(Capacity::default()), base));
        }
        let mut end = None;
        for (engine, tail) in beginnings {
            let found = walk_to_end(&inspection, engine, tail, &came_back)?;
            if end.get_or_insert_with(|| found.clone()) != &found {
                return Err(format!("from {tail:?} the log ends with {found:?}, from another place with {end:?}"));
            }
        }
        end.ok_or_else(|| "the log has no beginning".to_owned())
    }

    /// The log itself: every order in it was sent by its session, and is in it once.
    fn check_log(&self) -> Result<(), String> {
        let mut orders = BTreeSet::new();
        let directory = Directory::open_read_only(&self.place.data_dir()).map_err(|error| error.to_string())?;
        let inspection = Inspection::open(&directory).map_err(|error| error.to_string())?;
        let base = inspection.base().map_err(|error| error.to_string())?;
        let outcome = inspection.show(base, |seq, bytes| {
            if let Command::Place(order) = codec::decode(bytes)?.command {
                let trader = &self.traders[order.session.0 as usize - 1];
                if !trader.sent.contains(&order.cl_ord_id.0) || !orders.insert((order.session, order.cl_ord_id)) {
                    return Err(format!("{seq}: {order:?} was sent by nobody, or is there twice").into());
                }
            }
            Ok(())
        });
        outcome.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// A start that failed. With this code the node says itself that what it acknowledged is gone.
fn refused(what: &str, ended: &Ended) -> Wrong {
    let what = format!("{what}: {ended:?}");
    if ended.code == Some(i32::from(exit::SHORTER_THAN_ACKNOWLEDGED)) { Wrong::Lost(what) } else { Wrong::Other(what) }
}

/// Applies the log behind `tail` and gives its end; on the way it must be what the node came back with.
fn walk_to_end(
    inspection: &Inspection<'_>,
    mut engine: Engine,
    tail: Tail,
    came_back: &(u64, String),
) -> Result<(u64, String), String> {
    let state = |engine: &Engine| (engine.stamp().seq.0, engine.state_hash().to_string());
    // A snapshot may stand at a check that came after: all beginnings have to agree about the end anyway.
    let is_behind = came_back.0 < tail.seq.0;
    let mut seen = (is_behind || state(&engine) == *came_back).then_some(());
    let walked = inspection.show(tail, |seq, bytes| {
        apply_record(&mut engine, &Quarantine::default(), Seq(seq.0), bytes, &mut NoSink)?;
        if seq.0 == came_back.0 && state(&engine) == *came_back {
            seen = Some(());
        }
        let is_check = matches!(codec::decode(bytes)?.command, Command::Check(_));
        if came_back.0 < seq.0 && !is_check { Err(format!("sequence {seq} came by itself").into()) } else { Ok(()) }
    });
    walked.map_err(|error| error.to_string())?;
    if engine.divergence().is_some() || seen.is_none() {
        return Err(format!("from {tail:?}: {:?}, not {came_back:?}, {:?}", state(&engine), engine.divergence()));
    }
    Ok(state(&engine))
}

/// So many orders of each trader are answered before the crash, different in each round and the same in each run.
fn load_of(round: u64) -> u64 {
    300 + round * 7919 % 701
}

fn cuts() -> u64 {
    let asked = std::env::var("PINION_CUTS").ok().map(|text| text.parse().expect("PINION_CUTS is a number"));
    asked.unwrap_or(CUTS_DEFAULT)
}

fn survive(crash: Crash) {
    survive_on(Disk::Loop(LoopDisk::ext4(DISK_BYTES)), crash);
}

fn survive_on(disk: Disk, crash: Crash) {
    let mut harness = Harness::new(disk, None);
    for round in 0..cuts() {
        if let Err(what) = harness.round(crash, load_of(round)) {
            panic!("round {round}, {crash:?}: {what}\n{:?}", harness.figures);
        }
    }
    let figures = &harness.figures;
    println!("{crash:?}: {figures:?}");
    assert!(figures.snapshots_checked > 0, "snapshots were taken: {figures:?}");
    let fills = harness
        .traders
        .iter()
        .flat_map(|t| &t.told)
        .filter(|message| matches!(Answer::read(message), Ok(Answer::OrderExecuted(_))));
    assert!(fills.count() > 0, "the load traded");
}

#[test]
fn power_cuts_take_nothing_back() {
    survive(Crash::PowerCut);
}

#[test]
fn kills_take_nothing_back() {
    survive(Crash::Kill);
}

/// A drive with a cache: half of the sectors that were not flushed are lost, torn frames among them.
#[test]
#[ignore = "needs nbdkit, nbdfuse and fuse beside root; `./dev nightly` runs it"]
fn power_cuts_of_a_drive_with_a_cache_take_nothing_back() {
    survive_on(Disk::Volatile(VolatileDisk::ext4(DISK_BYTES, false)), Crash::PowerCut);
}

/// The negative control of the same: the drive begins to lie when the directory is made, so that there is something left
/// to miss the acknowledged in.
#[test]
#[ignore = "needs nbdkit, nbdfuse and fuse beside root; `./dev nightly` runs it"]
fn a_drive_that_lies_is_caught() {
    let mut harness = Harness::new(Disk::Volatile(VolatileDisk::ext4(DISK_BYTES, true)), None);
    let Disk::Volatile(disk) = &harness.disk else { unreachable!("as it was made") };
    disk.begin_to_lie();
    match harness.round(Crash::PowerCut, load_of(0)) {
        Err(Wrong::Lost(what)) => println!("caught: {what}"),
        other => panic!("a drive that acknowledges flushes that it has not done, and yet: {other:?}"),
    }
}

/// The negative control: a harness that does not catch this one catches nothing.
#[cfg(feature = "fault-injection")]
#[test]
fn acknowledging_before_the_sync_is_caught() {
    let mut harness = Harness::new(Disk::Loop(LoopDisk::ext4(DISK_BYTES)), Some("ack-before-sync"));
    for round in 0..ROUNDS_TO_CATCH {
        match harness.round(Crash::PowerCut, load_of(round)) {
            Ok(()) => {}
            Err(Wrong::Lost(what)) => return println!("caught in round {round}: {what}"),
            Err(Wrong::Other(what)) => panic!("round {round}: nothing was lost, and yet: {what}"),
        }
    }
    panic!("{ROUNDS_TO_CATCH} power cuts lost nothing of a node that acknowledges too early: {:?}", harness.figures);
}
