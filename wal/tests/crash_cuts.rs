//! The head cut and flipped at every byte of its last frames: a torn end is cut, everything else is refused with its
//! place.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{assert_records, identity, new_directory, write_frames};
use wal::error::{Damage, WalError};
use wal::head::HeadPosition;
use wal::medium::Access;
use wal::scan::scan;
use wal::segment::Segments;
use wal::torn_ends::TornEnds;
use wal::units::{Lsn, Tail};
use wal::verdict::{Refusal, Verdict, judge};

const RECORDS: usize = 3;

/// A head of eleven frames of three records; the store holds none of them. Segment 0 takes seven.
struct Image {
    _temp: tempfile::TempDir,
    path: PathBuf,
}

impl Image {
    fn new() -> Image {
        let (_temp, path) = new_directory();
        assert_eq!(write_frames(&path, 11, RECORDS), Lsn(33));
        Image { _temp, path }
    }

    fn segment(&self, ordinal: u32) -> PathBuf {
        self.path.join(format!("head/head-{ordinal:03}.seg"))
    }

    fn judge(&self) -> Result<Verdict, Refusal> {
        judge_from(&self.path, HeadPosition::fresh(common::NODE, common::TIMELINE, Lsn::ZERO).tail)
    }
}

fn judge_from(path: &Path, stored: Tail) -> Result<Verdict, Refusal> {
    let segments = Segments::open(&path.join("head"), identity().owner(), Access::Read).expect("headers are intact");
    judge(&scan(&segments, common::TIMELINE, stored.seq).expect("readable"), stored, Lsn::ZERO)
}

/// Bytes of a frame of three records, from its own header.
fn frame_bytes(segment: &[u8], offset: usize) -> usize {
    wal::frame::Frame::decode(&segment[offset..]).expect("a frame is here").bytes().len()
}

#[test]
fn an_intact_head_is_read_to_its_end() {
    let verdict = Image::new().judge().expect("nothing is wrong");
    assert_eq!((verdict.tail.seq, verdict.frames.len(), verdict.cut), (Lsn(33), 11, None));
    assert_eq!((verdict.place.segment.0, verdict.place.offset), (1, 5 * 4096));
}

#[test]
fn last_frame_cut_at_every_byte_is_a_torn_end() {
    let image = Image::new();
    let intact = fs::read(image.segment(1)).expect("readable");
    let start = 4 * 4096;
    let len = frame_bytes(&intact, start);
    for kept in 0..len {
        let mut torn = intact.clone();
        torn[start + kept..].fill(0);
        if torn == intact {
            continue;
        }
        fs::write(image.segment(1), &torn).expect("writable");
        let verdict = image.judge().unwrap_or_else(|refusal| panic!("kept {kept}: {refusal:?}"));
        assert_eq!(verdict.tail.seq, Lsn(30), "kept {kept}");
        // Without the low byte of its sequence nothing looks like a newer frame; with it, the block must be wiped.
        assert_eq!(verdict.cut.is_some(), kept >= 17, "kept {kept}");
    }
}

#[test]
fn last_frame_flipped_at_every_byte_is_a_torn_end() {
    let image = Image::new();
    let intact = fs::read(image.segment(1)).expect("readable");
    let start = 4 * 4096;
    for at in start..start + frame_bytes(&intact, start) {
        let mut flipped = intact.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(image.segment(1), &flipped).expect("writable");
        let verdict = image.judge().unwrap_or_else(|refusal| panic!("at {at}: {refusal:?}"));
        assert_eq!(verdict.tail.seq, Lsn(30), "at {at}");
    }
}

#[test]
fn a_durable_frame_flipped_at_every_byte_is_refused_with_its_place() {
    let image = Image::new();
    // The last but one, the last of a segment, the first of a segment, the very first.
    for (ordinal, block, seq, later) in [(1, 3, 28, 31), (0, 7, 19, 22), (1, 1, 22, 25), (0, 1, 1, 4)] {
        let intact = fs::read(image.segment(ordinal)).expect("readable");
        let start = block * 4096;
        for at in start..start + frame_bytes(&intact, start) {
            let mut flipped = intact.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(image.segment(ordinal), &flipped).expect("writable");
            let refusal = image.judge().expect_err("a later frame attests it");
            assert_eq!(refusal.damage, Damage::Hole { later: Lsn(later) }, "at {at}");
            assert_eq!((refusal.seq, refusal.place.segment.0), (Lsn(seq), ordinal), "at {at}");
            assert_eq!(refusal.place.offset, start as u64, "at {at}");
        }
        fs::write(image.segment(ordinal), &intact).expect("writable");
    }
}

/// Refuses a start on a head whose last frame is damaged by `damage`, after the mark was raised to its sequence.
fn refused_by_the_mark(damage: impl Fn(&mut [u8])) -> (WalError, PathBuf) {
    let image = Image::new();
    let mut bytes = fs::read(image.segment(1)).expect("readable");
    damage(&mut bytes[4 * 4096..]);
    fs::write(image.segment(1), &bytes).expect("writable");
    let directory = wal::directory::Directory::open(&image.path).expect("intact");
    directory.mark().expect("intact").advance(Lsn(33)).expect("advanced");
    let store = directory.store().expect("intact");
    let error = common::recover_all(&directory, &store).expect_err("33 was acknowledged");
    assert!(bytes == fs::read(image.segment(1)).expect("readable"), "nothing is wiped when refusing");
    (error, image.segment(1))
}

