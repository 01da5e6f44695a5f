//! The table of damages (docs/OPERATIONS.md): files of a stopped node flipped, zeroed, cut, lost, swapped and replaced by
//! older ones. A start is refused with the right code and a file named, or comes back with the very state that was; what
//! was acknowledged is never missing. Needs python3 and `corrupt.py` of the shared tools (`PINION_SHARED`).

mod common;

use common::Place;
use common::files::{copy_dir, flip, frames_of_the_head_only, mark_is_behind_the_store};
use common::load::{Trader, trade_and_kill, trade_so_many, two_traders};
use common::process::{Ended, Start};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use wal::frame::FrameHeader;

/// Snapshots by hand only, so that every run finds the same kinds of files.
const CONFIG: &str = "[snapshot]\nevery_commands = 1000000000\nevery = \"24h\"\non_stop = false\nkeep = 5\n";

/// Twice the largest frame.
const LAST_FRAME_AWAY: u64 = 512 << 10;

/// What a start must do about a damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Refuse, with one of these codes.
    Refuse(&'static [i32]),
    /// Come back with the state that was.
    Recover,
    /// One or the other, by what lies where the damage falls: a place that is in use, or one that is free.
    Either(&'static [i32]),
}

/// A damage that `corrupt.py` does.
struct Row {
    name: &'static str,
    files: &'static str,
    place: &'static str,
    fault: &'static str,
    due: Due,
    named: Named,
}

const fn row(
    name: &'static str,
    files: &'static str,
    place: &'static str,
    fault: &'static str,
    due: Due,
    named: Named,
) -> Row {
    Row { name, files, place, fault, due, named }
}

/// How paths go on behind the data directory's own; the node names one that goes on so.
type Named = &'static [&'static str];

const SEGMENT: Named = &["/head/head-"];
/// The mark is what a log is too short for.
const HEAD: Named = &["/head/head-", "/MARK"];
const SNAPSHOT: Named = &["/snapshots/"];
const STORE: Named = &["/db"];
const IDENTITY: Named = &["/IDENTITY"];
const MARK: Named = &["/MARK"];
/// What is not there any more, and was not needed, has no name.
const NOTHING: Named = &[];

const DAMAGED: &[i32] = &[13];
const DAMAGED_OR_SHORT: &[i32] = &[13, 21];
/// A bit of the version makes it a format of the future.
const HEADER: &[i32] = &[13, 14];

const ROWS: [Row; 24] = [
    row("journal file, one bit", "head:*.seg", "random", "flip_mid", Due::Either(DAMAGED_OR_SHORT), HEAD),
    row("journal file, one bit of its header", "head:*.seg", "random", "flip_first", Due::Refuse(HEADER), SEGMENT),
    row("journal file, 4 KiB of zeros", "head:*.seg", "random", "zero4k", Due::Either(DAMAGED_OR_SHORT), HEAD),
    row("journal file, its end torn off", "head:*.seg", "random", "torn", Due::Refuse(DAMAGED), SEGMENT),
    row("journal file, half of it gone", "head:*.seg", "random", "truncate", Due::Refuse(DAMAGED), SEGMENT),
    row("journal file, empty", "head:*.seg", "random", "empty", Due::Refuse(DAMAGED), SEGMENT),
    row("journal file, deleted", "head:*.seg", "random", "delete", Due::Refuse(DAMAGED), SEGMENT),
    row("journal files, two swapped", "head:*.seg", "oldest", "swap", Due::Refuse(DAMAGED), SEGMENT),
    row("journal file, bytes behind its end", "head:*.seg", "random", "garbage_tail", Due::Refuse(DAMAGED), SEGMENT),
    row("newest snapshot, one bit", "snapshot:*.snap", "newest", "flip_mid", Due::Recover, SNAPSHOT),
    row("newest snapshot, one bit of its header", "snapshot:*.snap", "newest", "flip_first", Due::Recover, SNAPSHOT),
    row("newest snapshot, half of it gone", "snapshot:*.snap", "newest", "truncate", Due::Recover, SNAPSHOT),
    row("newest snapshot, its end torn off", "snapshot:*.snap", "newest", "torn", Due::Recover, SNAPSHOT),
    row("newest snapshot, 4 KiB of zeros", "snapshot:*.snap", "newest", "zero4k", Due::Recover, SNAPSHOT),
    row("newest snapshot, deleted", "snapshot:*.snap", "newest", "delete", Due::Recover, NOTHING),
    row("snapshots, two swapped", "snapshot:*.snap", "newest", "swap", Due::Recover, SNAPSHOT),
    row("RocksDB's MANIFEST, one bit", "manifest", "newest", "flip_mid", Due::Refuse(DAMAGED), STORE),
    row("RocksDB's CURRENT, emptied", "current", "newest", "empty", Due::Refuse(DAMAGED), STORE),
    row("RocksDB's CURRENT, deleted", "current", "newest", "delete", Due::Refuse(DAMAGED), STORE),
    row("IDENTITY, one bit", "file:IDENTITY", "oldest", "flip_mid", Due::Refuse(DAMAGED), IDENTITY),
    row("IDENTITY, half of it gone", "file:IDENTITY", "oldest", "truncate", Due::Refuse(DAMAGED), IDENTITY),
    // It has two slots, for this.
    row("MARK, half of it gone", "file:MARK", "newest", "truncate", Due::Either(DAMAGED), MARK),
    row("MARK, emptied", "file:MARK", "newest", "empty", Due::Refuse(DAMAGED), MARK),
    row("MARK, deleted", "file:MARK", "newest", "delete", Due::Refuse(DAMAGED), MARK),
];

