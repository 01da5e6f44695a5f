//! Decoders that are wrong on purpose: a round must find each, or the checks prove nothing.

use book::codec::{CodecError, Record};
use fuzz::round::run;
use fuzz::target::{Outcome, Target};
use fuzz::targets::{command, frame, soup};
use wal::frame::{FrameFault, FrameHeader};

const SEED: u64 = 1;

/// Runs the round of `target` with another check and says what was found.
#[track_caller]
fn found(target: Target, check: fn(&[u8]) -> Outcome) -> String {
    let planted = Target { check, ..target };
    let finding = run(&planted, SEED, planted.round_inputs).expect_err("a wrong decoder is found");
    finding.said
}

/// Forgets what it kept of a packet when less than a header came.
fn forgetful(chunks: &[&[u8]]) -> soup::Read {
    let mut stream = Vec::new();
    for chunk in chunks {
        if stream.is_empty() && chunk.len() < 3 && !chunk.is_empty() {
            continue;
        }
        stream.extend_from_slice(chunk);
    }
    soup::read(&[&stream])
}

#[test]
fn a_reader_that_depends_on_the_cuts_is_found() {
    let said = found(soup::TARGET, |input| soup::check_by(input, &forgetful));
    assert!(said.contains("the cuts between chunks say nothing"), "{said}");
}

/// Drops the last byte of a long payload.
fn short_sighted(chunks: &[&[u8]]) -> soup::Read {
    let mut read = soup::read(chunks);
    read.packets.iter_mut().filter(|(_, payload)| 100 < payload.len()).for_each(|(_, payload)| _ = payload.pop());
    read
}

#[test]
fn a_reader_that_loses_a_byte_is_found() {
    let said = found(soup::TARGET, |input| soup::check_by(input, &short_sighted));
    assert!(said.contains("packets have the bytes"), "{said}");
}

/// Takes the length of a packet for true before a byte of it came.
fn trusting(chunks: &[&[u8]]) -> soup::Read {
    let announced = chunks.concat().first_chunk::<3>().map_or(0, |head| usize::from(head[1]) << 20);
    drop(std::hint::black_box(Vec::<u8>::with_capacity(announced)));
    soup::read(chunks)
}

#[test]
fn a_reader_that_believes_a_length_is_found() {
    let said = found(soup::TARGET, |input| soup::check_by(input, &trusting));
    assert!(said.contains("bytes were held at once"), "{said}");
}

/// Does not look at the checksum.
fn credulous(input: &[u8]) -> Result<frame::Decoded, FrameFault> {
    let mut mended = input.to_vec();
    frame::mend(&mut mended);
    // Only the checksum is forgiven, not a length.
    let lengths = |bytes: &[u8]| FrameHeader::peek(bytes).map(|header| header.payload_bytes.get());
    if lengths(&mended) == lengths(input) { frame::decode(&mended) } else { frame::decode(input) }
}

#[test]
fn a_decoder_without_a_checksum_is_found() {
    let said = found(frame::TARGET, |input| frame::check_by(input, &credulous));
    assert!(said.contains("seals to its own bytes") || said.contains("nobody noticed"), "{said}");
}

/// Counts one record too few of a frame with many.
fn miscounting(input: &[u8]) -> Result<frame::Decoded, FrameFault> {
    let mut decoded = frame::decode(input)?;
    if 2 < decoded.records.len() {
        decoded.records.pop();
    }
    Ok(decoded)
}

#[test]
fn a_decoder_that_drops_a_record_is_found() {
    found(frame::TARGET, |input| frame::check_by(input, &miscounting));
}

/// Reads into a buffer of fixed size.
fn cramped(input: &[u8]) -> Result<Record, CodecError> {
    assert!(input.len() < 60, "a buffer of fixed size");
    book::codec::decode(input)
}

#[test]
fn a_decoder_that_panics_is_found() {
    let said = found(command::TARGET, |input| command::check_by(input, &cramped));
    assert!(said.contains("a buffer of fixed size"), "{said}");
}

#[test]
fn the_same_seed_gives_the_same_round() {
    let tally = |seed| run(&soup::TARGET, seed, 2_000).expect("nothing is found");
    assert_eq!(tally(7), tally(7));
    assert_ne!(tally(7), tally(8));
}
