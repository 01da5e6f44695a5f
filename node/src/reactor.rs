//! One io_uring per pinned thread: everything that a loop asks of the kernel, sockets and journal alike.

pub mod ports;
pub mod uring;