/// A directory with two snapshots, a tail in the store and a newer one in the head only; nobody runs on it.
struct Original {
    place: Place,
    traders: Vec<Trader>,
    seq: u64,
    state_hash: String,
    /// Copies of its store: before the newest tail, and before the snapshots.
    stale_db: PathBuf,
}

/// Frames enough that only the head has, some of them noted as acknowledged, and the last of them well away from the
/// middle of its file: `corrupt.py` hits the middle, and a damaged last frame is a matter of its own.
fn has_a_tail_in_the_head(place: &Place) -> bool {
    let frames = frames_of_the_head_only(&place.data_dir());
    let Some((path, offset)) = frames.last() else { return false };
    let middle = fs::metadata(path).expect("there").len() / 2;
    frames.len() > 80 && offset.abs_diff(middle) > LAST_FRAME_AWAY && mark_is_behind_the_store(&place.data_dir())
}

impl Original {
    fn make() -> Self {
        let place = Place::with(CONFIG);
        let running = place.start();
        let mut traders = two_traders(&running);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for _ in 0..2 {
            trade_so_many(&running, &mut traders, 1_500);
            runtime.block_on(running.node().port.snapshot()).expect("asked").expect("taken");
        }
        assert_eq!(running.stop(), 0);
        let stale_db = place.dir.path().join("stale");
        copy_dir(&place.data_dir().join("db"), &stale_db);
        let running = place.start();
        trade_so_many(&running, &mut traders, 1_500);
        assert_eq!(running.stop(), 0);
        let start = Start::new(&place.config_file());
        // The store may have been flushed just before the kill: then there is little to damage, and once more.
        for _ in 0..20 {
            trade_and_kill(&start, &mut traders);
            if has_a_tail_in_the_head(&place) {
                break;
            }
        }
        assert!(has_a_tail_in_the_head(&place), "there was load");
        let mut original = Self { place, traders, seq: 0, state_hash: String::new(), stale_db };
        let copy = original.copy();
        let process = Start::new(&copy.config_file()).run();
        for trader in &mut original.traders {
            trader.check(process.orders).unwrap_or_else(|what| panic!("{what}"));
        }
        (original.seq, original.state_hash) = (process.seq, process.state_hash.clone());
        process.kill();
        original
    }

    fn copy(&self) -> Place {
        let place = Place::with(CONFIG);
        fs::remove_dir_all(place.data_dir()).expect("removed");
        copy_dir(&self.place.data_dir(), &place.data_dir());
        place
    }

    /// What a start on the damaged copy did, in a word; panics when it is not what is due.
    fn check(&self, name: &str, copy: &Place, due: Due, named: Named) -> String {
        match Start::new(&copy.config_file()).try_run() {
            Ok(process) => {
                let came = (process.seq, process.state_hash.as_str());
                assert_eq!(came, (self.seq, self.state_hash.as_str()), "{name}: served, and is not what it was");
                let ended = process.kill();
                assert!(!matches!(due, Due::Refuse(_)), "{name}: served, and should have refused");
                if due == Due::Recover && !named.is_empty() {
                    names_a_file(name, &ended, copy, named);
                }
                "recovered".to_owned()
            }
            Err(ended) => {
                let codes = match due {
                    Due::Recover => panic!("{name}: refused, and should have recovered: {ended:?}"),
                    Due::Refuse(codes) | Due::Either(codes) => codes,
                };
                let code = ended.code.unwrap_or_else(|| panic!("{name}: {ended:?}"));
                assert!(codes.contains(&code), "{name}: code {code} and not {codes:?}: {}", ended.said);
                names_a_file(name, &ended, copy, named);
                format!("refused, {code}")
            }
        }
    }
}

fn names_a_file(name: &str, ended: &Ended, copy: &Place, named: Named) {
    let dir = copy.data_dir().display().to_string();
    let is_named = named.iter().any(|behind| ended.said.contains(&format!("{dir}{behind}")));
    assert!(is_named, "{name}: none of {named:?} is named in {:?}", ended.said);
}

/// The same fault where it counts: on a frame that only the head has, with others behind it.
fn hit_a_needed_frame(dir: &Path, fault: &str) {
    let frames = frames_of_the_head_only(dir);
    let (path, offset) = &frames[frames.len() - 40];
    match fault {
        "flip_mid" => flip(path, offset + 70),
        "zero4k" => zero_block(path, *offset),
        other => panic!("{other}: nobody knows where it counts"),
    }
}

fn zero_block(path: &Path, offset: u64) {
    let file = fs::File::options().write(true).open(path).expect("there");
    file.write_all_at(&[0; 4096], offset).expect("zeroed");
}

