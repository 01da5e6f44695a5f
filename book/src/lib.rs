//! The exchange as a pure state machine: `Engine::apply(stamp, &command, &mut sink)`.
//!
//! Read in this order:
//!
//! - the words: `units`, `ids`, `reject`, `intake`, `rules`, `command`, `event`, and their bytes, `codec`;
//! - what the state is kept in, none of which is ever copied to grow: `array`, `segments`, `queue`, `table`, and
//!   `extent`, which says where the large arrays lie in memory, and `hash_key`;
//! - the state: `instrument`, `fees`, `accounts`, `session`, `keys`, `client_ids`, `names`, `references`, `run`, then
//!   orders: `slab`, `ladder`, `order_book`, `open_orders`, `cl_ord_index`;
//! - the behaviour: `engine`, `phases`, `admit`, `orders`, `settle`, `mass` with its `walks`, `rights`,
//!   `administration`, `new_time`, and `look_ahead`, which prefetches for them;
//! - the proofs: `running_hash`, `check`, `state_hash`, `verify`, and the state as bytes, `snapshot`;
//! - for tests only: `mutation`, the planted faults, and `testing`, the naive twin and the seeded flow.
//!
//! What never enters what is shipped: I/O, a clock, async, threads, floats, hashing with a random seed. Time comes with
//! the command, and the same commands give the same state on any machine.
#![forbid(unsafe_code)]

pub mod codec;
pub mod command;
pub mod event;
pub mod ids;
pub mod intake;
pub mod reject;
pub mod rules;
pub mod units;

mod array;
pub mod extent;
pub mod hash_key;
mod queue;
pub mod segments;
mod table;

pub mod accounts;
pub mod client_ids;
pub mod fees;
pub mod instrument;
pub mod keys;
pub mod names;
pub mod references;
pub mod run;
pub mod session;

pub mod cl_ord_index;
pub mod ladder;
pub mod open_orders;
pub mod order_book;
pub mod slab;

mod administration;
mod admit;
pub mod engine;
pub mod look_ahead;
mod mass;
pub mod new_time;
mod orders;
mod phases;
mod rights;
mod settle;
mod walks;

pub mod check;
pub mod running_hash;
pub mod snapshot;
pub mod state_hash;
pub mod verify;

pub mod mutation;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
