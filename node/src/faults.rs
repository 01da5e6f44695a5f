//! Fault injection, for tests only: I/O errors in the journal's completions, and planted faults that a test harness
//! must catch. Without their features none of it is compiled.

pub mod fault;
pub mod mutation;
