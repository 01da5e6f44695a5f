//! The binary on a disk that fails, is full or damaged, or belongs to another node: it reports that with the right exit
//! code, and everything acknowledged exists afterwards. Needs root (loop devices) and e2fsprogs.

mod common;

use book::command::Side;
use common::NodeDir;
use common::disk::LoopDisk;
use common::files::{copy_dir, files_of, flip, frames_of_the_head_only};
use common::load::{LOAD_ORDERS, Trader, trade_and_kill, trade_so_many, trade_while, two_traders};
use common::process::{Ended, Start};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Adds a market and two traders, lets them trade and stops the node in order.
fn traded(node_dir: &NodeDir) -> Vec<Trader> {
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    trade_so_many(&running, &mut traders, 2_000);
    assert_eq!(running.stop(), 0);
    traders
}

/// A hash of every file below `dir`, except RocksDB's own log files: each opening of the store writes them, even one
/// for reading, and nothing is ever read from them.
fn hashes(dir: &Path) -> BTreeMap<PathBuf, [u8; 32]> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in
            fs::read_dir(&dir).expect("the path is readable").map(|entry| entry.expect("the path is readable").path())
        {
            if entry.is_dir() {
                open.push(entry);
            } else if !is_rocksdb_log(&entry) {
                let hash = blake3::hash(&fs::read(&entry).expect("the path is readable"));
                found.insert(entry, *hash.as_bytes());
            }
        }
    }
    found
}

fn is_rocksdb_log(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    path.parent().is_some_and(|dir| dir.ends_with("db")) && name.is_some_and(|name| name.starts_with("LOG"))
}

/// Starts a node that must refuse with `code`, print each of `names` and write nothing.
fn refuses(node_dir: &NodeDir, code: u8, names: &[&str]) -> Ended {
    let before = hashes(&node_dir.data_dir());
    let ended = Start::new(&node_dir.config_file()).refused();
    assert_eq!(ended.code, Some(i32::from(code)), "{}", ended.output);
    for name in names {
        assert!(ended.output.contains(name), "{name:?} is not named in {:?}", ended.output);
    }
    let after = hashes(&node_dir.data_dir());
    let changed: Vec<_> = after.iter().filter(|(path, hash)| before.get(*path) != Some(hash)).map(|(p, _)| p).collect();
    assert!(changed.is_empty() && before.len() == after.len(), "a refusal must write nothing, and changed {changed:?}");
    ended
}

/// Restarts the node and checks that it has everything acknowledged.
fn restarts_with_everything(start: &Start, traders: &mut [Trader]) {
    let process = start.run();
    for trader in traders {
        trader.check(process.orders).unwrap_or_else(|what| panic!("{what}"));
    }
    let ended = process.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.output);
}

#[test]
fn a_second_node_on_the_directory_is_refused() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let ended = Start::new(&node_dir.config_file()).refused();
    assert_eq!(ended.code, Some(10), "{}", ended.output);
    assert!(ended.output.contains(&node_dir.data_dir().display().to_string()), "{}", ended.output);
    assert_eq!(running.stop(), 0);
}

#[test]
fn all_mistakes_of_a_configuration_are_reported_at_once() {
    let node_dir = NodeDir::new();
    let config = node_dir
        .config_file_with("ops_token_file = 5\n[journal]\nsync = \"never\"\nsegments = 1\n[nowhere]\nkey = 1\n");
    let ended = Start::new(&config).refused();
    assert_eq!(ended.code, Some(3), "{}", ended.output);
    for key in ["listen.ops_token_file", "journal.sync", "journal.segments", "nowhere"] {
        assert!(ended.output.contains(key), "{key} is not named in {:?}", ended.output);
    }
    let absent = Start::new(&config.with_file_name("absent.toml")).refused();
    assert_eq!(absent.code, Some(3), "{}", absent.output);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let disk = LoopDisk::ext4(128 << 20);
    let node_dir = NodeDir::at(&disk.path(), "");
    let config = node_dir.config_file_in(disk.beside(), "");
    disk.remount_read_only();
    let ended = Start::new(&config).refused();
    assert_ne!(ended.code, Some(0), "{}", ended.output);
    assert!(ended.code.is_some(), "refused, not crashed: {}", ended.output);
    assert!(ended.output.contains("data"), "the path is named: {}", ended.output);
}

