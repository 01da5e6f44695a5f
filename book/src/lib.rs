//! The exchange as a pure state machine: `Engine::apply(stamp, &command, &mut sink)`.
//!
//! Read in this order: the words (`units`, `ids`, `command`, `reject`, `event`), the things (`instrument`, `accounts`,
//! `session`, `slab`, `ladder`, `order_book`), the rules (`admit`, `orders`, `settle`, `mass`, `administration`,
//! `engine`), the proofs (`check`, `verify`, `state_hash`, `naive`), and the state as bytes (`snapshot`).
//!
//! What never enters: I/O, a clock, async, threads, floats, random hashing. Time comes in with the command, and the
//! same commands give the same state on any machine.
#![forbid(unsafe_code)]

pub mod codec;
pub mod command;
pub mod event;
pub mod ids;
pub mod reject;
pub mod units;

pub mod accounts;
pub mod client_ids;
pub mod extent;
pub mod instrument;
pub mod ladder;
pub mod open_orders;
pub mod order_book;
pub mod session;
pub mod slab;

mod administration;
mod admit;
pub mod engine;
pub mod look_ahead;
mod mass;
mod orders;
mod settle;

pub mod check;
pub mod mutation;
pub mod running_hash;
pub mod snapshot;
pub mod state_hash;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod verify;
