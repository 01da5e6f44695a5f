//! The log as pure storage: numbered opaque records, in order, durable before they are acknowledged, proved when read.
//!
//! A module imports only from modules listed before it, so this is also the order to read them in:
//!
//! - the names of things: [`block`], [`units`]; planted faults for the simulator: [`mutation`]
//! - what is written: [`frame`]; how that fails: [`poison`], [`error`]
//! - what it is written to: a [`table`] in [`rocks`], `writeback` of files, [`medium`], [`durable_file`],
//!   `checked_text`, [`segment`]
//! - what is kept: [`snapshot`] files, the newest frames in the [`head`], all older ones in the [`store`]
//! - how a start finds the end of the log: [`scan`], [`verdict`]
//! - the data directory: [`identity`], [`mark`], [`directory`], [`lineage`], [`quarantine`], [`torn_ends`]
//! - how the log is read: [`walk`], [`follow`], [`recover`]; how tests and offline tools write it: [`blocking`]
//! - how a backup keeps it: [`piece`]
//!
//! What never enters: the meaning of a record, a thread, a clock, a ring, a socket, a log line. It could store chess
//! moves.

pub mod block;
pub mod units;

pub mod mutation;

pub mod frame;
pub mod poison;

pub mod error;

pub mod table;
mod writeback;

pub mod rocks;

pub mod medium;

mod checked_text;
pub mod durable_file;
pub mod segment;

pub mod snapshot;

pub mod head;
pub mod store;

pub mod scan;
pub mod verdict;

pub mod identity;
pub mod mark;

pub mod directory;
pub mod lineage;
pub mod quarantine;
pub mod torn_ends;

pub mod walk;

pub mod blocking;
pub mod follow;
pub mod recover;

pub mod piece;
