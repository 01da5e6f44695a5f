//! Writes one snapshot file.
//!
//! Invariant: the file gets its final name in [`SnapshotWriter::finish`], after every byte is synced.

use crate::error::{Action, Result, WalError};
use crate::medium::{Existing, FileSystem, Medium, NewFile};
use crate::mutation::planted;
use crate::snapshot::files::{self, SnapshotFile};
use crate::snapshot::format::{
    Coding, EndBytes, HEADER_BYTES, HeaderBytes, PIECE_HEADER_BYTES, PieceHeader, SNAPSHOT_PIECE_BYTES_MAX,
    SnapshotHeader, TAG_END,
};
use crate::writeback::STEP_BYTES;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zerocopy::IntoBytes;
use zstd::bulk::Compressor;

/// The fastest level: a snapshot must not be written slower than the disk can take it.
const ZSTD_LEVEL: i32 = 1;

/// Bytes gathered before they are written: one step, so that the device writes it while the next one is compressed.
const BUFFER_BYTES: usize = STEP_BYTES;

/// A snapshot file being written. When it is dropped before it is finished, its temporary file is deleted.
pub struct SnapshotWriter {
    medium: Arc<dyn Medium>,
    file: Box<dyn NewFile>,
    temporary: PathBuf,
    path: PathBuf,
    header: SnapshotHeader,
    compressor: Compressor<'static>,
    buffer: Vec<u8>,
    hasher: blake3::Hasher,
    piece_count: u64,
    raw_bytes: u64,
    bytes: u64,
    finished: bool,
}

impl SnapshotWriter {
    /// Begins a file in `dir`. One writer at a time: the owner of the directory's lock.
    pub fn create(dir: &Path, header: SnapshotHeader) -> Result<Self> {
        Self::create_on(Arc::new(FileSystem), dir, header)
    }

    /// The same on `medium`.
    pub fn create_on(medium: Arc<dyn Medium>, dir: &Path, header: SnapshotHeader) -> Result<Self> {
        let path = dir.join(files::name_of(header.timeline, header.tail.seq));
        let temporary = files::temporary_of(&path);
        let created = medium.create_file(&temporary, Existing::Replaced);
        let file = created.map_err(|source| WalError::io(Action::Create, &temporary, 0, source))?;
        let compressor =
            Compressor::new(ZSTD_LEVEL).map_err(|source| WalError::io(Action::Create, &temporary, 0, source))?;
        let buffer = Vec::with_capacity(BUFFER_BYTES + SNAPSHOT_PIECE_BYTES_MAX);
        let hasher = blake3::Hasher::new();
        let head = HeaderBytes::of(&header);
        let mut writer = Self {
            medium,
            file,
            temporary,
            path,
            header,
            compressor,
            buffer,
            hasher,
            piece_count: 0,
            raw_bytes: 0,
            bytes: 0,
            finished: false,
        };
        writer.buffer.extend_from_slice(head.as_bytes());
        Ok(writer)
    }

    /// Adds a piece. Its tag is the caller's, from 1.
    pub fn piece(&mut self, tag: u8, raw: &[u8]) -> Result<()> {
        assert!(TAG_END < tag, "tag 0 is the end's");
        assert!(!raw.is_empty() && raw.len() <= SNAPSHOT_PIECE_BYTES_MAX, "a piece is within its bounds");
        let start = self.buffer.len();
        let body = start + PIECE_HEADER_BYTES;
        // The room is the plain length, so zstd fails where it cannot make the piece shorter.
        self.buffer.resize(body + raw.len(), 0);
        let (coding, stored) = match self.compressor.compress_to_buffer(raw, &mut self.buffer[body..]) {
            Ok(stored) => (Coding::Zstd, stored),
            Err(_too_long) => {
                self.buffer[body..].copy_from_slice(raw);
                (Coding::Plain, raw.len())
            }
        };
        self.buffer.truncate(body + stored);
        let header = PieceHeader::sealed(tag, coding, raw.len(), &self.buffer[body..]);
        self.buffer[start..body].copy_from_slice(header.as_bytes());
        self.piece_count += 1;
        self.raw_bytes += raw.len() as u64;
        if self.buffer.len() >= BUFFER_BYTES { self.spill() } else { Ok(()) }
    }

    /// Seals the file and gives it its name. It is durable when this returns.
    pub fn finish(mut self) -> Result<SnapshotFile> {
        self.spill()?;
        assert!(self.bytes >= HEADER_BYTES as u64 + self.piece_count * PIECE_HEADER_BYTES as u64);
        let end = EndBytes { piece_count: self.piece_count.into(), blake3: *self.hasher.finalize().as_bytes() };
        let header = PieceHeader::sealed(TAG_END, Coding::Plain, end.as_bytes().len(), end.as_bytes());
        self.buffer.extend_from_slice(header.as_bytes());
        self.buffer.extend_from_slice(end.as_bytes());
        self.spill()?;
        assert!(self.buffer.is_empty(), "every byte is written before the sync");
        self.sync_contents()?;
        let renamed = self.medium.rename(&self.temporary, &self.path);
        renamed.map_err(|source| WalError::io(Action::Rename, &self.path, 0, source))?;
        self.finished = true;
        self.sync_name()?;
        let (timeline, seq) = (self.header.timeline, self.header.tail.seq);
        Ok(SnapshotFile { path: self.path.clone(), timeline, seq, bytes: self.bytes })
    }

    /// Bytes of all pieces so far, before compression.
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    fn sync_contents(&mut self) -> Result<()> {
        planted!(SnapshotUnsynced, return Ok(()));
        self.file.sync().map_err(|source| WalError::io(Action::Sync, &self.temporary, 0, source))
    }

    fn sync_name(&self) -> Result<()> {
        planted!(DirectorySyncSkipped, return Ok(()));
        files::sync_entries(&*self.medium, &self.path)
    }

    fn spill(&mut self) -> Result<()> {
        self.hasher.update(&self.buffer);
        let written = self.file.append(&self.buffer);
        written.map_err(|source| WalError::io(Action::Write, &self.temporary, self.bytes, source))?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.finished {
            // A failure is ignored: the next start deletes temporary files.
            let _ = self.medium.remove(&self.temporary);
        }
    }
}
