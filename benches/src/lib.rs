//! Measures the book and the state machine, beside a naive twin and the peers that the crate registry has; the journal and
//! the whole way of an order, beside what the disk and the sockets of the machine allow.
//!
//! Read in this order: what is fed (`streams`, `engine_bench`), who is measured (`subject`, `pinion`, `naive`, `peers`,
//! `exchange`, `yardstick`), how (`clock`, `machine`, `measure`), and what comes out (`report`). Of the journal and of the way
//! of an order: the limits (`disk`, `raw_write`, `echo`), the node and its client (`fixture`, `flow`, `connection`, `client`), what is counted
//! (`rounds`, `threads`). Of growth: the flow and its figures (`population`, `growth`), a node with many sessions (`flood`,
//! `sessions`, `open_files`). Of a start: the log that is read (`log_writer`) and its parts (`replay_parts`). What comes out
//! of all of them becomes pictures in `plots`.
//!
//! What never enters: anything that decides a trade of the product. A figure counts only with its check: the hash over
//! every fill of the run, in order, equals the one that the stream's own reference matcher left in its header.

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
