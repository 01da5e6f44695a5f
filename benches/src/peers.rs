//! Books from the crate registry, driven as faithfully as their interfaces allow.
//!
//! Each adapter says what its peer cannot do in the stream's terms and what it does instead. The fill hash decides
//! whether the result is the stream's; a peer that differs is printed with `DIFF`.

pub mod lobster_book;
pub mod matchcore_book;
pub mod orderbook_rs_book;
