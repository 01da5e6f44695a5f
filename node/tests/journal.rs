//! The binary against a disk that fails, is full, is damaged, or is not its own: it says so, with the right exit code,
//! and whatever it acknowledged is there afterwards. Needs root (loop devices), e2fsprogs.

mod common;

use book::command::Side;
use common::Place;
use common::disk::LoopDisk;
use common::files::{copy_dir, files_of, flip, frames_of_the_head_only};
use common::load::{LOAD_ORDERS, Trader, trade_and_kill, trade_so_many, trade_while, two_traders};
use common::process::{Ended, Start};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A place with a market and two traders that have traded, stopped in good order.
fn traded(place: &Place) -> Vec<Trader> {
    let running = place.start();
    let mut traders = two_traders(&running);
    trade_so_many(&running, &mut traders, 2_000);
    assert_eq!(running.stop(), 0);
    traders
}

/// Every file below `dir` with a hash of what it holds. RocksDB's diary is left out: it notes every opening, for
/// reading too, and nothing is ever read from it.
fn hashes(dir: &Path) -> BTreeMap<PathBuf, [u8; 32]> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("readable").map(|entry| entry.expect("readable").path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if !is_diary(&entry) {
                let hash = blake3::hash(&fs::read(&entry).expect("readable"));
                found.insert(entry, *hash.as_bytes());
            }
        }
    }
    found
}

fn is_diary(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    path.parent().is_some_and(|dir| dir.ends_with("db")) && name.is_some_and(|name| name.starts_with("LOG"))
}

/// A start that must end with `code` and name what is wrong, and write nothing.
fn refuses(place: &Place, code: u8, names: &[&str]) -> Ended {
    let before = hashes(&place.data_dir());
    let ended = Start::new(&place.config_file()).refused();
    assert_eq!(ended.code, Some(i32::from(code)), "{}", ended.said);
    for name in names {
        assert!(ended.said.contains(name), "{name:?} is not named in {:?}", ended.said);
    }
    let after = hashes(&place.data_dir());
    let changed: Vec<_> = after.iter().filter(|(path, hash)| before.get(*path) != Some(hash)).map(|(p, _)| p).collect();
    assert!(changed.is_empty() && before.len() == after.len(), "a refusal writes nothing, and changed {changed:?}");
    ended
}

/// The node comes back and has everything that was acknowledged.
fn serves_all(start: &Start, traders: &mut [Trader]) {
    let process = start.run();
    for trader in traders {
        trader.check(process.orders).unwrap_or_else(|what| panic!("{what}"));
    }
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
}

#[test]
fn a_second_node_on_the_directory_is_refused() {
    let place = Place::new();
    let running = place.start();
    let ended = Start::new(&place.config_file()).refused();
    assert_eq!(ended.code, Some(10), "{}", ended.said);
    assert!(ended.said.contains(&place.data_dir().display().to_string()), "{}", ended.said);
    assert_eq!(running.stop(), 0);
}

#[test]
fn all_mistakes_of_a_configuration_are_told_at_once() {
    let place = Place::new();
    let config =
        place.config_file_with("orders_tls_cert = 5\n[journal]\nsync = \"never\"\nsegments = 1\n[nowhere]\nkey = 1\n");
    let ended = Start::new(&config).refused();
    assert_eq!(ended.code, Some(3), "{}", ended.said);
    for key in ["listen.orders_tls_cert", "journal.sync", "journal.segments", "nowhere"] {
        assert!(ended.said.contains(key), "{key} is not named in {:?}", ended.said);
    }
    let gone = Start::new(&config.with_file_name("absent.toml")).refused();
    assert_eq!(gone.code, Some(3), "{}", gone.said);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let disk = LoopDisk::ext4(128 << 20);
    let place = Place::at(&disk.path(), "");
    let config = place.config_file_in(disk.beside(), "");
    disk.remount_read_only();
    let ended = Start::new(&config).refused();
    assert_ne!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.code.is_some(), "refused, not crashed: {}", ended.said);
    assert!(ended.said.contains("data"), "the path is named: {}", ended.said);
}

