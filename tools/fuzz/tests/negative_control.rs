//! Decoders that are wrong on purpose. A round must find each of them, or the checks prove nothing.

#![allow(clippy::print_stdout, reason = "a long test shows its figures")]

use api::mutation::{Mutation, plant};
use book::codec::{CodecError, Record};
use fuzz::round::{Finding, examine, run};
use fuzz::target::{Outcome, Target};
use fuzz::targets::{command, engine, frame, soup};
use wal::frame::{FrameFault, FrameHeader};

const SEED: u64 = 1;

/// Runs the round of `target` with another check, and returns the message of its finding.
#[track_caller]
fn found(target: Target, check: fn(&[u8]) -> Outcome) -> String {
    let planted = Target { check, ..target };
    let finding = run(&planted, SEED, planted.round_inputs).expect_err("a wrong decoder is found");
    finding.message
}

/// Drops the beginning of a packet when less than a header has arrived.
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
    let message = found(soup::TARGET, |input| soup::check_by(input, &forgetful));
    assert!(message.contains("the cuts between chunks have no effect"), "{message}");
}

/// Drops the last byte of a long payload.
fn short_sighted(chunks: &[&[u8]]) -> soup::Read {
    let mut read = soup::read(chunks);
    read.packets.iter_mut().filter(|(_, payload)| 100 < payload.len()).for_each(|(_, payload)| _ = payload.pop());
    read
}

#[test]
fn a_reader_that_loses_a_byte_is_found() {
    let message = found(soup::TARGET, |input| soup::check_by(input, &short_sighted));
    assert!(message.contains("packets are written with the bytes"), "{message}");
}

/// Allocates the announced length of a packet before a byte of it has arrived.
fn trusting(chunks: &[&[u8]]) -> soup::Read {
    let announced = chunks.concat().first_chunk::<3>().map_or(0, |head| usize::from(head[1]) << 20);
    drop(std::hint::black_box(Vec::<u8>::with_capacity(announced)));
    soup::read(chunks)
}

#[test]
fn a_reader_that_believes_a_length_is_found() {
    let message = found(soup::TARGET, |input| soup::check_by(input, &trusting));
    assert!(message.contains("bytes were held at once"), "{message}");
}

/// Does not verify the checksum.
fn credulous(input: &[u8]) -> Result<frame::Decoded, FrameFault> {
    let mut repaired = input.to_vec();
    frame::repair(&mut repaired);
    // Only the checksum is accepted, not a wrong length.
    let lengths = |bytes: &[u8]| FrameHeader::peek(bytes).map(|header| header.payload_bytes.get());
    if lengths(&repaired) == lengths(input) { frame::decode(&repaired) } else { frame::decode(input) }
}

#[test]
fn a_decoder_without_a_checksum_is_found() {
    let message = found(frame::TARGET, |input| frame::check_by(input, &credulous));
    assert!(message.contains("seals to its own bytes") || message.contains("was not detected"), "{message}");
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
    let message = found(command::TARGET, |input| command::check_by(input, &cramped));
    assert!(message.contains("a buffer of fixed size"), "{message}");
}

#[test]
fn the_same_seed_gives_the_same_round() {
    let tally = |seed| run(&soup::TARGET, seed, 2_000).expect("nothing is found");
    assert_eq!(tally(7), tally(7));
    assert_ne!(tally(7), tally(8));
}

/// Not a decoder: the books of market data, with level totals in 64 bits.
#[test]
fn a_level_total_that_does_not_fit_is_found() {
    let started = std::time::Instant::now();
    plant(Some(Mutation::LevelTotalNarrow));
    let found = run(&engine::TARGET, SEED, 40 * engine::TARGET.round_inputs);
    plant(None);
    let Finding { input, message } = found.expect_err("so many inputs reach a total that does not fit");
    println!("found after {:.1} s, with {} bytes", started.elapsed().as_secs_f64(), input.len());
    assert!(message.contains("a level sums its orders"), "{message}");
}

/// An input that is stored for a fault finds it, however the meaning of bytes was extended since.
#[test]
fn a_quote_budget_that_own_asks_spend_is_found_by_its_stored_input() {
    let input = include_bytes!("../regressions/engine/quote-budget-spent-by-own-asks");
    book::mutation::plant(Some(book::mutation::Mutation::BudgetSpentByOwn));
    let found = examine(&engine::TARGET, input);
    book::mutation::plant(None);
    let Finding { message, .. } = found.expect_err("what the order pays is not held");
    assert!(message.contains("broken invariant"), "{message}");
}

/// Keys act in the inputs, with the right and without.
#[test]
fn an_actor_whose_right_is_not_checked_is_found() {
    book::mutation::plant(Some(book::mutation::Mutation::RightsNotChecked));
    let found = run(&engine::TARGET, SEED, engine::TARGET.round_inputs);
    book::mutation::plant(None);
    let Finding { message, .. } = found.expect_err("an act without a right has an effect");
    assert!(message.contains("an act without a right is refused"), "{message}");
}
