//! An operator's decision to leave a record out of every replay from now on: checked, written beside the log, for good.

use node::history::History;
use node::replica::snapshots;
use std::time::{SystemTime, UNIX_EPOCH};
use wal::directory::Directory;
use wal::error::WalError;
use wal::quarantine::{Quarantine, Quarantined, REASON_BYTES_MAX};
use wal::recover::Inspection;
use wal::units::Lsn;

#[derive(Debug, thiserror::Error)]
pub enum LeaveOutError {
    #[error(transparent)]
    Log(#[from] WalError),
    #[error("sequence {seq} is not in the log, which holds {begins} to {end}")]
    OutsideLog { seq: Lsn, begins: Lsn, end: Lsn },
    #[error("sequence {seq} is left out already")]
    Already { seq: Lsn },
    #[error("sequence {seq} was applied: {kept} holds what it did, up to sequence {until}; a restore to {} undoes it", seq.prev())]
    Applied { seq: Lsn, kept: &'static str, until: Lsn },
    #[error("a reason is one line of 1 to {REASON_BYTES_MAX} bytes")]
    Reason,
    #[error("too many records are left out already")]
    Full,
}

/// Checks everything and writes nothing. The list as it would be.
pub fn prepare(directory: &Directory, seq: Lsn, reason: &str) -> Result<Quarantine, LeaveOutError> {
    if reason.is_empty() || REASON_BYTES_MAX < reason.len() || reason.contains(['\n', '\r']) {
        return Err(LeaveOutError::Reason);
    }
    let inspection = Inspection::open(directory)?;
    let (begins, end) = (inspection.base()?.seq.next(), inspection.tail().seq);
    if seq < begins || end < seq {
        return Err(LeaveOutError::OutsideLog { seq, begins, end });
    }
    // Whoever kept it told of it: leaving it out now would make a second past.
    let told = History::of(inspection.store()).watermark()?.0;
    if seq.0 <= told {
        return Err(LeaveOutError::Applied { seq, kept: "the history", until: Lsn(told) });
    }
    if let Some(newest) = snapshots::list(directory)?.last().filter(|newest| seq <= newest.seq) {
        return Err(LeaveOutError::Applied { seq, kept: "a snapshot", until: newest.seq });
    }
    let mut list = Quarantine::read(directory.path())?;
    if list.contains(seq) {
        return Err(LeaveOutError::Already { seq });
    }
    let time_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_nanos() as u64);
    let entry = Quarantined { until: end, time_ns, reason: reason.to_owned() };
    if list.add(seq, entry) { Ok(list) } else { Err(LeaveOutError::Full) }
}
