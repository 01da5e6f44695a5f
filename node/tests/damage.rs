//! The table of damages (docs/OPERATIONS.md): files of a stopped node have bits flipped, blocks zeroed, or are
//! truncated, deleted, swapped or replaced by older ones. A start is refused with the right exit code and names a file,
//! or recovers exactly the state before; nothing acknowledged is ever missing. Needs python3 and `corrupt.py` of the
//! shared tools (`PINION_SHARED`).

mod common;

use common::NodeDir;
use common::files::{copy_dir, flip, frames_of_the_head_only, mark_is_after_the_store};
use common::load::{Trader, trade_and_kill, trade_so_many, two_traders};
use common::process::{Ended, Start};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use wal::frame::FrameHeader;

/// No snapshots but those that the test takes, so that every run has the same kinds of files.
const CONFIG: &str = "[snapshot]\nevery_commands = 1000000000\nevery = \"24h\"\non_stop = false\nkeep = 5\n";

/// Twice the size of the largest frame.
const LAST_FRAME_AWAY: u64 = 512 << 10;

/// The expected outcome of a start on a damaged directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The start is refused with one of these exit codes.
    Refuse(&'static [i32]),
    /// The start recovers the state before the damage.
    Recover,
    /// Either of the two, depending on whether the damaged bytes were in use.
    Either(&'static [i32]),
}

/// A damage that `corrupt.py` makes.
struct Row {
    name: &'static str,
    files: &'static str,
    which: &'static str,
    fault: &'static str,
    expected: Expected,
    named: Named,
}

const fn row(
    name: &'static str,
    files: &'static str,
    which: &'static str,
    fault: &'static str,
    expected: Expected,
    named: Named,
) -> Row {
    Row { name, files, which, fault, expected, named }
}

/// Paths below the data directory; the node's output must contain one that begins so.
type Named = &'static [&'static str];

const SEGMENT: Named = &["/head/head-"];
/// A log that is too short is reported with the mark.
const HEAD: Named = &["/head/head-", "/MARK"];
const SNAPSHOT: Named = &["/snapshots/"];
const SNAPSHOTS: Named = &["/snapshots"];
const STORE: Named = &["/db"];
const IDENTITY: Named = &["/IDENTITY"];
const MARK: Named = &["/MARK"];
/// A missing file that was not needed is not reported.
const NOTHING: Named = &[];

const DAMAGED: &[i32] = &[13];
const DAMAGED_OR_SHORT: &[i32] = &[13, 21];
/// A bit of the version makes it an unknown format.
const HEADER: &[i32] = &[13, 14];

