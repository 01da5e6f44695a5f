//! Moves durable frames from the head into RocksDB and keeps the high-water mark: all that may block on a disk, off the
//! ack path.
//!
//! Invariants: frames arrive and are stored in the order of the log; `seq_stored` is told only after a flush, because
//! RocksDB's own log is off; the mark never runs ahead of what is durable.

use crate::faults::mutation::{self, Mutation, Planted};
use crate::host::clock::Clock;
use crate::rings::frames::FramesOut;
use crate::status::Status;
use crate::status::exit;
use crate::status::lifecycle::Lifecycle;
use crate::status::watermarks::{Watermark, WatermarkWriter};
use book::units::Seq;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wal::block::padded;
use wal::error::WalError;
use wal::frame::FRAME_BYTES_MAX;
use wal::head::HeadConfig;
use wal::mark::Mark;
use wal::store::Store;
use wal::units::Lsn;

/// Frames stored in one batch.
const BATCH_FRAMES_MAX: usize = 64;
/// RocksDB is flushed so often that most of the head is always free for what comes.
const FLUSHES_PER_HEAD: u64 = 4;
/// How often the mark is noted while commands come in.
const MARK_EVERY_NS: u64 = 100_000_000;

/// How many bytes of the head may be stored and not flushed. A head of few and small segments waits for more of them
/// than its share: with the share alone it would wait for a flush, and the flush for more frames, for ever.
pub fn flush_bytes(head: &HeadConfig) -> u64 {
    let head_bytes = head.geometry.segment_bytes * u64::from(head.geometry.segment_count);
    (head_bytes / FLUSHES_PER_HEAD).min(head.bytes_behind_next_segment()).max(1)
}

/// The loop. `poll` blocks on RocksDB and is given a thread of its own.
pub struct StoreWriter {
    frames: FramesOut,
    store: Arc<Store>,
    mark: Mark,
    stored: WatermarkWriter<Seq>,
    durable: Watermark<Seq>,
    batch: Vec<u8>,
    ends: Vec<usize>,
    /// What the frames stored since the last flush take in the head.
    unflushed_bytes: u64,
    flush_bytes: u64,
    mark_noted_ns: u64,
}

impl StoreWriter {
    /// `flush_bytes`, of the head's own bytes, decides how often its segments become free again.
    pub fn new(
        frames: FramesOut,
        store: Arc<Store>,
        mark: Mark,
        mut stored: WatermarkWriter<Seq>,
        durable: Watermark<Seq>,
        flush_bytes: u64,
    ) -> Self {
        stored.advance(Seq(store.seq_stored().0));
        Self {
            frames,
            store,
            mark,
            stored,
            durable,
            batch: Vec::with_capacity(2 * FRAME_BYTES_MAX),
            ends: Vec::with_capacity(BATCH_FRAMES_MAX),
            unflushed_bytes: 0,
            flush_bytes,
            mark_noted_ns: 0,
        }
    }

    /// Stores what has come, flushes when it is time, notes the mark. Returns the number of frames.
    pub fn poll(&mut self, now_ns: u64) -> Result<usize, WalError> {
        let count = self.store_batch()?;
        if self.unflushed_bytes >= self.flush_bytes {
            self.flush()?;
        }
        if now_ns.saturating_sub(self.mark_noted_ns) >= MARK_EVERY_NS {
            self.mark_noted_ns = now_ns;
            self.note_mark()?;
        }
        Ok(count)
    }

    fn store_batch(&mut self) -> Result<usize, WalError> {
        self.batch.clear();
        self.ends.clear();
        while self.ends.len() < BATCH_FRAMES_MAX && self.frames.pop(&mut self.batch) {
            self.ends.push(self.batch.len());
        }
        if self.ends.is_empty() {
            return Ok(0);
        }
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let frames = starts.zip(&self.ends).map(|(start, &end)| &self.batch[start..end]);
        // Counted as they lie in the head, padding included: a head full of small frames has few bytes to store.
        self.unflushed_bytes += frames.clone().map(|frame| padded(frame.len()) as u64).sum::<u64>();
        let appended = self.store.append_frames(frames)?;
        mutation::when(Mutation::StoredBeforeFlush, || self.stored.advance(Seq(appended.0)));
        Ok(self.ends.len())
    }

    fn flush(&mut self) -> Result<(), WalError> {
        let stored = self.store.flush()?;
        self.unflushed_bytes = 0;
        self.stored.advance(Seq(stored.0));
        Ok(())
    }

    /// What is durable may have been acknowledged: a log that ends before it has lost something.
    fn note_mark(&mut self) -> Result<(), WalError> {
        let durable = Lsn(self.durable.get().0).planted(Mutation::MarkNotNoted, || Lsn(0));
        if self.mark.seq() < durable { self.mark.note(durable) } else { Ok(()) }
    }

    /// The last round of a clean stop: all that is durable goes to RocksDB, so that the next start is short.
    pub fn finish(&mut self) -> Result<(), WalError> {
        while self.store_batch()? > 0 {}
        self.flush()?;
        self.note_mark()
    }

    /// Runs until the engine is done and everything is stored, or the process must end.
    pub fn run(mut self, engine_done: &AtomicBool, clock: &mut Clock, lifecycle: &Lifecycle, status: &Status) {
        const IDLE: std::time::Duration = std::time::Duration::from_micros(500);
        loop {
            let now = clock.now().0;
            let done = engine_done.load(Ordering::Acquire);
            let outcome = if done { self.finish().map(|()| 0) } else { self.poll(now) };
            status.store_writer.at_ns.set(now);
            status.store_writer.cycles.add(1);
            match outcome {
                Err(error) => return lifecycle.fail(exit::code_of(&error), error.to_string()),
                Ok(_) if done => return,
                // Frames come in bursts; half a millisecond costs no acknowledgement anything.
                Ok(0) => std::thread::sleep(IDLE),
                Ok(_) => {}
            }
        }
    }
}
