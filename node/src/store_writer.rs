//! The store writer: moves durable frames from the head of the log into RocksDB, and writes the high-water mark. It may
//! block on the disk; no order waits for it.
//!
//! Invariants: frames are stored in the order of the log; `seq_stored` advances only after a flush, because RocksDB's
//! own write-ahead log is off; the mark never passes what is durable, and reaches it once the node is idle. A frame
//! stays in the batch until the store has it, so a loop that begins again after a panic continues with the frame that
//! the store lacks.

use crate::faults::fault::PanicFault;
use crate::faults::mutation::{self, Mutation, Planted};
use crate::host::clock::Clock;
use crate::host::threads::Life;
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
use wal::frame::{FRAME_BYTES_MAX, FrameHeader};
use wal::head::HeadConfig;
use wal::mark::Mark;
use wal::store::Store;
use wal::units::Lsn;

/// The most frames stored in one batch.
const BATCH_FRAMES_MAX: usize = 64;
/// RocksDB is flushed once per quarter of the head, so that most of the head is free for new frames.
const FLUSHES_PER_HEAD: u64 = 4;
/// How often the mark is written while commands arrive.
const MARK_EVERY_NS: u64 = 100_000_000;
/// The mark is written, once, when no command has come for so long. Two looks of this loop, and so less than a
/// millisecond after the last command is durable, unless the store is busy.
const QUIET_NS: u64 = 300_000;
/// Pause between two looks.
const IDLE: std::time::Duration = std::time::Duration::from_micros(400);

/// How many bytes of the head may be stored and not yet flushed. In a head of few, small segments the quarter can be
/// more than it can write before its next segment must be free: then the head would wait for a flush, and the flush for
/// more frames, forever. Hence the second bound.
pub fn flush_bytes(head: &HeadConfig) -> u64 {
    let head_bytes = head.geometry.segment_bytes * u64::from(head.geometry.segment_count);
    (head_bytes / FLUSHES_PER_HEAD).min(head.bytes_after_next_segment()).max(1)
}

/// The store writer's loop. `poll` blocks on RocksDB, so it has a thread of its own.
pub struct StoreWriter {
    frames: FramesOut,
    store: Arc<Store>,
    mark: Mark,
    stored: WatermarkWriter<Seq>,
    durable: Watermark<Seq>,
    applied: Watermark<Seq>,
    /// Frames that have left the ring and are not yet known to be stored, and where each ends.
    batch: Vec<u8>,
    ends: Vec<usize>,
    /// Bytes in the head of the frames stored since the last flush.
    unflushed_bytes: u64,
    flush_bytes: u64,
    mark_noted_ns: u64,
    /// What was durable when the last look found nothing on its way to the disk, and when that was first so.
    quiet: Option<(Seq, u64)>,
}

impl StoreWriter {
    /// `flush_bytes` counts bytes of the head, and determines how often its segments become free again.
    pub fn new(
        frames: FramesOut,
        store: Arc<Store>,
        mark: Mark,
        mut stored: WatermarkWriter<Seq>,
        (durable, applied): (Watermark<Seq>, Watermark<Seq>),
        flush_bytes: u64,
    ) -> Self {
        stored.advance(Seq(store.seq_stored().0));
        Self {
            frames,
            store,
            mark,
            stored,
            durable,
            applied,
            batch: Vec::with_capacity(2 * FRAME_BYTES_MAX),
            ends: Vec::with_capacity(BATCH_FRAMES_MAX),
            unflushed_bytes: 0,
            flush_bytes,
            mark_noted_ns: 0,
            quiet: None,
        }
    }

