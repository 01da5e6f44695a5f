//! The log as pure storage: numbered opaque records, kept in order, durable before anyone is told, proved when read back.
//!
//! Reading order: what things are called ([`units`], [`block`]), what is written ([`frame`]), where the newest of it goes
//! ([`segment`], [`head`]), how that is read back ([`scan`], [`replay`]), where the rest lives ([`store`], over a
//! [`table`] in [`rocks`]), what guards it ([`mark`], [`directory`], on a [`medium`]), what is kept beside it
//! ([`snapshot`], [`quarantine`], [`lineage`]), how a start puts all of it together ([`recover`], [`walk`]), how a reader
//! keeps up with it ([`follow`]), and what the log looks like where it is kept elsewhere ([`piece`]).
//!
//! What never enters: the meaning of a record, a thread, a clock, a ring, a socket, a log line. It could store chess moves.

pub mod units;

pub mod block;
pub mod frame;

pub mod head;
pub mod segment;

pub mod replay;
pub mod scan;

pub mod rocks;
pub mod store;
pub mod table;

pub mod directory;
pub mod identity;
pub mod mark;
pub mod medium;

pub mod lineage;
pub mod quarantine;
pub mod snapshot;

pub mod blocking;
pub mod recover;
pub mod walk;

pub mod follow;
pub mod piece;

pub mod error;
pub mod mutation;
