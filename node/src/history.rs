//! The permanent history: orders, fills and ledger entries of every account by time, and the outbound stream of every
//! binary session by message number; beside them the newest messages of the live stream of market data, for readers
//! that resume after a restart.
//!
//! ```text
//! key    kind u8 | owner u32 BE | ts u64 BE | seq u64 BE      orders, fills, ledger of an account
//!        's'     | owner u32 BE | number u64 BE               a session's stream
//!        'p'     | 0 u32        | number u64 BE               the newest messages of the live stream
//! value  coding u8 | raw bytes u32 LE | entries               plain or zstd
//! entry  seq u64 LE | ts u64 LE | bytes u16 LE | bytes        an event (bincode), or a message as it was sent
//! ```
//! A row holds what happened to one owner in one batch; its key names the first entry. Invariant: rows and the
//! history's watermark are written in one batch, and no entry at or below the watermark is gathered again, so a crash
//! at any point neither loses nor repeats an entry. If the log before some sequence was truncated before the history
//! was built from it, the history records after which sequence it is complete.

mod copy;
pub mod keys;
mod live_rows;
mod reader;
pub mod rows;
mod writer;

pub use copy::{Copied, copy_until};
pub use reader::History;
pub use rows::{Entry, Kind};
pub use writer::{Gathered, HistoryWriter};
