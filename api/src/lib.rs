//! Bytes to commands and events to bytes: the binary protocol, and the client library that speaks it.
//!
//! Read in this order: the packets (`soup`, `login`), the messages in them (`sbe`, `orders`, `market`), the numbers in
//! those (`decimal`, `instruments`), the two translations (`decode`, `encode` and `feed`), the session around them
//! (`session`, `stream`), what a reader of market data builds (`depth`, `snapshot`, `top`), and the client (`requests`,
//! `client`).
//!
//! What never enters: sockets, threads and clocks (but for `client`), floats, decisions about trading. Everything else
//! here takes bytes or values and returns bytes or values, so that it can be shipped to a customer and fuzzed whole.
#![forbid(unsafe_code)]

pub mod soup;

pub mod login;

pub mod sbe;

pub mod market;
pub mod orders;

pub mod decimal;
pub mod instruments;

pub mod decode;
pub mod encode;
pub mod feed;
pub mod reasons;

pub mod session;
pub mod stream;

pub mod depth;
pub mod snapshot;
pub mod top;

pub mod requests;

pub mod client;
