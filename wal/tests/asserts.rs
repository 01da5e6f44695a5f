//! Mistakes of the crate's own callers: each of them ends in the assert that states the rule, before anything is
//! written.

mod common;

use common::{GEOMETRY, NODE, TIMELINE, config, identity, new_directory, record, write_frames};
use tempfile::TempDir;
use wal::directory::Directory;
use wal::head::{Head, HeadPosition, WriteOp};
use wal::mark::Mark;
use wal::medium::Access;
use wal::piece::PieceBuilder;
use wal::segment::Segments;
use wal::snapshot::{SnapshotHeader, SnapshotWriter};
use wal::units::{ChainHash, Lsn, Place, SegmentIdx, Tail};

const GENESIS: Tail = Tail { seq: Lsn::ZERO, chain: ChainHash([0; 32]) };

/// A head with one frame of one record in flight.
fn one_in_flight() -> (Head, WriteOp) {
    let mut head = Head::new(config(), HeadPosition::fresh(NODE, TIMELINE, Lsn::ZERO)).expect("a valid configuration");
    head.append(Lsn(1), &record(Lsn(1)));
    let op = head.next_write().expect("the frame has a record");
    (head, op)
}

fn wipe(place: Place) {
    let temp = TempDir::new().expect("a temporary directory");
    Segments::create(temp.path(), identity().owner()).expect("created");
    let segments = Segments::open(temp.path(), identity().owner(), Access::ReadWrite).expect("intact");
    segments.wipe(&[place]).expect("the test's own disk works");
}

#[test]
#[should_panic(expected = "nothing is stored that was not durable")]
fn stored_before_durable() {
    one_in_flight().0.advance_stored(Lsn(1));
}

#[test]
#[should_panic(expected = "a watermark never falls")]
fn a_stored_watermark_that_falls() {
    let (mut head, op) = one_in_flight();
    head.complete_write(op.ticket, Ok(op.bytes_len)).expect("not poisoned");
    head.complete_sync(op.ticket, Ok(())).expect("not poisoned");
    head.advance_stored(Lsn(1));
    head.advance_stored(Lsn::ZERO);
}

#[test]
#[should_panic(expected = "a write completes once")]
fn a_write_that_completes_twice() {
    let (mut head, op) = one_in_flight();
    head.complete_write(op.ticket, Ok(op.bytes_len)).expect("not poisoned");
    let _unreachable = head.complete_write(op.ticket, Ok(op.bytes_len));
}

#[test]
#[should_panic(expected = "only a durable frame is released")]
fn a_frame_released_in_flight() {
    one_in_flight().0.release_durable_frame();
}

#[test]
#[should_panic(expected = "the log continues in a segment")]
fn a_head_that_begins_outside_of_its_segments() {
    let place = Place { segment: SegmentIdx(GEOMETRY.segment_count), offset: 4096 };
    let _unreachable = Head::new(config(), HeadPosition { tail: GENESIS, seq_stored: Lsn::ZERO, place });
}

#[test]
#[should_panic(expected = "a place in the head moves by blocks")]
fn a_place_between_two_blocks() {
    Place { segment: SegmentIdx(0), offset: 4096 }.advance(100);
}

#[test]
#[should_panic(expected = "the header block is never written again")]
fn a_wiped_segment_header() {
    wipe(Place { segment: SegmentIdx(0), offset: 0 });
}

#[test]
#[should_panic(expected = "never a part of one")]
fn a_wiped_part_of_a_block() {
    wipe(Place { segment: SegmentIdx(0), offset: 4096 + 512 });
}

#[test]
#[should_panic(expected = "a mark never falls")]
fn a_mark_that_falls() {
    let temp = TempDir::new().expect("a temporary directory");
    let path = temp.path().join("MARK");
    Mark::create(&path, TIMELINE, Lsn(5)).expect("created");
    let _unreachable = Mark::open(&path, TIMELINE).expect("intact").advance(Lsn(4));
}

#[test]
#[should_panic(expected = "only a log without a frame can begin elsewhere")]
fn a_store_with_frames_that_begins_elsewhere() {
    let (_temp, path) = new_directory();
    write_frames(&path, 1, 1);
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    common::recover_all(&directory, &store).expect("intact");
    let _unreachable = store.begin_after(Tail { seq: Lsn(9), chain: ChainHash([1; 32]) });
}

#[test]
#[should_panic(expected = "only the owner of the lock writes")]
fn a_mark_of_a_directory_that_is_open_for_reading() {
    let (_temp, path) = new_directory();
    let _unreachable = Directory::open_read_only(&path).expect("intact").mark();
}

#[test]
#[should_panic(expected = "frames come in order, without gaps")]
fn a_piece_with_a_gap() {
    let (_temp, path) = new_directory();
    write_frames(&path, 2, 1);
    let directory = Directory::open(&path).expect("intact");
    let store = directory.store().expect("intact");
    common::recover_all(&directory, &store).expect("intact");
    let mut frames = store.frames(Lsn(2)).expect("retained");
    let second = frames.next_frame().expect("intact").expect("two frames were written");
    PieceBuilder::new(NODE, TIMELINE, identity().origin().tail()).push(&second, 0, 0);
}

#[test]
#[should_panic(expected = "only a piece with a frame is sealed")]
fn an_empty_piece() {
    let _unreachable = PieceBuilder::new(NODE, TIMELINE, GENESIS).seal();
}

#[test]
#[should_panic(expected = "tag 0 is the end's")]
fn a_snapshot_piece_with_the_tag_of_the_end() {
    let temp = TempDir::new().expect("a temporary directory");
    let (tail, build) = (GENESIS, String::new());
    let header = SnapshotHeader {
        version: 1,
        node_id: NODE,
        timeline: TIMELINE,
        tail,
        time: 0,
        log_bytes: 0,
        state_hash: [0; 32],
        build,
    };
    let _unreachable = SnapshotWriter::create(temp.path(), header).expect("created").piece(0, b"state");
}
