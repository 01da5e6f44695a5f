//! Sockets and journal on one io_uring: the traits that loops are written against, and their implementation.

pub mod ports;
pub mod uring;
