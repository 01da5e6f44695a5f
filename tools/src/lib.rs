//! The operator's tool, `pinion`: one file or folder per verb, and what the verbs share.
//!
//! Reading order: `terminal` (output, errors, exit codes), `client` (clients of a running node), `load_generator` and
//! `recorded_day` (traffic for it), `offline` (a data directory without a node), `archive` (log and snapshots in
//! another place), `verbs`. Imports go down this list's roof to its floor: `verbs` may use all of them, `terminal`
//! none.
#![allow(clippy::print_stdout, reason = "printing is what a tool is for")]
#![forbid(unsafe_code)]

pub mod terminal;

pub mod client;
pub mod load_generator;
pub mod recorded_day;

pub mod offline;

pub mod archive;

pub mod verbs;