    /// Stores the frames that have arrived, flushes and writes the mark when they are due. Returns the number of
    /// frames.
    pub fn poll(&mut self, now_ns: u64) -> Result<usize, WalError> {
        // First, because the store may take its time.
        if self.is_quiet(now_ns) {
            self.note_mark()?;
        }
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

    /// Whether everything that was accepted is durable and has been for a moment, so that the last frame of a burst is
    /// attested at once: no frame follows that would do it. A client that sends one order after the other never leaves
    /// so long a pause, and the mark does not compete with its syncs.
    fn is_quiet(&mut self, now_ns: u64) -> bool {
        let durable = self.durable.get();
        // Read after: what is applied is never less.
        if self.applied.get() != durable {
            self.quiet = None;
            return false;
        }
        let since = self.quiet.filter(|(seq, _)| *seq == durable).map_or(now_ns, |(_, since)| since);
        self.quiet = Some((durable, since));
        (QUIET_NS <= now_ns.saturating_sub(since)).planted(Mutation::IdleUnattested, |_| false)
    }

    fn store_batch(&mut self) -> Result<usize, WalError> {
        while self.ends.len() < BATCH_FRAMES_MAX && self.frames.pop(&mut self.batch) {
            self.ends.push(self.batch.len());
        }
        let count = self.ends.len();
        if count == 0 {
            return Ok(0);
        }
        PanicFault::strike("store_writer");
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let frames = starts.zip(&self.ends).map(|(start, &end)| &self.batch[start..end]);
        // Counted as in the head, padding included: a head full of small frames holds few bytes of records.
        self.unflushed_bytes += frames.clone().map(|frame| padded(frame.len()) as u64).sum::<u64>();
        let appended = self.store.append_frames(frames)?;
        PanicFault::strike("store_writer");
        self.forget_batch();
        mutation::when(Mutation::StoredBeforeFlush, || self.stored.advance(Seq(appended.0)));
        Ok(count)
    }

    fn forget_batch(&mut self) {
        self.batch.clear();
        self.ends.clear();
    }

    /// Begins again after a panic. The frames of the batch are stored all or none, because they are one write.
    fn begin_again(&mut self) {
        self.batch.truncate(self.ends.last().copied().unwrap_or(0));
        let tail = self.store.tail().seq;
        let is_stored = FrameHeader::peek(&self.batch).is_some_and(|first| first.seq_first.get() <= tail.0);
        if is_stored.planted(Mutation::BatchStoredTwice, |_| false) {
            self.forget_batch();
        }
    }

    fn flush(&mut self) -> Result<(), WalError> {
        let stored = self.store.flush()?;
        self.unflushed_bytes = 0;
        self.stored.advance(Seq(stored.0));
        Ok(())
    }

    /// Writes the high-water mark: everything durable may have been acknowledged, so a log that later ends before the
    /// mark has lost acknowledged commands, and a start must refuse it.
    fn note_mark(&mut self) -> Result<(), WalError> {
        let durable = Lsn(self.durable.get().0).planted(Mutation::MarkNotNoted, |_| Lsn(0));
        if self.mark.seq() < durable { self.mark.advance(durable) } else { Ok(()) }
    }

    /// The last round of a clean stop: moves everything durable into RocksDB, so that the next start is short.
    pub fn finish(&mut self) -> Result<(), WalError> {
        while self.store_batch()? > 0 {}
        self.flush()?;
        self.note_mark()
    }

    /// Runs until the engine has stopped and everything is stored, or the store has failed.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own pauses between two bursts of frames")]
    pub fn run(
        &mut self,
        life: Life,
        engine_done: &AtomicBool,
        clock: &mut Clock,
        lifecycle: &Lifecycle,
        status: &Status,
    ) {
        if life == Life::Another {
            self.begin_again();
        }
        loop {
            let now = clock.now().0;
            let done = engine_done.load(Ordering::Acquire);
            let outcome = if done { self.finish().map(|()| 0) } else { self.poll(now) };
            status.store_writer.at_ns.set(now);
            status.store_writer.cycles.add(1);
            match outcome {
                Err(error) => return lifecycle.fail(exit::code_of(&error), error.to_string()),
                Ok(_) if done => return,
                // Frames arrive in bursts, and no acknowledgement waits for this loop.
                Ok(0) => std::thread::sleep(IDLE),
                Ok(_) => {}
            }
        }
    }
}

#[cfg(all(test, feature = "fault-injection"))]
mod tests {
    use super::*;
    use crate::rings::frames::{FramesIn, frames};
    use crate::status::watermarks::{WatermarkWriters, watermarks};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use wal::directory::Directory;
    use wal::frame::{FRAME_HEADER_BYTES, Frame, FrameSpec, put_record, seal};
    use wal::identity::{FORMAT_NEWEST, Identity};
    use wal::segment::Geometry;
    use wal::units::{NodeId, Timeline};

    /// A store writer whose ring holds frames of one record each.
    struct Fixture {
        writer: StoreWriter,
        store: Arc<Store>,
        frames: FramesIn,
        watermarks: WatermarkWriters,
        _dir: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("data");
            let geometry = Geometry { segment_count: 2, segment_bytes: 8 * 4096 };
            let (node_id, timeline) = (NodeId([1; 16]), Timeline(1));
            let identity = Identity { format: FORMAT_NEWEST, node_id, timeline, seq_base: Lsn::ZERO, geometry };
            Directory::create(&path, &identity, 0).expect("made");
            let directory = Directory::open(&path).expect("intact");
            let store = Arc::new(directory.store().expect("intact"));
            let (frames_in, frames_out) = frames();
            let (writers, readers) = watermarks(Seq(0));
            let stored = WatermarkWriter::new("seq_stored", Seq(0), &[]);
            let mark = directory.mark().expect("intact");
            let ends = (readers.durable, readers.applied);
            let writer = StoreWriter::new(frames_out, Arc::clone(&store), mark, stored, ends, u64::MAX);
            Self { writer, store, frames: frames_in, watermarks: writers, _dir: dir }
        }

