//! A stopped or running node, a backup of it, and the tool as a process.

use crate::common::traffic::Traffic;
use crate::common::{Place, Running, stage};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use tools::archive::catalog::PieceObject;
use tools::archive::destination::Destination;
use tools::archive::key::Key;
use tools::archive::round::Round;
use tools::archive::shipper::{Shipper, TailPolicy};
use tools::archive::store_address::OpenMode;
use tools::client::setup::Credentials;
use tools::terminal::interrupt::Interrupt;
use tools::verbs::backup::drill::Rpo;
use tools::verbs::backup::verify::{Verified, verify};
use wal::directory::Directory;
use wal::recover::Inspection;
use wal::units::{Lsn, Timeline};

/// Takes snapshots often and keeps all of the log.
pub(crate) const SNAPSHOTS: &str = "[snapshot]\nevery_commands = 1000\n";

/// An idle log must be shipped in so many rounds.
pub(crate) const ROUNDS_MAX: usize = 50;

/// Truncates the log as early as possible.
pub(crate) const FORGETFUL: &str = "[snapshot]\nevery_commands = 1000\nkeep = 1\n[store]\nretain_bytes = 1\n";

pub(crate) fn open(address: &Path) -> Destination {
    let address = address.to_str().expect("text");
    Destination::open(address, None, OpenMode::OrCreate, Interrupt::never()).expect("a directory can be made")
}

pub(crate) fn pinion(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pinion")).args(arguments).output().expect("the tool runs")
}

/// Runs the tool, which must exit with `code`; returns its output and errors.
pub(crate) fn output_of(code: i32, arguments: &[&str]) -> String {
    let output = pinion(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}{err}");
    format!("{out}{err}")
}

pub(crate) fn intact(destination: &Destination) -> Verified {
    let verified = verify(destination).expect("readable");
    assert!(verified.damage.is_empty(), "{:?}", verified.damage);
    verified
}

/// The last sequence of the log as a reader finds it.
pub(crate) fn end(data_dir: &Path) -> Lsn {
    let directory = Directory::open_read_only(data_dir).expect("intact");
    Inspection::open(&directory).expect("intact").tail().seq
}

pub(crate) fn base(data_dir: &Path) -> Lsn {
    let directory = Directory::open_read_only(data_dir).expect("intact");
    Inspection::open(&directory).expect("intact").base().expect("readable").seq
}

/// Ships until the backup has every command of an idle node.
pub(crate) fn ship_all(shipper: &mut Shipper<'_>) -> Round {
    let mut rounds = (0..ROUNDS_MAX).map(|_| shipper.round(TailPolicy::SyncNow).expect("shipped"));
    rounds.find(|round| round.seq_shipped == round.seq_node).expect("an idle log is shipped in a few rounds")
}

/// A stopped node's directory with a few thousand commands and some snapshots, and the path of a backup of it.
pub(crate) struct Stopped {
    pub place: Place,
    pub to: PathBuf,
    pub login: Credentials,
}

impl Stopped {
    pub(crate) fn new(more: &str) -> Self {
        let place = Place::new();
        let running = place.start_with(more);
        let login = stage(&running);
        Traffic::new(&running, &login).commands(4_000);
        assert_eq!(running.stop(), 0);
        let to = place.path().join("backup");
        Self { place, to, login }
    }

    pub(crate) fn shipped(more: &str) -> Self {
        let stopped = Self::new(more);
        ship_all(&mut Shipper::new(&stopped.place.data_dir(), &open(&stopped.to)));
        stopped
    }
}

pub(crate) fn trading(place: &Place, more: &str) -> (Running, Traffic) {
    let running = place.start_with(more);
    let login = stage(&running);
    let traffic = Traffic::new(&running, &login);
    (running, traffic)
}

/// Starts a node again, sends commands, and stops it.
pub(crate) fn trade_on(place: &Place, login: &Credentials, commands: usize) {
    let running = place.start_with(SNAPSHOTS);
    Traffic::new(&running, login).commands(commands);
    assert_eq!(running.stop(), 0);
}

pub(crate) fn nothing_lost() -> Rpo {
    Rpo::OfNode { commands: 0, lag: Duration::ZERO }
}

/// All files of a backup with their keys.
pub(crate) fn objects(to: &Path) -> Vec<(Key, PathBuf)> {
    let listed = open(to).list().expect("readable");
    listed.into_iter().map(|object| (object.key, to.join(object.key.to_string()))).collect()
}

pub(crate) fn path_of(to: &Path, piece: &PieceObject) -> PathBuf {
    let (seq_first, seq_last) = (piece.seq_first, piece.seq_last);
    to.join(Key::Piece { timeline: Timeline(1), seq_first, seq_last }.to_string())
}

pub(crate) fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    let at = at % bytes.len();
    bytes[at] ^= 0x20;
    fs::write(path, bytes).expect("writable");
}