#[test]
fn a_directory_that_is_none_is_named() {
    let place = Place::new();
    fs::remove_dir_all(place.data_dir()).expect("removed");
    let ended = Start::new(&place.config_file()).refused();
    assert!(matches!(ended.code, Some(3 | 12)), "{ended:?}");
    fs::create_dir(place.data_dir()).expect("created");
    refuses(&place, 12, &["data"]);
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_log_is_named() {
    // Without a snapshot at the stop, the start needs all of the log.
    let place = Place::with("[snapshot]\non_stop = false\n");
    traded(&place);
    // Behind a clean stop everything is in the store: log, history and metadata, a file each.
    for sst in files_of(&place.data_dir().join("db"), "sst") {
        let len = fs::metadata(&sst).expect("there").len();
        flip(&sst, len / 2);
    }
    refuses(&place, 13, &["db"]);
}

/// A node that was killed has its newest frames in the head only.
fn killed(place: &Place) -> (Start, Vec<Trader>) {
    let running = place.start();
    let mut traders = two_traders(&running);
    assert_eq!(running.stop(), 0);
    let start = Start::new(&place.config_file());
    trade_and_kill(&start, &mut traders);
    (start, traders)
}

#[test]
fn a_flipped_bit_in_the_head_is_named_and_no_torn_end() {
    let place = Place::new();
    let (start, mut traders) = killed(&place);
    // In the middle of what only the head has: many whole frames follow. The store may have been flushed just then.
    let mut only_in_head = frames_of_the_head_only(&place.data_dir());
    for _ in 0..20 {
        if only_in_head.len() > 20 {
            break;
        }
        trade_and_kill(&start, &mut traders);
        only_in_head = frames_of_the_head_only(&place.data_dir());
    }
    assert!(only_in_head.len() > 20, "there was load");
    let (segment, offset) = &only_in_head[only_in_head.len() / 2];
    flip(segment, offset + 100);
    let name = segment.file_name().and_then(|name| name.to_str()).expect("a name of ours");
    refuses(&place, 13, &[name]);
}

#[test]
fn a_lost_segment_is_named() {
    let place = Place::new();
    traded(&place);
    fs::remove_file(place.data_dir().join("head/head-002.seg")).expect("removed");
    refuses(&place, 13, &["head-002.seg", "missing"]);
}

#[test]
fn a_lost_file_of_the_store_is_named() {
    let place = Place::new();
    traded(&place);
    let sst = files_of(&place.data_dir().join("db"), "sst").pop().expect("the store was flushed");
    fs::remove_file(&sst).expect("removed");
    refuses(&place, 13, &["db"]);
}

#[test]
fn swapped_segments_are_named() {
    let place = Place::new();
    traded(&place);
    let name = |n| place.data_dir().join(format!("head/head-00{n}.seg"));
    fs::rename(name(0), name(9)).expect("renamed");
    fs::rename(name(1), name(0)).expect("renamed");
    fs::rename(name(9), name(1)).expect("renamed");
    refuses(&place, 13, &["head-00", "swapped"]);
}

/// Everything of the log is old and whole, only the mark is of today: what restoring half a backup gives.
#[test]
fn an_old_copy_is_shorter_than_what_was_acknowledged() {
    let place = Place::new();
    let running = place.start();
    let mut traders = two_traders(&running);
    assert_eq!(running.stop(), 0);
    let old = place.dir.path().join("old");
    copy_dir(&place.data_dir(), &old);
    let running = place.start();
    trade_so_many(&running, &mut traders, 1_000);
    assert_eq!(running.stop(), 0);
    let mark = fs::read(place.data_dir().join("MARK")).expect("there");
    fs::remove_dir_all(place.data_dir()).expect("removed");
    fs::rename(&old, place.data_dir()).expect("renamed");
    fs::write(place.data_dir().join("MARK"), mark).expect("written");
    refuses(&place, 21, &["MARK", "acknowledged"]);
}

#[test]
fn a_format_of_the_future_is_named() {
    let place = Place::new();
    traded(&place);
    let path = place.data_dir().join("IDENTITY");
    let text = fs::read_to_string(&path).expect("there");
    let body = text.replace("format 1", "format 2");
    let body = &body[..body.find("crc32c").expect("the last line")];
    fs::write(&path, format!("{body}crc32c {:08x}\n", crc32c(body.as_bytes()))).expect("written");
    refuses(&place, 14, &["IDENTITY"]);
}

/// CRC-32C bit by bit, so that a test that changes a file can sign it.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn sigterm_makes_everything_durable_and_ends_in_order() {
    let place = Place::new();
    let running = place.start();
    let mut traders = two_traders(&running);
    assert_eq!(running.stop(), 0);
    let start = Start::new(&place.config_file());
    let process = start.run();
    let address = process.orders;
    let ended = trade_while(&mut traders, address, |load| {
        load.until_answered(LOAD_ORDERS);
        process.terminate()
    });
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(!ended.said.contains("ERROR"), "{}", ended.said);
    serves_all(&start, &mut traders);
}

#[test]
fn a_clean_stop_keeps_interval_journals_whole_and_does_not_wait_for_the_interval() {
    let place = Place::with("[journal]\nsync = \"interval\"\ninterval_us = 10000000\n");
    let running = place.start();
    let mut traders = two_traders(&running);
    trade_so_many(&running, &mut traders, 1_000);
    let started = Instant::now();
    assert_eq!(running.stop(), 0);
    assert!(started.elapsed() < Duration::from_secs(5), "the end took {:?}", started.elapsed());
    serves_all(&Start::new(&place.config_file()), &mut traders);
}

