//! A start: the store's frames, then the head's, each record shown once, in order, from a proved log only.
//!
//! Invariants: everything is judged before the first record is shown; nothing is written when anything is refused; after
//! [`recover`] the whole log is in the store, flushed, and nothing of a torn end is left in the head. Each step may be
//! cut by a power loss and is simply done again.

use std::error::Error;

use zerocopy::IntoBytes;

use crate::block::blocks;
use crate::directory::Directory;
use crate::error::{Result, WalError};
use crate::frame::{FRAME_BYTES_MAX, Frame};
use crate::head::HeadPosition;
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

/// Shows every record from `from` on, then makes the head ready to go on: its frames go to the store, its torn end is
/// wiped. `store` must be the directory's own, opened for writing and not yet appended to.
pub fn recover(
    directory: &Directory,
    store: &Store,
    from: Seq,
    mut visit: impl FnMut(Seq, &[u8]) -> VisitorResult,
) -> Result<Recovered> {
    assert!(directory.writable(), "only the owner of the lock recovers");
    let segments = directory.segments(Access::ReadWrite)?;
    let verdict = judge_head(directory, &segments, store)?;
    let mut recovered = found(directory, store, &verdict, from)?;
    show(&segments, store, &verdict, from, &mut recovered, &mut visit)?;
    refeed(&segments, store, &verdict.frames)?;
    if let Some(cut) = &verdict.cut {
        segments.wipe(&cut.wipes)?;
    }
    assert!(store.seq_stored() == recovered.tail.seq && store.tail() == recovered.tail);
    recovered.position.seq_stored = recovered.tail.seq;
    Ok(recovered)
}

/// Shows every record from `from` on and writes nothing; works beside a running node too.
pub fn inspect(
    directory: &Directory,
    from: Seq,
    mut visit: impl FnMut(Seq, &[u8]) -> VisitorResult,
) -> Result<Recovered> {
    let segments = directory.segments(Access::Read)?;
    let (store, verdict) = judge_beside_writer(directory, &segments)?;
    let mut recovered = found(directory, &store, &verdict, from)?;
    show(&segments, &store, &verdict, from, &mut recovered, &mut visit)?;
    Ok(recovered)
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
fn found(directory: &Directory, store: &Store, verdict: &Verdict, from: Seq) -> Result<Recovered> {
    let path = directory.mark_path();
    let mark = directory.mark_seq()?;
    let have = verdict.tail.seq;
    let acknowledged = mark.max(from.prev());
    if have < acknowledged {
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
    from: Seq,
    recovered: &mut Recovered,
    visit: &mut impl FnMut(Seq, &[u8]) -> VisitorResult,
) -> Result<()> {
    let stored = store.tail();
    let mut cursor = store.frames(from)?;
    while let Some(frame) = cursor.next_frame()? {
        recovered.records += show_frame(&frame, from, visit)?;
        recovered.frames_from_store += 1;
    }
    assert!(stored.seq < from || cursor.tail() == stored, "the walk ends where the store said that it ends");
    let mut buffer = blocks(FRAME_BYTES_MAX);
    for known in verdict.frames.iter().filter(|frame| frame.seq_last >= from) {
        let frame = read_again(segments, known, buffer.as_mut_bytes())?;
        recovered.records += show_frame(&frame, from, visit)?;
        recovered.frames_from_head += 1;
    }
    Ok(())
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
