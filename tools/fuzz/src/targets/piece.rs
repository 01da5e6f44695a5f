//! Pieces of an archived log: a piece that opens is packed again to one of the same frames, and its header reads the
//! same without the rest.
//!
//! ```text
//! | form u8 | header | frames as they are stored (form 0), or raw, which the check packs (any other form) |
//! ```
//!
//! Some inputs are raw because compressed bytes hardly ever unpack after a mutation; the check of the frames would then
//! never see a mutated one.

use super::frame::{self, NODE};
use crate::meter;
use crate::target::{Outcome, Target};
use std::ops::Range;
use std::path::Path;
use wal::error::ErrorKind;
use wal::frame::{Frame, FrameHeader};
use wal::piece::{PIECE_HEADER_BYTES, PIECE_RAW_BYTES_MAX, Piece, PieceBuilder, PieceHeader};
use wal::units::{ChainHash, Lsn, Tail, Timeline};
use zerocopy::FromBytes;

pub const TARGET: Target = Target { name: "piece", seeds, repair, check, bytes_max: 4096, round_inputs: 8_000 };

const NAME: &str = "0000000001/log/a.piece";
const FORM_STORED: u8 = 0;
const FORM_RAW: u8 = 1;

/// The layout of the header, which is private in the crate.
const FRAME_COUNT: Range<usize> = 12..16;
const SEQ_FIRST: Range<usize> = 32..40;
const SEQ_LAST: Range<usize> = 40..48;
const RAW_BYTES: Range<usize> = 64..72;
const STORED_BYTES: Range<usize> = 72..80;
const CHAIN_BEFORE: Range<usize> = 80..112;
const CHAIN_AFTER: Range<usize> = 112..144;
const BLAKE3: Range<usize> = 144..176;
const CRC: Range<usize> = 188..192;
const _: () = assert!(CRC.end == PIECE_HEADER_BYTES);

fn check(input: &[u8]) -> Outcome {
    let Some((form, rest)) = input.split_first() else { return Outcome::Refused };
    let bytes = if *form == FORM_STORED { rest.to_vec() } else { packed(rest) };
    let name = Path::new(NAME);
    // A buffer of the length that the header states, for the frames; the rest is for the text of an error.
    let opened = meter::within(PIECE_RAW_BYTES_MAX + 4096, || Piece::open(name, &bytes));
    let piece = match opened {
        Ok(piece) => piece,
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::UnknownFormat), "{error}");
            assert!(error.to_string().contains(NAME), "{error} names the piece");
            return Outcome::Refused;
        }
    };
    let header = *piece.header();
    let alone = meter::within(0, || Piece::peek(name, &bytes[..PIECE_HEADER_BYTES]));
    assert_eq!(alone.expect("a piece that opens has an intact header"), header, "the header reads the same alone");
    assert!(Piece::open(name, &bytes[..bytes.len() - 1]).is_err(), "a piece without its last byte does not open");
    let (header_again, bytes_again) = repacked(&piece);
    assert_eq!(header_again, header);
    let again = Piece::open(name, &bytes_again).expect("a piece that was packed opens");
    assert!(again.frames().map(frame_bytes).eq(piece.frames().map(frame_bytes)), "the frames are the same");
    Outcome::Decoded
}

fn frame_bytes(frame: Frame<'_>) -> Vec<u8> {
    frame.bytes().to_vec()
}

fn repacked(piece: &Piece) -> (PieceHeader, Vec<u8>) {
    let header = piece.header();
    let mut builder = PieceBuilder::new(header.node_id, header.timeline, header.before);
    piece.frames().for_each(|frame| builder.push(&frame, header.time_first, header.time_last));
    assert_eq!((builder.raw_bytes() as u64, builder.after()), (header.raw_bytes, header.after));
    builder.seal().expect("a vector accepts a piece")
}

/// Makes a piece of a header and raw frames; the header's fields about the packed bytes are made right, the others
/// stay.
fn packed(raw: &[u8]) -> Vec<u8> {
    let Some((header, frames)) = raw.split_at_checked(PIECE_HEADER_BYTES) else { return raw.to_vec() };
    let stored = zstd::bulk::compress(frames, 1).expect("a vector accepts a piece");
    let mut bytes = [header, &stored].concat();
    repair_seal(&mut bytes);
    bytes
}

