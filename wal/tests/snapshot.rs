//! Snapshot files: what is written is read, and a file with any byte missing, changed or added is refused.

mod common;

use common::{NODE, Rng, TIMELINE};
use std::fs;
use std::path::Path;
use tempfile::TempDir;
use wal::error::{ErrorKind, Result};
use wal::snapshot::{
    SNAPSHOT_PIECE_BYTES_MAX, SNAPSHOT_VERSION_OLDEST, SnapshotFile, SnapshotHeader, SnapshotReader, SnapshotWriter,
    list, remove, sweep,
};
use wal::units::{ChainHash, Lsn, Tail, Timeline};

type Pieces = Vec<(u8, Vec<u8>)>;

fn header(seq: u64) -> SnapshotHeader {
    SnapshotHeader {
        version: SNAPSHOT_VERSION_OLDEST,
        node_id: NODE,
        timeline: TIMELINE,
        tail: Tail { seq: Lsn(seq), chain: ChainHash([7; 32]) },
        time: 1_700_000_000_000_000_000,
        log_bytes: 77,
        state_hash: [9; 32],
        build: "pinion 0.1.0".to_owned(),
    }
}

/// Text that shrinks, noise that does not, and one byte.
fn pieces() -> Pieces {
    let mut rng = Rng(5);
    let noise = (0..3_000).map(|_| rng.below(256) as u8).collect();
    vec![(1, b"the same again and again ".repeat(60)), (2, noise), (2, vec![0])]
}

fn write(dir: &Path, header: SnapshotHeader, pieces: &[(u8, Vec<u8>)]) -> SnapshotFile {
    let mut writer = SnapshotWriter::create(dir, header).expect("the directory is writable");
    for (tag, piece) in pieces {
        writer.piece(*tag, piece).expect("written");
    }
    writer.finish().expect("finished")
}

fn read(path: &Path) -> Result<(SnapshotHeader, Pieces)> {
    let mut reader = SnapshotReader::open(path)?;
    let mut pieces = Pieces::new();
    while let Some((tag, piece)) = reader.next_piece()? {
        pieces.push((tag, piece.to_vec()));
    }
    Ok((reader.header().clone(), pieces))
}

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[test]
fn what_is_written_is_read() {
    let dir = dir();
    let file = write(dir.path(), header(42), &pieces());
    assert_eq!(file.path.file_name().and_then(|n| n.to_str()), Some("0000000001-00000000000000000042.snap"));
    assert_eq!(file.bytes, fs::metadata(&file.path).expect("it is there").len());
    assert_eq!(read(&file.path).expect("intact"), (header(42), pieces()));
    assert_eq!(SnapshotReader::open(&file.path).and_then(SnapshotReader::prove).expect("intact"), header(42));
    let large = vec![(9, vec![3; SNAPSHOT_PIECE_BYTES_MAX]); 5];
    let file = write(dir.path(), header(43), &large);
    assert_eq!(read(&file.path).expect("intact").1, large);
    assert!(file.bytes < 100_000, "compressed: {} bytes", file.bytes);
    assert_eq!(read(&write(dir.path(), header(44), &[]).path).expect("intact").1, Pieces::new());
}

#[test]
fn a_long_name_of_a_build_is_cut_at_a_character() {
    let dir = dir();
    let build = format!("{}ü and more", "x".repeat(63));
    let file = write(dir.path(), SnapshotHeader { build, ..header(1) }, &pieces());
    assert_eq!(read(&file.path).expect("intact").0.build, "x".repeat(63));
}

#[test]
fn every_flip_and_every_cut_is_refused() {
    let dir = dir();
    let file = write(dir.path(), header(42), &pieces());
    let intact = fs::read(&file.path).expect("readable");
    let bad = dir.path().join("bad");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&bad, bytes).expect("written");
        let error = read(&bad).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Damaged, "{what}: {error}");
        assert!(error.to_string().contains("bad is damaged"), "{error}");
    };
    for at in 0..intact.len() {
        let mut bytes = intact.clone();
        bytes[at] ^= 1 << (at % 8);
        refused(&bytes, &format!("a flip at {at}"));
        refused(&intact[..at], &format!("cut at {at}"));
    }
    refused(&[intact.as_slice(), &[0]].concat(), "a byte after the end");
    let mut zeroed = intact.clone();
    zeroed[512..1024].fill(0);
    refused(&zeroed, "a sector of zeros");
}

