//! Faults on demand, for tests only: errors injected into the journal's completions, and planted mistakes that a
//! harness must catch. Without their features nothing of them is compiled.

pub mod fault;
pub mod mutation;