#[test]
fn a_missing_or_empty_data_directory_is_named() {
    let node_dir = NodeDir::new();
    fs::remove_dir_all(node_dir.data_dir()).expect("the path was removed");
    let ended = Start::new(&node_dir.config_file()).refused();
    assert!(matches!(ended.code, Some(3 | 12)), "{ended:?}");
    fs::create_dir(node_dir.data_dir()).expect("the path is new");
    refuses(&node_dir, 12, &["data"]);
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_log_is_named() {
    // Without a snapshot at the stop, the start reads the log from its first record.
    let node_dir = NodeDir::with("[snapshot]\non_stop = false\n");
    traded(&node_dir);
    // After a clean stop everything is in the store: log, history and metadata, one file each.
    for sst in files_of(&node_dir.data_dir().join("db"), "sst") {
        let len = fs::metadata(&sst).expect("the file exists").len();
        flip(&sst, len / 2);
    }
    refuses(&node_dir, 13, &["db"]);
}

/// Trades and kills the node, whose newest frames are then in the head only.
fn killed(node_dir: &NodeDir) -> (Start, Vec<Trader>) {
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    assert_eq!(running.stop(), 0);
    let start = Start::new(&node_dir.config_file());
    trade_and_kill(&start, &mut traders);
    (start, traders)
}

#[test]
fn a_flipped_bit_in_the_head_is_named_and_is_not_a_torn_end() {
    let node_dir = NodeDir::new();
    let (start, mut traders) = killed(&node_dir);
    // The damage goes to the middle of the frames that only the head has, so that many intact frames follow. A flush of
    // the store just before the kill leaves too few of them; then the load is repeated.
    let mut only_in_head = frames_of_the_head_only(&node_dir.data_dir());
    for _ in 0..20 {
        if only_in_head.len() > 20 {
            break;
        }
        trade_and_kill(&start, &mut traders);
        only_in_head = frames_of_the_head_only(&node_dir.data_dir());
    }
    assert!(only_in_head.len() > 20, "the head has frames that the store does not have");
    let (segment, offset) = &only_in_head[only_in_head.len() / 2];
    flip(segment, offset + 100);
    let name = segment.file_name().and_then(|name| name.to_str()).expect("the name is plain ASCII");
    refuses(&node_dir, 13, &[name]);
}

#[test]
fn a_lost_segment_is_named() {
    let node_dir = NodeDir::new();
    traded(&node_dir);
    fs::remove_file(node_dir.data_dir().join("head/head-002.seg")).expect("the path was removed");
    refuses(&node_dir, 13, &["head-002.seg", "missing"]);
}

#[test]
fn a_lost_file_of_the_store_is_named() {
    let node_dir = NodeDir::new();
    traded(&node_dir);
    let sst = files_of(&node_dir.data_dir().join("db"), "sst").pop().expect("the store was flushed");
    fs::remove_file(&sst).expect("the path was removed");
    refuses(&node_dir, 13, &["db"]);
}

#[test]
fn swapped_segments_are_named() {
    let node_dir = NodeDir::new();
    traded(&node_dir);
    let name = |n| node_dir.data_dir().join(format!("head/head-00{n}.seg"));
    fs::rename(name(0), name(9)).expect("the file was renamed");
    fs::rename(name(1), name(0)).expect("the file was renamed");
    fs::rename(name(9), name(1)).expect("the file was renamed");
    refuses(&node_dir, 13, &["head-00", "swapped"]);
}

/// The log is old and intact, and the mark is new, as after restoring a part of a backup.
#[test]
fn an_old_copy_with_the_newest_mark_is_refused() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    assert_eq!(running.stop(), 0);
    let old = node_dir.dir.path().join("old");
    copy_dir(&node_dir.data_dir(), &old);
    let running = node_dir.start();
    trade_so_many(&running, &mut traders, 1_000);
    assert_eq!(running.stop(), 0);
    let mark = fs::read(node_dir.data_dir().join("MARK")).expect("the file exists");
    fs::remove_dir_all(node_dir.data_dir()).expect("the path was removed");
    fs::rename(&old, node_dir.data_dir()).expect("the file was renamed");
    fs::write(node_dir.data_dir().join("MARK"), mark).expect("the file is writable");
    refuses(&node_dir, 21, &["MARK", "acknowledged"]);
}