/// However it is damaged: what is left of it is reported as damage with its place, and where nothing is left the log is
/// too short, and the error says where the frame should be.
fn a_last_frame_that_the_mark_covers_is_never_cut() {
    let len = frame_bytes(&fs::read(Image::new().segment(1)).expect("readable"), 4 * 4096);
    for at in [0, 17, 30, 40, 71, 75, len - 1] {
        let (error, segment) = refused_by_the_mark(|frame| frame[at] ^= 1);
        let text = error.to_string();
        match error {
            WalError::Damaged {
                path,
                offset: 16_384,
                seq: Lsn(31),
                damage: Damage::Acknowledged { mark: Lsn(33) },
            } => {
                assert_eq!(path, segment, "at {at}");
            }
            // Its first byte says that there is a frame at all, and this one which it is.
            WalError::ShorterThanAcknowledged {
                have: Lsn(30), mark: Lsn(33), segment: named, offset: 16_384, ..
            } => {
                assert!(named == segment && (at == 0 || at == 17), "at {at}: {text}");
            }
            _ => panic!("at {at}: {text}"),
        }
        assert!(text.contains("head-001.seg") && text.contains("16384"), "{text}");
    }
    let (error, segment) = refused_by_the_mark(|frame| frame.fill(0));
    let WalError::ShorterThanAcknowledged { segment: named, offset, .. } = error else { panic!("{error}") };
    assert_eq!((named, offset), (segment, 16_384));
}

#[test]
fn the_mark_attests_the_last_frame() {
    a_last_frame_that_the_mark_covers_is_never_cut();
}

#[cfg(feature = "mutation")]
#[test]
fn a_mark_that_attests_nothing_is_noticed() {
    wal::mutation::plant(Some(wal::mutation::Mutation::MarkAttestsNothing));
    let outcome = std::panic::catch_unwind(a_last_frame_that_the_mark_covers_is_never_cut);
    wal::mutation::plant(None);
    assert!(outcome.is_err(), "the damage is not reported as damage");
}

#[test]
fn more_intact_frames_than_can_be_in_flight_are_not_a_torn_end() {
    // Frames that attest nothing (their writer never saw a completion), after a missing first one.
    let at = HeadPosition::fresh(common::NODE, common::TIMELINE, Lsn::ZERO);
    let verdict_with = |intact: u64| {
        let mut found = wal::scan::HeadScan::default();
        for seq in (2..2 + intact).map(Lsn) {
            let place = wal::units::Place { segment: wal::units::SegmentIdx(0), offset: seq.0 * 4096 };
            let (chain_prev, hash) = (at.tail.chain, at.tail.chain);
            let seq_durable = Lsn::ZERO;
            let (seq_first, seq_last) = (seq, seq);
            let frame_bytes = 100;
            found.frames.push(wal::scan::FramePlace {
                place,
                frame_bytes,
                seq_first,
                seq_last,
                seq_durable,
                chain_prev,
                hash,
            });
        }
        judge(&found, at.tail, Lsn::ZERO)
    };
    assert_eq!(verdict_with(15).expect("fifteen after one").cut.expect("cut").frames_intact, 15);
    assert_eq!(verdict_with(16).expect_err("sixteen after one").damage, Damage::BeyondInFlight { count: 16 });
}

/// Its records may hold anything, also what looks like a frame at the start of a block.
#[test]
fn a_cut_takes_every_block_of_a_frame() {
    let at = HeadPosition::fresh(common::NODE, common::TIMELINE, Lsn::ZERO);
    let place = |offset| wal::units::Place { segment: wal::units::SegmentIdx(0), offset };
    let found = wal::scan::HeadScan {
        frames: vec![wal::scan::FramePlace {
            place: place(2 * 4096),
            frame_bytes: 2 * 4096 + 1,
            seq_first: Lsn(2),
            seq_last: Lsn(2),
            seq_durable: Lsn::ZERO,
            chain_prev: at.tail.chain,
            hash: at.tail.chain,
        }],
        ..wal::scan::HeadScan::default()
    };
    let cut = judge(&found, at.tail, Lsn::ZERO).expect("a torn end").cut.expect("the first frame is missing");
    assert_eq!(cut.wipes, [2, 3, 4].map(|block| place(block * 4096)));
}

#[test]
fn refusing_writes_nothing() {
    let image = Image::new();
    let mut bytes = fs::read(image.segment(0)).expect("readable");
    bytes[3 * 4096 + 80] ^= 1;
    fs::write(image.segment(0), &bytes).expect("writable");
    let before: Vec<_> = (0..4).map(|ordinal| fs::read(image.segment(ordinal)).expect("readable")).collect();

    let directory = wal::directory::Directory::open(&image.path).expect("intact");
    let store = directory.store().expect("intact");
    let error = common::recover_all(&directory, &store).expect_err("a hole");
    let WalError::Damaged { path, offset, seq, .. } = error else { panic!("{error}") };
    assert_eq!((path, offset, seq), (image.segment(0), 3 * 4096, Lsn(7)));
    assert_eq!(store.tail().seq, Lsn::ZERO);
    let after: Vec<_> = (0..4).map(|ordinal| fs::read(image.segment(ordinal)).expect("readable")).collect();
    assert!(before == after);
}

