//! The frame of every picture: white ground, a title, two axes labelled with their units, a legend, and the source of
//! the figures at its foot.
//!
//! An axis has its own ticks and their labels, so that both scales and named groups are one type to plotters. Nothing
//! depends on the machine's fonts or on the order of a hash map, hence the same bytes every time.

use anyhow::Result;
use plotters::chart::{ChartBuilder, ChartContext, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::prelude::SVGBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color, IntoFont, IntoTextStyle, RGBColor, TextStyle, WHITE};
use std::ops::Range;

const SIZE: (u32, u32) = (820, 480);
pub(super) const FONT: &str = "sans-serif";
const GREY: RGBColor = RGBColor(110, 110, 110);
const MESH: RGBColor = RGBColor(225, 225, 225);
/// Colour of a limit or a target.
pub(super) const LIMIT: RGBColor = RGBColor(180, 0, 0);
/// Colours that colour-blind readers can distinguish as well (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

pub(super) type Canvas<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;

pub(super) fn colour(idx: usize) -> RGBColor {
    COLOURS[idx % COLOURS.len()]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Log,
}

impl Scale {
    /// The coordinate of a value on its axis.
    pub(super) fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            // No measured value is smaller; a zero has no logarithm.
            Self::Log => value.max(1e-9).log10(),
        }
    }
}

/// An axis in coordinates, with its labelled ticks.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub label: String,
    pub from: f64,
    pub to: f64,
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis that covers `values`, with room for the legend above them.
    pub(super) fn of_values(label: &str, scale: Scale, values: impl Iterator<Item = f64> + Clone) -> Self {
        let max = values.clone().fold(f64::MIN_POSITIVE, f64::max);
        let min = values.filter(|value| *value > 0.0).fold(max, f64::min);
        let (from, to, ticks) = match scale {
            Scale::Linear => (0.0, max * 1.35, linear_ticks(max * 1.35)),
            Scale::Log => {
                let (from, to) = (min * 0.7, max * (max / min).powf(0.35) * 1.5);
                (scale.place(from), scale.place(to), log_ticks(from, to))
            }
        };
        let ticks = ticks.into_iter().map(|value| (scale.place(value), short(value))).collect();
        Self { label: label.to_owned(), from, to, ticks }
    }

    /// An axis with a tick at each of `values` and at no other.
    pub(super) fn at_values(label: &str, scale: Scale, values: &[f64]) -> Self {
        let places = values.iter().map(|value| scale.place(*value));
        let (from, to) = places.clone().fold((f64::MAX, f64::MIN), |(from, to), at| (from.min(at), to.max(at)));
        let margin = ((to - from) * 0.06).max(0.05);
        let ticks = places.zip(values).map(|(place, value)| (place, short(*value))).collect();
        Self { label: label.to_owned(), from: from - margin, to: to + margin, ticks }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (start, end): (i32, i32)) -> i32 {
        let share = (place - self.from) / (self.to - self.from);
        start + (share * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // The mesh has lines at the ticks only.
        if hint.weight().allow_light_points() {
            return Vec::new();
        }
        self.ticks.iter().map(|(place, _)| *place).collect()
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, place: &f64) -> String {
        self.ticks.iter().find(|(tick, _)| tick == place).map_or(String::new(), |(_, label)| label.clone())
    }
}

/// Steps of 1, 2 or 5 times a power of ten, at most eight of them.
fn linear_ticks(to: f64) -> Vec<f64> {
    let decade = 10f64.powf((to / 8.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade).into_iter().find(|step| to / step <= 8.0);
    let step = step.unwrap_or(to);
    (0..=8).map(|count| f64::from(count) * step).filter(|value| *value <= to).collect()
}

/// Powers of ten, and twice and five times each where there are few of them.
fn log_ticks(from: f64, to: f64) -> Vec<f64> {
    let factors: &[f64] = if to / from < 500.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let decades = from.log10().floor() as i32..=to.log10().ceil() as i32;
    let ticks = decades.flat_map(|decade| factors.iter().map(move |factor| factor * 10f64.powi(decade)));
    ticks.filter(|value| from <= *value && *value <= to).collect()
}

/// A number with about three digits and a suffix for thousands or millions: 0.25, 12.5, 65.5k, 10M.
pub(super) fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        v if v >= 999_500.0 => (value / 1e6, "M"),
        v if v >= 9_995.0 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// The corner in which the legend hides no figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Legend {
    Left,
    Right,
}

/// Everything around the figures.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub legend: Legend,
    pub source: String,
}

impl Frame {
    /// Draws the frame, and in it what `marks` draws.
    pub(super) fn draw(&self, marks: impl FnOnce(&mut Canvas<'_>) -> Result<()>) -> Result<String> {
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            root.fill(&WHITE)?;
            self.draw_source(&root)?;
            let mut canvas = ChartBuilder::on(&root)
                .caption(&self.title, (FONT, 20))
                .margin(12)
                .margin_bottom(26)
                .x_label_area_size(46)
                .y_label_area_size(66)
                .build_cartesian_2d(self.x.clone(), self.y.clone())?;
            self.draw_axes(&mut canvas)?;
            marks(&mut canvas)?;
            let corner = match self.legend {
                Legend::Left => SeriesLabelPosition::UpperLeft,
                Legend::Right => SeriesLabelPosition::UpperRight,
            };
            canvas
                .configure_series_labels()
                .position(corner)
                .label_font((FONT, 15))
                .legend_area_size(24)
                .background_style(WHITE.filled())
                .border_style(MESH)
                .draw()?;
            root.present()?;
        }
        Ok(svg)
    }

    fn draw_axes(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        canvas
            .configure_mesh()
            .bold_line_style(MESH)
            .axis_style(GREY)
            .label_style((FONT, 15).into_font().color(&BLACK))
            .axis_desc_style((FONT, 16).into_font().color(&BLACK))
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .draw()?;
        Ok(())
    }

    fn draw_source(&self, root: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
        let foot = (SIZE.0 as i32 - 12, SIZE.1 as i32 - 8);
        root.draw_text(&self.source, &text(13, GREY, HPos::Right), foot)?;
        Ok(())
    }
}

/// A style for text whose baseline is at its point.
pub(super) fn text(size: i32, colour: RGBColor, anchor: HPos) -> TextStyle<'static> {
    (FONT, size).with_color(colour).into_text_style(&SIZE).pos(Pos::new(anchor, VPos::Bottom))
}
