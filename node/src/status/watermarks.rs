//! Watermarks: how far the log has come at each stage. Each has one writer, held by one loop, and any number of
//! readers.
//!
//! ```text
//!  seq_next > seq_applied >= seq_durable >= seq_stored                    engine loop, store writer
//!             seq_applied >= seq_released  (<= seq_durable, unless acknowledged before the sync)
//!                            seq_durable >= seq_shadow >= seq_snapshot    shadow
//!                            seq_durable >= seq_history                   shadow
//!                            seq_snapshot >= seq_truncated                shadow (at most what is flushed)
//! ```
//! Invariants: a watermark never falls, and its writer asserts that it stays within the watermarks that bound it. So a
//! reader may base a decision on it: answers of commands at or before `seq_released` may be sent, and frames of
//! commands at or before `seq_stored` may be overwritten in the head.

use book::units::Seq;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A position in the log, as a number.
pub trait Position: Copy + Ord + fmt::Debug {
    fn from_number(number: u64) -> Self;
    fn number(self) -> u64;
}

impl Position for Seq {
    fn from_number(number: u64) -> Self {
        Seq(number)
    }

    fn number(self) -> u64 {
        self.0
    }
}

/// On a cache line of its own, because one core writes it while others poll it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cell(AtomicU64);

/// A reader of one watermark. Cheap to clone. After it has read a value, everything that the writer wrote before
/// advancing to that value is visible.
#[derive(Clone, Debug)]
pub struct Watermark<P> {
    cell: Arc<Cell>,
    position: PhantomData<P>,
}

impl<P: Position> Watermark<P> {
    #[inline]
    pub fn get(&self) -> P {
        P::from_number(self.cell.0.load(Ordering::Acquire))
    }
}

/// The only writer of one watermark, held by the loop that advances it.
#[derive(Debug)]
pub struct WatermarkWriter<P> {
    name: &'static str,
    reader: Watermark<P>,
    /// Watermarks that this one never passes.
    bounds: Vec<Watermark<P>>,
}

impl<P: Position> WatermarkWriter<P> {
    pub fn new(name: &'static str, begin: P, bounds: &[&Watermark<P>]) -> Self {
        let reader = Watermark { cell: Arc::default(), position: PhantomData };
        reader.cell.0.store(begin.number(), Ordering::Release);
        Self { name, reader, bounds: bounds.iter().map(|&bound| bound.clone()).collect() }
    }

    fn begin_at(&mut self, begin: P) {
        self.reader.cell.0.store(begin.number(), Ordering::Release);
    }

    pub fn reader(&self) -> Watermark<P> {
        self.reader.clone()
    }

    #[inline]
    pub fn get(&self) -> P {
        self.reader.get()
    }

    /// Advances to `to` if that is further: for a loop that began again and passes positions that it had passed before.
    #[inline]
    pub fn catch_up(&mut self, to: P) {
        if self.get() < to {
            self.advance(to);
        }
    }

    /// Advances to `to`, and makes everything that was written before this call visible to readers of the new value.
    #[inline]
    pub fn advance(&mut self, to: P) {
        let from = self.get();
        if from == to {
            return;
        }
        assert!(from < to, "{} never falls: from {from:?} to {to:?}", self.name);
        for bound in &self.bounds {
            assert!(to <= bound.get(), "{} stays within its bound: {to:?} after {:?}", self.name, bound.get());
        }
        self.reader.cell.0.store(to.number(), Ordering::Release);
    }
}

/// Readers of all watermarks. `seq_exported` will join them with the exporter.
#[derive(Clone, Debug)]
pub struct Watermarks {
    /// The sequence of the next command.
    pub next: Watermark<Seq>,
    /// The last command that the engine has applied.
    pub applied: Watermark<Seq>,
    /// The last command whose frame, and all frames before it, are written and synced.
    pub durable: Watermark<Seq>,
    /// The last command whose answers may be sent. It gates every output of the node.
    pub released: Watermark<Seq>,
    /// The last command that RocksDB holds durably, so that the head is no longer needed for it.
    pub stored: Watermark<Seq>,
    /// The last command that the shadow has applied.
    pub shadow: Watermark<Seq>,
    /// The last command whose rows are in the history.
    pub history: Watermark<Seq>,
    /// The last command in the newest snapshot.
    pub snapshot: Watermark<Seq>,
    /// The last command that was truncated from the log.
    pub truncated: Watermark<Seq>,
    /// The shadow asks the engine for a check at or after this command.
    pub check_wanted: Watermark<Seq>,
}

/// The writers of the engine loop.
#[derive(Debug)]
pub struct EngineWatermarks {
    pub next: WatermarkWriter<Seq>,
    pub applied: WatermarkWriter<Seq>,
    pub durable: WatermarkWriter<Seq>,
    pub released: WatermarkWriter<Seq>,
}

impl EngineWatermarks {
    /// From now on `seq_released` never passes `seq_durable`: no answer leaves before its command is durable.
    pub fn release_after_durable(&mut self) {
        self.released.bounds.push(self.durable.reader());
    }
}