/// Intact pieces are not enough: the hash at the end detects a missing or moved one.
#[test]
fn a_missing_or_moved_piece_is_refused() {
    let dir = dir();
    let file = write(dir.path(), header(42), &pieces());
    let intact = fs::read(&file.path).expect("readable");
    let (head, body) = intact.split_at(192);
    let stored = |at: usize| u32::from_le_bytes(body[at + 8..at + 12].try_into().expect("four bytes")) as usize + 16;
    let first = stored(0);
    let second = stored(first);
    let rest = &body[first + second..];
    let bad = dir.path().join("bad");
    fs::write(&bad, [head, &body[first..]].concat()).expect("written");
    assert_eq!(read(&bad).expect_err("one is missing").kind(), ErrorKind::Damaged);
    fs::write(&bad, [head, &body[first..first + second], &body[..first], rest].concat()).expect("written");
    assert_eq!(read(&bad).expect_err("two are swapped").kind(), ErrorKind::Damaged);
}

/// Before anything of it is believed.
#[test]
fn a_header_is_proved_when_the_file_is_opened() {
    let dir = dir();
    let file = write(dir.path(), header(42), &pieces());
    let intact = fs::read(&file.path).expect("readable");
    let bad = dir.path().join("bad");
    for at in 0..192 {
        let mut bytes = intact.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&bad, &bytes).expect("written");
        let error = SnapshotReader::open(&bad).err().expect("a flip in the header");
        assert_eq!(error.kind(), ErrorKind::Damaged, "a flip at {at}: {error}");
    }
}

#[test]
fn no_piece_is_returned_before_its_checksum_is_proved() {
    let dir = dir();
    let file = write(dir.path(), header(42), &pieces());
    let intact = fs::read(&file.path).expect("readable");
    let bad = dir.path().join("bad");
    let mut end = 192;
    for idx in 0..pieces().len() {
        end += 16 + u32::from_le_bytes(intact[end + 8..end + 12].try_into().expect("four bytes")) as usize;
        let mut bytes = intact.clone();
        bytes[end - 1] ^= 1;
        fs::write(&bad, &bytes).expect("written");
        let mut reader = SnapshotReader::open(&bad).expect("the header is intact");
        for _ in 0..idx {
            assert!(reader.next_piece().expect("pieces before it are intact").is_some());
        }
        assert_eq!(reader.next_piece().expect_err("a flip in the piece").kind(), ErrorKind::Damaged, "piece {idx}");
    }
}

#[cfg(feature = "mutation")]
#[test]
fn checksums_that_are_not_compared_are_noticed() {
    use wal::mutation::Mutation::*;
    common::assert_noticed(SnapshotHeaderUnchecked, a_header_is_proved_when_the_file_is_opened);
    common::assert_noticed(SnapshotPieceUnchecked, no_piece_is_returned_before_its_checksum_is_proved);
    common::assert_noticed(SnapshotHashUnchecked, a_missing_or_moved_piece_is_refused);
}

#[test]
fn a_later_version_is_reported_as_one() {
    let dir = dir();
    let file = write(dir.path(), header(42), &pieces());
    let mut bytes = fs::read(&file.path).expect("readable");
    bytes[4] = 3;
    let crc = crc32c::crc32c(&bytes[..188]);
    bytes[188..192].copy_from_slice(&crc.to_le_bytes());
    fs::write(&file.path, bytes).expect("written");
    let error = SnapshotReader::open(&file.path).err().expect("not for this build");
    assert_eq!(error.kind(), ErrorKind::UnknownFormat);
    let gone = SnapshotReader::open(&dir.path().join("absent")).err().expect("not there");
    assert_eq!(gone.kind(), ErrorKind::Damaged);
}

