//! The simplest driver of a head: each frame is written and synced before the next one. For tests and offline tools.

use crate::block::blocks;
use crate::error::{Result, WalError};
use crate::head::{Head, HeadConfig, HeadPosition};
use crate::segment::Segments;
use crate::store::Store;
use crate::units::Lsn;
use zerocopy::IntoBytes;

/// A head and the files that it writes to.
pub struct BlockingHead {
    head: Head,
    segments: Segments,
}

impl BlockingHead {
    pub fn new(config: HeadConfig, at: HeadPosition, segments: Segments) -> Result<BlockingHead> {
        Ok(BlockingHead { head: Head::new(config, at)?, segments })
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Appends one record, and commits the open frame first where that is full. `None` where the head waits for its
    /// frames to be stored.
    pub fn append(&mut self, record: &[u8]) -> Result<Option<Lsn>> {
        if !self.head.has_room(record.len()) {
            self.commit()?;
        }
        if !self.head.has_room(record.len()) {
            return Ok(None);
        }
        let seq = self.head.seq_next();
        self.head.append(seq, record);
        Ok(Some(seq))
    }

    /// Writes and syncs every record appended so far and returns the last durable sequence.
    pub fn commit(&mut self) -> Result<Lsn> {
        while let Some(op) = self.head.next_write() {
            let file = self.segments.file(op.place.segment);
            let written = file.write_all_at(self.head.bytes(op.ticket), op.place.offset);
            self.head.complete_write(op.ticket, written.map(|()| op.bytes_len).map_err(|error| errno(&error)))?;
            let synced = file.sync();
            self.head.complete_sync(op.ticket, synced.map_err(|error| errno(&error)))?;
        }
        if let Some(poisoned) = self.head.poisoned() {
            return Err(WalError::Poisoned(*poisoned));
        }
        assert!(self.head.seq_durable().next() == self.head.seq_next(), "every record that was appended is durable");
        Ok(self.head.seq_durable())
    }

    /// Releases durable frames without storing them: they stay in the head's files alone.
    pub fn release_durable(&mut self) {
        while self.head.durable_frame().is_some() {
            self.head.release_durable_frame();
        }
    }

    /// Moves durable frames into the store without flushing it and returns how many.
    pub fn move_into(&mut self, store: &Store) -> Result<usize> {
        let mut buffer = blocks(self.head.config().frame_bytes_max);
        let mut count = 0;
        while let Some(frame_bytes) = self.head.pop_durable_frame(buffer.as_mut_bytes()) {
            store.append_frames([&buffer.as_bytes()[..frame_bytes]])?;
            count += 1;
        }
        Ok(count)
    }

    /// Moves durable frames into the store, flushes it, and lets the head reuse their segments.
    pub fn store_all(&mut self, store: &Store) -> Result<Lsn> {
        self.move_into(store)?;
        let seq = store.flush()?;
        self.head.advance_stored(seq);
        Ok(seq)
    }
}

/// The error's number; EIO for an error without one, such as a write of zero bytes.
fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
