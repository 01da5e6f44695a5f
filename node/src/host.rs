//! What the machine gives: time, cores, memory pages, listeners, threads.

pub mod clock;
pub mod listen;
pub mod pages;
pub mod pin;
pub mod slice;
pub mod threads;
