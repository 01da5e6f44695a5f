//! What a backup holds, from its listing alone: which states it reaches, and by which objects. Pure.
//!
//! ```text
//!  origin   snapshot            snapshot                     snapshot
//!  |--------|-------------------|-----------> end    (gap)   |----------> end
//!    piece | piece | piece | piece | piece                     piece | piece
//! ```
//! A state can be reached from the origin or a snapshot over pieces without a gap. Pieces may overlap: a shipper that
//! was cut off and its successor need not agree where pieces end, and both tell the same log.

use super::claim;
use super::destination::{Destination, Listed};
use super::error::{BackupError, Result};
use super::key::Key;
use std::collections::BTreeMap;
use std::time::SystemTime;
use wal::units::{Lsn, NodeId, Timeline};

/// All of a backup.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub node_id: NodeId,
    /// Oldest first.
    pub timelines: Vec<Kept>,
}

/// What is kept of one timeline. Everything in the order of sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub timeline: Timeline,
    pub snapshots: Vec<KeptSnapshot>,
    pub pieces: Vec<KeptPiece>,
    /// What was never shipped, first and last.
    pub gaps: Vec<(Lsn, Lsn)>,
    /// Entries of each QUARANTINE, fewest first.
    pub quarantines: Vec<u32>,
    /// Whether its directory came from a restore.
    pub lineage: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptSnapshot {
    pub seq: Lsn,
    pub bytes: u64,
    pub stored_at: SystemTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptPiece {
    pub seq_first: Lsn,
    pub seq_last: Lsn,
    pub bytes: u64,
    pub stored_at: SystemTime,
}

/// States that can be reached, first and last included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Points {
    pub first: Lsn,
    pub last: Lsn,
}

/// Where a way to a state begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// As near as there is one: the least to fetch and to apply.
    Nearest,
    /// As far back as one leads there: what was told on the way can be told again.
    Oldest,
}

/// How to reach a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `None`: from the origin.
    pub snapshot: Option<Lsn>,
    pub pieces: Vec<KeptPiece>,
    /// Where it ends: what was asked for, or a little behind it.
    pub end: Lsn,
}

impl Catalog {
    pub fn read(destination: &Destination) -> Result<Self> {
        let node_id = claim::read(destination)?;
        Ok(Self { node_id, timelines: timelines_of(&destination.list()?) })
    }

    pub fn newest(&self) -> Option<&Kept> {
        self.timelines.last()
    }

    pub fn of(&self, timeline: Timeline) -> Option<&Kept> {
        self.timelines.iter().find(|kept| kept.timeline == timeline)
    }

    /// The newest state that can be reached.
    pub fn newest_point(&self) -> Option<Lsn> {
        self.timelines.iter().rev().find_map(Kept::newest_point)
    }

    /// How to reach `until`: on the newest timeline that holds it.
    pub fn route(&self, place: &str, until: Lsn, begin: Begin) -> Result<(Timeline, Route)> {
        for kept in self.timelines.iter().rev() {
            if let Some(route) = kept.route(until, begin) {
                return Ok((kept.timeline, route));
            }
            // What an older timeline holds behind this one's beginning was given up when this one began.
            let begins = kept.points().first().map(|points| points.first);
            if begins.is_some_and(|begins| begins <= until) {
                break;
            }
        }
        Err(self.outside(place, until))
    }

    /// What a backup says that does not reach `wanted`.
    pub fn outside(&self, place: &str, wanted: Lsn) -> BackupError {
        let held = self.newest().map(Kept::held).unwrap_or_default();
        let held = if held.is_empty() { "nothing yet".to_owned() } else { held };
        BackupError::Outside { place: place.to_owned(), wanted, held }
    }
}

impl Kept {
    fn new(timeline: Timeline) -> Self {
        Self {
            timeline,
            snapshots: Vec::new(),
            pieces: Vec::new(),
            gaps: Vec::new(),
            quarantines: Vec::new(),
            lineage: false,
        }
    }

    /// Entries of the newest QUARANTINE.
    pub fn quarantined(&self) -> Option<u32> {
        self.quarantines.last().copied()
    }

    /// The last sequence up to which pieces lead on from a state at `seq` without a gap.
    pub fn reach(&self, seq: Lsn) -> Lsn {
        self.pieces_behind(seq).last().map_or(seq, |piece| piece.seq_last)
    }

