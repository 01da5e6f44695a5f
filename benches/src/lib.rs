//! Measures the book and the state machine, beside a naive twin and the peers that the crate registry has.
//!
//! Read in this order: what is fed (`streams`, `meb`), who is measured (`subject`, `pinion`, `naive`, `peers`,
//! `exchange`, `yardstick`), how (`clock`, `machine`, `measure`), and what comes out (`report`).
//!
//! What never enters: anything that decides a trade of the product. A figure counts only with its check: the hash over
//! every fill of the run, in order, equals the one that the stream's own reference matcher left in its header.

pub mod meb;
pub mod streams;

pub mod exchange;
pub mod naive;
pub mod peers;
pub mod pinion;
pub mod subject;
pub mod yardstick;

pub mod clock;
pub mod machine;
pub mod measure;

pub mod options;
pub mod report;

#[cfg(test)]
mod tests;
