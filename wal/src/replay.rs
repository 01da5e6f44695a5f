//! The verdict over a scanned head: which frames are the log, what is a torn end, and what is damage.
//!
//! A missing frame is a torn end only if nobody can have been told of it. Each later frame says how far its writer knew
//! the log durable; if any of them says "past the missing one", the missing one was lost, not torn, and the start is
//! refused. Pure: a scan in, a verdict out.

use crate::error::Damage;
use crate::head::FRAMES_IN_FLIGHT_MAX;
use crate::mutation::{Mutation, Planted};
use crate::scan::{FramePlace, HeadScan};
use crate::segment::{Place, SEGMENT_DATA_OFFSET, SegmentIdx};
use crate::units::{Lsn, Tail};

/// The log's newest part and what to do about its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Frames that follow the store's last, in order, linked.
    pub frames: Vec<FramePlace>,
    pub tail: Tail,
    /// Where the next frame goes.
    pub place: Place,
    pub cut: Option<TornTail>,
}

/// Frames that were on their way when the power went: none of them was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The first sequence that is not there, and where it should have been.
    pub seq: Lsn,
    pub place: Place,
    /// Whole frames behind the torn one.
    pub frames_whole: usize,
    /// Blocks to zero before anything is written, so that nothing of this tail can ever join a later log.
    pub wipes: Vec<Place>,
}

/// Why the head is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub place: Place,
    pub seq: Lsn,
    pub damage: Damage,
}

/// Judges what lies in the head beyond `stored`, the end of what the store holds.
pub fn judge(scan: &HeadScan, stored: Tail) -> Result<Verdict, Refusal> {
    check_stored(scan, stored)?;
    let walked = walk(&scan.frames, stored)?;
    let last = walked.last().or(scan.stored.as_ref());
    let tail = walked.last().map_or(stored, FramePlace::tail);
    check_overlap(scan, &walked, tail)?;
    let beyond: Vec<&FramePlace> = scan.frames.iter().filter(|frame| frame.seq_first > tail.seq).collect();
    let missing = missing_place(scan, last, &beyond, tail.seq.next());
    check_attested(&beyond, missing, tail.seq.next()).planted(Mutation::HoleAccepted, |_| Ok(()))?;

    let suspects = scan.suspects.iter().filter(|suspect| suspect.seq_first > tail.seq).map(|suspect| suspect.place);
    // A frame's every block: with the first one alone gone, records that look like a frame would come to light in it.
    let mut wipes: Vec<Place> = beyond.iter().flat_map(|frame| frame.blocks()).chain(suspects).collect();
    wipes.sort_unstable();
    let frames_whole = beyond.len();
    let cut = (!wipes.is_empty()).then_some(TornTail { seq: tail.seq.next(), place: missing, frames_whole, wipes });
    let place = last.map_or(START, FramePlace::place_after);
    Ok(Verdict { frames: walked, tail, place, cut })
}

/// Where a head goes on in which nothing of the log's end is left: all of it may be written over.
const START: Place = Place { segment: SegmentIdx(0), offset: SEGMENT_DATA_OFFSET };

/// Follows sequence and chain from `tail` as far as they go. `frames` is sorted by sequence.
fn walk(frames: &[FramePlace], mut tail: Tail) -> Result<Vec<FramePlace>, Refusal> {
    let mut walked = Vec::with_capacity(frames.len());
    loop {
        let seq = tail.seq.next();
        let from = frames.partition_point(|frame| frame.seq_first < seq);
        let Some(frame) = frames.get(from).filter(|frame| frame.seq_first == seq) else { return Ok(walked) };
        if frame.chain_prev != tail.chain {
            return Err(Refusal { place: frame.place, seq, damage: Damage::ChainBroken });
        }
        walked.push(*frame);
        tail = frame.tail();
    }
}

/// Store and head must tell the same story where both still tell it.
fn check_stored(scan: &HeadScan, stored: Tail) -> Result<(), Refusal> {
    match scan.stored {
        Some(frame) if frame.hash != stored.chain => {
            Err(Refusal { place: frame.place, seq: frame.seq_first, damage: Damage::ChainBroken })
        }
        _ => Ok(()),
    }
}

/// Every proved frame must be in the walk or lie wholly behind it.
fn check_overlap(scan: &HeadScan, walked: &[FramePlace], tail: Tail) -> Result<(), Refusal> {
    let mut known = walked.iter().peekable();
    for frame in scan.frames.iter().take_while(|frame| frame.seq_first <= tail.seq) {
        if known.next_if(|walked| walked.place == frame.place).is_none() {
            return Err(Refusal { place: frame.place, seq: frame.seq_first, damage: Damage::Overlap });
        }
    }
    Ok(())
}

/// Refuses where any frame behind the missing one proves that it was not torn but lost.
fn check_attested(beyond: &[&FramePlace], place: Place, missing: Lsn) -> Result<(), Refusal> {
    if let Some(later) = beyond.iter().find(|frame| frame.seq_durable >= missing) {
        return Err(Refusal { place, seq: missing, damage: Damage::Hole { later: later.seq_first } });
    }
    // The missing one was in flight too, so at most one less than the limit can stand behind it.
    if beyond.len() >= FRAMES_IN_FLIGHT_MAX {
        return Err(Refusal { place, seq: missing, damage: Damage::BeyondInFlight { count: beyond.len() } });
    }
    Ok(())
}

/// Where the missing frame lies or lay: at its own torn header, else in front of the frame that should follow it, else
/// behind the last good one.
fn missing_place(scan: &HeadScan, last: Option<&FramePlace>, beyond: &[&FramePlace], missing: Lsn) -> Place {
    if let Some(suspect) = scan.suspects.iter().find(|suspect| suspect.seq_first == missing) {
        return suspect.place;
    }
    let expected = last.map_or(START, FramePlace::place_after);
    match beyond.first() {
        Some(next) if next.place.segment != expected.segment && next.place.offset > SEGMENT_DATA_OFFSET => {
            Place { offset: SEGMENT_DATA_OFFSET, ..next.place }
        }
        _ => expected,
    }
}
