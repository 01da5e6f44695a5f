//! A start: the store's frames, then the head's, each record shown once, in order, from a proved log only.
//!
//! Invariants: everything is judged before the first record is shown; nothing is written when anything is refused; after
//! [`recover`] the whole log is in the store, flushed, and nothing of a torn end is left in the head. Each step may be
//! cut by a power loss and is simply done again.

use std::error::Error;

use crate::directory::Directory;
use crate::error::{Result, WalError};
use crate::follow::Follower;
use crate::frame::Frame;
use crate::head::HeadPosition;
use crate::mutation::{Mutation, Planted};
use crate::replay::{Refusal, TornTail, Verdict, judge};
use crate::scan::{FramePlace, scan};
use crate::segment::{Access, Segments};
use crate::store::Store;
use crate::units::{Lsn, Tail};
use crate::walk::{FrameWalk, Home, read_again};

/// Times that [`inspect`] starts over where a running node wrote over what it was looking at.
const INSPECT_ATTEMPTS: usize = 4;

/// Frames handed to the store in one batch: bounds the memory of a start.
const REFEED_BATCH_FRAMES: usize = 16;

/// What a start found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The log's last sequence and link.
    pub tail: Tail,
    /// What the store alone held before.
    pub seq_stored_found: Lsn,
    /// The highest acknowledged sequence that was noted.
    pub mark: Lsn,
    /// Records shown to the visitor, and the frames that held them.
    pub records: u64,
    pub frames_from_store: u64,
    pub frames_from_head: u64,
    /// The torn end that was cut, or, when only looking, would be.
    pub cut: Option<TornTail>,
    /// Where the head goes on.
    pub position: HeadPosition,
}

/// What a visitor says to stop: any error of its own.
pub type VisitorResult = std::result::Result<(), Box<dyn Error + Send + Sync>>;

/// Where a walk over the log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With this record.
    At(Lsn),
    /// Behind a state that was kept: the next frame must be the one that follows it, or another log is mixed in.
    After(Tail),
}

impl Start {
    pub(crate) fn seq(self) -> Lsn {
        match self {
            Self::At(seq) => seq,
            Self::After(tail) => tail.seq.next(),
        }
    }
}

impl From<Lsn> for Start {
    fn from(seq: Lsn) -> Self {
        Self::At(seq)
    }
}

impl From<Tail> for Start {
    fn from(tail: Tail) -> Self {
        Self::After(tail)
    }
}

/// Shows every record from `start` on, then makes the head ready to go on: its frames go to the store, its torn end is
/// wiped. `store` must be the directory's own, opened for writing and not yet appended to.
pub fn recover(
    directory: &Directory,
    store: &Store,
    start: impl Into<Start>,
    mut visit: impl FnMut(Lsn, &[u8]) -> VisitorResult,
) -> Result<Recovered> {
    assert!(directory.writable(), "only the owner of the lock recovers");
    let mark = directory.mark_seq()?;
    let segments = directory.segments(Access::ReadWrite)?;
    let verdict = judge_head(directory, &segments, store)?;
    let start = start.into();
    let mut recovered = found(directory, mark, store, &verdict, start.seq())?;
    show(FrameWalk::new(&segments, store, &verdict, start)?, start.seq(), &mut recovered, &mut visit)?;
    refeed(&segments, store, &verdict.frames)?;
    let wipes = verdict.cut.as_ref().map_or(&[][..], |cut| cut.wipes.as_slice());
    segments.wipe(wipes.planted(Mutation::TornTailKept, |_| &[]))?;
    assert!(store.seq_stored() == recovered.tail.seq && store.tail() == recovered.tail);
    recovered.position.seq_stored = recovered.tail.seq;
    Ok(recovered)
}

/// Shows every record from `start` on and writes nothing; works beside a running node too.
pub fn inspect(
    directory: &Directory,
    start: impl Into<Start>,
    visit: impl FnMut(Lsn, &[u8]) -> VisitorResult,
) -> Result<Recovered> {
    Inspection::open(directory)?.show(start, visit)
}

/// A log that has been judged and not yet walked: its ends are known.
pub struct Inspection<'d> {
    directory: &'d Directory,
    segments: Segments,
    store: Store,
    verdict: Verdict,
    mark: Lsn,
}

impl<'d> Inspection<'d> {
    pub fn open(directory: &'d Directory) -> Result<Self> {
        // Read first: a running node moves the mark, but what is noted now the log has already.
        let mark = directory.mark_seq()?;
        let segments = directory.segments(Access::Read)?;
        let (store, verdict) = judge_beside_writer(directory, &segments)?;
        Ok(Self { directory, segments, store, verdict, mark })
    }

    /// The log's end.
    pub fn tail(&self) -> Tail {
        self.verdict.tail
    }

