//! A node's log and snapshots in another place (a directory or an S3-compatible store): shipped to it, listed in it,
//! fetched from it. `pinion backup` and `pinion restore` use it; docs/BACKUP.md has the format.

pub mod again;
pub mod anonymous_file;
pub mod catalog;
pub mod claim;
pub mod continuity;
pub mod destination;
pub mod error;
pub mod fetch;
pub mod forecast;
pub mod key;
mod local_place;
mod packing;
pub mod proof;
pub mod put_outcome;
pub mod round;
mod s3_settings;
pub mod shipped_config;
pub mod shipper;
pub mod store_address;
pub mod store_failure;
pub mod time_lookup;
