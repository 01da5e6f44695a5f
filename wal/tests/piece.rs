//! Pieces of a log: what goes in comes out, every flipped bit and every cut is refused, the bytes are pinned.

mod common;

use std::path::Path;

use common::{NODE, Rng, TIMELINE, new_directory, open_head, record, recover_all, write_frames};
use wal::directory::Directory;
use wal::error::ErrorKind;
use wal::frame::{FRAME_HEADER_BYTES, Frame, FrameSpec, put_record, seal};
use wal::mark::Mark;
use wal::piece::{PIECE_HEADER_BYTES, Piece, PieceBuilder};
use wal::recover::Inspection;
use wal::store::Store;
use wal::units::{ChainHash, Lsn, Tail};

/// Three frames of two records each.
fn three_frames() -> (Tail, Vec<Vec<u8>>) {
    let begin = Tail { seq: Lsn(6), chain: ChainHash::genesis(NODE, TIMELINE) };
    let (mut tail, mut frames) = (begin, Vec::new());
    for _ in 0..3 {
        let mut buffer = vec![0; 4096];
        let mut end = FRAME_HEADER_BYTES;
        for seq in [tail.seq.next(), tail.seq.advance(2)] {
            let bytes = record(seq);
            end = put_record(&mut buffer, end, bytes.len(), |room| {
                room.copy_from_slice(&bytes);
                bytes.len()
            });
        }
        let seq_first = tail.seq.next();
        let spec =
            FrameSpec { timeline: TIMELINE, seq_first, seq_durable: tail.seq, record_count: 2, chain_prev: tail.chain };
        seal(&mut buffer, end, spec);
        buffer.truncate(end);
        tail = Frame::decode(&buffer).expect("just sealed").tail();
        frames.push(buffer);
    }
    (begin, frames)
}

fn sealed() -> (Tail, Vec<Vec<u8>>, Vec<u8>) {
    let (begin, frames) = three_frames();
    let mut builder = PieceBuilder::new(NODE, TIMELINE, begin);
    for (idx, bytes) in frames.iter().enumerate() {
        builder.push(&Frame::decode(bytes).expect("intact"), idx as u64 * 10, idx as u64 * 10 + 5);
    }
    let (header, bytes) = builder.seal().expect("compresses");
    assert_eq!((header.seq_first(), header.seq_last(), header.frame_count), (Lsn(7), Lsn(12), 3));
    assert_eq!((header.time_first, header.time_last), (0, 25));
    (begin, frames, bytes)
}

#[test]
fn what_goes_in_comes_out() {
    let (begin, frames, bytes) = sealed();
    let piece = Piece::open(Path::new("p"), &bytes).expect("intact");
    let out: Vec<Vec<u8>> = piece.frames().map(|frame| frame.bytes().to_vec()).collect();
    assert_eq!(out, frames);
    assert_eq!(piece.header().before, begin);
    assert_eq!(Piece::peek(Path::new("p"), &bytes[..PIECE_HEADER_BYTES]).expect("its header"), *piece.header());
}

