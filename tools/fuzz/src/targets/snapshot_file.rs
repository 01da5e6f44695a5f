//! A snapshot file: a file that reads to its end reads the same after it was written again.

use super::frame::NODE;
use crate::meter;
use crate::scratch;
use crate::target::{Outcome, Target};
use std::path::Path;
use wal::error::{ErrorKind, Result, WalError};
use wal::snapshot::{
    SNAPSHOT_PIECE_BYTES_MAX, SNAPSHOT_VERSION_NEWEST, SnapshotHeader, SnapshotReader, SnapshotWriter, remove,
};
use wal::units::{ChainHash, Lsn, Tail, Timeline};

pub const TARGET: Target = Target { name: "snapshot_file", seeds, repair, check, bytes_max: 8192, round_inputs: 2_500 };

/// The layout of docs/STORAGE.md, which is private in the crate.
const HEADER_BYTES: usize = 192;
const PIECE_HEADER_BYTES: usize = 16;
const PIECE_CRC_OFFSET: usize = 12;
const END_BYTES: usize = 40;
const TAG_END: u8 = 0;
/// For the reader's buffer, and a piece compressed and uncompressed, each in a vector that may have twice the capacity
/// that it needs.
const HELD_BYTES_MAX: usize = (1 << 20) + 4 * SNAPSHOT_PIECE_BYTES_MAX + (256 << 10);

type Pieces = Vec<(u8, Vec<u8>)>;

fn check(input: &[u8]) -> Outcome {
    let path = scratch::file("0000000001-00000000000000000001.snap", input);
    let proved = meter::within(HELD_BYTES_MAX, || SnapshotReader::open(&path).and_then(SnapshotReader::prove));
    let (header, pieces) = match read(&path) {
        Ok(found) => found,
        Err(error) => {
            assert!(proved.is_err(), "reading and verifying agree");
            return refused(input, &path, &error);
        }
    };
    assert_eq!(proved.expect("reading and verifying agree"), header);
    let dir = scratch::dir().join("again");
    std::fs::create_dir_all(&dir).expect("a directory can be made in the scratch directory");
    let mut writer = SnapshotWriter::create(&dir, header.clone()).expect("a file can be made in the scratch directory");
    for (tag, piece) in &pieces {
        writer.piece(*tag, piece).expect("a piece that was read can be written");
    }
    let again = writer.finish().expect("the file is finished");
    let (mut header_again, pieces_again) = read(&again.path).expect("a file that was written can be read");
    // The name of the build is for people: bytes that are not text are replaced when it is read, and it may be longer
    // then.
    if header.build.contains(char::REPLACEMENT_CHARACTER) {
        header_again.build.clone_from(&header.build);
    }
    assert_eq!((header_again, pieces_again), (header, pieces));
    remove(&again).expect("the file is there");
    Outcome::Decoded
}

fn refused(input: &[u8], path: &Path, error: &WalError) -> Outcome {
    assert!(matches!(error.kind(), ErrorKind::Damaged | ErrorKind::UnknownFormat), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error} names the file");
    if let WalError::Damaged { offset, .. } = error {
        let end = (input.len() + PIECE_HEADER_BYTES) as u64;
        assert!(*offset <= end, "{error} names a place in the file, which ends at {}", input.len());
    }
    Outcome::Refused
}

fn read(path: &Path) -> Result<(SnapshotHeader, Pieces)> {
    let mut reader = SnapshotReader::open(path)?;
    let mut pieces = Pieces::new();
    while let Some((tag, piece)) = reader.next_piece()? {
        assert!(tag != TAG_END && piece.len() <= SNAPSHOT_PIECE_BYTES_MAX);
        pieces.push((tag, piece.to_vec()));
    }
    Ok((reader.header().clone(), pieces))
}

/// Makes every checksum right, and the number of pieces and the hash in the end piece.
fn repair(input: &mut [u8]) {
    if input.len() < HEADER_BYTES {
        return;
    }
    let crc = crc32c::crc32c(&input[..HEADER_BYTES - 4]);
    input[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let (mut at, mut piece_count) = (HEADER_BYTES, 0u64);
    while let Some(header) = input.get(at..at + PIECE_HEADER_BYTES) {
        let (tag, stored) = (header[0], &header[8..12]);
        let stored_bytes = u32::from_le_bytes([stored[0], stored[1], stored[2], stored[3]]) as usize;
        let start = at + PIECE_HEADER_BYTES;
        let end = start.saturating_add(stored_bytes);
        if input.len() < end {
            return;
        }
        if tag == TAG_END && stored_bytes == END_BYTES {
            let hash = blake3::hash(&input[..at]);
            input[start..start + 8].copy_from_slice(&piece_count.to_le_bytes());
            input[start + 8..end].copy_from_slice(hash.as_bytes());
        }
        let crc = crc32c::crc32c(&input[at..at + PIECE_CRC_OFFSET]);
        let crc = crc32c::crc32c_append(crc, &input[start..end]);
        input[at + PIECE_CRC_OFFSET..start].copy_from_slice(&crc.to_le_bytes());
        (at, piece_count) = (end, piece_count + 1);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let header = SnapshotHeader {
        version: SNAPSHOT_VERSION_NEWEST,
        node_id: NODE,
        timeline: Timeline(1),
        tail: Tail { seq: Lsn(42), chain: ChainHash([7; 32]) },
        time: 1_700_000_000_000_000_000,
        state_hash: [9; 32],
        log_bytes: 4_711,
        build: "pinion 0.1.0".to_owned(),
    };
    let dir = scratch::dir();
    let write = |pieces: &[(u8, Vec<u8>)]| {
        let mut writer =
            SnapshotWriter::create(&dir, header.clone()).expect("a file can be made in the scratch directory");
        pieces.iter().for_each(|(tag, piece)| writer.piece(*tag, piece).expect("a piece can be written"));
        let file = writer.finish().expect("the file can be finished");
        let bytes = std::fs::read(&file.path).expect("the file is there");
        remove(&file).expect("the file is there");
        bytes
    };
    let noise: Vec<u8> = (0..500u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let repeated = b"the same again and again ".repeat(40);
    vec![write(&[]), write(&[(1, repeated), (2, noise), (2, vec![0])])]
}
