//! Logs that must not be shipped to a backup: those of other nodes, older timelines and diverged copies.

use crate::common::Place;
use crate::common::raw_log::append;
use crate::fixture::{SNAPSHOTS, Stopped, intact, open, output_of, ship_all, trade_on};
use std::fs;
use std::path::Path;
use tools::archive::error::BackupError;
use tools::archive::key::Key;
use tools::archive::put_outcome::PutOutcome;
use tools::archive::round::Round;
use tools::archive::shipper::{Shipper, TailPolicy};
use wal::directory::Directory;
use wal::identity::{FORMAT_NEWEST, Identity};
use wal::units::{Lsn, NodeId, Timeline};

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("makes a directory");
    for entry in fs::read_dir(from).expect("readable").map(|entry| entry.expect("readable")) {
        let target = to.join(entry.file_name());
        match entry.file_type().expect("typed").is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

#[test]
fn the_logs_of_another_node_of_an_older_timeline_and_of_a_copy_are_fenced() {
    let stopped = Stopped::new(SNAPSHOTS);
    let (data_dir, to) = (stopped.place.data_dir(), stopped.to.clone());
    let diverged = Place::new();
    let copy = diverged.data_dir();
    fs::remove_dir_all(&copy).expect("ours");
    copy_tree(&data_dir, &copy);
    // The original trades on and is shipped; the copy has only the older commands.
    trade_on(&stopped.place, &stopped.login, 500);
    ship_all(&mut Shipper::new(&data_dir, &open(&to)));
    let (to_text, copy_text) = (to.to_str().expect("text"), copy.to_str().expect("text"));
    let run = |code, dir: &str| {
        // A dry run refuses whatever a round refuses.
        let text = output_of(code, &["backup", "run", "--dry-run", "--data-dir", dir, "--to", to_text]);
        assert_eq!(output_of(code, &["backup", "run", "--once", "--data-dir", dir, "--to", to_text]), text);
        text
    };
    assert!(run(21, copy_text).contains("older copy"));
    // The copy trades on by itself, with more commands.
    trade_on(&diverged, &stopped.login, 2_000);
    assert!(run(16, copy_text).contains("differs from it there"));

    let other = stopped.place.path().join("other");
    let geometry = Directory::open_read_only(&data_dir).expect("intact").identity().geometry;
    let identity =
        Identity { format: FORMAT_NEWEST, node_id: NodeId([9; 16]), timeline: Timeline(1), seq_base: Lsn(0), geometry };
    Directory::create(&other, &identity, 0).expect("created");
    assert!(run(16, other.to_str().expect("text")).contains("of node"));
    // A restore began timeline 2 and shipped it here.
    let destination = open(&to);
    let newer = Identity { timeline: Timeline(2), node_id: NodeId([7; 16]), ..identity };
    assert_eq!(
        destination.put_new(Key::Identity(Timeline(2)), newer.to_text().into()).expect("stored"),
        PutOutcome::Stored
    );
    assert!(run(16, data_dir.to_str().expect("text")).contains("timeline 2"));
}

#[test]
fn a_copy_that_ships_at_the_same_time_is_refused() {
    let stopped = Stopped::shipped(SNAPSHOTS);
    let other = Place::new();
    fs::remove_dir_all(other.data_dir()).expect("ours");
    copy_tree(&stopped.place.data_dir(), &other.data_dir());
    let destination = open(&stopped.to);
    let (original_dir, copy_dir) = (stopped.place.data_dir(), other.data_dir());
    let mut original = Shipper::new(&original_dir, &destination);
    let mut copy = Shipper::new(&copy_dir, &destination);
    // Both read the backup while their logs are still equal.
    for shipper in [&mut original, &mut copy] {
        assert_eq!(shipper.round(TailPolicy::SyncNow).expect("nothing new").commands, 0);
    }
    trade_on(&stopped.place, &stopped.login, 300);
    trade_on(&other, &stopped.login, 2_000);
    ship_all(&mut original);
    let error = copy.round(TailPolicy::SyncNow).expect_err("the other has shipped");
    assert!(matches!(error, BackupError::Diverged { .. }), "{error}");
    intact(&destination);
}

#[test]
fn only_records_that_survive_a_power_cut_are_shipped() {
    let place = Place::new();
    let data_dir = place.data_dir();
    // Two frames without a raised mark; no frame attests that the second is durable.
    append(&data_dir, &[b"one", b"two"]);
    let destination = open(&place.path().join("backup"));
    let mut shipper = Shipper::new(&data_dir, &destination);
    let shipped = |round: Round| (round.seq_shipped.0, round.seq_node.0);
    assert_eq!(shipped(shipper.round(TailPolicy::WaitForNode).expect("shipped")), (1, 2));
    // No frame came that attests it, so the shipper syncs the log itself and then ships the record.
    assert_eq!(shipped(shipper.round(TailPolicy::WaitForNode).expect("shipped")), (2, 2));
    let once = open(&place.path().join("once"));
    assert_eq!(shipped(Shipper::new(&data_dir, &once).round(TailPolicy::SyncNow).expect("shipped")), (2, 2));
}
