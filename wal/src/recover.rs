//! A start: every record of a proved log is shown to the caller once and in order, first the store's, then the head's.
//!
//! Invariants: everything is judged before the first record is shown; a refusal has written nothing; after [`recover`]
//! the entire log is in the store, flushed, and no block of a torn end is left in the head. A power cut at any step is
//! harmless: the next start does the steps again.

use std::error::Error;

use crate::directory::{Attested, Directory};
use crate::error::{Result, WalError};
use crate::follow::Follower;
use crate::frame::Frame;
use crate::head::HeadPosition;
use crate::medium::Access;
use crate::mutation::{Mutation, Planted};
use crate::scan::{FramePlace, scan};
use crate::segment::Segments;
use crate::store::Store;
use crate::torn_ends::TornEnds;
use crate::units::{Lsn, Tail};
use crate::verdict::{Refusal, TornTail, Verdict, judge};
use crate::walk::{FrameSource, FrameWalk, Start, read_again};

/// Attempts of [`Inspection::open`] when a running node overwrites what it reads. The last failure is returned.
const INSPECT_ATTEMPTS: usize = 4;

/// Frames appended to the store in one batch. Bounds the memory of a start.
const COPY_BATCH_FRAMES: usize = 16;

/// What a start found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The log's last sequence and link.
    pub tail: Tail,
    /// The last sequence in the store before the start.
    pub seq_stored_found: Lsn,
    /// The high-water mark: the highest sequence known to have been acknowledged.
    pub mark: Lsn,
    /// Records shown to the visitor, and the frames that held them.
    pub records: u64,
    pub frames_from_store: u64,
    pub frames_from_head: u64,
    /// The torn end that was cut, or that a start would cut.
    pub cut: Option<TornTail>,
    /// Where the head continues.
    pub position: HeadPosition,
}

/// A visitor stops the walk with any error of its own.
pub type VisitorResult = std::result::Result<(), Box<dyn Error + Send + Sync>>;

/// Shows every record from `start` on, then prepares the head to continue: its frames are copied to the store, and its
/// torn end is wiped. `store` must be the directory's own, opened for writing and not appended to.
pub fn recover(
    directory: &Directory,
    store: &Store,
    start: impl Into<Start>,
    mut visit: impl FnMut(Lsn, &[u8]) -> VisitorResult,
) -> Result<Recovered> {
    assert!(directory.writable(), "only the owner of the lock recovers");
    let attested = directory.attested()?;
    let segments = directory.segments(Access::ReadWrite)?;
    let verdict = judge_head(directory, &segments, store, attested.seq)?;
    let start = start.into();
    let mut recovered =
        found(&Judged { segments: &segments, store, verdict: &verdict, attested: &attested }, start.seq())?;
    show(FrameWalk::new(&segments, store, &verdict, start)?, start.seq(), &mut recovered, &mut visit)?;
    assert!(store.seq_stored() == recovered.seq_stored_found, "showing records writes nothing");
    copy_to_store(&segments, store, &verdict.frames)?;
    if let Some(cut) = &verdict.cut {
        TornEnds::note(directory, cut)?;
    }
    let wipes = verdict.cut.as_ref().map_or(&[][..], |cut| cut.wipes.as_slice());
    segments.wipe(wipes.planted(Mutation::TornTailKept, |_| &[]))?;
    assert!(
        store.seq_stored() == recovered.tail.seq && store.tail() == recovered.tail,
        "the store holds the entire log"
    );
    recovered.position.seq_stored = recovered.tail.seq;
    Ok(recovered)
}

/// Shows every record from `start` on and writes nothing. A node may run on the directory.
pub fn inspect(
    directory: &Directory,
    start: impl Into<Start>,
    visit: impl FnMut(Lsn, &[u8]) -> VisitorResult,
) -> Result<Recovered> {
    Inspection::open(directory)?.show(start, visit)
}

/// A log that has been judged: its ends are known, and it can be walked. A node may run on the directory.
pub struct Inspection<'d> {
    directory: &'d Directory,
    segments: Segments,
    store: Store,
    verdict: Verdict,
    attested: Attested,
}

impl<'d> Inspection<'d> {
    pub fn open(directory: &'d Directory) -> Result<Self> {
        // Read before the log: a running node advances the mark, and the log it then has is never shorter than this.
        let attested = directory.attested()?;
        let segments = directory.segments(Access::Read)?;
        let (store, verdict) = judge_beside_writer(directory, &segments, attested.seq)?;
        Ok(Self { directory, segments, store, verdict, attested })
    }

    /// The log's end.
    pub fn tail(&self) -> Tail {
        self.verdict.tail
    }

    /// The tail that the first retained record follows.
    pub fn base(&self) -> Result<Tail> {
        self.store.base()
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is known without a walk: the counts of records and frames are 0.
    pub fn found(&self) -> Result<Recovered> {
        found(&self.judged(), Lsn(1))
    }

    /// Up to here the log is certainly durable: flushed in the store, acknowledged by the mark, or attested by a later
    /// frame. Frames after it may have been read before their sync ended, and a power cut could still lose them.
    pub fn seq_durable(&self) -> Result<Lsn> {
        let mark = self.directory.mark_seq()?;
        let attested = self.verdict.frames.iter().map(|frame| frame.seq_durable).max();
        let durable = mark.max(self.store.tail().seq).max(attested.unwrap_or(Lsn::ZERO));
        Ok(durable.min(self.verdict.tail.seq))
    }

    /// Makes every frame of this view durable, also where a node wrote it and has not synced it.
    pub fn sync(&self) -> Result<()> {
        self.segments.sync()
    }

    /// A walk over frames, from the one that holds `start` on.
    pub fn frames(&self, start: impl Into<Start>) -> Result<FrameWalk<'_>> {
        FrameWalk::new(&self.segments, &self.store, &self.verdict, start.into())
    }

