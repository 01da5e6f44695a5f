//! The directory, the mark, the store and a full start: what is refused, by which error.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::{
    BALLAST_BYTES, GEOMETRY, NODE, TIMELINE, assert_records, identity, new_directory, recover_all, write_frames,
};
use wal::blocking::BlockingHead;
use wal::directory::{Attested, Ballast, Directory};
use wal::error::{Damage, ErrorKind, WalError};
use wal::identity::Identity;
use wal::mark::{MARK_SLOT_STRIDE_BYTES, MARK_SLOTS, Mark, MarkSlot};
use wal::medium::Access;
use wal::recover::{inspect, recover};
use wal::segment::Segments;
use wal::store::{Rows, Store};
use wal::units::{Lsn, NodeId, Timeline};
use zerocopy::IntoBytes;

/// Opens for writing and recovers everything.
fn start(path: &Path) -> wal::error::Result<Lsn> {
    let directory = Directory::open(path)?;
    let store = directory.store()?;
    let (recovered, shown) = recover_all(&directory, &store)?;
    assert_records(&shown, recovered.tail.seq);
    Ok(recovered.tail.seq)
}

fn refused(path: &Path) -> WalError {
    start(path).expect_err("this must be refused")
}

fn damage(error: WalError) -> Damage {
    assert_eq!(error.kind(), ErrorKind::Damaged);
    let WalError::Damaged { damage, .. } = error else { panic!("{error}") };
    damage
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("the file is there");
    file.write_all_at(bytes, offset).expect("writable");
}

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
fn a_log_continues_over_many_starts_in_head_and_store() {
    let (_temp, path) = new_directory();
    for round in 1..=6 {
        assert_eq!(write_frames(&path, 5, 4), Lsn(20 * round));
    }
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    // The last round is still in the head alone.
    assert_eq!(store.seq_stored(), Lsn(100));
    let (recovered, shown) = recover_all(&directory, &store).expect("intact");
    assert_eq!((recovered.frames_from_store, recovered.frames_from_head, recovered.records), (25, 5, 120));
    assert_records(&shown, Lsn(120));
    assert_eq!((store.seq_stored(), store.flush().expect("flushes")), (Lsn(120), Lsn(120)));
}

#[test]
fn a_start_may_begin_anywhere_up_to_the_end() {
    let (_temp, path) = new_directory();
    write_frames(&path, 5, 4);
    write_frames(&path, 3, 4);
    for from in 1..=33 {
        let directory = Directory::open(&path).expect("intact");
        let store = directory.store().expect("intact");
        let mut shown = Vec::new();
        let recovered = recover(&directory, &store, Lsn(from), |seq, _| {
            shown.push(seq.0);
            Ok(())
        });
        assert_eq!(recovered.expect("intact").records, 33 - from);
        assert_eq!(shown, (from..=32).collect::<Vec<_>>());
    }
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    let beyond = recover(&directory, &store, Lsn(34), |_, _| Ok(())).expect_err("a snapshot newer than the log");
    assert_eq!(beyond.kind(), ErrorKind::ShorterThanAcknowledged);
}

#[test]
fn ring_goes_round_while_the_store_follows() {
    let (_temp, path) = new_directory();
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    let (recovered, _) = recover_all(&directory, &store).expect("intact");
    let mut head: BlockingHead = common::open_head(&directory, recovered.position);
    let mut waited = 0;
    for seq in (1..=2000).map(Lsn) {
        if head.append(&common::record(seq)).expect("the disk works").is_none() {
            waited += 1;
            head.store_all(&store).expect("the store works");
            assert_eq!(head.append(&common::record(seq)).expect("the disk works"), Some(seq));
        }
        if seq.0.is_multiple_of(3) {
            head.commit().expect("the disk works");
            head.move_into(&store).expect("the store works");
        }
    }
    head.commit().expect("the disk works");
    assert!(waited >= 20, "the head waited for the store {waited} times");
    drop((head, store, directory));
    assert_eq!(start(&path).expect("intact"), Lsn(2000));
}

