//! The plainest driver of a head: each frame is written, synced and reported before the next. For tests and offline tools.

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

    /// Stages one record, writing what is staged already where the open frame is full. `None` where the head waits for
    /// its frames to be stored.
    pub fn append(&mut self, record: &[u8]) -> Result<Option<Lsn>> {
        if !self.head.has_room(record.len()) {
            self.commit()?;
        }
        if !self.head.has_room(record.len()) {
            return Ok(None);
        }
        let seq = self.head.seq_next();
        self.head.stage(seq, record);
        Ok(Some(seq))
    }

    /// Writes and syncs everything staged; returns the last durable sequence.
    pub fn commit(&mut self) -> Result<Lsn> {
        while let Some(op) = self.head.next_write() {
            let file = self.segments.file(op.place.segment);
            let written = file.write_whole(self.head.bytes(op.ticket), op.place.offset);
            self.head.written(op.ticket, written.map(|()| op.bytes_len).map_err(|error| errno(&error)))?;
            let synced = file.sync();
            self.head.synced(op.ticket, synced.map_err(|error| errno(&error)))?;
        }
        match self.head.poisoned() {
            Some(poisoned) => Err(WalError::Poisoned(*poisoned)),
            None => Ok(self.head.seq_durable()),
        }
    }

    /// Gives durable frames' buffers free without storing them: they stay in the head's files alone.
    pub fn release_durable(&mut self) {
        while self.head.durable_frame().is_some() {
            self.head.release_durable_frame();
        }
    }

    /// Moves durable frames into the store without flushing it; returns how many.
    pub fn take_into(&mut self, store: &Store) -> Result<usize> {
        let mut buffer = blocks(self.head.config().frame_bytes_max);
        let mut count = 0;
        while let Some(frame_bytes) = self.head.take_durable_frame(buffer.as_mut_bytes()) {
            store.append_frames([&buffer.as_bytes()[..frame_bytes]])?;
            count += 1;
        }
        Ok(count)
    }

    /// Moves durable frames into the store, flushes it, and gives their segments free.
    pub fn store_all(&mut self, store: &Store) -> Result<Lsn> {
        self.take_into(store)?;
        let seq = store.flush()?;
        self.head.stored(seq);
        Ok(seq)
    }
}

/// An error without a number (a write of zero bytes) is an I/O error all the same.
fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