    /// Follows the head after `tail`, the end of a frame of this view; `None` where the head does not hold that frame.
    pub fn follow(&self, tail: Tail) -> Result<Option<Follower>> {
        let known = self.verdict.frames.iter().rev().find(|frame| frame.tail() == tail);
        let at_the_end = (tail == self.verdict.tail).then_some(self.verdict.place);
        let place = known.map(FramePlace::place_after).or(at_the_end);
        place.map(|place| Follower::new(self.directory, place, tail)).transpose()
    }

    fn judged(&self) -> Judged<'_> {
        let Self { segments, store, verdict, attested, .. } = self;
        Judged { segments, store, verdict, attested }
    }

    /// Shows every record from `start` on.
    pub fn show(
        &self,
        start: impl Into<Start>,
        mut visit: impl FnMut(Lsn, &[u8]) -> VisitorResult,
    ) -> Result<Recovered> {
        let start = start.into();
        let mut recovered = found(&self.judged(), start.seq())?;
        show(self.frames(start)?, start.seq(), &mut recovered, &mut visit)?;
        Ok(recovered)
    }
}

/// Judges the log while a node may be writing to it. The node may overwrite frames of the head that it has stored after
/// this view of the store was opened, which looks like a hole: a newer view closes it, while a real hole stays. RocksDB
/// may delete a file between the moment its name is read and the moment it is opened, which looks like damage until the
/// next attempt.
fn judge_beside_writer(directory: &Directory, segments: &Segments, mark: Lsn) -> Result<(Store, Verdict)> {
    let mut attempt = 1;
    loop {
        let store = directory.store_read_only();
        let judged =
            store.and_then(|store| judge_head(directory, segments, &store, mark).map(|verdict| (store, verdict)));
        match judged {
            Ok(judged) => return Ok(judged),
            Err(error) if attempt == INSPECT_ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}

fn judge_head(directory: &Directory, segments: &Segments, store: &Store, mark: Lsn) -> Result<Verdict> {
    let stored = store.tail();
    let scanned = scan(segments, directory.identity().timeline, stored.seq)?;
    judge(&scanned, stored, mark).map_err(|Refusal { place, seq, damage }| {
        WalError::damaged(&segments.path(place.segment), place.offset, seq, damage)
    })
}

/// A log and the verdict over it.
struct Judged<'a> {
    segments: &'a Segments,
    store: &'a Store,
    verdict: &'a Verdict,
    attested: &'a Attested,
}

/// Compares the log's end with what is known to have been acknowledged: by the mark, by a place outside, and by the
/// state that `from` continues.
fn found(judged: &Judged<'_>, from: Lsn) -> Result<Recovered> {
    let Judged { segments, store, verdict, attested } = *judged;
    let have = verdict.tail.seq;
    let acknowledged = attested.seq.max(from.prev());
    if have < acknowledged {
        let (segment, offset) = (segments.path(verdict.place.segment), verdict.place.offset);
        let path = attested.path.clone();
        return Err(WalError::ShorterThanAcknowledged { path, have, mark: acknowledged, segment, offset });
    }
    let stored = store.tail().seq;
    assert!(stored <= have, "the head never shortens the store's log");
    Ok(Recovered {
        tail: verdict.tail,
        seq_stored_found: stored,
        mark: attested.seq,
        records: 0,
        frames_from_store: 0,
        frames_from_head: 0,
        cut: verdict.cut.clone(),
        position: HeadPosition { tail: verdict.tail, seq_stored: stored, place: verdict.place },
    })
}

fn show(
    mut walk: FrameWalk<'_>,
    from: Lsn,
    recovered: &mut Recovered,
    visit: &mut impl FnMut(Lsn, &[u8]) -> VisitorResult,
) -> Result<()> {
    while let Some((frame, source)) = walk.next_frame()? {
        recovered.records += show_frame(&frame, from, visit)?;
        match source {
            FrameSource::Store => recovered.frames_from_store += 1,
            FrameSource::Head => recovered.frames_from_head += 1,
        }
    }
    assert!(from.advance(recovered.records) == recovered.tail.seq.next(), "every record is shown once");
    Ok(())
}

fn show_frame(frame: &Frame<'_>, from: Lsn, visit: &mut impl FnMut(Lsn, &[u8]) -> VisitorResult) -> Result<u64> {
    let mut count = 0;
    for (seq, record) in frame.records().filter(|(seq, _)| *seq >= from) {
        visit(seq, record).map_err(|source| WalError::Visitor { seq, source })?;
        count += 1;
    }
    Ok(count)
}

/// Copies the head's frames to the store and flushes it. Done twice, it writes the same frames under the same keys.
fn copy_to_store(segments: &Segments, store: &Store, frames: &[FramePlace]) -> Result<()> {
    for batch in frames.chunks(COPY_BATCH_FRAMES) {
        let mut bytes = Vec::with_capacity(batch.iter().map(|frame| frame.frame_bytes).sum());
        for known in batch {
            let start = bytes.len();
            bytes.resize(start + known.frame_bytes, 0);
            read_again(segments, known, &mut bytes[start..])?;
        }
        let mut rest = bytes.as_slice();
        store.append_frames(batch.iter().map(|known| {
            let (frame, after) = rest.split_at(known.frame_bytes);
            rest = after;
            frame
        }))?;
    }
    if !frames.is_empty() {
        store.flush()?;
    }
    Ok(())
}