    /// Pieces that lead on from a state at `seq`, as few as do.
    pub fn pieces_behind(&self, seq: Lsn) -> impl Iterator<Item = KeptPiece> + '_ {
        let mut at = seq;
        let mut idx = 0;
        std::iter::from_fn(move || {
            let mut best: Option<KeptPiece> = None;
            while let Some(piece) = self.pieces.get(idx).filter(|piece| piece.seq_first <= at.next()) {
                if at < piece.seq_last && best.is_none_or(|best| best.seq_last < piece.seq_last) {
                    best = Some(*piece);
                }
                idx += 1;
            }
            at = best?.seq_last;
            best
        })
    }

    /// Where a replay can begin, oldest first. The origin is one where the first sequence is there.
    fn beginnings(&self) -> impl DoubleEndedIterator<Item = Option<Lsn>> + '_ {
        let origin = self.pieces.first().is_some_and(|piece| piece.seq_first == Lsn(1));
        origin.then_some(None).into_iter().chain(self.snapshots.iter().map(|snapshot| Some(snapshot.seq)))
    }

    /// The ranges of states that can be reached.
    pub fn points(&self) -> Vec<Points> {
        let mut ranges: Vec<Points> = Vec::new();
        for beginning in self.beginnings() {
            let seq = beginning.unwrap_or(Lsn::ZERO);
            match ranges.last_mut() {
                // Whatever leads past it leads on from it.
                Some(range) if seq <= range.last => {}
                _ => ranges.push(Points { first: seq.max(Lsn(1)), last: self.reach(seq) }),
            }
        }
        ranges
    }

    /// The ranges as a person reads them.
    pub fn held(&self) -> String {
        let ranges: Vec<String> =
            self.points().iter().map(|points| format!("{} to {}", points.first, points.last)).collect();
        ranges.join(", ")
    }

    /// The newest state that can be reached.
    pub fn newest_point(&self) -> Option<Lsn> {
        self.points().last().map(|points| points.last)
    }

    /// How to reach `target`.
    pub fn route(&self, target: Lsn, begin: Begin) -> Option<Route> {
        let leads_there = |beginning: &Option<Lsn>| {
            let seq = beginning.unwrap_or(Lsn::ZERO);
            seq <= target && target <= self.reach(seq)
        };
        let beginning = match begin {
            Begin::Nearest => self.beginnings().rev().find(leads_there)?,
            Begin::Oldest => self.beginnings().find(leads_there)?,
        };
        let (seq, mut pieces) = (beginning.unwrap_or(Lsn::ZERO), Vec::new());
        let mut end = seq;
        for piece in self.pieces_behind(seq) {
            if target <= end {
                break;
            }
            pieces.push(piece);
            end = piece.seq_last;
        }
        Some(Route { snapshot: beginning, pieces, end: end.min(target) })
    }

    /// Stretches of log without a hole, first and last included.
    fn stretches(&self) -> Vec<(Lsn, Lsn)> {
        let mut stretches: Vec<(Lsn, Lsn)> = Vec::new();
        for piece in &self.pieces {
            match stretches.last_mut() {
                Some((_, last)) if piece.seq_first <= last.next() => *last = piece.seq_last.max(*last),
                _ => stretches.push((piece.seq_first, piece.seq_last)),
            }
        }
        stretches
    }

    /// Holes in the log that nobody has accounted for: pieces were there once and are not any more.
    pub fn missing(&self) -> Vec<(Lsn, Lsn)> {
        let stretches = self.stretches();
        let holes = stretches.windows(2).map(|pair| (pair[0].1.next(), pair[1].0.prev()));
        holes.filter(|hole| !self.gaps.contains(hole)).collect()
    }

    /// Stretches of log that no beginning leads into: a snapshot was there once and is not any more.
    pub fn unreachable(&self) -> Vec<(Lsn, Lsn)> {
        let leads_in = |(first, last): &(Lsn, Lsn)| {
            *first == Lsn(1) || self.snapshots.iter().any(|s| first.prev() <= s.seq && s.seq <= *last)
        };
        self.stretches().into_iter().filter(|stretch| !leads_in(stretch)).collect()
    }

    /// The newest piece of all.
    pub fn last_piece(&self) -> Option<KeptPiece> {
        self.pieces.iter().copied().max_by_key(|piece| piece.seq_last)
    }

    pub fn bytes(&self) -> u64 {
        self.snapshots.iter().map(|snapshot| snapshot.bytes).sum::<u64>()
            + self.pieces.iter().map(|piece| piece.bytes).sum::<u64>()
    }
}