#[test]
fn a_reader_sees_everything_and_writes_nothing_while_the_owner_runs() {
    let (_temp, path) = new_directory();
    write_frames(&path, 4, 3);
    let _owner = Directory::open(&path).expect("intact");
    let reader = Directory::open_read_only(&path).expect("intact");
    let before = fs::read(path.join("head/head-000.seg")).expect("readable");
    let mut count = 0;
    let found = inspect(&reader, Lsn(1), |seq, record| {
        assert_eq!(record, common::record(seq));
        count += 1;
        Ok(())
    });
    assert_eq!((found.expect("intact").seq_stored_found, count), (Lsn(0), 12));
    assert!(before == fs::read(path.join("head/head-000.seg")).expect("readable"));
}

#[test]
fn a_visitor_may_stop_a_start_and_nothing_is_written() {
    let (_temp, path) = new_directory();
    write_frames(&path, 4, 3);
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    let error = recover(&directory, &store, Lsn(1), |seq, _| if seq == Lsn(5) { Err("no".into()) } else { Ok(()) });
    assert!(matches!(error, Err(WalError::Visitor { seq: Lsn(5), .. })));
    assert_eq!(store.tail().seq, Lsn::ZERO);
}

#[test]
fn one_process_at_a_time() {
    let (_temp, path) = new_directory();
    let first = Directory::open(&path).expect("intact");
    assert_eq!(Directory::open(&path).expect_err("locked").kind(), ErrorKind::Locked);
    drop(first);
    drop(Directory::open(&path).expect("free again"));
}

#[test]
fn only_an_empty_place_becomes_a_directory_and_an_empty_one_is_not_opened() {
    let (temp, path) = new_directory();
    let error = Directory::create(&path, &identity(), BALLAST_BYTES).expect_err("not empty");
    assert_eq!(error.kind(), ErrorKind::NotEmpty);
    let empty = temp.path().join("empty");
    fs::create_dir(&empty).expect("makes a directory");
    assert_eq!(Directory::open(&empty).expect_err("empty").kind(), ErrorKind::NotInitialised);
    assert_eq!(fs::read_dir(&empty).expect("readable").count(), 0, "opening made no file");
    assert_eq!(Directory::open(&temp.path().join("absent")).expect_err("absent").kind(), ErrorKind::NotInitialised);
}

#[test]
fn identity_is_proved() {
    let (_temp, path) = new_directory();
    let file = path.join("IDENTITY");
    let text = fs::read_to_string(&file).expect("readable");
    let read = |changed: String| {
        fs::write(&file, changed).expect("writable");
        Directory::open(&path).expect_err("changed").kind()
    };
    assert_eq!(read(text.replace("format 2", "format 3")), ErrorKind::UnknownFormat);
    assert_eq!(read(text.replace("timeline 1", "timeline 2")), ErrorKind::Damaged);
    assert_eq!(read(text.replace("seq_base 0", "seq_base 00")), ErrorKind::Damaged);
    assert_eq!(read(text.trim_end().to_owned()), ErrorKind::Damaged);
    assert_eq!(read(String::new()), ErrorKind::Damaged);
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        fs::write(&file, bytes).expect("writable");
        let kind = Directory::open(&path).expect_err("flipped").kind();
        assert!(matches!(kind, ErrorKind::Damaged | ErrorKind::UnknownFormat), "at {at}: {kind:?}");
    }
}

#[test]
fn a_log_shorter_than_the_mark_is_refused() {
    let (temp, path) = new_directory();
    write_frames(&path, 2, 3);
    let stale = temp.path().join("stale");
    copy_tree(&path, &stale);
    write_frames(&path, 2, 3);
    Directory::open(&path).expect("intact").mark().expect("intact").advance(Lsn(12)).expect("advanced");
    assert_eq!(start(&path).expect("12 is there"), Lsn(12));
    // The old copy is intact; only the mark shows that it is old.
    fs::copy(path.join("MARK"), stale.join("MARK")).expect("copied");
    let error = refused(&stale);
    assert_eq!(error.kind(), ErrorKind::ShorterThanAcknowledged);
    assert!(matches!(error, WalError::ShorterThanAcknowledged { have: Lsn(6), mark: Lsn(12), .. }));
}

