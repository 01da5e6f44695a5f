//! The operator's tool, `pinion`: one file or folder per verb, and what the verbs share.
//!
//! Read in this order: what people see (`terminal`), clients of a running node (`client`, `recorded_day`,
//! `load_generator`), a data directory without a node (`offline`), log pieces in another place (`archive`), the verbs.
#![forbid(unsafe_code)]

pub mod terminal;

pub mod client;
pub mod load_generator;
pub mod recorded_day;

pub mod archive;
pub mod offline;

pub mod verbs;
