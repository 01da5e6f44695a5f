//! How far the log has come, stage by stage: each position has one writer, held by one loop, and any number of readers.
//!
//! ```text
//!  seq_next > seq_applied >= seq_durable >= seq_stored                    engine loop, store writer
//!             seq_applied >= seq_released  (<= seq_durable, unless acknowledged before the sync)
//!                            seq_durable >= seq_shadow >= seq_snapshot    shadow
//!                            seq_snapshot >= seq_truncated               shadow (and never past what the store has flushed)
//! ```
//! Invariants: a watermark never falls, and its writer refuses a value above the watermarks that bound it. So a reader
//! may decide by one: what is at or below `seq_released` may leave, what is at or below `seq_stored` may be overwritten.

use book::units::Seq;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A position that can be counted from the beginning of the log.
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

/// On a cache line of its own: it is written by one core and polled by others.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cell(AtomicU64);

/// A reader of one position. Cheap to clone; it sees every value once the writer has advanced to it.
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

/// The only writer of one position; the loop that holds it is the loop that moves it.
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

    pub fn reader(&self) -> Watermark<P> {
        self.reader.clone()
    }

    #[inline]
    pub fn get(&self) -> P {
        self.reader.get()
    }

    /// Moves the position up to `to`, and publishes everything written before this call to whoever reads it.
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

/// Readers of all positions. `seq_exported` joins them with the exporter.
#[derive(Clone, Debug)]
pub struct Watermarks {
    /// The sequence that the next command gets.
    pub next: Watermark<Seq>,
    /// The last command that the engine has applied.
    pub applied: Watermark<Seq>,
    /// The last command whose frame, and all before it, are written and synced.
    pub durable: Watermark<Seq>,
    /// The last command whose outcome may leave: it gates every answer.
    pub released: Watermark<Seq>,
    /// The last command that the store keeps without the head.
    pub stored: Watermark<Seq>,
    /// The last command that the shadow has applied.
    pub shadow: Watermark<Seq>,
    /// The last command whose rows are in the history.
    pub history: Watermark<Seq>,
    /// The last command in the newest snapshot.
    pub snapshot: Watermark<Seq>,
    /// The last command that is no longer in the log.
    pub truncated: Watermark<Seq>,
    /// The last command whose state somebody wants to be compared by a check before anything of it is kept.
    pub check_wanted: Watermark<Seq>,
}

/// The engine loop's own.
#[derive(Debug)]
pub struct EngineWatermarks {
    pub next: WatermarkWriter<Seq>,
    pub applied: WatermarkWriter<Seq>,
    pub durable: WatermarkWriter<Seq>,
    pub released: WatermarkWriter<Seq>,
}

/// The shadow's own. They begin at zero, and say something as soon as the shadow has loaded its state.
#[derive(Debug)]
pub struct ShadowWatermarks {
    pub shadow: WatermarkWriter<Seq>,
    pub history: WatermarkWriter<Seq>,
    pub snapshot: WatermarkWriter<Seq>,
    pub truncated: WatermarkWriter<Seq>,
    pub check_wanted: WatermarkWriter<Seq>,
}

/// Every writer, to be handed to its loop.
#[derive(Debug)]
pub struct WatermarkWriters {
    pub engine: EngineWatermarks,
    /// The store writer's own.
    pub stored: WatermarkWriter<Seq>,
    pub shadow: ShadowWatermarks,
}

/// All positions of a log that was recovered up to `end`.
pub fn watermarks(end: Seq) -> (WatermarkWriters, Watermarks) {
    let next = WatermarkWriter::new("seq_next", end.next(), &[]);
    let applied = WatermarkWriter::new("seq_applied", end, &[]);
    let durable = WatermarkWriter::new("seq_durable", end, &[&applied.reader]);
    // The bound that holds in both modes; the release rule in the engine loop is the stricter one.
    let released = WatermarkWriter::new("seq_released", end, &[&applied.reader]);
    let stored = WatermarkWriter::new("seq_stored", Seq(0), &[&durable.reader]);
    let shadow = WatermarkWriter::new("seq_shadow", Seq(0), &[&durable.reader]);
    // Read from the disk, where it may be damaged: no bound of ours would be a fault of ours.
    let history = WatermarkWriter::new("seq_history", Seq(0), &[]);
    let snapshot = WatermarkWriter::new("seq_snapshot", Seq(0), &[&shadow.reader]);
    let truncated = WatermarkWriter::new("seq_truncated", Seq(0), &[&snapshot.reader]);
    let check_wanted = WatermarkWriter::new("the check that is wanted", Seq(0), &[&shadow.reader]);
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