        /// Passes so many frames to the store writer, and lets it panic at its `strike`-th piece of work.
        fn panics_at(&mut self, strike: &str) {
            let mut tail = self.store.tail();
            for _ in 0..3 {
                let mut buffer = vec![0; 4096];
                let end = put_record(&mut buffer, FRAME_HEADER_BYTES, 4, |bytes| {
                    bytes.fill(7);
                    bytes.len()
                });
                let (seq_first, seq_durable) = (tail.seq.next(), tail.seq);
                let spec = FrameSpec {
                    timeline: Timeline(1),
                    seq_first,
                    seq_durable,
                    record_count: 1,
                    chain_prev: tail.chain,
                };
                seal(&mut buffer, end, spec);
                tail = Frame::decode(&buffer[..end]).expect("sealed").tail();
                assert!(self.frames.push(&buffer[..end]), "the ring has room");
            }
            self.watermarks.engine.applied.advance(Seq(tail.seq.0));
            self.watermarks.engine.durable.advance(Seq(tail.seq.0));
            PanicFault::arm("store_writer", strike).expect("a count");
            let panicked = catch_unwind(AssertUnwindSafe(|| self.writer.poll(0)));
            assert!(panicked.is_err(), "the fault strikes");
        }

        fn begin_again(&mut self) -> Result<Lsn, WalError> {
            self.writer.begin_again();
            self.writer.poll(0)?;
            Ok(self.store.tail().seq)
        }
    }

    #[test]
    fn a_batch_is_stored_once_whether_the_panic_came_before_or_after() {
        let mut fixture = Fixture::new();
        fixture.panics_at("1");
        assert_eq!(fixture.store.tail().seq, Lsn(0));
        assert_eq!(fixture.begin_again().expect("the frames follow"), Lsn(3));
        fixture.panics_at("2");
        assert_eq!(fixture.store.tail().seq, Lsn(6));
        assert_eq!(fixture.begin_again().expect("nothing is stored twice"), Lsn(6));
        fixture.panics_at("1");
        assert_eq!(fixture.begin_again().expect("the frames follow"), Lsn(9));
    }

    /// The mark reaches the last frame of a burst by the second look after it, long before the mark is due by time, and
    /// is written once.
    fn the_last_frame_of_a_burst_is_attested() {
        let mut fixture = Fixture::new();
        let watermarks = &mut fixture.watermarks.engine;
        fixture.writer.mark_noted_ns = 1;
        watermarks.applied.advance(Seq(3));
        watermarks.durable.advance(Seq(2));
        let mut look = |at_ns| {
            fixture.writer.poll(at_ns).expect("the disk works");
            fixture.writer.mark.seq()
        };
        assert_eq!([1, 400_000, 800_000].map(&mut look), [Lsn(0); 3], "a frame is in flight");
        watermarks.durable.advance(Seq(3));
        assert_eq!([1_000_000, 1_200_000].map(&mut look), [Lsn(0); 2], "another command may follow at once");
        assert_eq!(look(1_400_000), Lsn(3));
        watermarks.applied.advance(Seq(4));
        watermarks.durable.advance(Seq(4));
        assert_eq!([1_500_000, 1_700_000].map(&mut look), [Lsn(3); 2]);
        let written = |fixture: &Fixture| std::fs::read(fixture._dir.path().join("data/MARK")).expect("it is there");
        assert_eq!(look(1_900_000), Lsn(4));
        let before = written(&fixture);
        for at_ns in (2_000_000..90_000_000).step_by(400_000) {
            fixture.writer.poll(at_ns).expect("the disk works");
        }
        assert!(before == written(&fixture), "an idle node writes nothing");
    }

    #[test]
    fn an_idle_node_attests_its_last_frame_once() {
        the_last_frame_of_a_burst_is_attested();
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_last_frame_that_is_not_attested_is_noticed() {
        mutation::assert_noticed(Mutation::IdleUnattested, the_last_frame_of_a_burst_is_attested);
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_batch_that_would_be_stored_twice_is_noticed() {
        let mut fixture = Fixture::new();
        fixture.panics_at("2");
        mutation::plant(Some(Mutation::BatchStoredTwice));
        let outcome = fixture.begin_again();
        mutation::plant(None);
        let error = outcome.expect_err("the store takes no frame twice");
        assert!(matches!(error, WalError::Damaged { .. }), "{error}");
    }
}
