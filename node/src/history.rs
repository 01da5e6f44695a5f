//! What every account and every session has behind it, kept for good: orders, fills and ledger of accounts by time, and
//! each binary session's outbound stream by number.
//!
//! ```text
//! key    kind u8 | owner u32 BE | ts u64 BE | seq u64 BE      orders, fills, ledger of an account
//!        's'     | owner u32 BE | number u64 BE               a session's stream
//! value  coding u8 | raw bytes u32 LE | entries               plain or zstd
//! entry  seq u64 LE | ts u64 LE | bytes u16 LE | bytes        an event (bincode), or a message as it was sent
//! ```
//! A row holds what happened to one owner in one batch; its key names the first entry. Invariant: rows and the
//! watermark that counts them are written together, and nothing at or below the watermark is written again, so a crash
//! at any point loses and repeats nothing. Where the log that it would have been made from is gone, it says from where on
//! it is whole.

mod copy;
mod reader;
pub mod rows;
mod writer;

pub use copy::{Copied, copy_until};
pub use reader::History;
pub use rows::{Entry, Kind};
pub use writer::HistoryWriter;

/// Where the watermark is kept: all of the history up to and including this sequence is there.
pub const WATERMARK_KEY: &[u8] = b"history";
/// Where it is kept behind which sequence that is so. Absent: from the first one on.
pub const BEGINS_KEY: &[u8] = b"history begins behind";
