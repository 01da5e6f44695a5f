//! The order book that a data vendor published for a recorded day, row by row.
//!
//! LOBSTER's columns: ask price, ask size, bid price, bid size of the first level, then of the second, and so on; an
//! absent level has a dummy price. The file is a CSV, or a zip that holds one whose name contains `orderbook`.

use crate::recorded_day::zip;
use anyhow::{Context, Result, bail, ensure};
use api::binary::depth::{DepthBook, Level};
use api::decimal::PriceE9;
use api::instruments::saturated_sum;
use book::command::Side;
use std::path::Path;

use crate::recorded_day::day::SHARE_E8;

/// The price of an absent level; negated among the bids.
pub const DUMMY_PRICE: i64 = 9_999_999_999;
const COLUMNS_PER_LEVEL: usize = 4;

#[derive(Debug)]
pub struct PublishedBook {
    text: String,
    /// The begin and the end of each row in `text`.
    rows: Vec<(usize, usize)>,
}

impl PublishedBook {
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let csv = if bytes.starts_with(b"PK") {
            zip::extract(&bytes, |name| name.contains("orderbook")).with_context(|| path.display().to_string())?
        } else {
            bytes
        };
        let text = String::from_utf8(csv).with_context(|| format!("{} is not text", path.display()))?;
        Ok(Self::new(text))
    }

    pub fn new(text: String) -> Self {
        let mut rows = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            rows.push((start, start + line.trim_end().len()));
            start += line.len();
        }
        Self { text, rows }
    }

    /// The text of a row.
    pub fn row(&self, row: usize) -> Option<&str> {
        self.rows.get(row).map(|&(start, end)| &self.text[start..end])
    }

    pub fn rows_count(&self) -> usize {
        self.rows.len()
    }

    /// Compares the best levels of `depth` with the row; the first difference, where there is one.
    pub fn compare(&self, row: usize, unit: PriceE9, depth: &DepthBook) -> Result<Option<String>> {
        let &(start, end) = self.rows.get(row).with_context(|| {
            format!("the published book has {} rows, and not row {row}: is it the book of this day?", self.rows.len())
        })?;
        let mut numbers = self.text[start..end].split(',');
        let (mut asks, mut bids) = (depth.levels(Side::Sell), depth.levels(Side::Buy));
        let mut level = 1;
        while let Some(first) = numbers.next() {
            let mut next = || numbers.next().context("a row ends within a level");
            let (ask, bid) = ((first, next()?), (next()?, next()?));
            for (side, expected, found) in [("ask", ask, asks.next()), ("bid", bid, bids.next())] {
                let expected = parse_level(expected, unit).with_context(|| format!("row {row}, {side} {level}"))?;
                let found = found.map(|Level { price_e9, qty_e8, .. }| (price_e9, qty_e8));
                if expected != found {
                    return Ok(Some(format!("{side} {level} is {}, not {}", show(found), show(expected))));
                }
            }
            level += 1;
        }
        if level == 1 { bail!("row {row} has fewer than {COLUMNS_PER_LEVEL} columns") } else { Ok(None) }
    }
}

/// Price and quantity on the wire's scales; none for an absent level.
fn parse_level((price, size): (&str, &str), unit: PriceE9) -> Result<Option<(i64, i64)>> {
    let price: i64 = price.trim().parse().with_context(|| format!("{price:?} is not a price"))?;
    let size: i64 = size.trim().parse().with_context(|| format!("{size:?} is not a size"))?;
    if price.unsigned_abs() == DUMMY_PRICE.unsigned_abs() {
        return Ok(None);
    }
    let price_e9 = price.checked_mul(unit.0).context("a price is too large")?;
    ensure!(0 <= size, "a size is below zero");
    // A level may have more than any order of it, and more than the wire shows.
    Ok(Some((price_e9, saturated_sum(i128::from(size) * i128::from(SHARE_E8)))))
}

fn show(level: Option<(i64, i64)>) -> String {
    match level {
        Some((price_e9, qty_e8)) => format!("{} x {}", api::decimal::QtyE8(qty_e8), PriceE9(price_e9)),
        None => "empty".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::instruments::WIRE_AMOUNT_MAX;

    #[test]
    fn the_lowest_number_is_too_large_and_not_a_panic() {
        let unit = PriceE9(100_000);
        assert_eq!(parse_level(("-9999999999", "0"), unit).expect("a dummy"), None);
        assert_eq!(parse_level(("12", "3"), unit).expect("a level"), Some((1_200_000, 300_000_000)));
        assert!(parse_level(("-9223372036854775808", "1"), unit).is_err());
        assert!(parse_level(("12", "-1"), unit).is_err());
        let huge = parse_level(("12", "9223372036854775807"), unit).expect("a level");
        assert_eq!(huge, Some((1_200_000, WIRE_AMOUNT_MAX)), "as the wire shows it");
    }
}
