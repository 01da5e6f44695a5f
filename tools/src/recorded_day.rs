//! A recorded trading day: its file, the order book that was published with it, and its replay through a node.

pub mod day;
pub mod drive;
pub mod published_book;
pub mod zip;
