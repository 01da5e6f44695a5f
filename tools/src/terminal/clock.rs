//! The time of day, for names that must grow from one run of a tool to the next.

use book::ids::ClOrdId;
use std::time::{SystemTime, UNIX_EPOCH};

pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Enough until the year 2554.
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// An id above all that earlier runs of a tool have used: a session takes no id twice.
pub fn fresh_cl_ord_id() -> ClOrdId {
    ClOrdId(unix_ns())
}
