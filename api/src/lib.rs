//! The protocols that clients speak: bytes to commands, events to bytes, and a client library.
//!
//! Read in this order; a module uses only the ones above it:
//! `decimal` and `instruments` convert numbers of any wire to the engine's units, `binary` is the binary protocol of
//! order entry and market data, `admin` holds the request bodies of the admin API, `client` speaks the binary protocol
//! over a socket. `mutation` plants faults for tests.
//!
//! What never enters: floats, and decisions about trading. Apart from `client`, no sockets, threads or clocks either:
//! everything takes bytes or values and returns bytes or values, so that it can be shipped to a customer and fuzzed.
#![forbid(unsafe_code)]

pub mod mutation;

pub mod decimal;
pub mod instruments;

pub mod binary;

pub mod admin;

pub mod client;
