//! The time of day, for ids that have to increase from one run of a tool to the next.

use book::ids::ClOrdId;
use std::time::{SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock in the tools")]
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // 64 bits of nanoseconds last until the year 2554.
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// An id larger than those of earlier runs, because a session accepts no id twice.
pub fn fresh_cl_ord_id() -> ClOrdId {
    ClOrdId(unix_ns())
}
