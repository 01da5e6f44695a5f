//! Log pieces and snapshots in another place (a directory or an S3-compatible store): shipped there, found there, fetched
//! from there. `pinion backup` and `pinion restore` use it; docs/BACKUP.md has the format.

pub mod catalog;
pub mod claim;
pub mod destination;
pub mod error;
pub mod fetch;
pub mod forecast;
pub mod key;
pub mod moment;
pub mod shipper;
pub mod unnamed;