#[test]
fn a_right_checksum_with_a_wrong_link_is_refused() {
    let image = Image::new();
    let mut stored = HeadPosition::fresh(common::NODE, common::TIMELINE, Lsn::ZERO).tail;
    stored.chain.0[0] ^= 1;
    let refusal = judge_from(&image.path, stored).expect_err("the first frame links to another genesis");
    assert_eq!((refusal.seq, refusal.damage), (Lsn(1), Damage::ChainBroken));
    // The same where the head still has a copy of the store's last frame, and that copy differs.
    stored.seq = Lsn(33);
    assert_eq!(judge_from(&image.path, stored).expect_err("two histories").damage, Damage::ChainBroken);
}

#[test]
fn a_frame_copied_to_a_second_place_is_refused() {
    let image = Image::new();
    let copied = fs::read(image.segment(0)).expect("readable")[2 * 4096..3 * 4096].to_vec();
    let mut bytes = fs::read(image.segment(3)).expect("readable");
    bytes[4096..8192].copy_from_slice(&copied);
    fs::write(image.segment(3), &bytes).expect("writable");
    let refusal = image.judge().expect_err("two frames for one sequence");
    assert_eq!((refusal.damage, refusal.seq, refusal.place.segment.0), (Damage::Overlap, Lsn(4), 3));
}

#[test]
fn recovering_wipes_the_torn_end_and_inspecting_leaves_it() {
    let image = Image::new();
    let mut bytes = fs::read(image.segment(1)).expect("readable");
    bytes[4 * 4096 + 75] ^= 1;
    fs::write(image.segment(1), &bytes).expect("writable");
    let reader = wal::directory::Directory::open_read_only(&image.path).expect("intact");
    let seen = wal::recover::inspect(&reader, Lsn(1), |_, _| Ok(())).expect("a torn end");
    assert!(bytes == fs::read(image.segment(1)).expect("readable"));

    let directory = wal::directory::Directory::open(&image.path).expect("intact");
    let store = directory.store().expect("intact");
    let (recovered, shown) = common::recover_all(&directory, &store).expect("a torn end");
    assert_records(&shown, Lsn(30));
    assert_eq!(recovered.cut, seen.cut);
    bytes[4 * 4096..5 * 4096].fill(0);
    assert!(bytes == fs::read(image.segment(1)).expect("readable"), "the torn block is zeroed, nothing else");
}

/// What a start found is written down before it is wiped.
fn a_cut_leaves_a_note() {
    let image = Image::new();
    let mut bytes = fs::read(image.segment(1)).expect("readable");
    bytes[4 * 4096 + 75] ^= 1;
    fs::write(image.segment(1), &bytes).expect("writable");
    assert_eq!(write_frames(&image.path, 2, RECORDS), Lsn(36));
    let waiting = TornEnds::read(&image.path).expect("intact");
    let [end] = waiting.entries() else { panic!("one cut: {waiting:?}") };
    assert_eq!((end.seq, end.place.segment.0, end.place.offset), (Lsn(31), 1, 4 * 4096));
    assert_eq!((end.blocks, end.frames_intact, end.found.as_str()), (1, 0, "checksum differs"));
    // A start that cuts nothing changes nothing.
    assert_eq!(write_frames(&image.path, 1, RECORDS), Lsn(39));
    assert_eq!(TornEnds::read(&image.path).expect("intact"), waiting);
}

#[test]
fn a_torn_end_is_noted_before_it_is_wiped() {
    a_cut_leaves_a_note();
}

#[cfg(feature = "mutation")]
#[test]
fn a_torn_end_that_is_not_noted_is_noticed() {
    wal::mutation::plant(Some(wal::mutation::Mutation::TornEndUnnoted));
    let outcome = std::panic::catch_unwind(a_cut_leaves_a_note);
    wal::mutation::plant(None);
    assert!(outcome.is_err(), "nothing is known of what was cut");
}

#[test]
fn the_log_continues_after_a_cut_and_the_cut_frame_never_returns() {
    let image = Image::new();
    let mut bytes = fs::read(image.segment(1)).expect("readable");
    bytes[4 * 4096 + 75] ^= 1;
    fs::write(image.segment(1), &bytes).expect("writable");
    assert_eq!(write_frames(&image.path, 2, RECORDS), Lsn(36));
    let directory = wal::directory::Directory::open(&image.path).expect("intact");
    let store = directory.store().expect("intact");
    let (recovered, shown) = common::recover_all(&directory, &store).expect("intact");
    assert_eq!((recovered.tail.seq, recovered.cut), (Lsn(36), None));
    assert_records(&shown, Lsn(36));
}