/// The writers of the shadow. They are zero until the shadow has loaded its state.
#[derive(Debug)]
pub struct ShadowWatermarks {
    pub shadow: WatermarkWriter<Seq>,
    pub history: WatermarkWriter<Seq>,
    pub snapshot: WatermarkWriter<Seq>,
    pub truncated: WatermarkWriter<Seq>,
    pub check_wanted: WatermarkWriter<Seq>,
}

/// Every writer, to be handed to the loop that it belongs to.
#[derive(Debug)]
pub struct WatermarkWriters {
    pub engine: EngineWatermarks,
    /// The writer of the store writer.
    pub stored: WatermarkWriter<Seq>,
    pub shadow: ShadowWatermarks,
}

impl WatermarkWriters {
    /// Lets the engine's watermarks begin at the end of a log that was recovered, before any loop runs.
    pub fn begin_at(&mut self, end: Seq) {
        let EngineWatermarks { next, applied, durable, released } = &mut self.engine;
        next.begin_at(end.next());
        for writer in [applied, durable, released] {
            writer.begin_at(end);
        }
    }
}

/// The watermarks of a node whose log was recovered up to `end`.
pub fn watermarks(end: Seq) -> (WatermarkWriters, Watermarks) {
    let next = WatermarkWriter::new("seq_next", end.next(), &[]);
    let applied = WatermarkWriter::new("seq_applied", end, &[]);
    let durable = WatermarkWriter::new("seq_durable", end, &[&applied.reader]);
    // The bound that holds in both sync modes. The release rule in the engine loop (`Release::upto`) is stricter.
    let released = WatermarkWriter::new("seq_released", end, &[&applied.reader]);
    let stored = WatermarkWriter::new("seq_stored", Seq(0), &[&durable.reader]);
    let shadow = WatermarkWriter::new("seq_shadow", Seq(0), &[&durable.reader]);
    // Read from the disk, where it may be damaged: no bound of ours would be a fault of ours.
    let history = WatermarkWriter::new("seq_history", Seq(0), &[]);
    let snapshot = WatermarkWriter::new("seq_snapshot", Seq(0), &[&shadow.reader]);
    let truncated = WatermarkWriter::new("seq_truncated", Seq(0), &[&snapshot.reader]);
    let check_wanted = WatermarkWriter::new("seq_check_wanted", Seq(0), &[&shadow.reader]);
    let readers = Watermarks {
        next: next.reader(),
        applied: applied.reader(),
        durable: durable.reader(),
        released: released.reader(),
        stored: stored.reader(),
        shadow: shadow.reader(),
        history: history.reader(),
        snapshot: snapshot.reader(),
        truncated: truncated.reader(),
        check_wanted: check_wanted.reader(),
    };
    let engine = EngineWatermarks { next, applied, durable, released };
    let shadow = ShadowWatermarks { shadow, history, snapshot, truncated, check_wanted };
    (WatermarkWriters { engine, stored, shadow }, readers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_what_the_writer_has_advanced_to() {
        let (mut writers, readers) = watermarks(Seq(7));
        assert_eq!((readers.applied.get(), readers.released.get(), readers.stored.get()), (Seq(7), Seq(7), Seq(0)));
        writers.engine.applied.advance(Seq(9));
        writers.engine.durable.advance(Seq(8));
        writers.engine.released.advance(Seq(8));
        assert_eq!((readers.durable.get(), readers.clone().released.get()), (Seq(8), Seq(8)));
    }

    #[test]
    #[should_panic(expected = "seq_released never falls")]
    fn a_watermark_that_falls_is_our_own_fault() {
        let (mut writers, _readers) = watermarks(Seq(7));
        writers.engine.released.advance(Seq(6));
    }

    #[test]
    fn a_loop_that_began_again_moves_its_watermark_only_forward() {
        let (mut writers, readers) = watermarks(Seq(7));
        writers.engine.released.catch_up(Seq(3));
        assert_eq!(readers.released.get(), Seq(7));
        writers.engine.applied.catch_up(Seq(9));
        assert_eq!(readers.applied.get(), Seq(9));
    }

    #[test]
    #[should_panic(expected = "seq_released stays within its bound")]
    fn nothing_is_released_before_it_is_durable() {
        let (mut writers, _readers) = watermarks(Seq(7));
        writers.engine.release_after_durable();
        writers.engine.applied.advance(Seq(9));
        writers.engine.durable.advance(Seq(8));
        writers.engine.released.advance(Seq(9));
    }

    #[test]
    #[should_panic(expected = "seq_stored stays within its bound")]
    fn nothing_is_stored_before_it_is_durable() {
        let (mut writers, _readers) = watermarks(Seq(7));
        writers.stored.advance(Seq(8));
    }

    #[test]
    #[should_panic(expected = "seq_truncated stays within its bound")]
    fn no_log_goes_that_a_start_from_the_newest_snapshot_needs() {
        let (mut writers, _readers) = watermarks(Seq(7));
        writers.shadow.shadow.advance(Seq(7));
        writers.shadow.snapshot.advance(Seq(5));
        writers.shadow.truncated.advance(Seq(6));
    }
}
