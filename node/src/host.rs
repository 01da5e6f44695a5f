//! Access to the machine: time, cores, memory pages, descriptors, listening sockets, threads.

pub mod clock;
pub mod clock_start;
pub mod clock_watch;
pub mod descriptors;
pub mod hangup;
pub mod listen;
pub mod memory;
pub mod pages;
pub mod pin;
pub mod random;
pub mod slice;
pub mod stop_timer;
pub mod threads;
