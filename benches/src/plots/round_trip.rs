//! The pictures of `round_trip`: one command at a time beside its limits, and commands that are due at a fixed rate.

use super::bars::{Bars, Group};
use super::chart::{Legend, Scale};
use super::document::Part;
use super::lines::{Lines, Series};
use super::picture::{Picture, source};
use crate::report::Spread;
use anyhow::Result;

/// The highest p99 at which a rate counts as sustained.
const P99_MS_MAX: f64 = 2.0;

pub(super) fn pictures(root: &Part<'_>) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    if let Some(depth1) = root.find("depth1") {
        pictures.push(Picture::new("round_trip", depth_one(root, &depth1)?.svg()?));
    }
    if let Some(load) = root.find("load") {
        let lines = open_loop(root, &load)?;
        if lines.series.iter().any(|series| !series.points.is_empty()) {
            pictures.push(Picture::new("round_trip-open", lines.svg()?));
        }
    }
    Ok(pictures)
}

fn depth_one(root: &Part<'_>, depth1: &Part<'_>) -> Result<Bars> {
    let subjects = depth1.at("subjects")?.items()?;
    let names = subjects.iter().map(|subject| Ok(subject.at("name")?.text()?.to_owned())).collect::<Result<_>>()?;
    let group = |quantile: &str| {
        let value = |subject: &Part<'_>| Ok(Some(subject.at(&format!("{quantile}_ns"))?.spread(1e3)?));
        let values = subjects.iter().map(value).collect::<Result<_>>()?;
        Ok(Group { name: quantile.to_owned(), values, target: None })
    };
    Ok(Bars {
        title: "Order to acknowledgement, one at a time over loopback TCP".to_owned(),
        x_label: "percentile, median of rounds (min to max)".to_owned(),
        y_label: "microseconds".to_owned(),
        y_scale: Scale::Log,
        names,
        groups: ["p50", "p90", "p99"].into_iter().map(group).collect::<Result<_>>()?,
        target: String::new(),
        legend: Legend::Left,
        source: source(root)?,
    })
}

fn open_loop(root: &Part<'_>, load: &Part<'_>) -> Result<Lines> {
    let quantiles = ["p99", "p90", "p50"];
    let mut series = quantiles.map(|name| Series { name: name.to_owned(), points: Vec::new() });
    for column in load.at("loads")?.items()? {
        // A flood has no rate.
        let Some(rate) = column.find("rate") else { continue };
        let (rate, rounds) = (rate.number()?, column.at("rounds")?.items()?);
        for (series, quantile) in series.iter_mut().zip(quantiles) {
            let value = |round: &Part<'_>| Ok(round.at(&format!("{quantile}_ns"))?.number()? / 1e6);
            let values = rounds.iter().map(value).collect::<Result<Vec<f64>>>()?;
            series.points.extend(Spread::of(values.into_iter()).map(|spread| (rate, spread)));
        }
    }
    let sync = load.at("sync")?.text()?;
    Ok(Lines {
        title: format!("Order to acknowledgement at a fixed rate, sync = {sync}, from when a command was due"),
        x_label: "commands due a second".to_owned(),
        y_label: "milliseconds, median of rounds (min to max)".to_owned(),
        y_scale: Scale::Log,
        series: series.into(),
        limit: Some((format!("limit of p99: {P99_MS_MAX} ms"), P99_MS_MAX)),
        legend: Legend::Left,
        source: source(root)?,
    })
}
