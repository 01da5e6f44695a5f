//! A node's log and snapshots in another place (a directory or an S3-compatible store): shipped to it, listed in it,
//! fetched from it. `pinion backup` and `pinion restore` use it; docs/BACKUP.md has the format.

pub mod anonymous_file;
pub mod catalog;
pub mod claim;
pub mod continuity;
pub mod destination;
pub mod error;
pub mod fetch;
pub mod forecast;
pub mod key;
mod packing;
pub mod proof;
pub mod round;
pub mod shipper;
pub mod store_address;
pub mod time_lookup;
