//! Bytes that must never change: golden frames, and the tables of docs/STORAGE.md against the code.

mod common;

use std::mem::offset_of;

use common::{NODE, TIMELINE, identity};
use proptest::prelude::*;
use wal::block::{BLOCK_BYTES, SECTOR_BYTES};
use wal::frame::{
    FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_MAGIC, FRAME_VERSION, Frame, FrameFault, FrameHeader, FrameSpec,
    RECORD_BYTES_MAX, RECORDS_MAX, put_record, seal,
};
use wal::head::{FRAMES_IN_FLIGHT_DEFAULT, FRAMES_IN_FLIGHT_MAX};
use wal::identity::FORMAT_NEWEST;
use wal::mark::{MARK_MAGIC, MARK_VERSION, MarkSlot};
use wal::segment::{SEGMENT_MAGIC, SEGMENT_VERSION, SEGMENTS_MAX, SegmentHeader};
use wal::store::{LOG_KEY_BYTES, log_key};
use wal::units::{ChainHash, Lsn, SegmentIdx, Timeline};
use zerocopy::IntoBytes;

const DOC: &str = include_str!("../../docs/STORAGE.md");

fn sealed(records: &[&[u8]]) -> (Vec<u8>, usize, ChainHash) {
    let mut buffer = vec![0xee; 4096];
    let end = records.iter().fold(FRAME_HEADER_BYTES, |at, record| {
        put_record(&mut buffer, at, record.len(), |room| {
            room.copy_from_slice(record);
            record.len()
        })
    });
    let chain_prev = ChainHash::genesis(NODE, TIMELINE);
    let record_count = records.len() as u32;
    let spec = FrameSpec { timeline: TIMELINE, seq_first: Lsn(7), seq_durable: Lsn(6), record_count, chain_prev };
    seal(&mut buffer, end, spec);
    let hash = ChainHash::of(&buffer[..end]);
    (buffer, end, hash)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_frame() {
    let (buffer, end, hash) = sealed(&[b"e4", b"", b"Nf3"]);
    assert_eq!(hex(&buffer[..end]), GOLDEN_FRAME);
    assert!(buffer[end..].iter().all(|byte| *byte == 0));
    assert_eq!(hash.to_string(), GOLDEN_FRAME_HASH);
    let frame = Frame::decode(&buffer).expect("what was sealed is a frame");
    assert_eq!((frame.seq_first(), frame.seq_last(), frame.hash()), (Lsn(7), Lsn(9), hash));
    let records: Vec<_> = frame.records().collect();
    assert_eq!(records, [(Lsn(7), &b"e4"[..]), (Lsn(8), b""), (Lsn(9), b"Nf3")]);
}

#[test]
fn golden_segment_mark_identity_and_key() {
    assert_eq!(hex(SegmentHeader::new(identity().owner(), SegmentIdx(3)).as_bytes()), GOLDEN_SEGMENT);
    assert_eq!(hex(MarkSlot::new(TIMELINE, 5, Lsn(9)).as_bytes()), GOLDEN_MARK);
    assert_eq!(identity().to_text(), GOLDEN_IDENTITY);
    assert_eq!(hex(&log_key(Timeline(2), Lsn(258))), "000000020000000000000102");
}

#[test]
fn every_flip_of_a_frame_is_noticed() {
    let (buffer, end, _) = sealed(&[b"e4", b"e5", b"Nf3"]);
    for bit in 0..end * 8 {
        let mut flipped = buffer.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Frame::decode(&flipped).is_err(), "bit {bit}");
    }
    for kept in 0..end {
        assert!(Frame::decode(&buffer[..kept]).is_err(), "{kept} bytes");
    }
}

#[test]
fn a_right_checksum_does_not_excuse_the_rest() {
    let reseal = |change: fn(&mut FrameHeader)| {
        let (mut buffer, end, _) = sealed(&[b"e4", b"e5"]);
        let mut header = *FrameHeader::peek(&buffer).expect("a header");
        change(&mut header);
        header.crc32c = 0.into();
        buffer[..FRAME_HEADER_BYTES].copy_from_slice(header.as_bytes());
        header.crc32c = crc32c(&buffer[..end]).into();
        buffer[..FRAME_HEADER_BYTES].copy_from_slice(header.as_bytes());
        Frame::decode(&buffer).err()
    };
    assert_eq!(reseal(|_| {}), None);
    assert_eq!(reseal(|header| header.version = 2.into()), Some(FrameFault::VersionUnknown(2)));
    assert_eq!(reseal(|header| header.record_count = 3.into()), Some(FrameFault::RecordsInconsistent));
    assert_eq!(reseal(|header| header.record_count = 1.into()), Some(FrameFault::RecordsInconsistent));
    assert_eq!(reseal(|header| header.record_count = 0.into()), Some(FrameFault::HeaderInconsistent));
    assert_eq!(reseal(|header| header.seq_durable = 7.into()), Some(FrameFault::HeaderInconsistent));
    assert_eq!(reseal(|header| header.seq_first = u64::MAX.into()), Some(FrameFault::HeaderInconsistent));
    assert_eq!(reseal(|header| header.header_bytes = 80.into()), Some(FrameFault::HeaderInconsistent));
    assert_eq!(reseal(|header| header.payload_bytes = u32::MAX.into()), Some(FrameFault::LimitExceeded));
}

