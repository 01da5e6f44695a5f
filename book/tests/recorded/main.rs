//! Days and cases that were recorded elsewhere, with the results that were published for them.
//!
//! The data lie in a folder beside the repository (`shared.rs`); without it these tests say so and pass.
#![allow(clippy::print_stdout, reason = "a test says which data it could not find")]

mod exchange;
mod lobster;
mod meb;
mod shared;
mod vectors;