/// An older copy that has its own, older mark: what a place outside has shows that it is old.
fn an_older_copy_is_refused_by_a_place_outside() {
    let (temp, path) = new_directory();
    write_frames(&path, 2, 3);
    let stale = temp.path().join("stale");
    copy_tree(&path, &stale);
    write_frames(&path, 2, 3);
    let attested = |seq: u64| Attested { seq: Lsn(seq), path: temp.path().join("outside") };
    for (place, seq, is_old) in [(&path, 12, false), (&stale, 6, false), (&stale, 7, true), (&stale, 12, true)] {
        let mut directory = Directory::open(place).expect("intact");
        directory.attest(attested(seq));
        let outcome = wal::recover::Inspection::open(&directory).and_then(|inspection| inspection.found());
        assert_eq!(outcome.is_err(), is_old, "{seq}");
        if let Err(error) = outcome {
            assert!(error.to_string().contains("outside"), "{error}");
            assert_eq!(error.kind(), ErrorKind::ShorterThanAcknowledged);
        }
    }
}

#[test]
fn what_is_kept_outside_shows_that_a_copy_is_old() {
    an_older_copy_is_refused_by_a_place_outside();
}

#[cfg(feature = "mutation")]
#[test]
fn a_place_outside_that_is_ignored_is_noticed() {
    wal::mutation::plant(Some(wal::mutation::Mutation::OutsideIgnored));
    let outcome = std::panic::catch_unwind(an_older_copy_is_refused_by_a_place_outside);
    wal::mutation::plant(None);
    assert!(outcome.is_err(), "an older copy is served");
}

#[test]
fn mark_survives_a_torn_slot_and_not_two() {
    let (_temp, path) = new_directory();
    let file = path.join("MARK");
    let mut mark = Mark::open(&file, TIMELINE).expect("intact");
    (1..=5).for_each(|seq| mark.advance(Lsn(seq)).expect("advanced"));
    drop(mark);
    assert_eq!(Mark::read(&file, TIMELINE).expect("intact"), Lsn(5));
    let intact = fs::read(&file).expect("readable");
    // Counter 1 was made with the file; note 5 has counter 6: slot 0.
    for at in 0..32 {
        let mut torn = intact.clone();
        torn[at] ^= 1;
        fs::write(&file, &torn).expect("writable");
        assert_eq!(Mark::read(&file, TIMELINE).expect("the other slot"), Lsn(4), "at {at}");
    }
    fs::write(&file, vec![0; intact.len()]).expect("writable");
    assert_eq!(refused(&path).kind(), ErrorKind::Damaged);
    fs::write(&file, &intact).expect("writable");
    assert_eq!(Mark::read(&file, Timeline(2)).expect_err("older").kind(), ErrorKind::TimelineDiffers);
    fs::remove_file(&file).expect("removed");
    assert_eq!(damage(refused(&path)), Damage::FileMissing);
}

/// An intact slot in the wrong place: the next write would overwrite it and could tear the only mark there is.
#[test]
fn a_mark_in_the_other_slots_place_does_not_count() {
    let (_temp, path) = new_directory();
    let file = path.join("MARK");
    let put = |slots: [MarkSlot; 2]| {
        let mut bytes = vec![0; (MARK_SLOTS * MARK_SLOT_STRIDE_BYTES) as usize];
        for (slot, at) in slots.iter().zip([0, MARK_SLOT_STRIDE_BYTES as usize]) {
            bytes[at..at + size_of::<MarkSlot>()].copy_from_slice(slot.as_bytes());
        }
        fs::write(&file, bytes).expect("writable");
        Mark::read(&file, TIMELINE)
    };
    let slot = |counter, seq| MarkSlot::new(TIMELINE, counter, Lsn(seq));
    assert_eq!(put([slot(6, 5), slot(5, 4)]).expect("each in its place"), Lsn(5));
    assert_eq!(put([slot(4, 3), slot(6, 5)]).expect("the first is in its place"), Lsn(3));
    assert_eq!(put([slot(5, 4), slot(6, 5)]).expect_err("swapped").kind(), ErrorKind::Damaged);
    // No writer counts that far: the mark is read, and cannot be advanced.
    assert_eq!(put([slot(4, 3), slot(u64::MAX, 9)]).expect("each in its place"), Lsn(9));
    let mut mark = Mark::open(&file, TIMELINE).expect("intact");
    assert_eq!(mark.advance(Lsn(10)).expect_err("no next counter").kind(), ErrorKind::Damaged);
}

