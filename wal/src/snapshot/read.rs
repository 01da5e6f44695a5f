//! Reads one snapshot file and proves it on the way.
//!
//! Invariants: no piece is returned before its checksum is proved; the end is reported only when the hash over the file
//! is.

use crate::error::{Action, Damage, Result, WalError};
use crate::medium::{FileSystem, Medium};
use crate::mutation::{Mutation, Planted};
use crate::snapshot::format::{
    Coding, END_BYTES, EndBytes, HEADER_BYTES, HeaderBytes, PIECE_HEADER_BYTES, PieceHeader, SNAPSHOT_MAGIC,
    SNAPSHOT_PIECE_BYTES_MAX, SNAPSHOT_VERSION_NEWEST, SNAPSHOT_VERSION_OLDEST, SnapshotHeader, TAG_END,
};
use crate::units::Lsn;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, IntoBytes};
use zstd::bulk::Decompressor;

const BUFFER_BYTES: usize = 1 << 20;

/// A snapshot file being read. After an error the reader must not be used.
pub struct SnapshotReader {
    file: BufReader<Box<dyn Read + Send>>,
    path: PathBuf,
    header: SnapshotHeader,
    decompressor: Decompressor<'static>,
    hasher: blake3::Hasher,
    stored: Vec<u8>,
    raw: Vec<u8>,
    piece_count: u64,
    offset: u64,
}

impl SnapshotReader {
    /// Opens a file and proves its header.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_on(&FileSystem, path)
    }

    /// The same on `medium`.
    pub fn open_on(medium: &dyn Medium, path: &Path) -> Result<Self> {
        let file = medium.read_file(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => damaged(path, 0, Damage::FileMissing),
            _ => WalError::io(Action::Open, path, 0, source),
        })?;
        let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut bytes = [0; HEADER_BYTES];
        read_exact(&mut file, path, 0, &mut bytes)?;
        let header = HeaderBytes::read_from_bytes(&bytes).expect("the array has the header's length");
        if header.magic.get() != SNAPSHOT_MAGIC {
            return Err(damaged(path, 0, Damage::Malformed("the file does not begin with the magic of a snapshot")));
        }
        let is_proved = header.checksum() == header.crc32c.get();
        if !is_proved.planted(Mutation::SnapshotHeaderUnchecked, |_| true) {
            return Err(damaged(path, 0, Damage::Checksum));
        }
        let is_known = (SNAPSHOT_VERSION_OLDEST..=SNAPSHOT_VERSION_NEWEST).contains(&header.version.get());
        if !is_known || usize::from(header.header_bytes.get()) != HEADER_BYTES {
            let (found, known) = (u32::from(header.version.get()), u32::from(SNAPSHOT_VERSION_NEWEST));
            return Err(WalError::UnknownFormat { path: path.to_owned(), found, known });
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes);
        let decompressor = Decompressor::new().map_err(|source| WalError::io(Action::Open, path, 0, source))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            header: header.header(),
            decompressor,
            hasher,
            stored: Vec::new(),
            raw: Vec::new(),
            piece_count: 0,
            offset: HEADER_BYTES as u64,
        })
    }

    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// The next piece with its tag; `None` at the end of an intact file.
    pub fn next_piece(&mut self) -> Result<Option<(u8, &[u8])>> {
        let at = self.offset;
        let header = self.read_stored()?;
        assert!(self.offset == at + (PIECE_HEADER_BYTES + self.stored.len()) as u64, "a piece is read to its end");
        if header.tag == TAG_END {
            return self.check_end(at).map(|()| None);
        }
        self.hasher.update(header.as_bytes());
        self.hasher.update(&self.stored);
        self.piece_count += 1;
        let raw_bytes = header.raw_bytes.get() as usize;
        if header.coding == Coding::Plain as u8 {
            if raw_bytes != self.stored.len() {
                return Err(self.malformed(at, "a plain piece has two different lengths"));
            }
            return Ok(Some((header.tag, &self.stored)));
        }
        if header.coding != Coding::Zstd as u8 {
            return Err(self.malformed(at, "a piece has an unknown coding"));
        }
        self.raw.resize(raw_bytes, 0);
        match self.decompressor.decompress_to_buffer(&self.stored, &mut self.raw) {
            Ok(len) if len == raw_bytes => Ok(Some((header.tag, &self.raw))),
            _ => Err(self.malformed(at, "a piece cannot be decompressed to its length")),
        }
    }

    /// Reads the rest of the file and discards it, which proves every byte.
    pub fn prove(mut self) -> Result<SnapshotHeader> {
        while self.next_piece()?.is_some() {}
        Ok(self.header)
    }

    /// Reads a piece's header, and its bytes into `stored`, and proves the checksum of both.
    fn read_stored(&mut self) -> Result<PieceHeader> {
        let at = self.offset;
        let mut bytes = [0; PIECE_HEADER_BYTES];
        read_exact(&mut self.file, &self.path, at, &mut bytes)?;
        let header = PieceHeader::read_from_bytes(&bytes).expect("the array has the header's length");
        let (raw_bytes, stored_bytes) = (header.raw_bytes.get() as usize, header.stored_bytes.get() as usize);
        // The checksum can be computed only after memory has been allocated for these lengths, so they are bounded
        // first.
        if raw_bytes > SNAPSHOT_PIECE_BYTES_MAX || stored_bytes > SNAPSHOT_PIECE_BYTES_MAX {
            return Err(self.malformed(at, "a piece is longer than its limit"));
        }
        // No writer makes an empty piece, so no caller needs to handle one.
        if raw_bytes == 0 {
            return Err(self.malformed(at, "a piece is empty"));
        }
        self.stored.resize(stored_bytes, 0);
        read_exact(&mut self.file, &self.path, at + PIECE_HEADER_BYTES as u64, &mut self.stored)?;
        let is_proved = header.checksum(&self.stored) == header.crc32c.get();
        if !is_proved.planted(Mutation::SnapshotPieceUnchecked, |_| true) {
            return Err(damaged(&self.path, at, Damage::Checksum));
        }
        self.offset += (PIECE_HEADER_BYTES + stored_bytes) as u64;
        Ok(header)
    }

    fn check_end(&mut self, at: u64) -> Result<()> {
        let end = EndBytes::read_from_bytes(&self.stored)
            .map_err(|_| self.malformed(at, "the end has another length than it must"))?;
        assert!(self.stored.len() == END_BYTES);
        let is_proved = end.blake3 == *self.hasher.finalize().as_bytes();
        if !is_proved.planted(Mutation::SnapshotHashUnchecked, |_| true) || end.piece_count.get() != self.piece_count {
            return Err(damaged(&self.path, at, Damage::Checksum));
        }
        let mut more = [0];
        match self.file.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.malformed(self.offset, "bytes follow the end")),
            Err(source) => Err(WalError::io(Action::Read, &self.path, self.offset, source)),
        }
    }

    fn malformed(&self, offset: u64, what: &'static str) -> WalError {
        damaged(&self.path, offset, Damage::Malformed(what))
    }
}

fn damaged(path: &Path, offset: u64, damage: Damage) -> WalError {
    WalError::damaged(path, offset, Lsn::ZERO, damage)
}

fn read_exact(file: &mut impl Read, path: &Path, offset: u64, bytes: &mut [u8]) -> Result<()> {
    file.read_exact(bytes).map_err(|source| match source.kind() {
        ErrorKind::UnexpectedEof => damaged(path, offset, Damage::Malformed("the file ends too early")),
        _ => WalError::io(Action::Read, path, offset, source),
    })
}
