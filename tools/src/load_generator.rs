//! Seeded order flow over many connections, timed from when each request was due.

pub mod connection;
pub mod flow;
