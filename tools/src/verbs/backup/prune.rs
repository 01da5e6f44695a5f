//! `pinion backup prune`: which objects a backup no longer needs, and their deletion.
//!
//! ```text
//!   older snapshots     oldest kept snapshot                          end
//!   x   x    x          |----------------|----------------|----------->
//!   x piece x piece x [ piece ] piece ...
//! ```
//! Invariants: the newest `keep` snapshots stay, and every piece that ends at or after the oldest of them: the one that
//! ends right there tells a shipper where to continue. With fewer snapshots nothing is deleted. Nothing is deleted
//! either while one of the snapshots that would stay is damaged, because the older ones may be the only intact ones.

use crate::archive::catalog::Catalog;
use crate::archive::destination::Destination;
use crate::archive::error::{BackupError, Result};
use crate::archive::key::Key;
use crate::archive::proof::prove_snapshot;
use wal::units::{Lsn, NodeId, Timeline};

/// The objects to delete, in an order in which an interruption leaves a backup that can be restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pruning {
    pub keys: Vec<Key>,
    pub bytes: u64,
    /// The oldest snapshot that stays.
    pub oldest_kept: Option<(Timeline, Lsn)>,
}

/// `keep` snapshots stay; at least one.
pub(super) fn plan(catalog: &Catalog, keep: usize) -> Pruning {
    let Some((oldest_timeline, oldest_seq)) = newest_first(catalog).nth(keep.max(1) - 1) else {
        return Pruning::default();
    };
    let mut pruning = Pruning { oldest_kept: Some((oldest_timeline, oldest_seq)), ..Pruning::default() };
    for objects in catalog.timelines.iter().filter(|objects| objects.timeline <= oldest_timeline) {
        let timeline = objects.timeline;
        let goes = |seq: Lsn| timeline < oldest_timeline || seq < oldest_seq;
        // Snapshots first: one whose log was deleted would look like a start from which no log leads on.
        for snapshot in objects.snapshots.iter().filter(|snapshot| goes(snapshot.seq)) {
            pruning.keys.push(Key::Snapshot { timeline, seq: snapshot.seq });
            pruning.bytes += snapshot.bytes;
        }
        for piece in objects.pieces.iter().filter(|piece| goes(piece.seq_last)) {
            let (seq_first, seq_last) = (piece.seq_first, piece.seq_last);
            pruning.keys.push(Key::Piece { timeline, seq_first, seq_last });
            pruning.bytes += piece.bytes;
        }
        let gaps = objects.gaps.iter().filter(|(_, seq_last)| goes(*seq_last));
        pruning.keys.extend(gaps.map(|&(seq_first, seq_last)| Key::Gap { timeline, seq_first, seq_last }));
        if timeline < oldest_timeline {
            let lists = objects.quarantines.iter();
            pruning.keys.extend(lists.map(|&entry_count| Key::Quarantine { timeline, entry_count }));
            pruning.keys.extend(objects.configs.iter().map(|&version| Key::Config { timeline, version }));
            pruning.keys.extend(objects.lineage.then_some(Key::Lineage(timeline)));
            pruning.keys.push(Key::Identity(timeline));
        }
    }
    pruning
}

fn newest_first(catalog: &Catalog) -> impl Iterator<Item = (Timeline, Lsn)> + '_ {
    let timelines = catalog.timelines.iter().rev();
    timelines.flat_map(|objects| objects.snapshots.iter().rev().map(|snapshot| (objects.timeline, snapshot.seq)))
}