fn timelines_of(listed: &[Listed]) -> Vec<Kept> {
    let mut timelines: BTreeMap<Timeline, Kept> = BTreeMap::new();
    for object in listed {
        let Some(timeline) = object.key.timeline() else { continue };
        let kept = timelines.entry(timeline).or_insert_with(|| Kept::new(timeline));
        let (bytes, stored_at) = (object.bytes, object.stored_at);
        match object.key {
            Key::Claim | Key::Identity(_) => {}
            Key::Lineage(_) => kept.lineage = true,
            Key::Quarantine { entry_count, .. } => kept.quarantines.push(entry_count),
            Key::Snapshot { seq, .. } => kept.snapshots.push(KeptSnapshot { seq, bytes, stored_at }),
            Key::Gap { seq_first, seq_last, .. } => kept.gaps.push((seq_first, seq_last)),
            Key::Piece { seq_first, seq_last, .. } => {
                kept.pieces.push(KeptPiece { seq_first, seq_last, bytes, stored_at });
            }
        }
    }
    timelines.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(snapshots: &[u64], pieces: &[(u64, u64)]) -> Kept {
        let timeline = Timeline(1);
        let object = |key| Listed { key, bytes: 10, stored_at: SystemTime::UNIX_EPOCH };
        let snapshots = snapshots.iter().map(|seq| object(Key::Snapshot { timeline, seq: Lsn(*seq) }));
        let pieces = pieces
            .iter()
            .map(|(first, last)| object(Key::Piece { timeline, seq_first: Lsn(*first), seq_last: Lsn(*last) }));
        let mut listed: Vec<Listed> = snapshots.chain(pieces).chain([object(Key::Identity(timeline))]).collect();
        listed.sort_unstable_by_key(|object| object.key);
        timelines_of(&listed).remove(0)
    }

    fn check(snapshots: &[u64], pieces: &[(u64, u64)], held: &str) {
        assert_eq!(kept(snapshots, pieces).held(), held);
    }

    #[test]
    fn what_can_be_reached_follows_from_the_listing() {
        check(&[], &[], "");
        check(&[], &[(1, 5), (6, 9)], "1 to 9");
        check(&[], &[(3, 5)], "");
        check(&[7], &[], "7 to 7");
        check(&[7], &[(1, 5), (6, 9)], "1 to 9");
        check(&[7], &[(4, 9)], "7 to 9");
        check(&[7, 20], &[(6, 9), (21, 30)], "7 to 9, 20 to 30");
        check(&[9], &[(1, 5), (10, 12)], "1 to 5, 9 to 12");
        // Overlaps: neither the longer nor the shorter one first leads astray.
        check(&[], &[(1, 5), (1, 8), (6, 20)], "1 to 20");
        check(&[], &[(1, 10), (1, 4), (5, 7), (11, 12)], "1 to 12");
    }

    #[test]
    fn holes_and_beginnings_that_went_missing_are_told() {
        let range = |(first, last): (Lsn, Lsn)| (first.0, last.0);
        let mut with_hole = kept(&[15], &[(1, 5), (10, 12), (13, 20)]);
        assert_eq!(with_hole.missing().into_iter().map(range).collect::<Vec<_>>(), [(6, 9)]);
        assert_eq!(with_hole.unreachable(), []);
        with_hole.gaps.push((Lsn(6), Lsn(9)));
        assert_eq!(with_hole.missing(), []);
        with_hole.snapshots.clear();
        assert_eq!(with_hole.unreachable().into_iter().map(range).collect::<Vec<_>>(), [(10, 20)]);
    }

    #[test]
    fn a_route_takes_the_nearest_beginning_and_no_more_than_it_needs() {
        let kept = kept(&[7, 15], &[(1, 5), (6, 9), (10, 12), (13, 20)]);
        let route = |until: Option<u64>| {
            let until = until.map(Lsn).or(kept.newest_point()).expect("it reaches something");
            let route = kept.route(until, Begin::Nearest).expect("reached");
            let pieces: Vec<(u64, u64)> = route.pieces.iter().map(|p| (p.seq_first.0, p.seq_last.0)).collect();
            (route.snapshot.map(|seq| seq.0), pieces, route.end.0)
        };
        assert_eq!(route(None), (Some(15), vec![(13, 20)], 20));
        assert_eq!(route(Some(15)), (Some(15), vec![], 15));
        assert_eq!(route(Some(14)), (Some(7), vec![(6, 9), (10, 12), (13, 20)], 14));
        assert_eq!(route(Some(3)), (None, vec![(1, 5)], 3));
        assert_eq!(kept.route(Lsn(21), Begin::Nearest), None);
        let oldest = kept.route(Lsn(14), Begin::Oldest).expect("reached");
        assert_eq!((oldest.snapshot, oldest.pieces.len(), oldest.end), (None, 4, Lsn(14)));
    }

    #[test]
    fn an_older_timeline_answers_only_for_what_came_before_the_newer_one() {
        let mut newer = kept(&[100], &[(101, 110)]);
        newer.timeline = Timeline(2);
        let catalog = Catalog { node_id: NodeId([1; 16]), timelines: vec![kept(&[], &[(1, 500)]), newer] };
        let timeline = |until: u64| catalog.route("x", Lsn(until), Begin::Nearest).map(|(timeline, _)| timeline.0);
        assert_eq!(catalog.newest_point(), Some(Lsn(110)));
        assert_eq!(timeline(105).expect("reached"), 2);
        assert_eq!(timeline(50).expect("reached"), 1);
        let error = timeline(300).expect_err("given up");
        assert!(error.to_string().contains("100 to 110"), "{error}");
    }
}
