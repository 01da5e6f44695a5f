//! What tests and benches compare the exchange with and run it on: a slow and obvious twin, and a seeded flow of
//! commands.
//!
//! The module exists with the feature `testing` only, which is never on in what is shipped.

pub mod naive;
pub mod twin;
pub mod workload;
