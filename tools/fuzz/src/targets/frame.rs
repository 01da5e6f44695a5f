//! A frame of the log: a frame that decodes seals to the same bytes again, and a change of any bit is detected.

use crate::meter;
use crate::target::{Outcome, Target};
use wal::block::padded;
use wal::frame::{
    FRAME_BYTES_MAX, FRAME_HEADER_BYTES, Frame, FrameFault, FrameHeader, FrameSpec, RECORD_BYTES_MAX,
    RECORD_HEADER_BYTES, RECORDS_MAX, put_record, seal,
};
use wal::units::{ChainHash, Lsn, NodeId, Timeline};
use zerocopy::FromBytes;

pub const TARGET: Target = Target {
    name: "frame",
    seeds,
    repair,
    check: |input| check_by(input, &decode),
    bytes_max: 4096,
    round_inputs: 40_000,
};

/// A frame as a decoder returns it: its header's fields, its records and its length.
pub struct Decoded {
    pub spec: FrameSpec,
    pub records: Vec<(Lsn, Vec<u8>)>,
    pub frame_bytes: usize,
}

/// The product's decoder.
pub fn decode(input: &[u8]) -> Result<Decoded, FrameFault> {
    let frame = meter::within(0, || Frame::decode(input))?;
    let spec = FrameSpec {
        timeline: frame.timeline(),
        seq_first: frame.seq_first(),
        seq_durable: frame.seq_durable(),
        record_count: frame.record_count(),
        chain_prev: frame.chain_prev(),
    };
    assert_eq!(frame.hash(), ChainHash::of(frame.bytes()));
    assert_eq!(frame.tail().seq, frame.seq_last());
    assert!(frame.bytes().len() <= FRAME_BYTES_MAX && input.starts_with(frame.bytes()));
    let records = frame.records().map(|(seq, record)| (seq, record.to_vec())).collect();
    Ok(Decoded { spec, records, frame_bytes: frame.bytes().len() })
}

/// The check with a given decoder, so that a test can bring one with a fault.
pub fn check_by(input: &[u8], decode: &dyn Fn(&[u8]) -> Result<Decoded, FrameFault>) -> Outcome {
    let decoded = match decode(input) {
        Ok(decoded) => decoded,
        Err(fault) => {
            refused(input, fault);
            return Outcome::Refused;
        }
    };
    let Decoded { spec, records, frame_bytes } = decoded;
    assert!(spec.seq_durable < spec.seq_first && records.len() == spec.record_count as usize);
    for ((seq, record), offset) in records.iter().zip(0..) {
        assert_eq!(*seq, spec.seq_first.advance(offset), "sequences of records have no gap");
        assert!(record.len() <= RECORD_BYTES_MAX);
    }
    assert!(spec.record_count <= RECORDS_MAX);
    let sealed = sealed(spec, records.iter().map(|(_, record)| record.as_slice()));
    assert_eq!(sealed, &input[..frame_bytes], "a frame that decodes seals to its own bytes");
    let mut flipped = input[..frame_bytes].to_vec();
    let at = crc32c::crc32c(input) as usize % (8 * frame_bytes);
    flipped[at / 8] ^= 1 << (at % 8);
    assert!(decode(&flipped).is_err(), "a change of bit {at} was not detected");
    Outcome::Decoded
}

/// Checks that a refusal names the first fault of the input.
fn refused(input: &[u8], fault: FrameFault) {
    let header = FrameHeader::peek(input);
    assert_eq!(header.is_none(), fault == FrameFault::MagicMissing);
    let Some(header) = header else { return };
    let announced = header.frame_bytes();
    assert_eq!(announced.is_none(), fault == FrameFault::LimitExceeded);
    let Some(announced) = announced else { return };
    assert_eq!(input.len() < announced, fault == FrameFault::BytesMissing);
    if let FrameFault::VersionUnknown(version) = fault {
        assert_eq!(version, header.version.get());
    }
}

/// Header, records and checksum, without padding.
fn sealed<'a>(spec: FrameSpec, records: impl Iterator<Item = &'a [u8]> + Clone) -> Vec<u8> {
    let payload_bytes: usize = records.clone().map(|record| RECORD_HEADER_BYTES + record.len()).sum();
    let frame_bytes = FRAME_HEADER_BYTES + payload_bytes;
    // Filled with other bytes, because a writer uses its buffer again.
    let mut buffer = vec![0xee; padded(frame_bytes)];
    let end = records.fold(FRAME_HEADER_BYTES, |at, record| {
        put_record(&mut buffer, at, record.len(), |space| {
            space.copy_from_slice(record);
            record.len()
        })
    });
    assert_eq!(end, frame_bytes);
    seal(&mut buffer, frame_bytes, spec);
    assert!(buffer[frame_bytes..].iter().all(|byte| *byte == 0), "padding is zeros");
    buffer.truncate(frame_bytes);
    buffer
}

/// Makes the checksum right, and shortens a payload that would end after the input.
pub fn repair(input: &mut [u8]) {
    let len = input.len();
    let Ok((header, _)) = FrameHeader::mut_from_prefix(input) else { return };
    let payload_bytes_max = (len - FRAME_HEADER_BYTES) as u32;
    if payload_bytes_max < header.payload_bytes.get() {
        header.payload_bytes = payload_bytes_max.into();
    }
    header.crc32c = 0.into();
    let frame_bytes = FRAME_HEADER_BYTES + header.payload_bytes.get() as usize;
    let crc = crc32c::crc32c(&input[..frame_bytes]);
    if let Ok((header, _)) = FrameHeader::mut_from_prefix(input) {
        header.crc32c = crc.into();
    }
}

/// A frame of some records, as a writer seals it.
pub fn sample(seq_first: u64, chain_prev: ChainHash, records: &[&[u8]]) -> Vec<u8> {
    let spec = FrameSpec {
        timeline: Timeline(1),
        seq_first: Lsn(seq_first),
        seq_durable: Lsn(seq_first - 1),
        record_count: records.len() as u32,
        chain_prev,
    };
    sealed(spec, records.iter().copied())
}

pub const NODE: NodeId = NodeId([0xab; 16]);

fn seeds() -> Vec<Vec<u8>> {
    let genesis = ChainHash::genesis(NODE, Timeline(1));
    let commands = crate::seeds::commands();
    let all: Vec<&[u8]> = commands.iter().map(Vec::as_slice).collect();
    let padded_out = [sample(7, genesis, &[b"e4", b"", b"Nf3"]), vec![0; 100]].concat();
    vec![padded_out, sample(1, genesis, &all), sample(u64::MAX - 1, genesis, &[b""])]
}
