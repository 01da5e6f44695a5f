//! Books from the crate registry, driven as faithfully as their interfaces allow.
//!
//! Each adapter says what its peer cannot do in the stream's terms and what is done instead. Whether the result is the
//! stream's is for the fill hash to say; a peer that differs is printed as `DIFF`, not left out.

pub mod lobster_book;
pub mod matchcore_book;
pub mod orderbook_rs_book;