#[test]
fn an_unknown_format_is_named() {
    let node_dir = NodeDir::new();
    traded(&node_dir);
    let path = node_dir.data_dir().join("IDENTITY");
    let text = fs::read_to_string(&path).expect("the file exists");
    let body = text.replace("format 2", "format 3");
    let body = &body[..body.find("crc32c").expect("the file ends with its checksum")];
    fs::write(&path, format!("{body}crc32c {:08x}\n", crc32c(body.as_bytes()))).expect("the file is writable");
    refuses(&node_dir, 14, &["IDENTITY"]);
}

/// CRC-32C bit by bit, so that a test can change a file and its checksum.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    })
}

#[test]
fn sigterm_makes_everything_durable_and_ends_in_order() {
    let node_dir = NodeDir::new();
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    assert_eq!(running.stop(), 0);
    let start = Start::new(&node_dir.config_file());
    let process = start.run();
    let address = process.orders;
    let ended = trade_while(&mut traders, address, |load| {
        load.until_answered(LOAD_ORDERS);
        process.terminate()
    });
    assert_eq!(ended.code, Some(0), "{}", ended.output);
    assert!(!ended.output.contains("ERROR"), "{}", ended.output);
    restarts_with_everything(&start, &mut traders);
}

#[test]
fn a_clean_stop_syncs_an_interval_journal_without_waiting_for_the_interval() {
    let node_dir = NodeDir::with("[journal]\nsync = \"interval\"\ninterval_us = 10000000\n");
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    trade_so_many(&running, &mut traders, 1_000);
    let started = Instant::now();
    assert_eq!(running.stop(), 0);
    assert!(started.elapsed() < Duration::from_secs(5), "the stop took {:?}", started.elapsed());
    restarts_with_everything(&Start::new(&node_dir.config_file()), &mut traders);
}

/// RocksDB cannot flush or cannot write, and then the head fills up.
#[test]
fn a_full_disk_ends_the_node_and_deleting_the_ballast_lets_it_start() {
    let disk = LoopDisk::ext4(96 << 20);
    let node_dir = NodeDir::at(&disk.path(), "");
    // Space for the bytes that the store still has to write when the disk is full.
    fs::write(node_dir.data_dir().join("BALLAST"), vec![0; 24 << 20]).expect("the file is writable");
    let running = node_dir.start();
    let mut traders = two_traders(&running);
    assert_eq!(running.stop(), 0);
    let start = Start::new(
        &node_dir.config_file_in(disk.beside(), "[store]\nballast_bytes = \"0\"\nintake_stop_percent = 100\n"),
    );
    let process = start.run();
    disk.fill(256 << 10);
    let address = process.orders;
    let ended = trade_while(&mut traders, address, |_| process.wait());
    assert!(matches!(ended.code, Some(19 | 20)), "{ended:?}");
    assert!(ended.output.contains("ERROR"), "a failure of the node's own is an error: {}", ended.output);
    fs::remove_file(node_dir.data_dir().join("BALLAST")).expect("the ballast file exists");
    restarts_with_everything(&start, &mut traders);
}

