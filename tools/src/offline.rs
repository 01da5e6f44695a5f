//! A data directory without its node: any earlier state of it, and new directories that appear complete or not at all.

pub mod as_of;
pub mod data_dir;
pub mod durable_directory;
pub mod new_directory;
pub mod new_place;
mod record_scan;
pub mod replay_observer;
