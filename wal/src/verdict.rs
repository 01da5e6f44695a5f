//! The verdict over a scanned head: which frames continue the log, what is a torn end, and what is damage.
//!
//! A missing frame is a torn end only if it cannot have been acknowledged. Each later frame holds the last sequence
//! that its writer knew to be durable, and so does the mark, which covers the very last frame once the node is idle. If
//! one of these is at or after the missing frame, the frame was lost, not torn, and the start is refused. A pure
//! function: a scan and the mark in, a verdict out.

use crate::error::Damage;
use crate::frame::FrameFault;
use crate::head::FRAMES_IN_FLIGHT_MAX;
use crate::mutation::{Mutation, Planted};
use crate::scan::{FramePlace, HeadScan};
use crate::segment::{FIRST_PLACE, SEGMENT_DATA_OFFSET};
use crate::units::{Lsn, Place, Tail};

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

/// Frames that were in flight when the power failed. None of them was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The first missing sequence, and where it should be.
    pub seq: Lsn,
    pub place: Place,
    /// What is wrong with the bytes there; none where they do not even begin like the missing frame.
    pub fault: Option<FrameFault>,
    /// Intact frames after the torn one.
    pub frames_intact: usize,
    /// Blocks to overwrite with zeros before anything is written, so that no frame of this tail can ever link to a
    /// later log.
    pub wipes: Vec<Place>,
}

/// Why the head is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub place: Place,
    pub seq: Lsn,
    pub damage: Damage,
}

/// Judges what the head holds after `stored`, the end of the store's log. Everything up to `mark` was acknowledged. A
/// log that ends before the mark without a trace of what is missing is the caller's to refuse: an old copy looks so
/// too.
pub fn judge(scan: &HeadScan, stored: Tail, mark: Lsn) -> Result<Verdict, Refusal> {
    check_stored(scan, stored)?;
    let frames = walk(&scan.frames, stored)?;
    let last = frames.last().or(scan.stored.as_ref());
    let tail = frames.last().map_or(stored, FramePlace::tail);
    check_overlap(scan, &frames, tail)?;
    let after: Vec<&FramePlace> = scan.frames.iter().filter(|frame| frame.seq_first > tail.seq).collect();
    let missing = missing_place(scan, last, &after, tail.seq.next());
    check_attested(&after, missing, tail.seq.next()).planted(Mutation::HoleAccepted, |_| Ok(()))?;

    let fault = scan.suspects.iter().find(|suspect| suspect.seq_first == tail.seq.next()).map(|suspect| suspect.fault);
    let has_trace = fault.is_some() || !after.is_empty();
    if (has_trace && tail.seq < mark).planted(Mutation::MarkAttestsNothing, |_| false) {
        return Err(Refusal { place: missing, seq: tail.seq.next(), damage: Damage::Acknowledged { mark } });
    }

    let wipes = wipes(scan, &after, tail);
    assert!(stored.seq <= tail.seq, "a start never shortens the log");
    let wiped = |frame: &FramePlace| frame.blocks().any(|block| wipes.binary_search(&block).is_ok());
    assert!(!frames.iter().any(wiped), "no block of the log is wiped");
    // Without a frame of the log's end the head holds nothing that is needed, and begins again at its first place.
    let place = last.map_or(FIRST_PLACE, FramePlace::place_after);
    let torn = TornTail { seq: tail.seq.next(), place: missing, fault, frames_intact: after.len(), wipes };
    Ok(Verdict { frames, tail, place, cut: (!torn.wipes.is_empty()).then_some(torn) })
}

/// The blocks of every frame after the missing one, and every block that begins like such a frame. All blocks of a
/// frame: with only the first one wiped, a record whose bytes look like a frame could be read as one.
fn wipes(scan: &HeadScan, after: &[&FramePlace], tail: Tail) -> Vec<Place> {
    let suspects = scan.suspects.iter().filter(|suspect| suspect.seq_first > tail.seq).map(|suspect| suspect.place);
    let mut wipes: Vec<Place> = after.iter().flat_map(|frame| frame.blocks()).chain(suspects).collect();
    wipes.sort_unstable();
    wipes
}

/// Follows sequences and links from `tail` to the first missing frame. `frames` is sorted by sequence.
fn walk(frames: &[FramePlace], mut tail: Tail) -> Result<Vec<FramePlace>, Refusal> {
    let mut walked = Vec::with_capacity(frames.len());
    loop {
        let seq = tail.seq.next();
        let from = frames.partition_point(|frame| frame.seq_first < seq);
        let Some(frame) = frames.get(from).filter(|frame| frame.seq_first == seq) else { return Ok(walked) };
        let links = frame.chain_prev == tail.chain;
        if !links.planted(Mutation::LastLinkUnchecked, |links| links || frames.last() == Some(frame)) {
            return Err(Refusal { place: frame.place, seq, damage: Damage::ChainBroken });
        }
        walked.push(*frame);
        tail = frame.tail();
    }
}

/// Where both the store and the head hold the store's last frame, the two must be equal.
fn check_stored(scan: &HeadScan, stored: Tail) -> Result<(), Refusal> {
    match scan.stored {
        Some(frame) if (frame.hash != stored.chain).planted(Mutation::StoredCopyUnchecked, |_| false) => {
            Err(Refusal { place: frame.place, seq: frame.seq_first, damage: Damage::ChainBroken })
        }
        _ => Ok(()),
    }
}

/// Every proved frame must be one of the walk, or begin after its end.
fn check_overlap(scan: &HeadScan, walked: &[FramePlace], tail: Tail) -> Result<(), Refusal> {
    let mut known = walked.iter().peekable();
    for frame in scan.frames.iter().take_while(|frame| frame.seq_first <= tail.seq) {
        if known.next_if(|walked| walked.place == frame.place).is_none() {
            return Err(Refusal { place: frame.place, seq: frame.seq_first, damage: Damage::Overlap });
        }
    }
    Ok(())
}

/// Refuses the head where the frames after the missing one show that it was lost, not torn.
fn check_attested(after: &[&FramePlace], place: Place, missing: Lsn) -> Result<(), Refusal> {
    if let Some(later) = after.iter().find(|frame| frame.seq_durable >= missing) {
        return Err(Refusal { place, seq: missing, damage: Damage::Hole { later: later.seq_first } });
    }
    // The missing one was in flight too, so fewer than the limit can follow it.
    if after.len() >= FRAMES_IN_FLIGHT_MAX {
        return Err(Refusal { place, seq: missing, damage: Damage::BeyondInFlight { count: after.len() } });
    }
    Ok(())
}

/// Where the missing frame is or was: at its own torn header, else before the frame that should follow it, else after
/// the last intact one.
fn missing_place(scan: &HeadScan, last: Option<&FramePlace>, after: &[&FramePlace], missing: Lsn) -> Place {
    if let Some(suspect) = scan.suspects.iter().find(|suspect| suspect.seq_first == missing) {
        return suspect.place;
    }
    let expected = last.map_or(FIRST_PLACE, FramePlace::place_after);
    match after.first() {
        Some(next) if next.place.segment != expected.segment && next.place.offset > SEGMENT_DATA_OFFSET => {
            Place { offset: SEGMENT_DATA_OFFSET, ..next.place }
        }
        _ => expected,
    }
}