/// RocksDB cannot flush, or cannot even write, and the head fills up behind it.
#[test]
fn a_full_disk_ends_the_node_and_the_ballast_brings_it_back() {
    let disk = LoopDisk::ext4(96 << 20);
    let place = Place::at(&disk.path(), "");
    // Room for what the store still has to write when the disk is full.
    fs::write(place.data_dir().join("BALLAST"), vec![0; 24 << 20]).expect("written");
    let running = place.start();
    let mut traders = two_traders(&running);
    assert_eq!(running.stop(), 0);
    let start = Start::new(&place.config_file_in(disk.beside(), "[store]\nballast_bytes = \"0\"\n"));
    let process = start.run();
    disk.fill(256 << 10);
    let address = process.orders;
    let ended = trade_while(&mut traders, address, |_| process.wait());
    assert!(matches!(ended.code, Some(19 | 20)), "{ended:?}");
    assert!(ended.said.contains("ERROR"), "a failure of the node's own is an error: {}", ended.said);
    fs::remove_file(place.data_dir().join("BALLAST")).expect("the ballast is there to be given away");
    serves_all(&start, &mut traders);
}

#[test]
fn a_file_system_without_direct_writes_is_named() {
    let disk = LoopDisk::tmpfs(128 << 20);
    let place = Place::at(&disk.path(), "");
    let probe = disk.path().join("probe");
    let direct = std::process::Command::new("dd")
        .args(["if=/dev/zero", "bs=4096", "count=1", "oflag=direct", "status=none"])
        .arg(format!("of={}", probe.display()))
        .status()
        .expect("dd(1) is there");
    let start = Start::new(&place.config_file_in(disk.beside(), ""));
    if direct.success() {
        // Since Linux 6.6 a tmpfs takes such writes: then it is a disk like any other, until the power goes.
        start.run().terminate();
    } else {
        let ended = start.refused();
        assert_eq!(ended.code, Some(3), "{}", ended.said);
        assert!(ended.said.contains("O_DIRECT"), "{}", ended.said);
    }
}

#[cfg(feature = "fault-injection")]
mod injected {
    use super::*;
    use api::binary::stream::SessionSeq;

    /// The node under load with one fault: it ends by itself, acknowledges nothing behind it, and comes back whole.
    fn ends_and_comes_back(fault: &str, code: i32) {
        let place = Place::new();
        let running = place.start();
        let mut traders = two_traders(&running);
        assert_eq!(running.stop(), 0);
        let config = place.config_file();
        let process = Start::with_fault(&config, fault).run();
        let address = process.orders;
        let ended = trade_while(&mut traders, address, |_| process.wait());
        assert_eq!(ended.code, Some(code), "{}", ended.said);
        assert!(ended.said.contains("ERROR"), "{}", ended.said);
        assert!(traders.iter().all(|t| t.answered.len() > 5), "the fault struck under load");
        serves_all(&Start::new(&config), &mut traders);
    }

    #[test]
    fn a_failed_write_ends_the_node_and_loses_nothing() {
        ends_and_comes_back("write:EIO:100", 20);
    }

    #[test]
    fn a_failed_sync_ends_the_node_and_loses_nothing() {
        ends_and_comes_back("sync:EIO:100", 20);
    }

    #[test]
    fn no_space_in_the_head_has_its_own_code() {
        ends_and_comes_back("write:ENOSPC:100", 19);
    }

    #[test]
    fn interval_journals_end_at_a_failed_sync_too() {
        let place = Place::with("[journal]\nsync = \"interval\"\ninterval_us = 1000\n");
        let running = place.start();
        let mut traders = two_traders(&running);
        assert_eq!(running.stop(), 0);
        let process = Start::with_fault(&place.config_file(), "sync:EIO:20").run();
        let address = process.orders;
        let ended = trade_while(&mut traders, address, |_| process.wait());
        assert_eq!(ended.code, Some(20), "{}", ended.said);
    }

    /// What was not durable was not told, to anybody: neither to its session nor to the public.
    #[test]
    fn nothing_leaves_behind_a_failed_sync() {
        let place = Place::new();
        let running = place.start();
        two_traders(&running);
        assert_eq!(running.stop(), 0);
        let process = Start::with_fault(&place.config_file(), "sync:EIO:1").run();
        let mut client =
            api::client::OrderClient::connect(process.orders, "MM1", common::PASSWORD, SessionSeq::HEAD).expect("in");
        let mut public = api::client::book_sync(process.market).expect("a snapshot");
        client.new_order(&common::limit(1, book::ids::MarketId(1), Side::Buy, 10, 1)).expect("connected");
        let told = client.poll(common::PATIENCE);
        assert!(told.is_err(), "the connection ends without a word: {told:?}");
        let seen = public.poll(common::PATIENCE);
        assert!(seen.is_err(), "and so does the public stream: {seen:?}");
        assert_eq!(process.wait().code, Some(20));
    }
}

#[test]
fn the_directory_is_for_its_owner_only() {
    let place = Place::new();
    let mode = fs::metadata(place.data_dir()).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
