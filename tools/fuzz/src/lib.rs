//! Every decoder of Pinion under bytes that nobody meant: what each must keep, and how inputs for it are made.
//!
//! Read in this order: what a target is (`target`), where inputs come from (`mutation`), how many are run (`round`), what
//! checks share (`meter`, `splits`, `scratch`, `house`), the targets themselves (`targets`).
//!
//! What never enters: product code. A decoder is called as the product calls it.

pub mod target;

pub mod mutation;
pub mod round;

pub mod house;
pub mod meter;
pub mod scratch;
pub mod seeds;
pub mod splits;

pub mod targets;
