//! Seeded order flow over several connections, timed from the moment at which each request was scheduled.

pub mod connection;
pub mod flow;
pub mod tally;