const ROWS: [Row; 24] = [
    row("journal file, one bit", "head:*.seg", "random", "flip_mid", Expected::Either(DAMAGED_OR_SHORT), HEAD),
    row("journal file, one bit of its header", "head:*.seg", "random", "flip_first", Expected::Refuse(HEADER), SEGMENT),
    row("journal file, 4 KiB of zeros", "head:*.seg", "random", "zero4k", Expected::Either(DAMAGED_OR_SHORT), HEAD),
    row("journal file, its end torn off", "head:*.seg", "random", "torn", Expected::Refuse(DAMAGED), SEGMENT),
    row("journal file, half of it lost", "head:*.seg", "random", "truncate", Expected::Refuse(DAMAGED), SEGMENT),
    row("journal file, empty", "head:*.seg", "random", "empty", Expected::Refuse(DAMAGED), SEGMENT),
    row("journal file, deleted", "head:*.seg", "random", "delete", Expected::Refuse(DAMAGED), SEGMENT),
    row("journal files, two swapped", "head:*.seg", "oldest", "swap", Expected::Refuse(DAMAGED), SEGMENT),
    row(
        "journal file, bytes after its end",
        "head:*.seg",
        "random",
        "garbage_tail",
        Expected::Refuse(DAMAGED),
        SEGMENT,
    ),
    row("newest snapshot, one bit", "snapshot:*.snap", "newest", "flip_mid", Expected::Recover, SNAPSHOT),
    row(
        "newest snapshot, one bit of its header",
        "snapshot:*.snap",
        "newest",
        "flip_first",
        Expected::Recover,
        SNAPSHOT,
    ),
    row("newest snapshot, half of it lost", "snapshot:*.snap", "newest", "truncate", Expected::Recover, SNAPSHOT),
    row("newest snapshot, its end torn off", "snapshot:*.snap", "newest", "torn", Expected::Recover, SNAPSHOT),
    row("newest snapshot, 4 KiB of zeros", "snapshot:*.snap", "newest", "zero4k", Expected::Recover, SNAPSHOT),
    row("newest snapshot, deleted", "snapshot:*.snap", "newest", "delete", Expected::Recover, NOTHING),
    row("snapshots, two swapped", "snapshot:*.snap", "newest", "swap", Expected::Recover, SNAPSHOT),
    row("RocksDB's MANIFEST, one bit", "manifest", "newest", "flip_mid", Expected::Refuse(DAMAGED), STORE),
    row("RocksDB's CURRENT, emptied", "current", "newest", "empty", Expected::Refuse(DAMAGED), STORE),
    row("RocksDB's CURRENT, deleted", "current", "newest", "delete", Expected::Refuse(DAMAGED), STORE),
    row("IDENTITY, one bit", "file:IDENTITY", "oldest", "flip_mid", Expected::Refuse(DAMAGED), IDENTITY),
    row("IDENTITY, half of it lost", "file:IDENTITY", "oldest", "truncate", Expected::Refuse(DAMAGED), IDENTITY),
    // The mark has two slots for this case.
    row("MARK, half of it lost", "file:MARK", "newest", "truncate", Expected::Either(DAMAGED), MARK),
    row("MARK, emptied", "file:MARK", "newest", "empty", Expected::Refuse(DAMAGED), MARK),
    row("MARK, deleted", "file:MARK", "newest", "delete", Expected::Refuse(DAMAGED), MARK),
];

/// The directory of a killed node, with two snapshots, a tail in the store and a newer one in the head only.
struct Original {
    node_dir: NodeDir,
    traders: Vec<Trader>,
    seq: u64,
    state_hash: String,
    /// A copy of its store from before the newest tail.
    stale_db: PathBuf,
}

/// Whether enough frames are in the head only, the mark covers some of them, and the last of them is not near the
/// middle of its file: `corrupt.py` damages the middle, and damage to the last frame has a test of its own.
fn has_a_tail_in_the_head(node_dir: &NodeDir) -> bool {
    let frames = frames_of_the_head_only(&node_dir.data_dir());
    let Some((path, offset)) = frames.last() else { return false };
    let middle = fs::metadata(path).expect("the file exists").len() / 2;
    frames.len() > 80 && offset.abs_diff(middle) > LAST_FRAME_AWAY && mark_is_after_the_store(&node_dir.data_dir())
}

impl Original {
    fn make() -> Self {
        let node_dir = NodeDir::with(CONFIG);
        let running = node_dir.start();
        let mut traders = two_traders(&running);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for _ in 0..2 {
            trade_so_many(&running, &mut traders, 1_500);
            let covers = running.node().status.watermarks.released.get();
            let taken = runtime.block_on(running.node().port.snapshot(covers));
            taken.expect("the shadow runs").expect("the snapshot was taken");
        }
        assert_eq!(running.stop(), 0);
        let stale_db = node_dir.dir.path().join("stale");
        copy_dir(&node_dir.data_dir().join("db"), &stale_db);
        let running = node_dir.start();
        trade_so_many(&running, &mut traders, 1_500);
        assert_eq!(running.stop(), 0);
        let start = Start::new(&node_dir.config_file());
        // The store may have been flushed just before the kill; then the head has too few frames and the load is
        // repeated.
        for _ in 0..20 {
            trade_and_kill(&start, &mut traders);
            if has_a_tail_in_the_head(&node_dir) {
                break;
            }
        }
        assert!(has_a_tail_in_the_head(&node_dir), "the head has frames that the store does not have");
        let mut original = Self { node_dir, traders, seq: 0, state_hash: String::new(), stale_db };
        let copy = original.copy();
        let process = Start::new(&copy.config_file()).run();
        for trader in &mut original.traders {
            trader.check(process.orders).unwrap_or_else(|what| panic!("{what}"));
        }
        (original.seq, original.state_hash) = (process.seq, process.state_hash.clone());
        process.kill();
        original
    }

