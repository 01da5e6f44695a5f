//! `pinion log inspect`: what a data directory is, where its log begins and ends, and which commands are quarantined.

use crate::offline::as_of::{ScannedLog, StateReader};
use crate::offline::data_dir::DataDir;
use crate::terminal::output::Output;
use crate::terminal::time_text;
use anyhow::Result;
use serde_json::{Value, json};
use wal::lineage::Lineage;
use wal::recover::Recovered;

/// Every frame is proved on the way, and none is applied.
pub(super) fn inspect(dir: &DataDir, json: bool) -> Result<()> {
    let reader = dir.reader()?;
    let log = reader.scan()?;
    let found = log.for_each_record(log.first_record(), |_, _| Ok(true))?;
    let lineage = Lineage::read(reader.directory().path())?;
    let report = Report { dir, reader: &reader, log: &log, found, lineage };
    let mut out = Output::new();
    if json {
        out.line(report.json())?
    } else {
        out.text(report.text())?
    }
    out.flush()
}

struct Report<'r> {
    dir: &'r DataDir,
    reader: &'r StateReader,
    log: &'r ScannedLog<'r>,
    found: Recovered,
    lineage: Lineage,
}

impl Report<'_> {
    fn json(&self) -> Value {
        let identity = self.reader.directory().identity();
        let (geometry, found, range) = (identity.geometry, &self.found, self.log.range);
        let quarantine: Vec<_> = self
            .reader
            .quarantine()
            .entries()
            .map(|(seq, entry)| json!({ "seq": seq.0, "time_ns": entry.time_ns, "reason": entry.reason }))
            .collect();
        let ancestors: Vec<_> = self
            .lineage
            .0
            .iter()
            .map(|a| {
                json!({ "node_id": a.node_id.to_string(), "timeline": a.timeline.0, "seq": a.seq.0, "time_ns": a.time_ns })
            })
            .collect();
        json!({
            "data_dir": self.dir.data_dir, "node_id": identity.node_id.to_string(), "timeline": identity.timeline.0,
            "seq_base": identity.seq_base.0, "segments": geometry.segment_count,
            "segment_bytes": geometry.segment_bytes, "seq_truncated": range.base.seq.0,
            "seq_reached": range.first.0, "seq_last": found.tail.seq.0,
            "seq_stored": found.seq_stored_found.0, "seq_acknowledged": found.mark.0,
            "frames_store": found.frames_from_store, "frames_head": found.frames_from_head,
            "chain": found.tail.chain.to_string(), "torn_at_seq": found.cut.as_ref().map(|cut| cut.seq.0),
            "quarantine": quarantine, "lineage": ancestors,
        })
    }

    fn text(&self) -> String {
        let identity = self.reader.directory().identity();
        let (geometry, found, range) = (identity.geometry, &self.found, self.log.range);
        let mut lines = vec![
            format!("data directory  {}", self.dir.data_dir.display()),
            format!(
                "node            {}, timeline {}, log begins after {}",
                identity.node_id, identity.timeline, identity.seq_base
            ),
        ];
        lines.extend(self.lineage.0.iter().map(|a| {
            let (node, timeline, seq, time) = (a.node_id, a.timeline, a.seq, time_text::show(a.time_ns));
            format!("restored        from node {node}, timeline {timeline}, at sequence {seq}, {time}")
        }));
        lines.extend([
            format!("head            {} segments of {} bytes", geometry.segment_count, geometry.segment_bytes),
            format!("retained        records after {}, states from {} on", range.base.seq, range.first.0),
            format!(
                "sequences       last {}, in the store {}, marked as acknowledged {}",
                found.tail.seq, found.seq_stored_found, found.mark
            ),
            format!("frames          {} in the store, {} in the head", found.frames_from_store, found.frames_from_head),
            format!("chain           {}", found.tail.chain),
        ]);
        lines.extend(self.reader.quarantine().entries().map(|(seq, entry)| {
            format!("quarantined     {seq}, since {}: {}", time_text::show(entry.time_ns), entry.reason)
        }));
        lines.push(match &found.cut {
            Some(cut) => {
                format!("torn end        at sequence {}: never acknowledged, removed at the next start", cut.seq.0)
            }
            None => "torn end        none".to_owned(),
        });
        lines.join("\n") + "\n"
    }
}
