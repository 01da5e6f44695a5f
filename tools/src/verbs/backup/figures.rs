//! The figures of a drill, as text and as JSON.

use super::drill::{DrillReport, Rpo, Rto, WithPast};
use super::size::size;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn as_json(report: &DrillReport) -> Value {
    let fetched = &report.fetched;
    let (rpo_ms, rpo_commands) = match report.rpo {
        Rpo::OfNode { commands, lag } => (lag.as_millis() as u64, Some(commands)),
        Rpo::AtMost(age) => (age.as_millis() as u64, None),
    };
    let (rto, history_rows, past_commands, refused) = match &report.with_past {
        WithPast::Restored { rto, commands, history_rows } => (Some(*rto), Some(history_rows), Some(commands), None),
        WithPast::Refused(error) => (None, None, None, Some(error.to_string())),
    };
    let ms = |time: Duration| time.as_millis() as u64;
    json!({
        "timeline": fetched.timeline.0, "seq": fetched.tail.seq.0, "state_hash": report.state_hash.to_string(),
        "compared": matches!(report.rpo, Rpo::OfNode { .. }),
        "snapshot_seq": fetched.snapshot.as_ref().map(|header| header.tail.seq.0),
        "pieces": fetched.pieces, "bytes": fetched.bytes, "commands": report.commands,
        "rpo_ms": rpo_ms, "rpo_commands": rpo_commands,
        "rto_ms": rto.map(|rto| ms(rto.all)), "fetch_ms": rto.map(|rto| ms(rto.fetch)),
        "past_commands": past_commands, "history_rows": history_rows, "past_refused": refused,
        "rto_without_past_ms": ms(report.without_past.all), "fetch_without_past_ms": ms(report.without_past.fetch),
        "damage": fetched.damaged_snapshots,
    })
}

pub(super) fn as_text(report: &DrillReport) -> String {
    let fetched = &report.fetched;
    let from = match &fetched.snapshot {
        Some(header) => format!("snapshot {}", header.tail.seq),
        None => "the first command".to_owned(),
    };
    let mut text = format!(
        "restored    timeline {} up to sequence {}, from {from} and {} pieces, {} read, {} commands applied\n",
        fetched.timeline,
        fetched.tail.seq,
        fetched.pieces,
        size(fetched.bytes),
        report.commands
    );
    for damage in &fetched.damaged_snapshots {
        text += &format!("DAMAGED     {damage}\n");
    }
    text += &match report.rpo {
        Rpo::OfNode { commands, lag } => format!(
            "state hash  {}, equal to that of the node's own log\n\
             RPO         {:.3} s: the node has {commands} commands that the backup has not\n",
            report.state_hash,
            lag.as_secs_f64()
        ),
        Rpo::AtMost(age) => format!(
            "state hash  {}\nRPO         at most {:.3} s, the age of the newest command shipped\n",
            report.state_hash,
            age.as_secs_f64()
        ),
    };
    text += &match &report.with_past {
        WithPast::Restored { rto, commands, history_rows } => {
            format!("RTO         {}: the past of {commands} commands, {history_rows} rows of history\n", times(rto))
        }
        WithPast::Refused(error) => format!("REFUSED     {error}\n"),
    };
    text + &format!("  state only  {}, with --without-past\n", times(&report.without_past))
}

fn times(rto: &Rto) -> String {
    format!("{:.3} s, of which {:.3} s to fetch", rto.all.as_secs_f64(), rto.fetch.as_secs_f64())
}
