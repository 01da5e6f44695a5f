//! The picture of `start`: the cost of a command in the log, for the complete start and each of its parts.

use super::bars::{Bars, Group};
use super::chart::{Legend, Scale};
use super::document::Part;
use super::picture::{Picture, source};
use anyhow::Result;

pub(super) fn pictures(root: &Part<'_>) -> Result<Vec<Picture>> {
    let commands = root.at("commands")?.number()?;
    let mut groups = Vec::new();
    for line in root.at("lines")?.items()? {
        let value = |key: &str| Ok::<_, anyhow::Error>(Some(line.at(key)?.spread(commands / 1e9)?));
        let values = vec![value("wall_seconds")?, value("cpu_seconds")?];
        groups.push(Group { name: line.at("name")?.text()?.to_owned(), values, target: None });
    }
    let mb = root.at("log_bytes")?.number()? / 1e6;
    let bars = Bars {
        title: format!("Start of a node from a log of {commands} commands, {mb:.0} MB"),
        x_label: "the complete start, its parts, and the sum of the parts".to_owned(),
        y_label: "nanoseconds a command".to_owned(),
        y_scale: Scale::Linear,
        names: vec!["elapsed, median (min to max)".to_owned(), "CPU".to_owned()],
        groups,
        target: String::new(),
        legend: Legend::Right,
        source: source(root)?,
    };
    Ok(vec![Picture::new("start", bars.svg()?)])
}
