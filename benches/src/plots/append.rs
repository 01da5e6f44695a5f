//! The picture of `append`: the time of a durable write beside the disk's limit.

use super::bars::{Bars, Group};
use super::chart::{Legend, Scale};
use super::document::Part;
use super::picture::{Picture, source};
use anyhow::Result;

pub(super) fn pictures(root: &Part<'_>) -> Result<Vec<Picture>> {
    let mut names: Vec<String> = Vec::new();
    let mut groups = Vec::new();
    for table in root.at("tables")?.items()? {
        let (bytes, depth) = (table.at("bytes")?.number()?, table.at("depth")?.number()?);
        let mut values = Vec::new();
        for subject in table.at("subjects")?.items()? {
            let name = subject.at("name")?.text()?;
            for quantile in ["p50", "p99"] {
                values.push((format!("{name} {quantile}"), subject.at(&format!("{quantile}_ns"))?.spread(1e3)?));
            }
        }
        values.iter().for_each(|(name, _)| {
            if !names.contains(name) {
                names.push(name.clone());
            }
        });
        groups.push((format!("{} KiB, {depth} under way", bytes / 1024.0), values));
    }
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let group = |(name, values): (String, Vec<(String, _)>)| {
        let value = |wanted: &String| values.iter().find(|(name, _)| name == wanted).map(|(_, spread)| *spread);
        Group { name, values: names.iter().map(value).collect(), target: None }
    };
    let bars = Bars {
        title: "Durable write: the journal's head, the disk's limit, a synced RocksDB write".to_owned(),
        x_label: "size of a write and writes under way".to_owned(),
        y_label: "microseconds a write".to_owned(),
        y_scale: Scale::Log,
        groups: groups.into_iter().map(group).collect(),
        names,
        target: String::new(),
        legend: Legend::Left,
        source: source(root)?,
    };
    Ok(vec![Picture::new("append", bars.svg()?)])
}