#[test]
fn segments_that_are_not_ours_are_refused() {
    let (temp, path) = new_directory();
    write_frames(&path, 9, 3);
    let file = path.join("head/head-001.seg");
    let intact = fs::read(&file).expect("readable");
    let foreign = |name: &str, node_id, timeline| {
        let dir = temp.path().join(name);
        fs::create_dir(&dir).expect("makes a directory");
        let owner = wal::segment::SegmentOwner { node_id, timeline, geometry: GEOMETRY };
        Segments::create(&dir, owner).expect("made");
        fs::copy(dir.join("head-001.seg"), &file).expect("copied");
        refused(&path)
    };
    let node = NodeId([9; 16]);
    let other = foreign("node", node, TIMELINE);
    assert_eq!(damage(other), Damage::ForeignNode { expected: NODE, found: node });
    assert_eq!(foreign("older", NODE, Timeline(0)).kind(), ErrorKind::TimelineDiffers);
    assert_eq!(foreign("newer", NODE, Timeline(2)).kind(), ErrorKind::TimelineDiffers);

    fs::copy(path.join("head/head-002.seg"), &file).expect("copied");
    assert_eq!(damage(refused(&path)), Damage::OrdinalDiffers { expected: 1, found: 2 });
    fs::write(&file, &intact[..4096]).expect("writable");
    assert!(matches!(damage(refused(&path)), Damage::LengthDiffers { .. }));
    fs::write(&file, &intact).expect("writable");
    overwrite(&file, 4, &[2]);
    assert_eq!(refused(&path).kind(), ErrorKind::UnknownFormat);
    fs::write(&file, &intact).expect("writable");
    overwrite(&file, 9, &[1]);
    assert_eq!(damage(refused(&path)), Damage::Checksum);
    fs::remove_file(&file).expect("removed");
    let WalError::Damaged { path: named, damage, .. } = refused(&path) else { panic!("another error") };
    assert_eq!((named, damage), (file.clone(), Damage::FileMissing));
    fs::write(&file, &intact).expect("writable");
    assert_eq!(start(&path).expect("intact again"), Lsn(27));
}

#[test]
fn a_deleted_store_is_damage_not_a_new_beginning() {
    let (_temp, path) = new_directory();
    write_frames(&path, 2, 3);
    fs::remove_dir_all(path.join("db")).expect("removed");
    fs::create_dir(path.join("db")).expect("made");
    assert_eq!(refused(&path).kind(), ErrorKind::Damaged);
}

#[test]
fn an_old_copy_of_the_store_is_a_hole() {
    let (temp, path) = new_directory();
    write_frames(&path, 5, 3);
    start(&path).expect("everything moves into the store");
    let old = temp.path().join("old");
    copy_tree(&path.join("db"), &old);
    // Five times round the ring: nothing of what the old copy lacks is left in the head.
    (0..10).for_each(|round| assert_eq!(write_frames(&path, 14, 3), Lsn(15 + 42 * (round + 1))));
    start(&path).expect("intact");
    write_frames(&path, 2, 3);
    fs::remove_dir_all(path.join("db")).expect("removed");
    copy_tree(&old, &path.join("db"));
    assert!(matches!(damage(refused(&path)), Damage::Hole { .. }));
}