/// Reads the newest snapshots until `keep` of them have proved intact. Fails where any of those read is damaged.
pub(super) fn check_kept(destination: &Destination, catalog: &Catalog, keep: usize) -> Result<()> {
    let (mut intact, mut damage) = (0, Vec::new());
    for (timeline, seq) in newest_first(catalog) {
        if intact == keep {
            break;
        }
        match check_snapshot(destination, catalog.node_id, timeline, seq) {
            Ok(()) => intact += 1,
            Err(error) if error.is_damage() => damage.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    if damage.is_empty() { Ok(()) } else { Err(BackupError::KeptDamaged { damage }) }
}

fn check_snapshot(destination: &Destination, node_id: NodeId, timeline: Timeline, seq: Lsn) -> Result<()> {
    let key = Key::Snapshot { timeline, seq };
    let file = destination.get_anonymous(key)?;
    prove_snapshot(&file.path(), &destination.name_of(key), node_id, (timeline, seq)).map(|_| ())
}

/// Deletes the planned objects.
pub(super) fn carry_out(destination: &Destination, pruning: &Pruning) -> Result<()> {
    for key in &pruning.keys {
        destination.delete(*key)?;
        if destination.interrupt().is_set() {
            return Err(BackupError::Interrupted);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::catalog::{PieceObject, SnapshotObject, TimelineObjects};
    use std::time::SystemTime;

    fn objects(timeline: u32, snapshots: &[u64], pieces: &[(u64, u64)]) -> TimelineObjects {
        let stored_at = SystemTime::UNIX_EPOCH;
        let snapshot = |seq: &u64| SnapshotObject { seq: Lsn(*seq), bytes: 100, stored_at };
        let piece = |(first, last): &(u64, u64)| PieceObject {
            seq_first: Lsn(*first),
            seq_last: Lsn(*last),
            bytes: 10,
            stored_at,
        };
        TimelineObjects {
            timeline: Timeline(timeline),
            snapshots: snapshots.iter().map(snapshot).collect(),
            pieces: pieces.iter().map(piece).collect(),
            gaps: Vec::new(),
            quarantines: Vec::new(),
            configs: Vec::new(),
            lineage: false,
            identity: true,
        }
    }

    fn catalog(timelines: Vec<TimelineObjects>) -> Catalog {
        Catalog { node_id: NodeId([1; 16]), timelines }
    }

    #[test]
    fn what_stays_restores_the_same_states() {
        let pieces: Vec<(u64, u64)> = (0..40).map(|idx| (idx * 5 + 1, idx * 5 + 5)).collect();
        let before = catalog(vec![objects(1, &[7, 30, 63, 110, 150, 195], &pieces)]);
        for keep in 0..9 {
            let pruning = plan(&before, keep);
            let mut after = before.clone();
            let timeline = &mut after.timelines[0];
            timeline.snapshots.retain(|s| !pruning.keys.contains(&Key::Snapshot { timeline: Timeline(1), seq: s.seq }));
            timeline.pieces.retain(|p| {
                let (seq_first, seq_last) = (p.seq_first, p.seq_last);
                !pruning.keys.contains(&Key::Piece { timeline: Timeline(1), seq_first, seq_last })
            });
            let left = &after.timelines[0];
            match pruning.oldest_kept {
                None => assert!(6 < keep && pruning.keys.is_empty()),
                Some((_, seq)) => {
                    assert_eq!(left.snapshots.len(), keep.max(1));
                    assert_eq!((left.snapshots[0].seq, left.continuous_until(seq)), (seq, Lsn(200)));
                    assert!(left.pieces[0].seq_first <= seq, "a piece ends at the snapshot or covers it");
                }
            }
        }
    }

    #[test]
    fn an_older_timeline_is_deleted_only_when_the_newer_has_enough() {
        let two = catalog(vec![objects(1, &[5, 9], &[(1, 9)]), objects(2, &[9, 20], &[(10, 30)])]);
        assert_eq!(plan(&two, 3).keys, [Key::Snapshot { timeline: Timeline(1), seq: Lsn(5) }]);
        let all_of_the_first = plan(&two, 2);
        assert_eq!(all_of_the_first.keys.last(), Some(&Key::Identity(Timeline(1))));
        assert_eq!(all_of_the_first.keys.len(), 4);
        assert_eq!(plan(&two, 5), Pruning::default());
    }
}
