//! Power cuts and kills under load, with an oracle: everything acknowledged exists afterwards, byte for byte, and
//! nothing that was never sent.
//!
//! Three of each kind by default; `PINION_CUTS=50` makes 50, as `./dev nightly` does. Needs root and xfsprogs.
#![allow(clippy::print_stdout, reason = "a long test shows its figures")]

mod common;

use api::binary::orders::Answer;
use book::codec;
use book::command::{Command, Side};
use book::engine::{Capacity, Engine};
use book::event::NoSink;
use book::units::Seq;
use common::NodeDir;
use common::disk::{LoopDisk, VolatileDisk};
use common::files::{flip, frames_of_the_head_only};
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

/// Frequent snapshots and truncation of the log, so that cuts interrupt them.
const FREQUENT_SNAPSHOTS: &str = "[snapshot]\nevery_commands = 1000\nevery = \"1s\"\nkeep = 2\n[store]\nretain_for = \"1ms\"\n\
                       [shadow]\ncheck_every_commands = 128\n";
const DISK_BYTES: u64 = 512 << 20;
const CUTS_DEFAULT: u64 = 3;
const ATTEMPTS: u32 = 20;
/// Messages of earlier rounds that each round reads again.
const RECHECKED: usize = 2_000;
/// Rounds within which a node that acknowledges too early must be detected.
#[cfg(feature = "fault-injection")]
const ROUNDS_TO_DETECT: u64 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    /// The process ends between two instructions; the page cache stays.
    Kill,
    /// The file system loses its device, then the process ends.
    PowerCut,
}

/// Totals of a run.
#[derive(Debug, Default)]
struct Figures {
    crashes: u64,
    acknowledged: usize,
    /// Orders that were not answered before the crash and are in the log.
    logged_unanswered: usize,
    messages: usize,
    restart_max: Duration,
    snapshots_checked: u64,
    /// Commands that were removed from the log.
    truncated: u64,
}

/// The disk of the node's data directory.
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

/// A node on a disk of its own, and clients that remember every message.
struct Harness {
    disk: Disk,
    node_dir: NodeDir,
    start: Start,
    traders: Vec<Trader>,
    figures: Figures,
}

impl Harness {
    fn new(disk: Disk, fault: Option<&str>) -> Self {
        let node_dir = NodeDir::at(&disk.path(), FREQUENT_SNAPSHOTS);
        let running = node_dir.start();
        let market = running.add_market();
        let traders = ["MM1", "MM2", "MM3"].map(|user| {
            running.add_trader(user);
            Trader::new(user, market, if user == "MM2" { Side::Buy } else { Side::Sell })
        });
        assert_eq!(running.stop(), 0);
        let config = node_dir.config_file_in(disk.beside(), FREQUENT_SNAPSHOTS);
        let start = Start { fault: fault.map(str::to_owned), ..Start::new(&config) };
        Self { disk, node_dir, start, traders: traders.into(), figures: Figures::default() }
    }

    /// Makes a load with a crash in it, checks the restarted node, and checks that a second restart reaches the same
    /// state.
    fn round(&mut self, crash: Crash, orders: u64) -> Result<(), Wrong> {
        let process = self.start.run();
        let address = process.orders;
        let disk = &self.disk;
        let known: Vec<usize> = self.traders.iter().map(|trader| trader.received.len()).collect();
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
        let process = self.start.try_run().map_err(|ended| refused("the node does not restart", &ended))?;
        self.figures.restart_max = self.figures.restart_max.max(started.elapsed());
        // Every tenth time the complete streams, otherwise the messages of this round and some of earlier ones.
        let from_start = self.figures.crashes % 10 == 1;
        for (trader, known) in self.traders.iter_mut().zip(known) {
            trader.check_from(process.orders, if from_start { 0 } else { known.saturating_sub(RECHECKED) })?;
        }
        let known: usize = self.traders.iter().map(|t| t.answered.len()).sum();
        self.figures.logged_unanswered += known - self.figures.acknowledged;
        self.figures.messages = self.traders.iter().map(|t| t.received.len()).sum();
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

    /// Checks that from every snapshot, and from the first command where the log has it, the log leads to the state
    /// that the node recovered; after that there are at most state checks, which the node wrote for readers of history.
    /// Returns sequence and state hash at the end of the log.
    fn check_snapshots(&mut self, recovered: (u64, String)) -> Result<(u64, String), String> {
        let directory = Directory::open_read_only(&self.node_dir.data_dir()).map_err(|error| error.to_string())?;
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
            let found = walk_to_end(&inspection, engine, tail, &recovered)?;
            if end.get_or_insert_with(|| found.clone()) != &found {
                return Err(format!("from {tail:?} the log ends with {found:?}, from another start with {end:?}"));
            }
        }
        end.ok_or_else(|| "there is neither a snapshot nor a first command to start from".to_owned())
    }

