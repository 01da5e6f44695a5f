//! The node: everything that names a thread, a core, a socket, a path or the time.
pub mod admin_port;
pub mod clock;
pub mod fault;
pub mod reactor;
pub mod status;