    fn copy(&self) -> NodeDir {
        let node_dir = NodeDir::with(CONFIG);
        fs::remove_dir_all(node_dir.data_dir()).expect("the path was removed");
        copy_dir(&self.node_dir.data_dir(), &node_dir.data_dir());
        node_dir
    }

    /// The outcome of a start on the damaged copy as text; panics when it is not the expected one.
    fn check(&self, name: &str, copy: &NodeDir, expected: Expected, named: Named) -> String {
        match Start::new(&copy.config_file()).try_run() {
            Ok(process) => {
                let recovered = (process.seq, process.state_hash.as_str());
                assert_eq!(recovered, (self.seq, self.state_hash.as_str()), "{name}: started with another state");
                let ended = process.kill();
                assert!(!matches!(expected, Expected::Refuse(_)), "{name}: started, expected a refusal");
                if expected == Expected::Recover && !named.is_empty() {
                    names_a_file(name, &ended, copy, named);
                }
                "recovered".to_owned()
            }
            Err(ended) => {
                let codes = match expected {
                    Expected::Recover => panic!("{name}: refused, expected a recovery: {ended:?}"),
                    Expected::Refuse(codes) | Expected::Either(codes) => codes,
                };
                let code = ended.code.unwrap_or_else(|| panic!("{name}: {ended:?}"));
                assert!(codes.contains(&code), "{name}: exit code {code}, expected one of {codes:?}: {}", ended.output);
                names_a_file(name, &ended, copy, named);
                format!("refused, {code}")
            }
        }
    }
}

fn names_a_file(name: &str, ended: &Ended, copy: &NodeDir, named: Named) {
    let dir = copy.data_dir().display().to_string();
    let is_named = named.iter().any(|path| ended.output.contains(&format!("{dir}{path}")));
    assert!(is_named, "{name}: none of {named:?} is named in {:?}", ended.output);
}

/// Makes the same damage to a frame that only the head has and that others follow.
fn damage_a_needed_frame(dir: &Path, fault: &str) {
    let frames = frames_of_the_head_only(dir);
    let (path, offset) = &frames[frames.len() - 40];
    match fault {
        "flip_mid" => flip(path, offset + 70),
        "zero4k" => zero_block(path, *offset),
        other => panic!("{other}: there is no such damage to a frame"),
    }
}

fn zero_block(path: &Path, offset: u64) {
    let file = fs::File::options().write(true).open(path).expect("the file exists");
    file.write_all_at(&[0; 4096], offset).expect("the file is writable");
}

