//! The node: everything that names a thread, a core, a socket, a path or the time.
//!
//! Read in this order: the machine (`host`), sockets and journal on one io_uring (`reactor`), the queues between
//! threads (`rings`), the loops (`engine`, `gateway`, `store_writer`, `store_merger`), what is computed from the log
//! alone (`replica`, `history`, `shadow`), the operators' listener (`ops`), and how all of it is started and wired
//! (`topology`). All of them use `config`, `status` and `faults`.

pub mod host;
pub mod reactor;
pub mod rings;

pub mod engine;
pub mod gateway;
pub mod store_merger;
pub mod store_writer;

pub mod history;
pub mod replica;
pub mod shadow;

pub mod ops;
pub mod topology;

pub mod config;
pub mod faults;
pub mod status;
