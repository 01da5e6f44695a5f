//! A snapshot's file and header, as a line of text and as JSON.

use crate::terminal::time_text;
use book::state_hash::StateHash;
use serde_json::{Value, json};
use wal::snapshot::{SnapshotFile, SnapshotHeader};

pub(super) fn as_json(file: &SnapshotFile, header: &SnapshotHeader) -> Value {
    json!({
        "path": file.path, "seq": header.tail.seq.0, "timeline": header.timeline.0, "ts_ns": header.time,
        "bytes": file.bytes, "log_bytes": header.log_bytes, "chain": header.tail.chain.to_string(),
        "state_hash": StateHash(header.state_hash).to_string(), "build": header.build,
    })
}

pub(super) fn as_text(file: &SnapshotFile, header: &SnapshotHeader) -> String {
    let (seq, bytes, time) = (header.tail.seq.0, file.bytes, time_text::show(header.time));
    format!("{seq:>12}  {time:<30}  {bytes:>12} bytes  {}  {}", StateHash(header.state_hash), header.build)
}