/// Makes the hash and the length of the stored bytes right, then the header's own checksum.
fn repair_seal(bytes: &mut [u8]) {
    let (header, stored) = bytes.split_at_mut(PIECE_HEADER_BYTES);
    header[STORED_BYTES].copy_from_slice(&(stored.len() as u64).to_le_bytes());
    header[BLAKE3].copy_from_slice(blake3::hash(stored).as_bytes());
    let crc = crc32c::crc32c(&header[..CRC.start]);
    header[CRC].copy_from_slice(&crc.to_le_bytes());
}

/// Makes the header right about stored frames; raw frames are also repaired and linked.
fn repair(input: &mut [u8]) {
    let Some((form, bytes)) = input.split_first_mut() else { return };
    if bytes.len() < PIECE_HEADER_BYTES {
        return;
    }
    if *form != FORM_STORED {
        repair_frames(bytes);
    }
    repair_seal(bytes);
}

fn repair_frames(bytes: &mut [u8]) {
    let (header, mut rest) = bytes.split_at_mut(PIECE_HEADER_BYTES);
    let raw_bytes = rest.len() as u64;
    let mut tail: Option<Tail> = None;
    let mut frame_count = 0u32;
    while !rest.is_empty() {
        if let (Some(tail), Ok((header, _))) = (tail, FrameHeader::mut_from_prefix(rest)) {
            header.seq_first = tail.seq.0.wrapping_add(1).into();
            header.chain_prev = tail.chain.0;
        }
        frame::repair(rest);
        let Ok(frame) = Frame::decode(rest) else { break };
        if tail.is_none() {
            header[SEQ_FIRST].copy_from_slice(&frame.seq_first().0.to_le_bytes());
            header[CHAIN_BEFORE].copy_from_slice(&frame.chain_prev().0);
        }
        tail = Some(frame.tail());
        frame_count += 1;
        let len = frame.bytes().len();
        rest = &mut rest[len..];
    }
    let Some(tail) = tail else { return };
    header[FRAME_COUNT].copy_from_slice(&frame_count.to_le_bytes());
    header[RAW_BYTES].copy_from_slice(&raw_bytes.to_le_bytes());
    header[SEQ_LAST].copy_from_slice(&tail.seq.0.to_le_bytes());
    header[CHAIN_AFTER].copy_from_slice(&tail.chain.0);
}

fn seeds() -> Vec<Vec<u8>> {
    let (few, many) =
        (sealed(&[&[b"e4", b"", b"Nf3"]]), sealed(&[&[b"a", b"b"], &[b"c"], &[&b"some more of it"[..]; 9]]));
    let form = |form: u8, (stored, raw): &(Vec<u8>, Vec<u8>)| {
        [&[form][..], if form == FORM_STORED { &stored[..] } else { &raw[..] }].concat()
    };
    vec![form(FORM_STORED, &few), form(FORM_STORED, &many), form(FORM_RAW, &few), form(FORM_RAW, &many)]
}

/// A piece of frames with these records, once as it is stored and once with raw frames.
fn sealed(frames: &[&[&[u8]]]) -> (Vec<u8>, Vec<u8>) {
    let timeline = Timeline(1);
    let mut tail = Tail { seq: Lsn(41), chain: ChainHash::genesis(NODE, timeline) };
    let mut builder = PieceBuilder::new(NODE, timeline, tail);
    let mut raw = Vec::new();
    for records in frames {
        let bytes = frame::sample(tail.seq.next().0, tail.chain, records);
        let frame = Frame::decode(&bytes).expect("a frame that a writer sealed decodes");
        builder.push(&frame, 1_000, 2_000);
        tail = frame.tail();
        raw.extend_from_slice(&bytes);
    }
    let (_, stored) = builder.seal().expect("a vector accepts a piece");
    let raw = [&stored[..PIECE_HEADER_BYTES], &raw].concat();
    (stored, raw)
}
