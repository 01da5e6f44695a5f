//! The log as pure storage: numbered opaque records, in order, durable before they are acknowledged, proved when read.
//!
//! A module imports only from modules listed before it, so the list is also the order to read them in: the names of
//! things ([`block`], [`units`]), what is written ([`frame`]) and how that fails ([`poison`], [`error`]), what it
//! is written to ([`medium`] over a [`table`] in [`rocks`], in steps of `writeback`; [`durable_file`],
//! [`segment`]), where the newest frames go ([`head`], driven by [`blocking`] outside of a node) and the older ones
//! ([`store`]), the small files beside them ([`identity`], [`mark`], [`lineage`], [`quarantine`]), how a start
//! finds the log ([`scan`], [`verdict`]) within a [`directory`], how it is walked ([`walk`], [`recover`],
//! [`follow`]), and what is kept elsewhere or beside it ([`piece`], [`snapshot`]). [`mutation`] has the planted
//! faults of tests.
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

pub mod walk;

pub mod blocking;
pub mod follow;
pub mod recover;

pub mod piece;