fn corrupt(dir: &Path, row: &Row, seed: u64) -> String {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("PINION_SHARED").map_or(base, PathBuf::from);
    let tool = shared.join("tools/corrupt.py");
    assert!(tool.exists(), "{} is not here, so this proves nothing: set PINION_SHARED", tool.display());
    let mut command = Command::new("python3");
    command.arg(tool).arg(dir).args([row.files, row.place, row.fault, &seed.to_string()]);
    let output = command.output().expect("python3 is there");
    assert!(output.status.success(), "{}: {output:?}", row.name);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_damage_is_refused_or_recovered_as_the_table_says() {
    let original = Original::make();
    for row in &ROWS {
        // Where it is left to chance what is hit, a few times.
        let seeds = if row.place == "random" { 4 } else { 1 };
        let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
        for seed in 0..seeds {
            let copy = original.copy();
            corrupt(&copy.data_dir(), row, seed);
            *outcomes.entry(original.check(row.name, &copy, row.due, row.named)).or_default() += 1;
        }
        // Chance may hit free places only, every time.
        if let (Due::Either(codes), "random") = (row.due, row.place) {
            let copy = original.copy();
            hit_a_needed_frame(&copy.data_dir(), row.fault);
            *outcomes.entry(original.check(row.name, &copy, Due::Refuse(codes), row.named)).or_default() += 1;
        }
        println!("{:<45}{outcomes:?}", row.name);
    }
}

/// Damages that want to know what they hit.
#[test]
fn damages_in_the_right_place_are_refused_too() {
    let original = Original::make();
    let by_hand = |name: &str, due: Due, named: Named, damage: &dyn Fn(&Path)| {
        let copy = original.copy();
        damage(&copy.data_dir());
        println!("{name:<45}{}", original.check(name, &copy, due, named));
    };
    by_hand("a bit of a frame that only the head has", Due::Refuse(DAMAGED), SEGMENT, &|dir| {
        hit_a_needed_frame(dir, "flip_mid");
    });
    by_hand("the log cut at a frame boundary", Due::Refuse(&[21]), MARK, &|dir| {
        // All that only the head has: behind the store, and before what the mark says.
        let frames = frames_of_the_head_only(dir);
        for (path, offset) in &frames {
            zero_block(path, *offset);
        }
    });
    by_hand("every file of the store, one bit", Due::Refuse(DAMAGED), STORE, &|dir| {
        for entry in fs::read_dir(dir.join("db")).expect("there") {
            let path = entry.expect("readable").path();
            if path.extension().is_some_and(|extension| extension == "sst") {
                flip(&path, fs::metadata(&path).expect("there").len() / 2);
            }
        }
    });
    // Whole again where the head still has all that it lacks.
    by_hand("an older copy of the store", Due::Either(DAMAGED_OR_SHORT), &["/head/head-", "/MARK", "/db"], &|dir| {
        fs::remove_dir_all(dir.join("db")).expect("removed");
        copy_dir(&original.stale_db, &dir.join("db"));
    });
    by_hand("an empty store", Due::Refuse(DAMAGED), STORE, &|dir| {
        fs::remove_dir_all(dir.join("db")).expect("removed");
        fs::create_dir(dir.join("db")).expect("created");
    });
    by_hand("an empty directory", Due::Refuse(&[12]), &[""], &|dir| {
        fs::remove_dir_all(dir).expect("removed");
        fs::create_dir(dir).expect("created");
    });
    by_hand("every snapshot, half of it gone", Due::Recover, SNAPSHOT, &|dir| {
        for entry in fs::read_dir(dir.join("snapshots")).expect("there") {
            let file = fs::File::options().write(true).open(entry.expect("readable").path()).expect("there");
            file.set_len(file.metadata().expect("there").len() / 2).expect("cut");
        }
    });
    by_hand("a list of left-out commands, one bit", Due::Refuse(DAMAGED), &["/QUARANTINE"], &|dir| {
        fs::write(dir.join("QUARANTINE"), "format 1\nseq 9 until 9 time_ns 1 reason x\ncrc32c 00000000\n")
            .expect("written");
    });
}

/// No later frame says that it had been durable, so it looks like one that the power tore: cut, unless the mark knows better.
#[test]
fn a_damaged_last_frame_is_a_torn_end_unless_the_mark_has_noted_it() {
    let original = Original::make();
    let copy = original.copy();
    let frames = frames_of_the_head_only(&copy.data_dir());
    let (path, offset) = frames.last().expect("there are some");
    let bytes = fs::read(path).expect("readable");
    let header = FrameHeader::peek(&bytes[*offset as usize..]).expect("a frame begins there");
    let seq_first = header.seq_first.get();
    flip(path, offset + 70);
    match Start::new(&copy.config_file()).try_run() {
        Ok(process) => {
            assert_eq!(process.seq, seq_first - 1, "nothing but that frame is gone");
            process.kill();
        }
        Err(ended) => assert_eq!(ended.code, Some(21), "{}", ended.said),
    }
}
