//! The complete state as bytes, in pieces: the content of a snapshot file, which a start loads instead of the log
//! before it.
//!
//! A piece is a run of complete rows of one section, at most `PIECE_BYTES_MAX` long, so that neither end needs memory
//! for more than one. Sections come in the order of `Section`, because each names only what is in those before it:
//!
//! ```text
//! head | assets | markets | accounts | sessions | keys | orders | free slots | open lists | client ids | references
//!                                                  by queue  in the order   each account's
//!                                                            of reuse       oldest first
//! | rules | names of orders | run | intake | lives of sessions | reference times | key history | walks | requests
//!   above 1, and each of these where there is something to say
//! ```
//!
//! Invariants: what a load gives has the state hash of what was saved, and does the same from there on; nothing about
//! memory is stored (capacities, places of levels). Rows are bincode in its standard configuration, which has no names:
//! a row never gains a field, new facts get a new section, and golden bytes pin all of it.

mod load;
mod rows;
mod save;
mod section;

pub use load::{Loader, SnapshotError};
pub use section::{PIECE_BYTES_MAX, Section};
