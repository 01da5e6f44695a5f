//! The head's files: recovery finds a chain of frames in them, and after it cut off a torn tail there is nothing more
//! to cut.
//!
//! An input is a list of patches over two empty segments of four blocks, because complete files would be mostly zeros:
//!
//! ```text
//! | block u8 | bytes u16 | bytes ... | block u8 | ...
//! ```

use super::frame::{self, NODE};
use crate::scratch;
use crate::target::{Outcome, Target};
use std::ops::Range;
use std::path::Path;
use wal::block::{BLOCK_BYTES, padded};
use wal::error::{ErrorKind, WalError};
use wal::frame::{Frame, FrameHeader};
use wal::medium::Access;
use wal::scan::{HeadScan, scan};
use wal::segment::{Geometry, SegmentHeader, SegmentOwner, Segments};
use wal::units::{ChainHash, Lsn, Place, SegmentIdx, Tail, Timeline};
use wal::verdict::{Verdict, judge};
use zerocopy::{FromBytes, IntoBytes};

pub const TARGET: Target = Target { name: "head", seeds, repair, check, bytes_max: 8192, round_inputs: 2_000 };

const TIMELINE: Timeline = Timeline(1);
const SEGMENT_BLOCKS: usize = 4;
const SEGMENT_BYTES: usize = SEGMENT_BLOCKS * BLOCK_BYTES;
const GEOMETRY: Geometry = Geometry { segment_count: 2, segment_bytes: SEGMENT_BYTES as u64 };
const OWNER: SegmentOwner = SegmentOwner { node_id: NODE, timeline: TIMELINE, geometry: GEOMETRY };
const PATCH_HEADER_BYTES: usize = 3;

fn check(input: &[u8]) -> Outcome {
    let files = files(input);
    let dir = scratch::dir().join("head");
    std::fs::create_dir_all(&dir).expect("a directory can be made in the scratch directory");
    for (ordinal, file) in (0..).zip(files.chunks_exact(SEGMENT_BYTES)) {
        let path = dir.join(SegmentIdx(ordinal).file_name());
        std::fs::write(path, file).expect("a file can be written in the scratch directory");
    }
    let segments = match Segments::open(&dir, OWNER, Access::ReadWrite) {
        Ok(segments) => segments,
        Err(error) => return refused(&dir, &error),
    };
    let found = match scan(&segments, TIMELINE, Lsn::ZERO) {
        Ok(found) => found,
        Err(error) => return refused(&dir, &error),
    };
    scanned(&found, &files);
    match judge(&found, STORED, Lsn::ZERO) {
        Ok(verdict) => judged(&segments, &verdict),
        Err(refusal) => {
            assert!(refusal.place.segment.0 < GEOMETRY.segment_count);
            assert!(refusal.place.offset < GEOMETRY.segment_bytes + BLOCK_BYTES as u64);
            Outcome::Refused
        }
    }
}

const STORED: Tail = Tail { seq: Lsn::ZERO, chain: ChainHash([0; 32]) };

fn refused(dir: &Path, error: &WalError) -> Outcome {
    let known = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::UnknownFormat | ErrorKind::TimelineDiffers);
    assert!(known, "only the bytes can be refused, not the system: {error}");
    assert!(error.to_string().contains(&dir.join("head-").display().to_string()), "{error} names the file");
    Outcome::Refused
}

/// Checks that each frame and each suspect of a scan is in the files at the place that the scan names.
fn scanned(found: &HeadScan, files: &[u8]) {
    assert!(found.frames.is_sorted_by_key(|frame| (frame.seq_first, frame.place)));
    assert!(found.suspects.is_sorted_by_key(|suspect| (suspect.seq_first, suspect.place)));
    for place in &found.frames {
        let frame = Frame::decode(in_segment(files, place.place)).expect("a frame that the scan found decodes");
        assert_eq!((frame.hash(), frame.tail(), frame.timeline()), (place.hash, place.tail(), TIMELINE));
        assert_eq!((frame.seq_first(), frame.bytes().len()), (place.seq_first, place.frame_bytes));
        assert!(place.place_after().offset <= GEOMETRY.segment_bytes, "no frame reaches into the next segment");
    }
    for suspect in &found.suspects {
        let fault = Frame::decode(in_segment(files, suspect.place)).err();
        assert_eq!(fault, Some(suspect.fault), "a suspect does not decode, for the fault that the scan names");
    }
}

fn in_segment(files: &[u8], place: Place) -> &[u8] {
    let segment = place.segment.0 as usize * SEGMENT_BYTES;
    &files[segment + place.offset as usize..segment + SEGMENT_BYTES]
}

