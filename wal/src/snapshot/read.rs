//! Reads one snapshot file and proves it on the way: nothing is lent that its checksum does not vouch for, and the end is
//! reported only where the whole file agrees with it.

use super::{
    Coding, END_BYTES, EndBytes, HEADER_BYTES, HeaderBytes, PIECE_HEADER_BYTES, PieceHeader, SNAPSHOT_MAGIC,
    SNAPSHOT_PIECE_BYTES_MAX, SNAPSHOT_VERSION, SnapshotHeader, TAG_END,
};
use crate::error::{Action, Damage, Result, WalError};
use crate::medium::{FileSystem, Medium};
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes, IntoBytes};
use zstd::bulk::Decompressor;

const BUFFER_BYTES: usize = 1 << 20;

/// A file being read. After an error nothing more of it is to be believed.
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

    /// Opens a file on `medium`.
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
            return Err(damaged(path, 0, Damage::Malformed("not a snapshot")));
        }
        if header.checksum() != header.crc32c.get() {
            return Err(damaged(path, 0, Damage::Checksum));
        }
        if header.version.get() != SNAPSHOT_VERSION || usize::from(header.header_bytes.get()) != HEADER_BYTES {
            let (found, known) = (u32::from(header.version.get()), u32::from(SNAPSHOT_VERSION));
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

    /// The next piece with its tag; `None` at the end of a file that is whole.
    pub fn next_piece(&mut self) -> Result<Option<(u8, &[u8])>> {
        let at = self.offset;
        let header = self.read_stored()?;
        if header.tag == TAG_END {
            return self.check_end(at).map(|()| None);
        }
        self.hasher.update(header.as_bytes());
        self.hasher.update(&self.stored);
        self.piece_count += 1;
        let raw_bytes = header.raw_bytes.get() as usize;
        if header.coding == Coding::Plain as u8 {
            let whole = raw_bytes == self.stored.len();
            return if whole { Ok(Some((header.tag, &self.stored))) } else { Err(self.malformed(at, "a length")) };
        }
        if header.coding != Coding::Zstd as u8 {
            return Err(self.malformed(at, "an unknown coding"));
        }
        self.raw.resize(raw_bytes, 0);
        match self.decompressor.decompress_to_buffer(&self.stored, &mut self.raw) {
            Ok(len) if len == raw_bytes => Ok(Some((header.tag, &self.raw))),
            _ => Err(self.malformed(at, "a piece that does not unpack")),
        }
    }

    /// Reads what is left without using it: proves the file.
    pub fn prove(mut self) -> Result<SnapshotHeader> {
        while self.next_piece()?.is_some() {}
        Ok(self.header)
    }

    /// A piece's header and, into `stored`, its bytes; both proved.
    fn read_stored(&mut self) -> Result<PieceHeader> {
        let at = self.offset;
        let mut bytes = [0; PIECE_HEADER_BYTES];
        read_exact(&mut self.file, &self.path, at, &mut bytes)?;
        let header = PieceHeader::read_from_bytes(&bytes).expect("the array has the header's length");
        let (raw_bytes, stored_bytes) = (header.raw_bytes.get() as usize, header.stored_bytes.get() as usize);
        // Before the checksum can be looked at, memory is made for what it is about.
        if raw_bytes > SNAPSHOT_PIECE_BYTES_MAX || stored_bytes > SNAPSHOT_PIECE_BYTES_MAX {
            return Err(self.malformed(at, "a piece beyond its bound"));
        }
        // No writer makes one, and nobody behind this has to know what it would mean.
        if raw_bytes == 0 {
            return Err(self.malformed(at, "an empty piece"));
        }
        self.stored.resize(stored_bytes, 0);
        read_exact(&mut self.file, &self.path, at + PIECE_HEADER_BYTES as u64, &mut self.stored)?;
        if header.checksum(&self.stored) != header.crc32c.get() {
            return Err(damaged(&self.path, at, Damage::Checksum));
        }
        self.offset += (PIECE_HEADER_BYTES + stored_bytes) as u64;
        Ok(header)
    }

    fn check_end(&mut self, at: u64) -> Result<()> {
        let end =
            EndBytes::read_from_bytes(&self.stored).map_err(|_| self.malformed(at, "an end of another length"))?;
        debug_assert!(self.stored.len() == END_BYTES);
        if end.blake3 != *self.hasher.finalize().as_bytes() || end.piece_count.get() != self.piece_count {
            return Err(damaged(&self.path, at, Damage::Checksum));
        }
        let mut more = [0];
        match self.file.read(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.malformed(self.offset, "bytes behind the end")),
            Err(source) => Err(WalError::io(Action::Read, &self.path, self.offset, source)),
        }
    }

    fn malformed(&self, offset: u64, what: &'static str) -> WalError {
        damaged(&self.path, offset, Damage::Malformed(what))
    }
}

fn damaged(path: &Path, offset: u64, damage: Damage) -> WalError {
    WalError::damaged(path, offset, crate::units::Lsn::ZERO, damage)
}

fn read_exact(file: &mut impl Read, path: &Path, offset: u64, bytes: &mut [u8]) -> Result<()> {
    file.read_exact(bytes).map_err(|source| match source.kind() {
        ErrorKind::UnexpectedEof => damaged(path, offset, Damage::Malformed("the file ends too early")),
        _ => WalError::io(Action::Read, path, offset, source),
    })
}
