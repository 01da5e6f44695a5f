//! A recorded trading day: its file, the book that was published beside it, and driving it through a node.

pub mod day;
pub mod drive;
pub mod published_book;
pub mod zip;