/// Changes the frame at `seq` without the store; `None` removes it.
fn tamper(path: &Path, seq: Lsn, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
    let families = ["default", "log", "history", "meta"];
    let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), path.join("db"), families).expect("opens");
    let family = db.cf_handle("log").expect("there");
    let key = wal::store::log_key(TIMELINE, seq);
    match change(db.get_cf(family, key).expect("readable").expect("there")) {
        Some(frame) => db.put_cf(family, key, frame).expect("put"),
        None => db.delete_cf(family, key).expect("deleted"),
    }
    db.flush_cf(family).expect("flushed");
}

#[test]
fn a_hole_in_the_store_is_refused_with_its_sequence() {
    let (_temp, path) = new_directory();
    write_frames(&path, 10, 3);
    start(&path).expect("everything moves into the store");
    tamper(&path, Lsn(13), |_| None);
    let error = refused(&path);
    assert!(
        matches!(error, WalError::Damaged { seq: Lsn(13), damage: Damage::SeqGap { found: Lsn(16) }, .. }),
        "{error}"
    );
    // A start after the hole is refused as well: a frame is compared with the one before it.
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    assert!(recover(&directory, &store, Lsn(17), |_, _| Ok(())).is_err());
}

#[test]
fn a_flipped_bit_in_the_store_is_refused() {
    let (_temp, path) = new_directory();
    write_frames(&path, 10, 3);
    start(&path).expect("everything moves into the store");
    // By RocksDB's own checksum, in the file ...
    let sst = fs::read_dir(path.join("db"))
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .find(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .expect("a flush has made a file");
    let intact = fs::read(&sst).expect("readable");
    let at = intact.windows(8).position(|window| window == 14_u64.to_le_bytes()).expect("record 14 is in the file");
    overwrite(&sst, at as u64, &[intact[at] ^ 1]);
    assert_eq!(refused(&path).kind(), ErrorKind::Damaged);
    overwrite(&sst, at as u64, &[intact[at]]);
    assert_eq!(start(&path).expect("intact again"), Lsn(30));
    // ... and by ours, where RocksDB was given wrong bytes to begin with.
    tamper(&path, Lsn(13), |mut frame| {
        frame[80] ^= 1;
        Some(frame)
    });
    let error = refused(&path);
    assert!(matches!(error, WalError::Damaged { seq: Lsn(13), damage: Damage::Frame(_), .. }), "{error}");
}

#[test]
fn the_store_takes_only_what_follows() {
    let (_temp, path) = new_directory();
    write_frames(&path, 4, 3);
    start(&path).expect("everything moves into the store");
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    let second = store.frames(Lsn(4)).expect("intact").next_frame().expect("intact").expect("there").bytes().to_vec();
    let error = store.append_frames([second.as_slice()]).expect_err("it is there already");
    assert!(matches!(error, WalError::Damaged { damage: Damage::SeqGap { found: Lsn(4) }, .. }));
    assert_eq!(store.tail().seq, Lsn(12));
}

#[test]
fn truncation_keeps_complete_frames_and_the_chain() {
    let (_temp, path) = new_directory();
    write_frames(&path, 10, 3);
    start(&path).expect("everything moves into the store");
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    assert_eq!(store.truncate_before(Lsn(14)).expect("truncates").seq, Lsn(12));
    store.flush().expect("flushes");
    drop(store);
    let store = directory.store().expect("intact");
    assert_eq!(store.base().expect("intact").seq, Lsn(12));
    assert_eq!(store.frames(Lsn(12)).err().expect("gone").kind(), ErrorKind::NotRetained);
    let recovered = recover(&directory, &store, Lsn(13), |_, _| Ok(())).expect("intact");
    assert_eq!((recovered.records, recovered.tail.seq), (18, Lsn(30)));
}

/// Each frame in a file of its own, as a quiet market between two snapshots leaves them.
#[test]
fn a_cut_takes_no_file_with_a_frame_that_stays() {
    let (_temp, path) = new_directory();
    write_frames(&path, 12, 3);
    start(&path).expect("everything moves into the store");
    let source = Directory::open(&path).expect("intact");
    let source = source.store().expect("intact");
    let (_temp, path) = new_directory();
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    let mut frames = source.frames(Lsn(1)).expect("intact");
    while let Some(frame) = frames.next_frame().expect("intact") {
        store.append_frames([frame.bytes()]).expect("appended");
        store.flush().expect("flushed");
    }
    for (cut, base) in [(4, 3), (14, 12), (34, 33)] {
        assert_eq!(store.truncate_before(Lsn(cut)).expect("truncates").seq, Lsn(base));
        store.flush().expect("flushes");
        store.reclaim().expect("reclaims");
        let mut left = store.frames(Lsn(base + 1)).expect("intact");
        let mut count = 0;
        while left.next_frame().expect("intact").is_some() {
            count += 1;
        }
        assert_eq!(count, (36 - base) / 3, "after {base}");
    }
}

#[test]
fn rows_are_kept_together_and_scanned_by_prefix() {
    let (_temp, path) = new_directory();
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    let mut rows = Rows::new();
    for key in ["a1", "a2", "a3", "b1"] {
        rows.put_history(key, key.to_uppercase());
    }
    rows.delete_history("a2");
    rows.put_meta("cursor", [7]);
    store.commit(rows).expect("written");
    store.flush().expect("flushed");
    drop(store);
    let store = directory.store().expect("intact");
    let mut found = Vec::new();
    let mut collect = |prefix: &str, from: &str| {
        store
            .history_scan(prefix.as_bytes(), from.as_bytes(), |key, _| {
                found.push(String::from_utf8_lossy(key).into_owned());
                std::ops::ControlFlow::Continue(())
            })
            .expect("readable");
        std::mem::take(&mut found)
    };
    assert_eq!(collect("a", ""), ["a1", "a3"]);
    assert_eq!(collect("a", "a2"), ["a3"]);
    assert_eq!(collect("", ""), ["a1", "a3", "b1"]);
    assert_eq!(store.meta(b"cursor").expect("readable"), Some(vec![7]));
    assert_eq!(store.history(b"b1").expect("readable"), Some(b"B1".to_vec()));
    assert_eq!(store.history(b"a2").expect("readable"), None);
}

#[test]
fn ballast_comes_back_only_where_there_is_room() {
    let (_temp, path) = new_directory();
    let directory = Directory::open(&path).expect("intact");
    let ballast = path.join("BALLAST");
    assert_eq!(directory.restore_ballast(BALLAST_BYTES, 0).expect("readable"), Ballast::Present);
    fs::remove_file(&ballast).expect("deleted");
    assert_eq!(directory.restore_ballast(BALLAST_BYTES, 5 * BALLAST_BYTES - 1).expect("readable"), Ballast::NoRoom);
    assert!(!ballast.exists());
    assert_eq!(directory.restore_ballast(BALLAST_BYTES, 5 * BALLAST_BYTES).expect("writes"), Ballast::Recreated);
    assert_eq!(fs::metadata(&ballast).expect("there").len(), BALLAST_BYTES);
}

#[test]
fn a_later_timeline_begins_at_its_base() {
    let (temp, _) = new_directory();
    let path = temp.path().join("restored");
    let restored = Identity { timeline: Timeline(2), seq_base: Lsn(500), ..identity() };
    Directory::create(&path, &restored, BALLAST_BYTES).expect("made");
    let directory = Directory::open(&path).expect("intact");
    let store: Store = directory.store().expect("intact");
    let recovered = recover(&directory, &store, Lsn(501), |_, _| Ok(())).expect("intact");
    assert_eq!(recovered.tail, restored.origin().tail());
    let earlier = recover(&directory, &store, Lsn(500), |_, _| Ok(())).expect_err("another timeline's");
    assert_eq!(earlier.kind(), ErrorKind::NotRetained);
}

#[test]
fn direct_access_reads_headers_or_says_why_not() {
    let (_temp, path) = new_directory();
    let directory = Directory::open(&path).expect("intact");
    match directory.segments(Access::Direct) {
        Ok(segments) => assert_eq!(segments.geometry(), GEOMETRY),
        Err(error) => assert!(matches!(error, WalError::DirectRefused { .. }), "{error}"),
    }
}
