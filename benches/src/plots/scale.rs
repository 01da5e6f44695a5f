//! The pictures of `scale`: throughput and latency over each number that grows, and a node's throughput over its
//! sessions.

use super::chart::{Legend, Scale};
use super::document::Part;
use super::lines::{Lines, Series};
use super::picture::{Picture, source};
use crate::report::Spread;
use anyhow::Result;

pub(super) fn pictures(root: &Part<'_>) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    for sweep in root.at("sweeps")?.items()? {
        let name = sweep.at("name")?.text()?;
        let points = sweep.at("points")?.items()?;
        if points.is_empty() {
            continue;
        }
        pictures.push(Picture::new(format!("scale-{name}"), throughput(root, &sweep, &points)?.svg()?));
        pictures.push(Picture::new(format!("scale-{name}-latency"), latency(root, &sweep, &points)?.svg()?));
    }
    if let Some(node) = root.find("node") {
        let lines = node_lines(root, &node)?;
        if lines.series.iter().any(|series| !series.points.is_empty()) {
            pictures.push(Picture::new("scale-node", lines.svg()?));
        }
    }
    Ok(pictures)
}

fn throughput(root: &Part<'_>, sweep: &Part<'_>, points: &[Part<'_>]) -> Result<Lines> {
    let (name, fixed) = (sweep.at("name")?.text()?, sweep.at("fixed")?.text()?);
    Ok(Lines {
        title: format!("State machine: throughput over {name}"),
        x_label: format!("{name} ({fixed})"),
        y_label: "million commands per CPU second".to_owned(),
        y_scale: Scale::Linear,
        series: vec![series("one thread, median (min to max)", points, "mops", 1.0)?],
        limit: None,
        legend: Legend::Right,
        source: source(root)?,
    })
}

fn latency(root: &Part<'_>, sweep: &Part<'_>, points: &[Part<'_>]) -> Result<Lines> {
    let (name, fixed) = (sweep.at("name")?.text()?, sweep.at("fixed")?.text()?);
    Ok(Lines {
        title: format!("State machine: time of one command over {name}"),
        x_label: format!("{name} ({fixed})"),
        y_label: "nanoseconds a command".to_owned(),
        y_scale: Scale::Log,
        series: vec![series("p99", points, "p99_ns", 1.0)?, series("p50", points, "p50_ns", 1.0)?],
        limit: None,
        legend: Legend::Left,
        source: source(root)?,
    })
}

fn series(name: &str, points: &[Part<'_>], key: &str, unit: f64) -> Result<Series> {
    let point = |point: &Part<'_>| Ok((point.at("value")?.number()?, point.at(key)?.spread(unit)?));
    Ok(Series { name: name.to_owned(), points: points.iter().map(point).collect::<Result<_>>()? })
}

fn node_lines(root: &Part<'_>, node: &Part<'_>) -> Result<Lines> {
    let mut points: Vec<(f64, Spread)> = Vec::new();
    for point in node.at("points")?.items()? {
        if point.find("skipped").is_none() {
            points.push((point.at("sessions")?.number()?, point.at("commands_per_second")?.spread(1e3)?));
        }
    }
    let sync = node.at("sync")?.text()?;
    let under_way = node.at("under_way")?.number()?;
    Ok(Lines {
        title: "Node: flood over loopback TCP, spread over sessions".to_owned(),
        x_label: format!("sessions logged in ({under_way} commands under way over all)"),
        y_label: "thousand commands a second".to_owned(),
        y_scale: Scale::Linear,
        series: vec![Series { name: format!("sync = {sync}, median (min to max)"), points }],
        limit: None,
        legend: Legend::Right,
        source: source(root)?,
    })
}
