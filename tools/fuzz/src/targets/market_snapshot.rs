//! A snapshot of the market data: the books that are read from it write the same snapshot.

use super::depth::check_sums;
use super::market_packets::{packets, payloads, published, renumber, template_of};
use crate::meter;
use crate::target::{Outcome, Target};
use api::binary::depth::Depth;
use api::binary::market::{InstrumentDefinition, MarketMessage, OrderAdd, SnapshotBegin, SnapshotEnd};
use api::binary::sbe::{HEADER_BYTES, Message};
use api::binary::snapshot::{Snapshot, SnapshotError, SnapshotReader, write_snapshot};
use api::binary::stream::SessionSeq;
use book::testing::workload::Profile;
use book::units::TsNs;
use std::collections::BTreeSet;
use std::mem::offset_of;
use std::ops::Range;

pub const TARGET: Target =
    Target { name: "market_snapshot", seeds, repair, check, bytes_max: 8192, round_inputs: 4_000 };

fn check(input: &[u8]) -> Outcome {
    let messages: Vec<&[u8]> = payloads(input).into_iter().map(|place| &input[place]).collect();
    let read = meter::within(64 * input.len() + (64 << 10), || read_all(&messages));
    let Ok(Some(snapshot)) = read else { return Outcome::Refused };
    snapshot.depth.books().for_each(check_sums);
    let written = write(&snapshot.depth, snapshot.as_of);
    let parts: Vec<&[u8]> = written.iter().map(Vec::as_slice).collect();
    let again =
        read_all(&parts).expect("a snapshot that was written reads").expect("a snapshot that was written is complete");
    assert_eq!(again.as_of, snapshot.as_of);
    assert_eq!(write(&again.depth, again.as_of), written, "the same books write the same bytes");
    Outcome::Decoded
}

fn read_all(messages: &[&[u8]]) -> Result<Option<Snapshot>, SnapshotError> {
    let mut reader = SnapshotReader::default();
    for message in messages {
        if let Some(snapshot) = reader.read(message)? {
            return Ok(Some(snapshot));
        }
    }
    Ok(None)
}

fn write(depth: &Depth, as_of: SessionSeq) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    write_snapshot(depth, as_of, TsNs(9), &mut |message| messages.push(message.to_vec()));
    messages
}

/// Repairs the sequence numbers, and the counts and the checksum in the last message.
fn repair(stream: &mut [u8]) {
    renumber(stream);
    let mut begin: Option<Range<usize>> = None;
    let (mut instruments, mut orders, mut checksum) = (BTreeSet::new(), 0u32, 0);
    for place in payloads(stream) {
        let message = &stream[place.clone()];
        match template_of(message) {
            Some(SnapshotBegin::TEMPLATE) if begin.is_none() => {
                begin = Some(place);
                continue;
            }
            Some(SnapshotEnd::TEMPLATE) => {
                if let Some(begin) = &begin {
                    close(stream, begin.clone(), place, [instruments.len() as u32, orders, checksum]);
                }
                return;
            }
            Some(InstrumentDefinition::TEMPLATE) => {
                let at = HEADER_BYTES + offset_of!(InstrumentDefinition, instrument_id);
                instruments.extend(message.get(at..at + 4).map(<[u8]>::to_vec));
            }
            Some(OrderAdd::TEMPLATE) => orders += 1,
            _ => {}
        }
        checksum = crc32c::crc32c_append(checksum, message);
    }
}

fn close(stream: &mut [u8], begin: Range<usize>, end: Range<usize>, [instruments, orders, checksum]: [u32; 3]) {
    if MarketMessage::read(&stream[begin.clone()]).is_err() || MarketMessage::read(&stream[end.clone()]).is_err() {
        return;
    }
    let as_of = begin.start + HEADER_BYTES + offset_of!(SnapshotBegin, as_of_seq);
    let as_of: [u8; 8] = stream[as_of..as_of + 8].try_into().expect("eight bytes");
    let mut set = |start: usize, offset: usize, bytes: &[u8]| {
        stream[start + HEADER_BYTES + offset..][..bytes.len()].copy_from_slice(bytes);
    };
    set(begin.start, offset_of!(SnapshotBegin, instruments), &instruments.to_le_bytes());
    set(end.start, offset_of!(SnapshotEnd, as_of_seq), &as_of);
    set(end.start, offset_of!(SnapshotEnd, orders), &orders.to_le_bytes());
    set(end.start, offset_of!(SnapshotEnd, checksum), &checksum.to_le_bytes());
}

fn seeds() -> Vec<Vec<u8>> {
    let snapshot_after = |profile, commands| {
        let mut depth = Depth::default();
        for message in published(profile, commands) {
            let message = MarketMessage::read(&message).expect("a published message can be read");
            depth.apply(&message).expect("a published message has the next number");
        }
        packets(&write(&depth, SessionSeq(commands as u64)))
    };
    vec![snapshot_after(Profile::Mixed, 0), snapshot_after(Profile::Mixed, 60), snapshot_after(Profile::Maker, 60)]
}
