//! `pinion backup list`: which states a backup can restore, from which objects, and since when.

use super::size::size;
use crate::archive::catalog::{Catalog, TimelineObjects};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The exit code of a backup that is older than it may be, as of a node that is degraded.
pub(super) const LATE: u8 = 4;

pub(super) fn as_json(place: &str, catalog: &Catalog) -> Value {
    let timelines: Vec<Value> = catalog.timelines.iter().map(timeline_json).collect();
    json!({ "place": place, "node_id": catalog.node_id.to_string(), "timelines": timelines })
}

fn timeline_json(objects: &TimelineObjects) -> Value {
    let range = |(first, last): (u64, u64)| json!({ "seq_first": first, "seq_last": last });
    let points: Vec<Value> = objects.restorable().iter().map(|states| range((states.first.0, states.last.0))).collect();
    let gaps: Vec<Value> = objects.gaps.iter().map(|(first, last)| range((first.0, last.0))).collect();
    let missing: Vec<Value> = objects.missing_ranges().iter().map(|(first, last)| range((first.0, last.0))).collect();
    let snapshots: Vec<Value> = objects
        .snapshots
        .iter()
        .map(|s| json!({ "seq": s.seq.0, "bytes": s.bytes, "stored_ms": unix_ms(s.stored_at) }))
        .collect();
    json!({
        "timeline": objects.timeline.0,
        "points": points,
        "gaps": gaps,
        "missing": missing,
        "without_start": objects.ranges_without_start().iter().map(|(first, last)| range((first.0, last.0))).collect::<Vec<_>>(),
        "lone_snapshots": objects.lone_snapshots().iter().map(|seq| seq.0).collect::<Vec<_>>(),
        "snapshots": snapshots,
        "pieces": objects.pieces.len(),
        "piece_bytes": objects.pieces.iter().map(|piece| piece.bytes).sum::<u64>(),
        "identity": objects.identity,
        "config": objects.configs.last(),
        "quarantined": objects.quarantined().unwrap_or(0),
        "newest_stored_ms": newest(objects).map(unix_ms),
    })
}

pub(super) fn as_text(place: &str, catalog: &Catalog) -> String {
    let mut text = format!("backup      {place}, of node {}\n", catalog.node_id);
    for objects in &catalog.timelines {
        timeline_text(objects, &mut text);
    }
    if catalog.timelines.is_empty() {
        text += "no log was shipped yet\n";
    }
    text
}

fn timeline_text(objects: &TimelineObjects, text: &mut String) {
    let states = objects.restorable_text();
    let states = if states.is_empty() { "none" } else { states.as_str() };
    *text += &format!("timeline {}\n  states    {states}\n", objects.timeline);
    if !objects.identity {
        *text += "  MISSING   IDENTITY: nothing of this timeline can be restored\n";
    }
    for (first, last) in &objects.gaps {
        *text += &format!("  gap       {first} to {last}: the node truncated them before they were shipped\n");
    }
    for (first, last) in objects.missing_ranges() {
        *text += &format!("  MISSING   {first} to {last}: their pieces were deleted, lost, or not shipped\n");
    }
    for (first, last) in objects.ranges_without_start() {
        *text += &format!("  NO START  {first} to {last}: no snapshot leads into this log\n");
    }
    for seq in objects.lone_snapshots() {
        *text += &format!("  ALONE     snapshot {seq}: no log leads to it, and none leads on from it\n");
    }
    for snapshot in &objects.snapshots {
        let age = age(snapshot.stored_at);
        *text += &format!("  snapshot  {:<20} {}, stored {age}\n", snapshot.seq.0, size(snapshot.bytes));
    }
    let bytes: u64 = objects.pieces.iter().map(|piece| piece.bytes).sum();
    *text += &format!("  log       {} pieces, {}", objects.pieces.len(), size(bytes));
    if let Some(stored_at) = newest(objects) {
        *text += &format!(", the newest object stored {}", age(stored_at));
    }
    text.push('\n');
    if let Some(count) = objects.quarantined() {
        *text += &format!("  skipped   {count} quarantined commands\n");
    }
}

/// The age of the newest object; none where nothing was shipped.
pub(super) fn age_of(catalog: &Catalog) -> Option<Duration> {
    let newest = catalog.timelines.iter().filter_map(newest).max()?;
    Some(newest.elapsed().unwrap_or_default())
}

/// Whether something in the listing is missing that was shipped once.
pub(super) fn has_damage(catalog: &Catalog) -> bool {
    let is_damaged = |objects: &TimelineObjects| {
        !objects.identity || !objects.missing_ranges().is_empty() || !objects.ranges_without_start().is_empty()
    };
    catalog.timelines.iter().any(is_damaged)
}

fn newest(objects: &TimelineObjects) -> Option<SystemTime> {
    let snapshots = objects.snapshots.iter().map(|snapshot| snapshot.stored_at);
    snapshots.chain(objects.pieces.iter().map(|piece| piece.stored_at)).max()
}

fn unix_ms(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

fn age(at: SystemTime) -> String {
    let seconds = at.elapsed().unwrap_or_default().as_secs();
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