#[test]
fn every_flipped_byte_and_every_cut_is_refused() {
    let (_, _, bytes) = sealed();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        assert!(Piece::open(Path::new("p"), &flipped).is_err(), "byte {at} flipped");
        assert!(Piece::open(Path::new("p"), &bytes[..at]).is_err(), "cut at {at}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(Piece::open(Path::new("p"), &longer).is_err(), "a byte too many");
}

#[test]
fn the_header_is_where_it_is() {
    let (_, _, bytes) = sealed();
    assert_eq!(&bytes[..8], b"WPCE\x01\0\xc0\0");
    assert_eq!(bytes[8..16], [1, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(bytes[16..32], NODE.0);
    assert_eq!(bytes[32..48], [7, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0]);
    let mut newer = bytes.clone();
    newer[4] = 2;
    assert!(Piece::open(Path::new("p"), &newer).is_err());
}

#[test]
fn a_walk_shows_the_frames_of_store_and_head_and_up_to_where_they_are_durable() {
    let (_temp, path) = new_directory();
    write_frames(&path, 5, 4);
    assert_eq!(write_frames(&path, 3, 4), Lsn(32));
    let directory = Directory::open_read_only(&path).expect("intact");
    let inspection = Inspection::open(&directory).expect("intact");
    // No later frame attests the last one, and the mark does not cover it.
    assert_eq!(inspection.seq_durable().expect("readable"), Lsn(28));
    inspection.sync().expect("a file opened for reading can be synced");
    let base = inspection.base().expect("readable");
    let (mut tail, mut count) = (base, 0);
    let mut walk = inspection.frames(base).expect("intact");
    while let Some((frame, _)) = walk.next_frame().expect("intact") {
        assert!(frame.follows(tail));
        (tail, count) = (frame.tail(), count + 1);
    }
    assert_eq!((tail, count), (inspection.tail(), 8));
    drop(walk);
    Mark::open(&directory.mark_path(), TIMELINE).expect("intact").advance(Lsn(32)).expect("written");
    assert_eq!(inspection.seq_durable().expect("readable"), Lsn(32));
    let elsewhere = Tail { seq: Lsn(8), chain: ChainHash::genesis(NODE, TIMELINE) };
    let mut walk = inspection.frames(elsewhere).expect("within the log");
    assert_eq!(walk.next_frame().map(|_| ()).expect_err("another log's state").kind(), ErrorKind::Damaged);
}

#[test]
fn a_follower_sees_each_new_frame_and_nothing_of_an_older_use() {
    let (_temp, path) = new_directory();
    let owner = Directory::open(&path).expect("intact");
    let store = owner.store().expect("intact");
    let (recovered, _) = recover_all(&owner, &store).expect("intact");
    let mut head = open_head(&owner, recovered.position);
    let reader = Directory::open_read_only(&path).expect("intact");
    let mut write = |count: u64| {
        for _ in 0..count {
            let seq = head.head().seq_next();
            while head.append(&record(seq)).expect("the disk works").is_none() {
                head.store_all(&store).expect("the store works");
            }
            head.commit().expect("the disk works");
            head.move_into(&store).expect("the store works");
        }
        head.head().seq_durable()
    };
    write(3);
    let inspection = Inspection::open(&reader).expect("intact");
    let mut follower = inspection.follow(inspection.tail()).expect("readable").expect("its end is in the head");
    let mut rng = Rng(7);
    let (mut seen, mut rounds) = (Lsn(3), 0);
    // The ring has 28 blocks and goes round many times; a reader that keeps up misses nothing.
    while seen < Lsn(400) {
        let end = write(1 + rng.below(9));
        let held_back = Lsn(end.0 - rng.below(2));
        while let Some(frame) = follower.next_frame(held_back).expect("readable") {
            assert_eq!(frame.seq_first(), seen.next());
            seen = frame.seq_last();
        }
        assert_eq!((seen, follower.tail().seq), (held_back, held_back));
        rounds += 1;
    }
    assert!(40 < rounds);
    // A follower with a lag of a ring finds nothing; an inspection finds the rest.
    let end = write(60);
    assert!(follower.next_frame(end).expect("readable").is_none());
    let inspection = Inspection::open(&reader).expect("intact");
    let mut follower = inspection.follow(inspection.tail()).expect("readable").expect("its end is in the head");
    let end = write(1);
    assert_eq!(follower.next_frame(end).expect("readable").map(|frame| frame.seq_last()), Some(end));
}

#[test]
fn an_empty_log_can_begin_after_a_state() {
    let (begin, frames) = three_frames();
    let (_temp, path) = new_directory();
    let directory = Directory::open(&path).expect("intact");
    let store: Store = directory.store().expect("intact");
    store.begin_after(begin).expect("empty");
    store.append_frames(frames.iter().map(Vec::as_slice)).expect("they follow");
    assert_eq!(store.flush().expect("flushes"), Lsn(12));
    drop((store, directory));
    let directory = Directory::open_read_only(&path).expect("intact");
    let inspection = Inspection::open(&directory).expect("intact");
    assert_eq!((inspection.base().expect("readable"), inspection.tail().seq), (begin, Lsn(12)));
    let mut shown = Vec::new();
    inspection
        .show(begin, |seq, _| {
            shown.push(seq.0);
            Ok(())
        })
        .expect("intact");
    assert_eq!(shown, [7, 8, 9, 10, 11, 12]);
}
