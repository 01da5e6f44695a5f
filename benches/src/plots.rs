//! Pictures of the benches' figures: JSON documents in, SVG out. The same documents give the same bytes.
//!
//! Read in this order: the input (`document`), the frame of a picture (`chart`, `picture`), the two kinds of pictures
//! (`lines`, `bars`), and the pictures of each bench (`scale`, `ratios`, `append`, `round_trip`, `start`).

mod append;
mod bars;
mod chart;
pub mod document;
mod lines;
pub mod picture;
mod ratios;
mod round_trip;
mod scale;
mod start;

#[cfg(test)]
mod tests;

use anyhow::Result;
use document::Document;
use picture::Picture;

/// Every picture for which a document has the figures.
pub fn pictures(document: &Document) -> Result<Vec<Picture>> {
    let root = document.root();
    let bench = root.at("bench")?;
    match bench.text()? {
        "scale" => scale::pictures(&root),
        "match" => ratios::of_match(&root),
        "apply" => ratios::of_apply(&root),
        "append" => append::pictures(&root),
        "round_trip" => round_trip::pictures(&root),
        "start" => start::pictures(&root),
        _ => Err(bench.wrong("a bench with plots: scale, match, apply, append, round_trip or start")),
    }
}
