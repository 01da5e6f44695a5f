//! The binary protocol: SBE messages in SoupBinTCP sessions, for order entry and market data.
//!
//! Read in this order; a module uses only the ones above it:
//!
//! - the session: packets (`soup`), numbered streams (`stream`), logins (`login`), one connection (`session`);
//! - the messages: their encoding (`sbe`), order entry (`orders`), market data (`market`), reject reasons (`reasons`);
//! - the translations: requests to commands (`decode`), events to private answers (`encode`), events to the public
//!   feed (`feed`);
//! - what a reader of market data builds: books (`depth`), snapshots of them (`snapshot`), the best levels (`top`);
//! - what a client sends: requests with their usual values filled in (`requests`).
//!
//! `docs/BINARY-PROTOCOL.md` is for clients; `docs/protocol` holds the schemas, their fields and the rules for
//! versions.

pub mod soup;
pub mod stream;

pub mod login;
pub mod session;

pub mod sbe;

pub mod market;
pub mod orders;

pub mod reasons;

pub mod decode;
pub mod encode;
pub mod feed;

pub mod depth;

pub mod snapshot;
pub mod top;

pub mod requests;
