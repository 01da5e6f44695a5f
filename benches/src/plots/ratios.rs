//! The pictures of `match` and `apply`: throughput as a multiple of the naive twin's on the same stream, and the
//! targets.

use super::bars::{Bars, Group};
use super::chart::{Legend, Scale};
use super::document::Part;
use super::picture::{Picture, source};
use crate::report::Spread;
use anyhow::Result;

/// Target ratios by stream (docs/PERFORMANCE.md).
type Targets = [(&'static str, f64); 6];

const MATCH: Targets = [("X 1k", 5.0), ("X 10k", 5.0), ("X 1M", 10.0), ("E 1k", 2.7), ("E 10k", 3.0), ("E 1M", 17.0)];
const APPLY: Targets = [("X 1k", 1.7), ("X 10k", 1.7), ("X 1M", 3.0), ("E 1k", 0.75), ("E 10k", 1.0), ("E 1M", 5.0)];

pub(super) fn of_match(root: &Part<'_>) -> Result<Vec<Picture>> {
    draw(root, "match", "Order book alone, beside the naive twin", MATCH)
}

pub(super) fn of_apply(root: &Part<'_>) -> Result<Vec<Picture>> {
    draw(root, "apply", "Complete state machine, beside the naive twin's book alone", APPLY)
}

fn draw(root: &Part<'_>, name: &str, title: &str, targets: Targets) -> Result<Vec<Picture>> {
    let mut names: Vec<String> = Vec::new();
    let mut groups = Vec::new();
    for stream in root.at("streams")?.items()? {
        let ratios = ratios(&stream)?;
        for (name, _) in &ratios {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        // A title begins with the stream's label, and two spaces follow it.
        let title = stream.at("title")?.text()?;
        let label = title.split("  ").next().unwrap_or(title);
        let target = targets.iter().find(|(stream, _)| *stream == label).map(|(_, target)| *target);
        groups.push((label.to_owned(), ratios, target));
    }
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let group = |(name, ratios, target): (String, Vec<(String, Spread)>, Option<f64>)| {
        let value = |wanted: &String| ratios.iter().find(|(name, _)| name == wanted).map(|(_, ratio)| *ratio);
        Group { name, values: names.iter().map(value).collect(), target }
    };
    let bars = Bars {
        title: title.to_owned(),
        x_label: "stream and orders at rest (X: mostly amendments, E: adds and cancels)".to_owned(),
        y_label: "times the twin's throughput".to_owned(),
        y_scale: Scale::Log,
        groups: groups.into_iter().map(group).collect(),
        names,
        target: "target".to_owned(),
        legend: Legend::Left,
        source: source(root)?,
    };
    Ok(vec![Picture::new(name, bars.svg()?)])
}

/// Pinion's subjects of a stream, each with its ratio to the base, computed within each round.
fn ratios(stream: &Part<'_>) -> Result<Vec<(String, Spread)>> {
    let base_name = stream.at("ratio_to")?.text()?;
    let throughput = stream.at("throughput")?;
    let mut subjects = Vec::new();
    let mut base = None;
    for subject in throughput.items()? {
        let name = subject.at("name")?.text()?;
        let mops = subject.at("mops")?.numbers()?;
        if name == base_name {
            base = Some(mops);
        } else if subject.at("ours")?.flag()? {
            subjects.push((name.to_owned(), mops));
        }
    }
    let base = base.ok_or_else(|| throughput.wrong(&format!("a list with {base_name:?} in it")))?;
    let ratio = |(name, mops): (String, Vec<f64>)| {
        let pairs = mops.iter().zip(&base).filter(|(_, base)| **base > 0.0);
        Some((name, Spread::of(pairs.map(|(mops, base)| mops / base))?))
    };
    Ok(subjects.into_iter().filter_map(ratio).collect())
}
