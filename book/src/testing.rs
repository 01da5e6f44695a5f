//! What proves the exchange, outside of what is shipped: a slow and obvious twin of the engine, and seeded flow to run
//! both on. Behind the feature `testing`.

pub mod naive;
pub mod workload;
