//! The contents of a backup, computed from its listing alone: which states can be restored, and from which objects.
//!
//! ```text
//!  origin   snapshot            snapshot                     snapshot
//!  |--------|-------------------|-----------> end    (gap)   |----------> end
//!    piece | piece | piece | piece | piece                     piece | piece
//! ```
//! A state can be restored from the origin or a snapshot, by pieces without a gap. Pieces may overlap: a shipper that
//! was interrupted and its successor need not agree where pieces end, and both store the same log.

use super::claim;
use super::destination::{Destination, ListedObject};
use super::error::{BackupError, Result, damaged};
use super::key::Key;
use std::collections::BTreeMap;
use std::time::SystemTime;
use wal::units::{Lsn, NodeId, Timeline};

/// The contents of a backup.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub node_id: NodeId,
    /// Oldest first.
    pub timelines: Vec<TimelineObjects>,
}

/// The objects of one timeline, in the order of sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineObjects {
    pub timeline: Timeline,
    pub snapshots: Vec<SnapshotObject>,
    pub pieces: Vec<PieceObject>,
    /// Sequences that were never shipped: first and last of each gap.
    pub gaps: Vec<(Lsn, Lsn)>,
    /// The number of entries of each QUARANTINE, fewest first.
    pub quarantines: Vec<u32>,
    /// The versions of the configuration, oldest first.
    pub configs: Vec<u32>,
    /// Whether its data directory came from a restore.
    pub lineage: bool,
    /// Whether IDENTITY is there, without which nothing of the timeline can be restored.
    pub identity: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotObject {
    pub seq: Lsn,
    pub bytes: u64,
    pub stored_at: SystemTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceObject {
    pub seq_first: Lsn,
    pub seq_last: Lsn,
    pub bytes: u64,
    pub stored_at: SystemTime,
}

/// States that can be restored, first and last included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestorableRange {
    pub first: Lsn,
    pub last: Lsn,
}

/// The start of a restore: the origin or a snapshot from which the log leads to the state without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPoint {
    /// The nearest one before the state: the least to fetch and to apply.
    Nearest,
    /// The oldest one: the history can be computed again from there.
    Oldest,
}

/// The objects that a state is restored from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `None`: from the origin.
    pub snapshot: Option<Lsn>,
    pub pieces: Vec<PieceObject>,
    /// The last sequence needed of the pieces.
    pub end: Lsn,
}

impl Catalog {
    pub fn read(destination: &Destination) -> Result<Self> {
        let node_id = claim::read(destination)?;
        Ok(Self { node_id, timelines: timelines_of(&destination.list()?) })
    }

    /// Fails where the identity of a timeline with contents is missing.
    pub fn check_identities(&self, destination: &Destination) -> Result<()> {
        match self.timelines.iter().find(|objects| !objects.identity) {
            Some(objects) => Err(damaged(&destination.name_of(Key::Identity(objects.timeline)), "it is missing")),
            None => Ok(()),
        }
    }

    /// The newest timeline.
    pub fn newest(&self) -> Option<&TimelineObjects> {
        self.timelines.last()
    }

    pub fn of(&self, timeline: Timeline) -> Option<&TimelineObjects> {
        self.timelines.iter().find(|objects| objects.timeline == timeline)
    }

    /// The newest state that can be restored.
    pub fn newest_restorable(&self) -> Option<Lsn> {
        self.timelines.iter().rev().find_map(TimelineObjects::newest_restorable)
    }

    /// The objects that the state at `until` is restored from, on the newest timeline that has it.
    pub fn route(&self, place: &str, until: Lsn, start: StartPoint) -> Result<(Timeline, Route)> {
        for timeline in self.timelines.iter().rev() {
            if let Some(route) = timeline.route(until, start) {
                return Ok((timeline.timeline, route));
            }
            // An older timeline's commands after this timeline's beginning were abandoned by the restore.
            let begins = timeline.restorable().first().map(|range| range.first);
            if begins.is_some_and(|begins| begins <= until) {
                break;
            }
        }
        Err(self.outside(place, until))
    }

