//! Backups of a node that trades: shipped to a directory, read back, damaged, pruned, fenced. A fetched state must be
//! equal to the live one.

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod fences;
mod fixture;
mod gaps;
mod past;
mod places;
mod pruning;
mod shipping;