/// The checksum as its definition has it, bit by bit: the slow twin of the crate's.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoder_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), magic: bool) {
        if magic && bytes.len() >= 8 {
            bytes[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        }
        prop_assert!(Frame::decode(&bytes).is_err());
    }

    /// After a right checksum the payload is whatever a broken writer put there.
    #[test]
    fn decoder_never_panics_after_a_right_checksum(
        mut bytes in proptest::collection::vec(any::<u8>(), FRAME_HEADER_BYTES..300),
        table in proptest::collection::vec(0_u32..20, 0..10),
    ) {
        let mut at = FRAME_HEADER_BYTES;
        for len in &table {
            if at + 4 <= bytes.len() {
                bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
            }
            at += 4 + *len as usize;
        }
        let payload_bytes = (bytes.len() - FRAME_HEADER_BYTES) as u32;
        let header = FrameHeader {
            magic: FRAME_MAGIC.into(), version: FRAME_VERSION.into(), header_bytes: (FRAME_HEADER_BYTES as u16).into(),
            timeline: 1.into(), record_count: (table.len() as u32).into(), seq_first: 9.into(), seq_durable: 8.into(),
            payload_bytes: payload_bytes.into(), crc32c: 0.into(), chain_prev: [0; 32],
        };
        bytes[..FRAME_HEADER_BYTES].copy_from_slice(header.as_bytes());
        let crc = crc32c(&bytes);
        bytes[offset_of!(FrameHeader, crc32c)..][..4].copy_from_slice(&crc.to_le_bytes());
        let complete = at == bytes.len() && !table.is_empty();
        prop_assert_eq!(Frame::decode(&bytes).is_ok(), complete);
    }
}

/// Rows `| offset | bytes | field |` under a heading of the document.
fn table(heading: &str) -> Vec<(usize, usize, String)> {
    let section = DOC.split(&format!("### {heading}\n")).nth(1).unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n#").next().expect("a split has a first part");
    section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            let offset = cells.next()?.parse().ok()?;
            let bytes = cells.next()?.parse().ok()?;
            Some((offset, bytes, cells.next()?.trim_matches('`').to_owned()))
        })
        .collect()
}

/// Offset, length and name of each field, lengths from one field's start to the next.
fn layout(size: usize, fields: &[(usize, &str)]) -> Vec<(usize, usize, String)> {
    let ends = fields.iter().skip(1).map(|(offset, _)| *offset).chain([size]);
    fields.iter().zip(ends).map(|((offset, name), end)| (*offset, end - offset, (*name).to_owned())).collect()
}

macro_rules! fields {
    ($type:ty, $($field:ident),+) => {
        layout(size_of::<$type>(), &[$((offset_of!($type, $field), stringify!($field))),+])
    };
}

#[test]
fn the_document_draws_what_the_code_writes() {
    let frame = fields!(
        FrameHeader,
        magic,
        version,
        header_bytes,
        timeline,
        record_count,
        seq_first,
        seq_durable,
        payload_bytes,
        crc32c,
        chain_prev
    );
    assert_eq!(table("Frame header"), frame);
    let segment = fields!(
        SegmentHeader,
        magic,
        version,
        header_bytes,
        timeline,
        ordinal,
        segment_bytes,
        node_id,
        segment_count,
        crc32c
    );
    assert_eq!(table("Segment header"), segment);
    let mark = fields!(MarkSlot, magic, version, slot_bytes, timeline, crc32c, counter, seq);
    assert_eq!(table("Mark slot"), mark);
    let key = layout(LOG_KEY_BYTES, &[(0, "timeline"), (4, "seq_first")]);
    assert_eq!(table("Log key"), key);
}

#[test]
fn the_document_states_the_limits_of_the_code() {
    let limits: [(&str, u64); 9] = [
        ("BLOCK_BYTES", BLOCK_BYTES as u64),
        ("SECTOR_BYTES", SECTOR_BYTES as u64),
        ("FRAME_BYTES_MAX", FRAME_BYTES_MAX as u64),
        ("RECORD_BYTES_MAX", RECORD_BYTES_MAX as u64),
        ("RECORDS_MAX", u64::from(RECORDS_MAX)),
        ("FRAMES_IN_FLIGHT_MAX", FRAMES_IN_FLIGHT_MAX as u64),
        ("FRAMES_IN_FLIGHT_DEFAULT", FRAMES_IN_FLIGHT_DEFAULT as u64),
        ("SEGMENTS_MAX", u64::from(SEGMENTS_MAX)),
        ("FORMAT_NEWEST", u64::from(FORMAT_NEWEST)),
    ];
    for (name, value) in limits {
        assert!(DOC.contains(&format!("| `{name}` | {value} |")), "{name} is {value}");
    }
    let magics = [(FRAME_MAGIC, FRAME_VERSION), (SEGMENT_MAGIC, SEGMENT_VERSION), (MARK_MAGIC, MARK_VERSION)];
    for (magic, version) in magics {
        let text = String::from_utf8(magic.to_le_bytes().to_vec()).expect("magics are letters");
        assert!(DOC.contains(&format!("`{text}`, version {version}")), "{text}");
    }
    let identity = GOLDEN_IDENTITY.trim_end();
    assert!(DOC.contains(identity), "the document shows this IDENTITY:\n{identity}");
}

const GOLDEN_FRAME: &str = "5746524d0100480001000000030000000700000000000000060000000000000011000000f92f6eb8c89737415e4006558bc4645fae7b44fdcc703660d9ecf755511660453510e83702000000653400000000030000004e6633";
const GOLDEN_FRAME_HASH: &str = "a98ae51a732fe8072373d226a5f308ab161aa944d4e997a2438d9755cfeb967c";
const GOLDEN_SEGMENT: &str =
    "575345470100300001000000030000000080000000000000abababababababababababababababab040000005f55f963";
const GOLDEN_MARK: &str = "574d524b0100200001000000077603ba05000000000000000900000000000000";
const GOLDEN_IDENTITY: &str = "format 2\nnode abababababababababababababababab\ntimeline 1\nseq_base 0\nsegments 4\nsegment_bytes 32768\ncrc32c c1046b85\n";