#[test]
fn a_file_system_without_direct_writes_is_named() {
    let disk = LoopDisk::tmpfs(128 << 20);
    let node_dir = NodeDir::at(&disk.path(), "");
    let probe = disk.path().join("probe");
    let direct = std::process::Command::new("dd")
        .args(["if=/dev/zero", "bs=4096", "count=1", "oflag=direct", "status=none"])
        .arg(format!("of={}", probe.display()))
        .status()
        .expect("dd(1) is installed");
    let start = Start::new(&node_dir.config_file_in(disk.beside(), ""));
    if direct.success() {
        // Since Linux 6.6 a tmpfs accepts such writes and is then a disk like any other until a power cut.
        start.run().terminate();
    } else {
        let ended = start.refused();
        assert_eq!(ended.code, Some(3), "{}", ended.output);
        assert!(ended.output.contains("O_DIRECT"), "{}", ended.output);
    }
}

#[cfg(feature = "fault-injection")]
mod injected {
    use super::*;
    use api::binary::stream::SessionSeq;

    /// Injects one fault under load: the node ends by itself, acknowledges nothing after the fault, and restarts with
    /// everything acknowledged.
    fn ends_and_restarts(fault: &str, code: i32) {
        let node_dir = NodeDir::new();
        let running = node_dir.start();
        let mut traders = two_traders(&running);
        assert_eq!(running.stop(), 0);
        let config = node_dir.config_file();
        let process = Start::with_fault(&config, fault).run();
        let address = process.orders;
        let ended = trade_while(&mut traders, address, |_| process.wait());
        assert_eq!(ended.code, Some(code), "{}", ended.output);
        assert!(ended.output.contains("ERROR"), "{}", ended.output);
        assert!(traders.iter().all(|t| t.answered.len() > 5), "the fault took effect under load");
        restarts_with_everything(&Start::new(&config), &mut traders);
    }

    #[test]
    fn a_failed_write_ends_the_node_and_loses_nothing() {
        ends_and_restarts("write:EIO:100", 20);
    }

    #[test]
    fn a_failed_sync_ends_the_node_and_loses_nothing() {
        ends_and_restarts("sync:EIO:100", 20);
    }

    #[test]
    fn no_space_in_the_head_has_its_own_code() {
        ends_and_restarts("write:ENOSPC:100", 19);
    }

    #[test]
    fn interval_journals_end_at_a_failed_sync_too() {
        let node_dir = NodeDir::with("[journal]\nsync = \"interval\"\ninterval_us = 1000\n");
        let running = node_dir.start();
        let mut traders = two_traders(&running);
        assert_eq!(running.stop(), 0);
        let process = Start::with_fault(&node_dir.config_file(), "sync:EIO:20").run();
        let address = process.orders;
        let ended = trade_while(&mut traders, address, |_| process.wait());
        assert_eq!(ended.code, Some(20), "{}", ended.output);
    }

    /// A command that is not durable is visible neither to its session nor to the public.
    #[test]
    fn nothing_is_sent_after_a_failed_sync() {
        let node_dir = NodeDir::new();
        let running = node_dir.start();
        two_traders(&running);
        assert_eq!(running.stop(), 0);
        // The first sync is that of the record of the start.
        let process = Start::with_fault(&node_dir.config_file(), "sync:EIO:2").run();
        let mut client = api::client::OrderClient::connect(process.orders, "MM1", common::PASSWORD, SessionSeq::HEAD)
            .expect("logged in");
        let mut public = api::client::book_sync(process.market).expect("the public port answers");
        client.new_order(&common::limit(1, book::ids::MarketId(1), Side::Buy, 10, 1)).expect("connected");
        let answer = client.poll(common::PATIENCE);
        assert!(answer.is_err(), "the connection ends without an answer: {answer:?}");
        let published = public.poll(common::PATIENCE);
        assert!(published.is_err(), "the public stream ends without a message: {published:?}");
        assert_eq!(process.wait().code, Some(20));
    }
}

#[test]
fn the_data_directory_is_for_its_owner_only() {
    let node_dir = NodeDir::new();
    let mode = fs::metadata(node_dir.data_dir()).expect("the file exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