    /// The error for a state that the backup does not have.
    pub fn outside(&self, place: &str, wanted: Lsn) -> BackupError {
        let ranges = self.newest().map(TimelineObjects::restorable_text).unwrap_or_default();
        let ranges = if ranges.is_empty() { "nothing yet".to_owned() } else { ranges };
        BackupError::Outside { place: place.to_owned(), wanted, ranges }
    }
}

impl TimelineObjects {
    fn new(timeline: Timeline) -> Self {
        Self {
            timeline,
            snapshots: Vec::new(),
            pieces: Vec::new(),
            gaps: Vec::new(),
            quarantines: Vec::new(),
            configs: Vec::new(),
            lineage: false,
            identity: false,
        }
    }

    /// The number of entries of the newest QUARANTINE.
    pub fn quarantined(&self) -> Option<u32> {
        self.quarantines.last().copied()
    }

    /// The last sequence to which the pieces lead from a state at `seq` without a gap.
    pub fn continuous_until(&self, seq: Lsn) -> Lsn {
        self.pieces_after(seq).last().map_or(seq, |piece| piece.seq_last)
    }

    /// The fewest pieces that lead on from a state at `seq`.
    pub fn pieces_after(&self, seq: Lsn) -> impl Iterator<Item = PieceObject> + '_ {
        let mut at = seq;
        let mut idx = 0;
        std::iter::from_fn(move || {
            let mut best: Option<PieceObject> = None;
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

    /// The points at which a replay can start, oldest first; `None` is the origin, which needs the piece with the first
    /// sequence.
    fn start_points(&self) -> impl DoubleEndedIterator<Item = Option<Lsn>> + '_ {
        let origin = self.pieces.first().is_some_and(|piece| piece.seq_first == Lsn(1));
        origin.then_some(None).into_iter().chain(self.snapshots.iter().map(|snapshot| Some(snapshot.seq)))
    }

    /// The ranges of states that can be restored.
    pub fn restorable(&self) -> Vec<RestorableRange> {
        let mut ranges: Vec<RestorableRange> = Vec::new();
        for start in self.start_points() {
            let seq = start.unwrap_or(Lsn::ZERO);
            match ranges.last_mut() {
                // The range before already covers every state that this one leads to.
                Some(range) if seq <= range.last => {}
                _ => ranges.push(RestorableRange { first: seq.max(Lsn(1)), last: self.continuous_until(seq) }),
            }
        }
        ranges
    }

    /// The same ranges as text.
    pub fn restorable_text(&self) -> String {
        let ranges: Vec<String> =
            self.restorable().iter().map(|range| format!("{} to {}", range.first, range.last)).collect();
        ranges.join(", ")
    }

    /// The newest state that can be restored.
    pub fn newest_restorable(&self) -> Option<Lsn> {
        self.restorable().last().map(|range| range.last)
    }

    /// The objects that the state at `target` is restored from.
    pub fn route(&self, target: Lsn, start: StartPoint) -> Option<Route> {
        let leads_there = |start: &Option<Lsn>| {
            let seq = start.unwrap_or(Lsn::ZERO);
            seq <= target && target <= self.continuous_until(seq)
        };
        let snapshot = match start {
            StartPoint::Nearest => self.start_points().rev().find(leads_there)?,
            StartPoint::Oldest => self.start_points().find(leads_there)?,
        };
        let (seq, mut pieces) = (snapshot.unwrap_or(Lsn::ZERO), Vec::new());
        let mut end = seq;
        for piece in self.pieces_after(seq) {
            if target <= end {
                break;
            }
            pieces.push(piece);
            end = piece.seq_last;
        }
        Some(Route { snapshot, pieces, end: end.min(target) })
    }

    /// Ranges of log without a hole, first and last included.
    pub fn continuous_ranges(&self) -> Vec<(Lsn, Lsn)> {
        let mut ranges: Vec<(Lsn, Lsn)> = Vec::new();
        for piece in &self.pieces {
            match ranges.last_mut() {
                Some((_, last)) if piece.seq_first <= last.next() => *last = piece.seq_last.max(*last),
                _ => ranges.push((piece.seq_first, piece.seq_last)),
            }
        }
        ranges
    }

    /// Commands that the log pieces have after `seq`: those in a gap do not count, because they do not exist here.
    pub fn commands_after(&self, seq: Lsn) -> u64 {
        let ranges = self.continuous_ranges().into_iter();
        ranges.map(|(first, last)| (last.0 + 1).saturating_sub(first.max(seq.next()).0)).sum()
    }

    /// Sequences without log: between two ranges of log, and before a snapshot that stands ahead of the log.
    fn holes(&self) -> Vec<(Lsn, Lsn)> {
        // A snapshot is the end of a log up to it, and the next log begins after it.
        let ends = self.snapshots.iter().map(|snapshot| (snapshot.seq.next(), snapshot.seq));
        let mut covered: Vec<(Lsn, Lsn)> = self.continuous_ranges().into_iter().chain(ends).collect();
        covered.sort_unstable();
        let (mut holes, mut reached): (Vec<(Lsn, Lsn)>, Option<Lsn>) = (Vec::new(), None);
        for (first, last) in covered {
            match reached {
                Some(end) if end < first.prev() => holes.push((Lsn(end.0 + 1), first.prev())),
                _ => {}
            }
            reached = reached.max(Some(last));
        }
        holes
    }

    /// Holes in the log that are not recorded as gaps: their pieces were deleted, lost, or not shipped yet.
    pub fn missing_ranges(&self) -> Vec<(Lsn, Lsn)> {
        let holes = self.holes().into_iter();
        holes.flat_map(|hole| self.gaps.iter().fold(vec![hole], |left, gap| without(left, *gap))).collect()
    }

    /// Ranges of log that neither the origin nor a snapshot leads into: their snapshot was deleted or lost.
    pub fn ranges_without_start(&self) -> Vec<(Lsn, Lsn)> {
        let leads_in = |(first, last): &(Lsn, Lsn)| {
            *first == Lsn(1) || self.snapshots.iter().any(|s| first.prev() <= s.seq && s.seq <= *last)
        };
        self.continuous_ranges().into_iter().filter(|range| !leads_in(range)).collect()
    }

    /// Snapshots that no log leads to, and from which none leads on.
    pub fn lone_snapshots(&self) -> Vec<Lsn> {
        let ranges = self.continuous_ranges();
        let is_in_log = |seq: &Lsn| ranges.iter().any(|(first, last)| first.prev() <= *seq && seq <= last);
        self.snapshots.iter().map(|snapshot| snapshot.seq).filter(|seq| !is_in_log(seq)).collect()
    }

    /// Sequences that the backup once began to hold, and of which a state that is computed from `start` has no past:
    /// the holes between its oldest log and `start`.
    pub fn past_missing(&self, start: Option<Lsn>) -> Vec<(Lsn, Lsn)> {
        let Some(start) = start else { return Vec::new() };
        let holes = self.holes().into_iter().filter(|(first, _)| *first <= start);
        holes.map(|(first, last)| (first, last.min(start))).collect()
    }

    /// The newest state that can be restored with all of the past that the backup has.
    pub fn newest_with_past(&self) -> Option<Lsn> {
        self.restorable().first().map(|range| range.last)
    }

    /// The piece that reaches furthest.
    pub fn newest_piece(&self) -> Option<PieceObject> {
        self.pieces.iter().copied().max_by_key(|piece| piece.seq_last)
    }

    pub fn bytes(&self) -> u64 {
        self.snapshots.iter().map(|snapshot| snapshot.bytes).sum::<u64>()
            + self.pieces.iter().map(|piece| piece.bytes).sum::<u64>()
    }
}

/// Parts of ranges that are not in `gap`.
fn without(ranges: Vec<(Lsn, Lsn)>, gap: (Lsn, Lsn)) -> Vec<(Lsn, Lsn)> {
    let parts = |(first, last): (Lsn, Lsn)| {
        let before = (first, last.min(Lsn(gap.0.0.saturating_sub(1))));
        let after = (first.max(gap.1.next()), last);
        let is_disjoint = gap.1 < first || last < gap.0;
        let parts = if is_disjoint { [Some((first, last)), None] } else { [Some(before), Some(after)] };
        parts.into_iter().flatten().filter(|(first, last)| first <= last)
    };
    ranges.into_iter().flat_map(parts).collect()
}

/// Ranges of sequences as text.
pub fn ranges_text(ranges: &[(Lsn, Lsn)]) -> String {
    let ranges: Vec<String> = ranges.iter().map(|(first, last)| format!("{first} to {last}")).collect();
    ranges.join(", ")
}

fn timelines_of(listed: &[ListedObject]) -> Vec<TimelineObjects> {
    let mut timelines: BTreeMap<Timeline, TimelineObjects> = BTreeMap::new();
    for object in listed {
        let Some(timeline) = object.key.timeline() else { continue };
        let objects = timelines.entry(timeline).or_insert_with(|| TimelineObjects::new(timeline));
        let (bytes, stored_at) = (object.bytes, object.stored_at);
        match object.key {
            Key::Claim => {}
            Key::Identity(_) => objects.identity = true,
            Key::Lineage(_) => objects.lineage = true,
            Key::Config { version, .. } => objects.configs.push(version),
            Key::Quarantine { entry_count, .. } => objects.quarantines.push(entry_count),
            Key::Snapshot { seq, .. } => objects.snapshots.push(SnapshotObject { seq, bytes, stored_at }),
            Key::Gap { seq_first, seq_last, .. } => objects.gaps.push((seq_first, seq_last)),
            Key::Piece { seq_first, seq_last, .. } => {
                objects.pieces.push(PieceObject { seq_first, seq_last, bytes, stored_at });
            }
        }
    }
    timelines.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(snapshots: &[u64], pieces: &[(u64, u64)]) -> TimelineObjects {
        let timeline = Timeline(1);
        let object = |key| ListedObject { key, bytes: 10, stored_at: SystemTime::UNIX_EPOCH };
        let snapshots = snapshots.iter().map(|seq| object(Key::Snapshot { timeline, seq: Lsn(*seq) }));
        let pieces = pieces
            .iter()
            .map(|(first, last)| object(Key::Piece { timeline, seq_first: Lsn(*first), seq_last: Lsn(*last) }));
        let mut listed: Vec<ListedObject> = snapshots.chain(pieces).chain([object(Key::Identity(timeline))]).collect();
        listed.sort_unstable_by_key(|object| object.key);
        timelines_of(&listed).remove(0)
    }

    fn check(snapshots: &[u64], pieces: &[(u64, u64)], expected: &str) {
        assert_eq!(objects(snapshots, pieces).restorable_text(), expected);
    }

    #[test]
    fn what_can_be_restored_follows_from_the_listing() {
        check(&[], &[], "");
        check(&[], &[(1, 5), (6, 9)], "1 to 9");
        check(&[], &[(3, 5)], "");
        check(&[7], &[], "7 to 7");
        check(&[7], &[(1, 5), (6, 9)], "1 to 9");
        check(&[7], &[(4, 9)], "7 to 9");
        check(&[7, 20], &[(6, 9), (21, 30)], "7 to 9, 20 to 30");
        check(&[9], &[(1, 5), (10, 12)], "1 to 5, 9 to 12");
        // Pieces overlap, with the shorter and with the longer one first.
        check(&[], &[(1, 5), (1, 8), (6, 20)], "1 to 20");
        check(&[], &[(1, 10), (1, 4), (5, 7), (11, 12)], "1 to 12");
    }

    #[test]
    fn missing_pieces_and_snapshots_are_found() {
        let range = |(first, last): (Lsn, Lsn)| (first.0, last.0);
        let mut with_hole = objects(&[15], &[(1, 5), (10, 12), (13, 20)]);
        assert_eq!(with_hole.missing_ranges().into_iter().map(range).collect::<Vec<_>>(), [(6, 9)]);
        assert_eq!(with_hole.ranges_without_start(), []);
        with_hole.gaps.push((Lsn(6), Lsn(9)));
        assert_eq!(with_hole.missing_ranges(), []);
        with_hole.snapshots.clear();
        assert_eq!(with_hole.ranges_without_start().into_iter().map(range).collect::<Vec<_>>(), [(10, 20)]);
    }

    #[test]
    fn a_snapshot_ahead_of_the_log_is_named_and_its_past_is_missing() {
        let ahead = objects(&[15], &[(1, 5), (6, 9)]);
        assert_eq!(ahead.restorable_text(), "1 to 9, 15 to 15");
        assert_eq!(ranges_text(&ahead.missing_ranges()), "10 to 15");
        assert_eq!((ahead.lone_snapshots(), ahead.newest_with_past()), (vec![Lsn(15)], Some(Lsn(9))));
        assert_eq!(ranges_text(&ahead.past_missing(Some(Lsn(15)))), "10 to 15");
        assert!(ahead.past_missing(None).is_empty());
        // Pruned: what is older than the oldest snapshot was deleted on purpose, and is not missing.
        let pruned = objects(&[7, 20], &[(6, 9), (10, 30)]);
        assert!(pruned.past_missing(Some(Lsn(7))).is_empty() && pruned.lone_snapshots().is_empty());
        assert!(objects(&[7], &[]).past_missing(Some(Lsn(7))).is_empty());
        assert_eq!(objects(&[7], &[]).lone_snapshots(), [Lsn(7)]);
        assert_eq!(ranges_text(&objects(&[7], &[(9, 12)]).missing_ranges()), "8 to 8");
    }

    #[test]
    fn a_gap_counts_neither_as_missing_nor_as_commands() {
        let mut objects = objects(&[20], &[(1, 5), (16, 30)]);
        objects.gaps.push((Lsn(6), Lsn(15)));
        assert_eq!((objects.missing_ranges(), objects.commands_after(Lsn(3))), (vec![], 17));
        assert_eq!([5, 20, 30, 99].map(|seq| objects.commands_after(Lsn(seq))), [15, 10, 0, 0]);
        assert_eq!(ranges_text(&objects.past_missing(Some(Lsn(20)))), "6 to 15");
        objects.gaps = vec![(Lsn(8), Lsn(9)), (Lsn(12), Lsn(99))];
        assert_eq!(ranges_text(&objects.missing_ranges()), "6 to 7, 10 to 11");
    }

    #[test]
    fn a_route_has_the_nearest_start_and_no_more_than_it_needs() {
        let objects = objects(&[7, 15], &[(1, 5), (6, 9), (10, 12), (13, 20)]);
        let route = |until: Option<u64>| {
            let until = until.map(Lsn).or(objects.newest_restorable()).expect("there is a state");
            let route = objects.route(until, StartPoint::Nearest).expect("restorable");
            let pieces: Vec<(u64, u64)> = route.pieces.iter().map(|p| (p.seq_first.0, p.seq_last.0)).collect();
            (route.snapshot.map(|seq| seq.0), pieces, route.end.0)
        };
        assert_eq!(route(None), (Some(15), vec![(13, 20)], 20));
        assert_eq!(route(Some(15)), (Some(15), vec![], 15));
        assert_eq!(route(Some(14)), (Some(7), vec![(6, 9), (10, 12), (13, 20)], 14));
        assert_eq!(route(Some(3)), (None, vec![(1, 5)], 3));
        assert_eq!(objects.route(Lsn(21), StartPoint::Nearest), None);
        let oldest = objects.route(Lsn(14), StartPoint::Oldest).expect("restorable");
        assert_eq!((oldest.snapshot, oldest.pieces.len(), oldest.end), (None, 4, Lsn(14)));
    }

    #[test]
    fn an_older_timeline_has_only_states_before_the_newer_one() {
        let mut newer = objects(&[100], &[(101, 110)]);
        newer.timeline = Timeline(2);
        let catalog = Catalog { node_id: NodeId([1; 16]), timelines: vec![objects(&[], &[(1, 500)]), newer] };
        let timeline = |until: u64| catalog.route("x", Lsn(until), StartPoint::Nearest).map(|(timeline, _)| timeline.0);
        assert_eq!(catalog.newest_restorable(), Some(Lsn(110)));
        assert_eq!(timeline(105).expect("restorable"), 2);
        assert_eq!(timeline(50).expect("restorable"), 1);
        let error = timeline(300).expect_err("abandoned");
        assert!(error.to_string().contains("100 to 110"), "{error}");
    }
}