fn corrupt(dir: &Path, row: &Row, seed: u64) -> String {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("PINION_SHARED").map_or(base, PathBuf::from);
    let tool = shared.join("tools/corrupt.py");
    assert!(tool.exists(), "{} is missing, and without it this test proves nothing: set PINION_SHARED", tool.display());
    let mut command = Command::new("python3");
    command.arg(tool).arg(dir).args([row.files, row.which, row.fault, &seed.to_string()]);
    let output = command.output().expect("python3 is installed");
    assert!(output.status.success(), "{}: {output:?}", row.name);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_damage_is_refused_or_recovered_as_the_table_says() {
    let original = Original::make();
    for row in &ROWS {
        // Several times where chance decides what is damaged.
        let seeds = if row.which == "random" { 4 } else { 1 };
        let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
        for seed in 0..seeds {
            let copy = original.copy();
            corrupt(&copy.data_dir(), row, seed);
            *outcomes.entry(original.check(row.name, &copy, row.expected, row.named)).or_default() += 1;
        }
        // Chance may have damaged unused bytes every time.
        if let (Expected::Either(codes), "random") = (row.expected, row.which) {
            let copy = original.copy();
            damage_a_needed_frame(&copy.data_dir(), row.fault);
            *outcomes.entry(original.check(row.name, &copy, Expected::Refuse(codes), row.named)).or_default() += 1;
        }
        println!("{:<45}{outcomes:?}", row.name);
    }
}

/// Damages to chosen places.
#[test]
fn damages_to_chosen_places_are_refused_or_recovered() {
    let original = Original::make();
    let by_hand = |name: &str, expected: Expected, named: Named, damage: &dyn Fn(&Path)| {
        let copy = original.copy();
        damage(&copy.data_dir());
        println!("{name:<45}{}", original.check(name, &copy, expected, named));
    };
    by_hand("a bit of a frame that only the head has", Expected::Refuse(DAMAGED), SEGMENT, &|dir| {
        damage_a_needed_frame(dir, "flip_mid");
    });
    by_hand("the log truncated at a frame boundary", Expected::Refuse(&[21]), MARK, &|dir| {
        // Every frame that only the head has: after the store's last frame, and up to the mark.
        let frames = frames_of_the_head_only(dir);
        for (path, offset) in &frames {
            zero_block(path, *offset);
        }
    });
    by_hand("every file of the store, one bit", Expected::Refuse(DAMAGED), STORE, &|dir| {
        for entry in fs::read_dir(dir.join("db")).expect("the file exists") {
            let path = entry.expect("the path is readable").path();
            if path.extension().is_some_and(|extension| extension == "sst") {
                flip(&path, fs::metadata(&path).expect("the file exists").len() / 2);
            }
        }
    });
    // Recovered where the head still has every frame that the store lacks.
    by_hand(
        "an older copy of the store",
        Expected::Either(DAMAGED_OR_SHORT),
        &["/head/head-", "/MARK", "/db"],
        &|dir| {
            fs::remove_dir_all(dir.join("db")).expect("the path was removed");
            copy_dir(&original.stale_db, &dir.join("db"));
        },
    );
    by_hand("an empty store", Expected::Refuse(DAMAGED), STORE, &|dir| {
        fs::remove_dir_all(dir.join("db")).expect("the path was removed");
        fs::create_dir(dir.join("db")).expect("the path is new");
    });
    by_hand("an empty directory", Expected::Refuse(&[12]), &[""], &|dir| {
        fs::remove_dir_all(dir).expect("the path was removed");
        fs::create_dir(dir).expect("the path is new");
    });
    by_hand("every snapshot, half of it lost", Expected::Recover, SNAPSHOT, &|dir| {
        for entry in fs::read_dir(dir.join("snapshots")).expect("the file exists") {
            let file = fs::File::options()
                .write(true)
                .open(entry.expect("the path is readable").path())
                .expect("the file exists");
            file.set_len(file.metadata().expect("the file exists").len() / 2).expect("the file was truncated");
        }
    });
    by_hand("the folder of snapshots gone", Expected::Recover, SNAPSHOTS, &|dir| {
        fs::remove_dir_all(dir.join("snapshots")).expect("the folder is ours");
    });
    by_hand("the list of quarantined commands, one bit", Expected::Refuse(DAMAGED), &["/QUARANTINE"], &|dir| {
        fs::write(dir.join("QUARANTINE"), "format 1\nseq 9 until 9 time_ns 1 reason x\ncrc32c 00000000\n")
            .expect("the file is writable");
    });
}

/// No later frame proves that the last one was durable, so it looks like one that a power cut tore. It is cut off,
/// unless the mark covers it.
#[test]
fn a_damaged_last_frame_is_a_torn_end_unless_the_mark_covers_it() {
    let original = Original::make();
    let copy = original.copy();
    let frames = frames_of_the_head_only(&copy.data_dir());
    let (path, offset) = frames.last().expect("the list is not empty");
    let bytes = fs::read(path).expect("the path is readable");
    let header = FrameHeader::peek(&bytes[*offset as usize..]).expect("a frame begins there");
    let seq_first = header.seq_first.get();
    flip(path, offset + 70);
    match Start::new(&copy.config_file()).try_run() {
        Ok(process) => {
            assert_eq!(process.seq, seq_first - 1, "only that frame is lost");
            process.kill();
        }
        Err(ended) => assert_eq!(ended.code, Some(13), "{}", ended.output),
    }
}
