//! The list of quarantined commands with one command added: checked against the log, and not written.

use node::history::History;
use node::replica::snapshots;
use std::time::{SystemTime, UNIX_EPOCH};
use wal::directory::Directory;
use wal::error::WalError;
use wal::quarantine::{Quarantine, Quarantined, REASON_BYTES_MAX};
use wal::recover::Inspection;
use wal::units::Lsn;

#[derive(Debug, thiserror::Error)]
pub(super) enum QuarantineError {
    #[error(transparent)]
    Log(#[from] WalError),
    #[error("quarantining sequence {seq}: it is outside the log, which has {begins} to {end}")]
    OutsideLog { seq: Lsn, begins: Lsn, end: Lsn },
    #[error("quarantining sequence {seq}: it is quarantined already; `pinion log inspect` lists all")]
    Already { seq: Lsn },
    #[error(
        "quarantining sequence {seq}: it was applied, and {by} has its effects, up to sequence {until}; only a restore \
         to {} undoes it (pinion restore --to-seq {})",
        seq.prev(),
        seq.prev()
    )]
    Applied { seq: Lsn, by: &'static str, until: Lsn },
    #[error("quarantining sequence {seq}: it is a check, which changes nothing; what it differs from is the damage")]
    Check { seq: Lsn },
    #[error(
        "quarantining sequence {seq}: {why}; look at --dry-run, and repeat with --force where that is worth it, or make a \
         directory that ends before it (pinion restore --to-seq {})",
        seq.prev()
    )]
    StoodOn { seq: Lsn, why: String },
    #[error("--reason must be one line of 1 to {REASON_BYTES_MAX} bytes")]
    Reason,
    #[error("quarantining a further command: the list is full")]
    Full,
}

/// The directory's list with `seq` added. Fails where the command must not be skipped.
#[expect(clippy::disallowed_methods, reason = "the time of the decision is part of the list")]
pub(super) fn list_with(directory: &Directory, seq: Lsn, reason: &str) -> Result<Quarantine, QuarantineError> {
    if reason.is_empty() || REASON_BYTES_MAX < reason.len() || reason.contains(['\n', '\r']) {
        return Err(QuarantineError::Reason);
    }
    let inspection = Inspection::open(directory)?;
    let (begins, end) = (inspection.base()?.seq.next(), inspection.tail().seq);
    if seq < begins || end < seq {
        return Err(QuarantineError::OutsideLog { seq, begins, end });
    }
    // A history or a snapshot with the command's effects would contradict every later replay that skips it.
    let recorded = History::of(inspection.store()).watermark()?.0;
    if seq.0 <= recorded {
        return Err(QuarantineError::Applied { seq, by: "the history", until: Lsn(recorded) });
    }
    if let Some(newest) = snapshots::list(directory)?.last().filter(|newest| seq <= newest.seq) {
        return Err(QuarantineError::Applied { seq, by: "a snapshot", until: newest.seq });
    }
    let mut list = Quarantine::read(directory.path())?;
    if list.contains(seq) {
        return Err(QuarantineError::Already { seq });
    }
    let time_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_nanos() as u64);
    let entry = Quarantined { until: end, time_ns, reason: reason.to_owned() };
    if list.add(seq, entry) { Ok(list) } else { Err(QuarantineError::Full) }
}
