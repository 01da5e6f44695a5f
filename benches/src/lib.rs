//! Benches: the order book and the state machine beside a naive twin and the peers of the crate registry; the journal
//! and a complete round trip of an order beside what the disk and the sockets of the machine allow.
//!
//! Read in this order:
//! - a stream of commands through a book: input (`streams`, `engine_bench`), subjects (`subject`, `pinion`, `naive`,
//!   `full_book`, `peers`, `exchange`, `yardstick`), measurement (`clock`, `machine`, `measure`)
//! - the journal and the round trip: limits (`disk`, `raw_write`, `echo`), the node and its client (`fixture`, `flow`,
//!   `connection`, `client`), counts (`rounds`, `threads`)
//! - growth: the flow and its figures (`population`, `growth`), a node with many sessions (`flood`, `sessions`,
//!   `open_files`)
//! - attacks: what each costs the engine, and the honest clients of a node (`adversary`)
//! - a start: the log that is read (`log_writer`) and its parts (`replay_parts`)
//! - output: options (`options`), text and JSON (`report`), pictures (`plots`)
//!
//! Nothing here decides a trade of the product. Invariant: a figure counts only with its check; for a stream, the hash
//! over every fill of the run, in order, equals the one that the reference matcher wrote into the stream's header.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

pub mod engine_bench;
pub mod streams;

pub mod exchange;
pub mod full_book;
pub mod naive;
pub mod peers;
pub mod pinion;
pub mod subject;
pub mod yardstick;

pub mod client;
pub mod connection;
pub mod disk;
pub mod echo;
pub mod fixture;
pub mod flow;
pub mod log_writer;
pub mod raw_write;

pub mod flood;
pub mod growth;
pub mod open_files;
pub mod population;
pub mod sessions;

pub mod replay_parts;

pub mod adversary;

pub mod clock;
pub mod machine;
pub mod measure;
pub mod rounds;
pub mod threads;

pub mod options;
pub mod plots;
pub mod report;

#[cfg(test)]
mod tests;
