//! A start: the store's frames, then the head's, each record shown once, in order, from a proved log only.
//!
//! Invariants: everything is judged before the first record is shown; nothing is written when anything is refused; after
//! [`recover`] the whole log is in the store, flushed, and nothing of a torn end is left in the head. Each step may be
//! cut by a power loss and is simply done again.

use std::error::Error;

use zerocopy::IntoBytes;

use crate::block::blocks;
use crate::directory::Directory;
use crate::error::{Damage, Result, WalError};
use crate::frame::{FRAME_BYTES_MAX, Frame};
use crate::head::HeadPosition;
use crate::mutation::{self, Mutation};
use crate::replay::{Refusal, TornTail, Verdict, judge};
use crate::scan::{FramePlace, scan};
use crate::segment::{Access, Segments};
use crate::store::Store;
use crate::units::{Seq, Tail};

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
    pub seq_stored_found: Seq,
    /// The highest acknowledged sequence that was noted.
    pub mark: Seq,
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
    At(Seq),
    /// Behind a state that was kept: the next frame must be the one that follows it, or another log is mixed in.
    After(Tail),
}

impl Start {
    fn seq(self) -> Seq {
        match self {
            Self::At(seq) => seq,
            Self::After(tail) => tail.seq.next(),
        }
    }
}

impl From<Seq> for Start {
    fn from(seq: Seq) -> Self {
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
    mut visit: impl FnMut(Seq, &[u8]) -> VisitorResult,
) -> Result<Recovered> {
    assert!(directory.writable(), "only the owner of the lock recovers");
    let mark = directory.mark_seq()?;
    let segments = directory.segments(Access::ReadWrite)?;
    let verdict = judge_head(directory, &segments, store)?;
    let start = start.into();
    let mut recovered = found(directory, mark, store, &verdict, start.seq())?;
    show(&segments, store, &verdict, start, &mut recovered, &mut visit)?;
    refeed(&segments, store, &verdict.frames)?;
    if let Some(cut) = &verdict.cut
        && !mutation::is(Mutation::TornTailKept)
    {
        segments.wipe(&cut.wipes)?;
    }
    assert!(store.seq_stored() == recovered.tail.seq && store.tail() == recovered.tail);
    recovered.position.seq_stored = recovered.tail.seq;
    Ok(recovered)
}

/// Shows every record from `start` on and writes nothing; works beside a running node too.
pub fn inspect(
    directory: &Directory,
    start: impl Into<Start>,
    visit: impl FnMut(Seq, &[u8]) -> VisitorResult,
) -> Result<Recovered> {
    Inspection::open(directory)?.show(start, visit)
}

/// A log that has been judged and not yet walked: its ends are known.
pub struct Inspection<'d> {
    directory: &'d Directory,
    segments: Segments,
    store: Store,
    verdict: Verdict,
    mark: Seq,
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
        found(self.directory, self.mark, &self.store, &self.verdict, Seq(1))
    }

    /// Shows every record from `start` on.
    pub fn show(
        &self,
        start: impl Into<Start>,
        mut visit: impl FnMut(Seq, &[u8]) -> VisitorResult,
    ) -> Result<Recovered> {
        let start = start.into();
        let mut recovered = found(self.directory, self.mark, &self.store, &self.verdict, start.seq())?;
        show(&self.segments, &self.store, &self.verdict, start, &mut recovered, &mut visit)?;
        Ok(recovered)
    }
}

/// A running node may write over head frames that it has stored since our view of the store was opened. That looks like
/// a hole; a newer view of the store closes it, while a real hole stays.
fn judge_beside_writer(directory: &Directory, segments: &Segments) -> Result<(Store, Verdict)> {
    let mut attempt = 1;
    loop {
        let store = directory.store_read_only()?;
        match judge_head(directory, segments, &store) {
            Ok(verdict) => return Ok((store, verdict)),
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
fn found(directory: &Directory, mark: Seq, store: &Store, verdict: &Verdict, from: Seq) -> Result<Recovered> {
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
    segments: &Segments,
    store: &Store,
    verdict: &Verdict,
    start: Start,
    recovered: &mut Recovered,
    visit: &mut impl FnMut(Seq, &[u8]) -> VisitorResult,
) -> Result<()> {
    let (stored, from) = (store.tail(), start.seq());
    let mut link = Link::of(start, verdict, store);
    let mut cursor = store.frames(from)?;
    while let Some(frame) = cursor.next_frame()? {
        link.check(&frame)?;
        recovered.records += show_frame(&frame, from, visit)?;
        recovered.frames_from_store += 1;
    }
    assert!(stored.seq < from || cursor.tail() == stored, "the walk ends where the store said that it ends");
    let mut buffer = blocks(FRAME_BYTES_MAX);
    for known in verdict.frames.iter().filter(|frame| frame.seq_last >= from) {
        let frame = read_again(segments, known, buffer.as_mut_bytes())?;
        link.check(&frame)?;
        recovered.records += show_frame(&frame, from, visit)?;
        recovered.frames_from_head += 1;
    }
    link.check_end(verdict.tail)
}

/// What the first frame of a walk must follow, until one has.
struct Link<'s> {
    store: &'s Store,
    after: Option<Tail>,
}

impl<'s> Link<'s> {
    fn of(start: Start, verdict: &Verdict, store: &'s Store) -> Self {
        let after = match start {
            Start::At(_) => None,
            // A log that ends before is refused by its length.
            Start::After(tail) => (tail.seq <= verdict.tail.seq).then_some(tail),
        };
        Self { store, after }
    }

    fn check(&mut self, frame: &Frame<'_>) -> Result<()> {
        let before = Tail { seq: frame.seq_first().prev(), chain: frame.chain_prev() };
        self.check_end(before)
    }

    fn check_end(&mut self, found: Tail) -> Result<()> {
        match self.after.take() {
            Some(after) if after != found => {
                Err(WalError::damaged(self.store.path(), 0, after.seq.next(), Damage::ChainBroken))
            }
            _ => Ok(()),
        }
    }
}

fn show_frame(frame: &Frame<'_>, from: Seq, visit: &mut impl FnMut(Seq, &[u8]) -> VisitorResult) -> Result<u64> {
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

/// The frame that the scan proved, read and proved once more: only a running node can have changed it since.
fn read_again<'b>(segments: &Segments, known: &FramePlace, buffer: &'b mut [u8]) -> Result<Frame<'b>> {
    let bytes = &mut buffer[..known.frame_bytes];
    segments.read(known.place, bytes)?;
    match Frame::decode(bytes) {
        Ok(frame) if frame.hash() == known.hash => Ok(frame),
        _ => Err(WalError::Overtaken { path: segments.path(known.place.segment), seq: known.seq_first }),
    }
}
