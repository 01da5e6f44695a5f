//! A machine is lost at random moments while its log is shipped, to a directory and to S3: what an operator restores
//! without options has all of its past, and is the state that the node's own log gives.
#![allow(clippy::print_stdout, reason = "a random test shows its seed and its figures")]

mod common;

use common::s3::S3;
use common::traffic::Traffic;
use common::{Place, stage};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use tools::archive::catalog::Catalog;
use tools::archive::destination::Destination;
use tools::archive::error::BackupError;
use tools::archive::fetch::{Selection, fetch};
use tools::archive::store_address::OpenMode;
use tools::offline::as_of::StateReader;
use tools::terminal::interrupt::Interrupt;

/// Losses at each kind of place; `./dev nightly` sets more.
const LOSSES: u64 = 10;

const SNAPSHOTS: &str = "[snapshot]\nevery_commands = 1000\n";

/// Random numbers: xorshift from a seed that is printed.
struct Random(u64);

impl Random {
    #[expect(clippy::disallowed_methods, reason = "a random test draws its seed")]
    fn seeded() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
        let seed = std::env::var("PINION_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(now | 1);
        println!("PINION_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound) as usize
    }
}

/// What the restores after the losses were.
#[derive(Debug, Default)]
struct Seen {
    restored: u64,
    /// Before anything was shipped.
    empty: u64,
    commands: u64,
}

/// Loses the machine while a shipper runs, again and again. `open` opens the place, and `environment` names its store.
fn lose(to: &str, environment: &[(&'static str, String)], open: &dyn Fn() -> Destination) -> Seen {
    let losses = std::env::var("PINION_BACKUP_LOSSES").ok().and_then(|count| count.parse().ok()).unwrap_or(LOSSES);
    let (mut random, mut seen) = (Random::seeded(), Seen::default());
    let place = Place::new();
    let running = place.start_with(SNAPSHOTS);
    let login = stage(&running);
    let mut traffic = Traffic::new(&running, &login);
    let data_dir = place.data_dir();
    for loss in 0..losses {
        let mut shipper = Command::new(env!("CARGO_BIN_EXE_pinion"))
            .args(["backup", "run", "--every", "1ms", "--json", "--to", to, "--data-dir"])
            .arg(&data_dir)
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tool runs");
        // Lost while it starts, during a round, or some rounds later.
        let mut lines = BufReader::new(shipper.stdout.take().expect("piped")).lines();
        for _ in 0..random.below(3) {
            traffic.commands(1 + random.below(200));
            lines.next().expect("a round").expect("text");
        }
        traffic.commands(1 + random.below(900));
        shipper.kill().expect("it runs");
        shipper.wait().expect("it ends");
        restore_what_is_left(&open(), &data_dir, &place.path().join(format!("loss-{loss}")), &mut seen);
    }
    drop(traffic);
    assert_eq!(running.stop(), 0);
    seen
}

fn restore_what_is_left(destination: &Destination, data_dir: &Path, into: &Path, seen: &mut Seen) {
    let fetched = match fetch(destination, into, Selection::everything()) {
        Err(BackupError::NoBackup { .. } | BackupError::Outside { .. }) => {
            seen.empty += 1;
            return;
        }
        fetched => fetched.expect("the log is shipped in order, so everything that is there has its past"),
    };
    assert!(fetched.snapshot.is_none() && fetched.past_missing.is_empty(), "{fetched:?}");
    let catalog = Catalog::read(destination).expect("readable");
    let kept = catalog.newest().expect("something was fetched");
    assert!(kept.lone_snapshots().is_empty() && kept.missing_ranges().is_empty(), "{kept:?}");
    let at = |data_dir: &Path| {
        let reader = StateReader::open(data_dir).expect("intact");
        let state = reader.engine_state(Some(book::units::Seq(fetched.tail.seq.0))).expect("the log reaches it");
        state.replica.engine.state_hash()
    };
    assert_eq!(at(into), at(data_dir), "at {}", fetched.tail.seq);
    std::fs::remove_dir_all(into).expect("ours");
    (seen.restored, seen.commands) = (seen.restored + 1, fetched.tail.seq.0);
}

#[test]
fn a_machine_lost_while_it_ships_to_a_directory_is_restored_with_its_past() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let to = dir.path().join("backup");
    let to = to.to_str().expect("text");
    let open = || Destination::open(to, None, OpenMode::OrCreate, Interrupt::never()).expect("a directory");
    let seen = lose(to, &[], &open);
    println!("directory: {seen:?}");
    assert!(0 < seen.restored, "{seen:?}");
}

#[test]
fn a_machine_lost_while_it_ships_to_s3_is_restored_with_its_past() {
    let s3 = S3::start();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let secrets = dir.path().join("secrets");
    let lines: String = s3.settings().iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    std::fs::write(&secrets, lines).expect("ours");
    std::fs::set_permissions(&secrets, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    let url = s3.url("losses");
    let open = || Destination::open(&url, Some(&secrets), OpenMode::OrCreate, Interrupt::never()).expect("complete");
    let seen = lose(&url, &s3.settings(), &open);
    println!("S3: {seen:?}");
    assert!(0 < seen.restored, "{seen:?}");
}
