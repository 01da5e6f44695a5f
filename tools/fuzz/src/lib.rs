//! Fuzz targets for every decoder of bytes from outside: the invariants of each, and how inputs for it are made.
//!
//! Reading order: what a target is (`target`), where inputs come from (`seeds`, `mutation`), how many are run
//! (`round`), what checks share (`meter`, `splits`, `scratch`, `small_exchange`), the targets themselves (`targets`).
//!
//! What never enters: product code. A decoder is called as the product calls it.

pub mod target;

pub mod mutation;
pub mod round;

pub mod meter;
pub mod scratch;
pub mod seeds;
pub mod small_exchange;
pub mod splits;

pub mod targets;
