//! Groups of bars: medians with their extremes and their values as text, and the target of each group that has one.

use super::chart::{Axis, Frame, LIMIT, Legend, Scale, colour, short, text};
use crate::report::Spread;
use anyhow::Result;
use plotters::element::{PathElement, Rectangle, Text};
use plotters::style::text_anchor::HPos;
use plotters::style::{BLACK, Color};

/// Share of a group's width that its bars take; the remainder is the gap between groups.
const BARS_WIDTH: f64 = 0.8;

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub name: String,
    /// One value for each of `Bars::names`; `None` where it was not measured.
    pub values: Vec<Option<Spread>>,
    pub target: Option<f64>,
}

#[derive(Clone, Debug)]
pub(super) struct Bars {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub y_scale: Scale,
    pub names: Vec<String>,
    pub groups: Vec<Group>,
    /// The legend's text for the targets.
    pub target: String,
    pub legend: Legend,
    pub source: String,
}

/// A bar in coordinates of its axes.
struct Bar {
    left: f64,
    right: f64,
    min: f64,
    median: f64,
    max: f64,
    label: String,
}

impl Bars {
    pub(super) fn svg(&self) -> Result<String> {
        let spreads = self.groups.iter().flat_map(|group| group.values.iter().flatten());
        let extremes = spreads.flat_map(|spread| [spread.min, spread.max]);
        let values = extremes.chain(self.groups.iter().filter_map(|group| group.target));
        let middle = |idx: usize| idx as f64 + 0.5;
        let ticks = self.groups.iter().enumerate().map(|(idx, group)| (middle(idx), group.name.clone())).collect();
        let x = Axis { label: self.x_label.clone(), from: 0.0, to: self.groups.len() as f64, ticks };
        let frame = Frame {
            title: self.title.clone(),
            x,
            y: Axis::of_values(&self.y_label, self.y_scale, values),
            legend: self.legend,
            source: self.source.clone(),
        };
        let floor = frame.y.from;
        frame.draw(|canvas| {
            for (idx, name) in self.names.iter().enumerate() {
                let bars = self.bars(idx);
                let style = colour(idx).filled();
                canvas
                    .draw_series(bars.iter().map(|b| Rectangle::new([(b.left, b.median), (b.right, floor)], style)))?
                    .label(name)
                    .legend(move |(x, y)| Rectangle::new([(x + 2, y - 5), (x + 14, y + 5)], style));
                canvas.draw_series(bars.iter().map(|b| {
                    let middle = (b.left + b.right) / 2.0;
                    PathElement::new([(middle, b.min), (middle, b.max)], BLACK.stroke_width(1))
                }))?;
                canvas.draw_series(bars.iter().map(|b| {
                    let style = text(13, BLACK, HPos::Center);
                    Text::new(b.label.clone(), ((b.left + b.right) / 2.0, b.max), style)
                }))?;
            }
            let targets: Vec<(usize, f64)> =
                self.groups.iter().enumerate().filter_map(|(idx, group)| Some((idx, group.target?))).collect();
            if !targets.is_empty() {
                let style = LIMIT.stroke_width(2);
                canvas
                    .draw_series(targets.iter().map(|&(idx, target)| {
                        let (left, at) = (idx as f64 + (1.0 - BARS_WIDTH) / 2.0, self.y_scale.place(target));
                        PathElement::new([(left, at), (left + BARS_WIDTH, at)], style)
                    }))?
                    .label(&self.target)
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            }
            Ok(())
        })
    }

    /// The bars of one name, one in each group that has it.
    fn bars(&self, name_idx: usize) -> Vec<Bar> {
        let width = BARS_WIDTH / self.names.len() as f64;
        let bar = |(group_idx, group): (usize, &Group)| {
            let spread = group.values.get(name_idx).copied().flatten()?;
            let left = group_idx as f64 + (1.0 - BARS_WIDTH) / 2.0 + name_idx as f64 * width;
            let [min, median, max] = [spread.min, spread.median, spread.max].map(|value| self.y_scale.place(value));
            Some(Bar { left, right: left + width * 0.94, min, median, max, label: short(spread.median) })
        };
        self.groups.iter().enumerate().filter_map(bar).collect()
    }
}
