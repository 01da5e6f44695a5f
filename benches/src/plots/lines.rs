//! One or more series over a number that grows: a line through the medians, each with its extremes as an error bar.

use super::chart::{Axis, Frame, LIMIT, Legend, Scale, colour};
use crate::report::Spread;
use anyhow::Result;
use plotters::element::{ErrorBar, PathElement};
use plotters::series::LineSeries;
use plotters::style::Color;

#[derive(Clone, Debug)]
pub(super) struct Series {
    pub name: String,
    pub points: Vec<(f64, Spread)>,
}

/// A picture whose x axis is logarithmic, with a tick at every measured value.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub y_scale: Scale,
    pub series: Vec<Series>,
    /// The name and the value of an upper limit of the figures.
    pub limit: Option<(String, f64)>,
    pub legend: Legend,
    pub source: String,
}

impl Lines {
    pub(super) fn svg(&self) -> Result<String> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let mut values: Vec<f64> = points().map(|(x, _)| *x).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let extremes = points().flat_map(|(_, spread)| [spread.min, spread.max]);
        let all = extremes.chain(self.limit.iter().map(|(_, limit)| *limit));
        let frame = Frame {
            title: self.title.clone(),
            x: Axis::at_values(&self.x_label, Scale::Log, &values),
            y: Axis::of_values(&self.y_label, self.y_scale, all),
            legend: self.legend,
            source: self.source.clone(),
        };
        let (x, y) = (Scale::Log, self.y_scale);
        frame.draw(|canvas| {
            for (idx, series) in self.series.iter().enumerate() {
                let style = colour(idx).stroke_width(2);
                let medians = series.points.iter().map(|(at, spread)| (x.place(*at), y.place(spread.median)));
                canvas
                    .draw_series(LineSeries::new(medians, style))?
                    .label(&series.name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
                canvas.draw_series(series.points.iter().map(|(at, spread)| {
                    let [min, median, max] = [spread.min, spread.median, spread.max].map(|value| y.place(value));
                    ErrorBar::new_vertical(x.place(*at), min, median, max, colour(idx).filled(), 7)
                }))?;
            }
            if let Some((name, limit)) = &self.limit {
                let (style, at) = (LIMIT.stroke_width(1), y.place(*limit));
                canvas
                    .draw_series([PathElement::new([(frame.x.from, at), (frame.x.to, at)], style)])?
                    .label(name)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            }
            Ok(())
        })
    }
}