    /// Checks that every order in the log was sent by its session and is in the log once.
    fn check_log(&self) -> Result<(), String> {
        let mut orders = BTreeSet::new();
        let directory = Directory::open_read_only(&self.node_dir.data_dir()).map_err(|error| error.to_string())?;
        let inspection = Inspection::open(&directory).map_err(|error| error.to_string())?;
        let base = inspection.base().map_err(|error| error.to_string())?;
        let outcome = inspection.show(base, |seq, bytes| {
            if let Command::Place(order) = codec::decode(bytes)?.command {
                let trader = &self.traders[order.session.0 as usize - 1];
                if !trader.sent.contains(&order.cl_ord_id.0) || !orders.insert((order.session, order.cl_ord_id)) {
                    return Err(format!("{seq}: {order:?} was never sent, or is in the log twice").into());
                }
            }
            Ok(())
        });
        outcome.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// A start that failed. With one exit code, or where the mark attests what is broken, the node itself reports that
/// acknowledged commands are missing.
fn refused(what: &str, ended: &Ended) -> Wrong {
    let is_short = ended.code == Some(i32::from(exit::SHORTER_THAN_ACKNOWLEDGED));
    let is_lost = is_short || ended.output.contains("attests that it had been acknowledged");
    let what = format!("{what}: {ended:?}");
    if is_lost { Wrong::Lost(what) } else { Wrong::Other(what) }
}

/// Applies the log after `tail` and returns its end; on the way the state must be the one that the node recovered.
fn walk_to_end(
    inspection: &Inspection<'_>,
    mut engine: Engine,
    tail: Tail,
    recovered: &(u64, String),
) -> Result<(u64, String), String> {
    let state = |engine: &Engine| (engine.stamp().seq.0, engine.state_hash().to_string());
    // A snapshot may stand at a check after the recovered state; then only its end is compared with that of the others.
    let is_after = recovered.0 < tail.seq.0;
    let mut seen = (is_after || state(&engine) == *recovered).then_some(());
    let walked = inspection.show(tail, |seq, bytes| {
        apply_record(&mut engine, &Quarantine::default(), Seq(seq.0), bytes, &mut NoSink)?;
        if seq.0 == recovered.0 && state(&engine) == *recovered {
            seen = Some(());
        }
        let command = codec::decode(bytes)?.command;
        let is_own = matches!(command, Command::Check(_) | Command::Opened(_) | Command::ConnectionEnd(_));
        if recovered.0 < seq.0 && !is_own { Err(format!("command {seq} was never sent").into()) } else { Ok(()) }
    });
    walked.map_err(|error| error.to_string())?;
    if engine.divergence().is_some() || seen.is_none() {
        return Err(format!("from {tail:?}: {:?}, expected {recovered:?}, {:?}", state(&engine), engine.divergence()));
    }
    Ok(state(&engine))
}

/// Orders of each trader that are answered before the crash: another number in each round, the same in each run.
fn load_of(round: u64) -> u64 {
    300 + round * 7919 % 701
}

fn cuts() -> u64 {
    let asked = std::env::var("PINION_CUTS").ok().map(|text| text.parse().expect("PINION_CUTS is a number"));
    asked.unwrap_or(CUTS_DEFAULT)
}

fn crashes_lose_nothing(crash: Crash) {
    crashes_lose_nothing_on(Disk::Loop(LoopDisk::ext4(DISK_BYTES)), crash);
}

fn crashes_lose_nothing_on(disk: Disk, crash: Crash) {
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
        .flat_map(|t| &t.received)
        .filter(|message| matches!(Answer::read(message), Ok(Answer::OrderExecuted(_))));
    assert!(fills.count() > 0, "the load traded");
}

#[test]
fn power_cuts_lose_nothing_acknowledged() {
    crashes_lose_nothing(Crash::PowerCut);
}

#[test]
fn kills_lose_nothing_acknowledged() {
    crashes_lose_nothing(Crash::Kill);
}

/// After a pause of the load the last frame is attested, so that after a power cut damage to it is never taken for a
/// torn frame.
#[test]
fn damage_to_the_last_frame_before_a_power_cut_is_found() {
    let mut harness = Harness::new(Disk::Loop(LoopDisk::ext4(DISK_BYTES)), None);
    let data_dir = harness.node_dir.data_dir();
    let mark = || Directory::open_read_only(&data_dir).and_then(|directory| directory.mark_seq());
    for _ in 0..ATTEMPTS {
        let process = harness.start.run();
        let (_, health) = common::http::request(process.ops, "GET", "/health", "", "");
        let health: serde_json::Value = serde_json::from_str(&health).expect("JSON");
        let applied = health["watermarks"]["seq_applied"].as_u64().expect("a number");
        common::wait_until("the mark follows", || mark().is_ok_and(|mark| applied <= mark.0));
        harness.disk.cut_power();
        process.kill();
        harness.disk.power_on_again().expect("the disk is there again");
        // The shadow may have asked for a check in the last moment.
        let frames = frames_of_the_head_only(&data_dir);
        let Some((path, offset)) = frames.last() else { continue };
        let bytes = std::fs::read(path).expect("readable");
        let Ok(frame) = wal::frame::Frame::decode(&bytes[*offset as usize..]) else { continue };
        if mark().expect("intact") < frame.seq_last() {
            continue;
        }
        flip(path, offset + 80);
        let ended = harness.start.refused();
        assert_eq!(ended.code, Some(i32::from(exit::DAMAGED)), "{}", ended.output);
        assert!(ended.output.contains(&format!("offset {offset}")), "{}", ended.output);
        flip(path, offset + 80);
        return drop(harness.start.run().kill());
    }
    panic!("in {ATTEMPTS} attempts the mark never attested the last frame");
}

/// A drive with a write cache: half of the sectors that were not flushed are lost, and frames are torn.
#[test]
#[ignore = "needs nbdkit, nbdfuse and fuse beside root; `./dev nightly` runs it"]
fn power_cuts_of_a_drive_with_a_cache_lose_nothing_acknowledged() {
    crashes_lose_nothing_on(Disk::Volatile(VolatileDisk::ext4(DISK_BYTES, false)), Crash::PowerCut);
}

/// The negative control: the drive begins to ignore flushes after the directory was made, so that the file system
/// survives and the missing commands can be detected.
#[test]
#[ignore = "needs nbdkit, nbdfuse and fuse beside root; `./dev nightly` runs it"]
fn a_drive_that_ignores_flushes_is_detected() {
    let mut harness = Harness::new(Disk::Volatile(VolatileDisk::ext4(DISK_BYTES, true)), None);
    let Disk::Volatile(disk) = &harness.disk else { unreachable!("the harness was made with a volatile disk") };
    disk.begin_to_lie();
    match harness.round(Crash::PowerCut, load_of(0)) {
        Err(Wrong::Lost(what)) => println!("detected: {what}"),
        other => panic!("a drive that ignores flushes was not detected: {other:?}"),
    }
}

/// The negative control: a harness that does not detect this fault detects nothing.
#[cfg(feature = "fault-injection")]
#[test]
fn acknowledging_before_the_sync_is_detected() {
    let mut harness = Harness::new(Disk::Loop(LoopDisk::ext4(DISK_BYTES)), Some("ack-before-sync"));
    for round in 0..ROUNDS_TO_DETECT {
        match harness.round(Crash::PowerCut, load_of(round)) {
            Ok(()) => {}
            Err(Wrong::Lost(what)) => return println!("detected in round {round}: {what}"),
            Err(Wrong::Other(what)) => panic!("round {round}: nothing was lost, and the check failed: {what}"),
        }
    }
    panic!("{ROUNDS_TO_DETECT} power cuts did not detect a node that acknowledges too early: {:?}", harness.figures);
}