    /// What the first retained record follows.
    pub fn base(&self) -> Result<Tail> {
        self.store.base()
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is known without walking: no record is counted.
    pub fn found(&self) -> Result<Recovered> {
        found(self.directory, self.mark, &self.store, &self.verdict, Lsn(1))
    }

    /// Up to here the log is on disk beyond doubt: flushed in the store, noted as acknowledged, or attested by a later
    /// frame. What lies behind may have been seen before its sync ended, and a power cut could still take it back.
    pub fn seq_durable(&self) -> Result<Lsn> {
        let mark = self.directory.mark_seq()?;
        let attested = self.verdict.frames.iter().map(|frame| frame.seq_durable).max();
        let durable = mark.max(self.store.tail().seq).max(attested.unwrap_or(Lsn::ZERO));
        Ok(durable.min(self.verdict.tail.seq))
    }

    /// Puts all that this view shows beyond doubt, whoever wrote it and whether they still run.
    pub fn sync(&self) -> Result<()> {
        self.segments.sync()
    }

    /// Walks over whole frames, from the one that holds `start` on.
    pub fn frames(&self, start: impl Into<Start>) -> Result<FrameWalk<'_>> {
        FrameWalk::new(&self.segments, &self.store, &self.verdict, start.into())
    }

    /// Goes on behind `tail`, the end of a frame of this view, as long as that frame lies in the head.
    pub fn follow(&self, tail: Tail) -> Result<Option<Follower>> {
        let known = self.verdict.frames.iter().rev().find(|frame| frame.tail() == tail);
        let at_the_end = (tail == self.verdict.tail).then_some(self.verdict.place);
        let place = known.map(FramePlace::place_after).or(at_the_end);
        place.map(|place| Follower::new(self.directory, place, tail)).transpose()
    }

    /// Shows every record from `start` on.
    pub fn show(
        &self,
        start: impl Into<Start>,
        mut visit: impl FnMut(Lsn, &[u8]) -> VisitorResult,
    ) -> Result<Recovered> {
        let start = start.into();
        let mut recovered = found(self.directory, self.mark, &self.store, &self.verdict, start.seq())?;
        show(self.frames(start)?, start.seq(), &mut recovered, &mut visit)?;
        Ok(recovered)
    }
}

/// A running node may write over head frames that it has stored since our view of the store was opened. That looks like
/// a hole; a newer view of the store closes it, while a real hole stays. And it may take away a file of the store between
/// our reading its name and opening it, which looks like damage and is gone with the next look.
fn judge_beside_writer(directory: &Directory, segments: &Segments) -> Result<(Store, Verdict)> {
    let mut attempt = 1;
    loop {
        let store = directory.store_read_only();
        let judged = store.and_then(|store| judge_head(directory, segments, &store).map(|verdict| (store, verdict)));
        match judged {
            Ok(judged) => return Ok(judged),
            Err(error) if attempt == INSPECT_ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}

fn judge_head(directory: &Directory, segments: &Segments, store: &Store) -> Result<Verdict> {
    let stored = store.tail();
    let scanned = scan(segments, directory.identity().timeline, stored.seq)?;
    judge(&scanned, stored).map_err(|Refusal { place, seq, damage }| {
        WalError::damaged(&segments.path(place.segment), place.offset, seq, damage)
    })
}

/// The log's end against what is known to have been acknowledged: the mark, and the snapshot that `from` comes from.
fn found(directory: &Directory, mark: Lsn, store: &Store, verdict: &Verdict, from: Lsn) -> Result<Recovered> {
    let have = verdict.tail.seq;
    let acknowledged = mark.max(from.prev());
    if have < acknowledged {
        let path = directory.mark_path();
        return Err(WalError::ShorterThanAcknowledged { path, have, mark: acknowledged });
    }
    let stored = store.tail().seq;
    Ok(Recovered {
        tail: verdict.tail,
        seq_stored_found: stored,
        mark,
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
    while let Some((frame, home)) = walk.next_frame()? {
        recovered.records += show_frame(&frame, from, visit)?;
        match home {
            Home::Store => recovered.frames_from_store += 1,
            Home::Head => recovered.frames_from_head += 1,
        }
    }
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

/// Gives the store what it lacks. The same frames under the same keys: done twice, it changes nothing.
fn refeed(segments: &Segments, store: &Store, frames: &[FramePlace]) -> Result<()> {
    for batch in frames.chunks(REFEED_BATCH_FRAMES) {
        let mut bytes = Vec::with_capacity(batch.iter().map(|frame| frame.frame_bytes).sum());
        for known in batch {
            let start = bytes.len();
            bytes.resize(start + known.frame_bytes, 0);
            read_again(segments, known, &mut bytes[start..])?;
        }
        let mut rest = bytes.as_slice();
        store.append_frames(batch.iter().map(|known| {
            let (frame, behind) = rest.split_at(known.frame_bytes);
            rest = behind;
            frame
        }))?;
    }
    if !frames.is_empty() {
        store.flush()?;
    }
    Ok(())
}
