//! `pinion backup list`: which states a backup reaches, by what, and since when.

use crate::archive::catalog::{Catalog, Kept};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

pub fn as_json(place: &str, catalog: &Catalog) -> Value {
    let timelines: Vec<Value> = catalog.timelines.iter().map(timeline_json).collect();
    json!({ "place": place, "node_id": catalog.node_id.to_string(), "timelines": timelines })
}

fn timeline_json(kept: &Kept) -> Value {
    let range = |(first, last): (u64, u64)| json!({ "seq_first": first, "seq_last": last });
    let points: Vec<Value> = kept.points().iter().map(|points| range((points.first.0, points.last.0))).collect();
    let gaps: Vec<Value> = kept.gaps.iter().map(|(first, last)| range((first.0, last.0))).collect();
    let missing: Vec<Value> = kept.missing().iter().map(|(first, last)| range((first.0, last.0))).collect();
    let snapshots: Vec<Value> = kept
        .snapshots
        .iter()
        .map(|s| json!({ "seq": s.seq.0, "bytes": s.bytes, "stored_ms": unix_ms(s.stored_at) }))
        .collect();
    json!({
        "timeline": kept.timeline.0,
        "points": points,
        "gaps": gaps,
        "missing": missing,
        "snapshots": snapshots,
        "pieces": kept.pieces.len(),
        "piece_bytes": kept.pieces.iter().map(|piece| piece.bytes).sum::<u64>(),
        "quarantined": kept.quarantined().unwrap_or(0),
        "newest_stored_ms": newest(kept).map(unix_ms),
    })
}

pub fn as_text(place: &str, catalog: &Catalog) -> String {
    let mut text = format!("backup      {place}, of node {}\n", catalog.node_id);
    for kept in &catalog.timelines {
        timeline_text(kept, &mut text);
    }
    if catalog.timelines.is_empty() {
        text += "nothing was shipped yet\n";
    }
    text
}

fn timeline_text(kept: &Kept, text: &mut String) {
    let held = kept.held();
    let held = if held.is_empty() { "none" } else { held.as_str() };
    *text += &format!("timeline {}\n  points    {held}\n", kept.timeline);
    for (first, last) in &kept.gaps {
        *text += &format!("  gap       {first} to {last}: the node had forgotten them before they were shipped\n");
    }
    for (first, last) in kept.missing() {
        *text += &format!("  MISSING   {first} to {last}: pieces were taken away\n");
    }
    for snapshot in &kept.snapshots {
        let age = age(snapshot.stored_at);
        *text += &format!("  snapshot  {:<20} {}, stored {age}\n", snapshot.seq.0, size(snapshot.bytes));
    }
    let bytes: u64 = kept.pieces.iter().map(|piece| piece.bytes).sum();
    *text += &format!("  log       {} pieces, {}", kept.pieces.len(), size(bytes));
    if let Some(stored_at) = newest(kept) {
        *text += &format!(", the newest object stored {}", age(stored_at));
    }
    text.push('\n');
    if let Some(count) = kept.quarantined() {
        *text += &format!("  left out  {count} commands (QUARANTINE)\n");
    }
}

fn newest(kept: &Kept) -> Option<SystemTime> {
    let snapshots = kept.snapshots.iter().map(|snapshot| snapshot.stored_at);
    snapshots.chain(kept.pieces.iter().map(|piece| piece.stored_at)).max()
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

/// Bytes in the largest unit that leaves digits before the point.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
