//! A data directory without its node: any state of its past, and new directories that appear complete or not at all.

pub mod as_of;
pub mod durable_directory;
pub mod new_directory;
