//! Links of the log: each frame must follow the one before it, in the head and where a walk begins.

mod common;

use std::fs;
use std::path::Path;

use common::{GEOMETRY, identity, new_directory, write_frames};
use wal::directory::Directory;
use wal::error::{Damage, WalError};
use wal::frame::Frame;
use wal::head::HeadPosition;
use wal::medium::Access;
use wal::recover::{Inspection, inspect};
use wal::scan::scan;
use wal::segment::Segments;
use wal::units::{Lsn, Place, Tail};
use wal::verdict::{Refusal, Verdict, judge};

fn genesis() -> Tail {
    HeadPosition::fresh(common::NODE, common::TIMELINE, Lsn::ZERO).tail
}

fn judged(path: &Path, stored: Tail) -> Result<Verdict, Refusal> {
    let segments = Segments::open(&path.join("head"), identity().owner(), Access::Read).expect("headers are intact");
    judge(&scan(&segments, common::TIMELINE, stored.seq).expect("readable"), stored, Lsn::ZERO)
}

/// Changes the link of the frame at `place` and makes its checksum right again.
fn relink(path: &Path, place: Place) {
    let segment = path.join(format!("head/head-{:03}.seg", place.segment.0));
    let mut bytes = fs::read(&segment).expect("readable");
    assert_eq!(bytes.len() as u64, GEOMETRY.segment_bytes);
    let rest = &mut bytes[place.offset as usize..];
    let frame_bytes = Frame::decode(rest).expect("a frame is here").bytes().len();
    let frame = &mut rest[..frame_bytes];
    frame[40] ^= 1;
    frame[36..40].fill(0);
    let crc = crc32c::crc32c(frame).to_le_bytes();
    frame[36..40].copy_from_slice(&crc);
    assert!(Frame::decode(frame).is_ok(), "nothing but its link is wrong");
    fs::write(&segment, bytes).expect("writable");
}

/// The last frame too, although no later one proves it.
#[test]
fn the_link_of_every_frame_of_the_head_is_checked() {
    let (_temp, path) = new_directory();
    write_frames(&path, 11, 3);
    let frames = judged(&path, genesis()).expect("intact").frames;
    assert_eq!(frames.len(), 11);
    for frame in frames.iter().rev() {
        relink(&path, frame.place);
        let refusal = judged(&path, genesis()).expect_err("a frame of another history");
        let expected = Refusal { place: frame.place, seq: frame.seq_first, damage: Damage::ChainBroken };
        assert_eq!(refusal, expected);
    }
}

/// The head may still have a copy of the last frame that the store holds.
#[test]
fn the_two_copies_of_the_stored_frame_are_compared() {
    let (_temp, path) = new_directory();
    write_frames(&path, 3, 3);
    let tail = judged(&path, genesis()).expect("intact").tail;
    assert_eq!(judged(&path, tail).expect("the same frame").frames, []);
    let mut other = tail;
    other.chain.0[0] ^= 1;
    assert_eq!(judged(&path, other).expect_err("two histories").damage, Damage::ChainBroken);
}

/// Wherever the state ends: before, in and after what the store holds, and at the end of the log.
#[test]
fn a_state_of_another_history_is_refused() {
    let (_temp, path) = new_directory();
    write_frames(&path, 4, 3);
    write_frames(&path, 4, 3);
    let directory = Directory::open_read_only(&path).expect("intact");
    let mut tails = vec![genesis()];
    {
        let inspection = Inspection::open(&directory).expect("intact");
        let mut walk = inspection.frames(Lsn(1)).expect("intact");
        while let Some((frame, _)) = walk.next_frame().expect("intact") {
            tails.push(frame.tail());
        }
    }
    assert_eq!(tails.len(), 9);
    for tail in tails {
        inspect(&directory, tail, |_, _| Ok(())).expect("its own history");
        let mut other = tail;
        other.chain.0[31] ^= 1;
        let error = inspect(&directory, other, |_, _| Ok(())).expect_err("another history");
        let WalError::Damaged { seq, damage, .. } = error else { panic!("{error}") };
        assert_eq!((seq, damage), (tail.seq.next(), Damage::ChainBroken));
    }
}

#[cfg(feature = "mutation")]
#[test]
fn links_that_are_not_checked_are_noticed() {
    use wal::mutation::Mutation::*;
    common::assert_noticed(LastLinkUnchecked, the_link_of_every_frame_of_the_head_is_checked);
    common::assert_noticed(StoredCopyUnchecked, the_two_copies_of_the_stored_frame_are_compared);
    common::assert_noticed(StartLinkUnchecked, a_state_of_another_history_is_refused);
}