/// Checks that the frames are a chain that begins after the stored tail, and that after the cut there is nothing more
/// to cut.
fn judged(segments: &Segments, verdict: &Verdict) -> Outcome {
    let mut tail = STORED;
    for frame in &verdict.frames {
        assert_eq!((frame.seq_first, frame.chain_prev), (tail.seq.next(), tail.chain));
        tail = frame.tail();
    }
    assert_eq!(verdict.tail, tail);
    if let Some(cut) = &verdict.cut {
        assert_eq!(cut.seq, tail.seq.next());
        let kept = |place: &Place| verdict.frames.iter().any(|frame| frame.blocks().any(|block| block == *place));
        assert!(!cut.wipes.iter().any(kept), "no block of a frame that is kept is wiped");
        segments.wipe(&cut.wipes).expect("zeros can be written to the files");
        let again = scan(segments, TIMELINE, Lsn::ZERO).expect("less damage than before");
        let again = judge(&again, STORED, Lsn::ZERO).expect("less damage than before");
        assert_eq!((&again.frames, again.tail, &again.cut), (&verdict.frames, verdict.tail, &None));
    }
    if verdict.frames.is_empty() { Outcome::Refused } else { Outcome::Decoded }
}

fn patches(input: &[u8]) -> Vec<(usize, Range<usize>)> {
    let mut patches = Vec::new();
    let mut at = 0;
    while let Some(&[block, low, high]) = input.get(at..at + PATCH_HEADER_BYTES) {
        let start = at + PATCH_HEADER_BYTES;
        let end = (start + usize::from(u16::from_le_bytes([low, high]))).min(input.len());
        patches.push((usize::from(block) % (2 * SEGMENT_BLOCKS), start..end));
        at = end;
    }
    patches
}

/// The bytes of both files, one after the other.
fn files(input: &[u8]) -> Vec<u8> {
    let mut files = vec![0; 2 * SEGMENT_BYTES];
    for ordinal in 0..GEOMETRY.segment_count {
        let header = SegmentHeader::new(OWNER, SegmentIdx(ordinal));
        files[ordinal as usize * SEGMENT_BYTES..][..header.as_bytes().len()].copy_from_slice(header.as_bytes());
    }
    for (block, patch) in patches(input) {
        let at = block * BLOCK_BYTES;
        let len = patch.len().min(files.len() - at);
        files[at..at + len].copy_from_slice(&input[patch.start..patch.start + len]);
    }
    files
}

/// Checksums of headers and frames; for every other input also the links from each frame to the next.
fn repair(input: &mut [u8]) {
    let relink = crc32c::crc32c(input).is_multiple_of(2);
    let mut chain = STORED.chain;
    for (block, patch) in patches(input) {
        let bytes = &mut input[patch];
        if block % SEGMENT_BLOCKS == 0 {
            repair_segment_header(bytes);
            continue;
        }
        if relink && let Ok((header, _)) = FrameHeader::mut_from_prefix(bytes) {
            header.chain_prev = chain.0;
        }
        frame::repair(bytes);
        if let Ok(frame) = Frame::decode(bytes) {
            chain = frame.hash();
        }
    }
}

fn repair_segment_header(bytes: &mut [u8]) {
    if let Ok((header, _)) = SegmentHeader::mut_from_prefix(bytes) {
        let covered = std::mem::offset_of!(SegmentHeader, crc32c);
        header.crc32c = crc32c::crc32c(&header.as_bytes()[..covered]).into();
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut input = Vec::new();
    let (mut chain, mut seq, mut block) = (STORED.chain, 1, 1);
    let large = vec![7; BLOCK_BYTES];
    for records in [&[b"e4".as_slice(), b"e5"][..], &[&large], &[b"Nf3", b"", b"Nc6"], &[b"Bb5"]] {
        let frame = frame::sample(seq, chain, records);
        chain = ChainHash::of(&frame);
        seq += records.len() as u64;
        push_patch(block, &frame, &mut input);
        block += padded(frame.len()) / BLOCK_BYTES;
        // The first block of the second segment is its header's.
        block += usize::from(block == SEGMENT_BLOCKS);
    }
    let mut with_header = Vec::new();
    push_patch(SEGMENT_BLOCKS, SegmentHeader::new(OWNER, SegmentIdx(1)).as_bytes(), &mut with_header);
    push_patch(2, &frame::sample(1, STORED.chain, &[b"a torn frame is cut after this one"]), &mut with_header);
    let mut torn = frame::sample(2, STORED.chain, &[b"torn"]);
    torn.pop();
    push_patch(3, &torn, &mut with_header);
    vec![input, with_header]
}

fn push_patch(block: usize, bytes: &[u8], input: &mut Vec<u8>) {
    input.push(block as u8);
    input.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    input.extend_from_slice(bytes);
}