#[test]
fn an_unfinished_file_is_not_listed() {
    let dir = dir();
    let mut writer = SnapshotWriter::create(dir.path(), header(42)).expect("created");
    writer.piece(1, &[1; 100]).expect("written");
    assert_eq!(list(dir.path()).expect("readable"), []);
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0, "no file remains");
    // As a crash would leave it.
    fs::write(dir.path().join("0000000001-00000000000000000042.snap.tmp"), [0; 9]).expect("written");
    fs::write(dir.path().join("notes.tmp"), [0; 9]).expect("written");
    assert_eq!(list(dir.path()).expect("readable"), []);
    assert_eq!(sweep(dir.path()).expect("swept"), 1);
    assert!(dir.path().join("notes.tmp").exists(), "other files stay");
}

#[test]
fn files_are_listed_oldest_first_and_removed() {
    let dir = dir();
    for (timeline, seq) in [(2, 5), (1, 100), (1, 9)] {
        write(dir.path(), SnapshotHeader { timeline: Timeline(timeline), ..header(seq) }, &pieces());
    }
    for foreign in ["1-9.snap", "x.snap", "0000000001-00000000000000000009.snap.old"] {
        fs::write(dir.path().join(foreign), [0; 9]).expect("written");
    }
    let files = list(dir.path()).expect("readable");
    let names: Vec<_> = files.iter().map(|file| (file.timeline.0, file.seq.0)).collect();
    assert_eq!(names, [(1, 9), (1, 100), (2, 5)]);
    remove(&files[0]).expect("removed");
    assert_eq!(list(dir.path()).expect("readable"), files[1..]);
}

#[test]
fn a_folder_that_is_missing_has_no_snapshots() {
    let absent = dir().path().join("snapshots");
    assert_eq!(list(&absent).expect("as if it were empty"), []);
    assert_eq!(sweep(&absent).expect("as if it were empty"), 0);
    let no_folder = tempfile::NamedTempFile::new().expect("a temporary file");
    assert!(list(no_folder.path()).is_err(), "what is there and no folder is reported");
}

#[cfg(feature = "mutation")]
#[test]
fn a_folder_that_is_needed_is_noticed() {
    common::assert_noticed(wal::mutation::Mutation::SnapshotsFolderNeeded, a_folder_that_is_missing_has_no_snapshots);
}

/// The bytes around the pieces are pinned; what zstd makes of a piece may change with its version.
#[test]
fn the_layout_is_the_one_written_down() {
    let dir = dir();
    let file = write(dir.path(), header(42), &[(7, vec![0xA5])]);
    let bytes = fs::read(&file.path).expect("readable");
    assert_eq!(&bytes[..8], b"WSNP\x01\x00\xc0\x00");
    assert_eq!(bytes[8..16], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[16..32], NODE.0);
    assert_eq!(bytes[32..40], 42u64.to_le_bytes());
    assert_eq!(bytes[48..56], 77u64.to_le_bytes());
    assert_eq!(bytes[56..88], [7; 32]);
    assert_eq!(bytes[88..120], [9; 32]);
    assert_eq!(&bytes[120..132], b"pinion 0.1.0");
    assert_eq!(bytes[188..192], crc32c::crc32c(&bytes[..188]).to_le_bytes());
    // One byte does not get shorter: tag, coding, lengths, checksum, and itself.
    assert_eq!(bytes[192..204], [7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    let sealed = [&bytes[192..204], &[0xA5]].concat();
    assert_eq!(bytes[204..208], crc32c::crc32c(&sealed).to_le_bytes());
    assert_eq!(bytes[208], 0xA5);
    let end = &bytes[209..];
    assert_eq!(end[..12], [0, 0, 0, 0, 40, 0, 0, 0, 40, 0, 0, 0]);
    assert_eq!(end[16..24], 1u64.to_le_bytes());
    assert_eq!(end[24..56], *blake3::hash(&bytes[..209]).as_bytes());
    assert_eq!(end.len(), 56);
}
