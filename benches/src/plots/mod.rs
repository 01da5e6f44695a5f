//! Pictures of what the benches measured: their JSON documents in, SVG out; the same documents, the same bytes.
//!
//! Read in this order: what comes in (`document`), what is drawn on (`chart`), the two kinds of picture (`lines`, `bars`),
//! and which figures of which bench go into which picture (`scale`, `ratios`, `append`, `round_trip`, `start`).

mod append;
mod bars;
mod chart;
mod document;
mod lines;
mod ratios;
mod round_trip;
mod scale;
mod start;

#[cfg(test)]
mod tests;

use anyhow::Result;
use document::Part;

pub use document::Document;

/// A finished picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The file's name, without its ending.
    pub name: String,
    pub svg: String,
}

impl Picture {
    fn new(name: impl Into<String>, svg: String) -> Self {
        Self { name: name.into(), svg }
    }
}

/// Every picture that a document has the figures for.
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

/// Where the figures come from, for the foot of a picture.
fn source(root: &Part<'_>) -> Result<String> {
    let machine = root.at("machine")?;
    let commit = machine.find("commit").map_or(Ok("unknown"), |commit| commit.text())?;
    let (cpu, cores) = (machine.at("cpu")?, machine.at("cores")?);
    Ok(format!("{}, {} cores, commit {commit}", cpu.text()?, cores.number()?))
}
