//! Bytes to commands and events to bytes: the protocols that clients speak, and the client library.
//!
//! Read in this order: the numbers on every wire (`decimal`, `instruments`), the binary protocol (`binary`), what
//! administrators send (`admin`), and the client (`client`).
//!
//! What never enters: sockets, threads and clocks (but for `client`), floats, decisions about trading. Everything else
//! here takes bytes or values and returns bytes or values, so that it can be shipped to a customer and fuzzed whole.
#![forbid(unsafe_code)]

pub mod decimal;
pub mod instruments;

pub mod binary;

pub mod admin;

pub mod client;
