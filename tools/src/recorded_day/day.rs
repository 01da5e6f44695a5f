//! A recorded trading day: its commands, each with the trades and books that must follow from it.
//!
//! One command per line, in the grammar of `docs/TOOLS.md`. Invariants: every expected trade and every check belongs to
//! the command before it; prices are in 1e-9, whatever unit the file has; a cancel or an amendment names an id that was
//! entered before.

use api::decimal::PriceE9;
use book::command::Side;
use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The unit of LOBSTER's prices, 1e-4 dollars, in 1e-9. Other files have prices in 1e-9, as the wire has.
const LOBSTER_PRICE_E9: i64 = 100_000;
/// One share as the wire counts it.
pub const SHARE_E8: i64 = 100_000_000;
/// A day is held in memory; this is fifty times the largest one known, and a larger file is read only up to here.
const DAY_BYTES_MAX: u64 = 512 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeInForce {
    /// The remainder rests until it is cancelled.
    Gtc,
    /// The quantity that does not trade at once is cancelled.
    Ioc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    New {
        id: u64,
        side: Side,
        price: PriceE9,
        shares: i64,
        tif: TimeInForce,
    },
    Cancel {
        id: u64,
    },
    /// Reduces the order by so many shares; the rest keeps its price and priority.
    Reduce {
        id: u64,
        shares: i64,
    },
    Clear,
}

/// A trade that the command before it must make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedTrade {
    pub line: u32,
    pub maker: u64,
    pub price: PriceE9,
    pub shares: i64,
}

/// The best price of a side: shares and orders there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedTop {
    pub price: PriceE9,
    pub shares: i64,
    pub orders: u32,
}

/// An expectation of the book after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The best levels are this row of the published order book.
    Row(usize),
    Top {
        bid: Option<ExpectedTop>,
        ask: Option<ExpectedTop>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayCommand {
    pub line: u32,
    pub action: Action,
    pub trades: Vec<ExpectedTrade>,
    /// Each with the number of its line.
    pub checks: Vec<(u32, Check)>,
}

#[derive(Debug)]
pub struct Day {
    pub commands: Vec<DayCommand>,
    /// The unit of the file's prices.
    pub price_unit: PriceE9,
}

impl Day {
    /// Reads a plain or a zstd-compressed file.
    pub fn load(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let compressed = path.extension().is_some_and(|extension| extension == "zst");
        let reader: Box<dyn Read> = if compressed {
            Box::new(zstd::Decoder::new(file).with_context(|| format!("unpacking {}", path.display()))?)
        } else {
            Box::new(file)
        };
        let mut text = String::new();
        reader.take(DAY_BYTES_MAX).read_to_string(&mut text).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    pub fn parse(text: &str) -> Result<Self> {
        // Only LOBSTER's days refer to rows of a published book.
        let is_lobster = text.lines().any(|line| line.split_ascii_whitespace().next() == Some("K"));
        let price_unit = PriceE9(if is_lobster { LOBSTER_PRICE_E9 } else { 1 });
        let mut day = Self { commands: Vec::new(), price_unit };
        let mut entered = HashSet::new();
        for (idx, line) in text.lines().enumerate() {
            let number = u32::try_from(idx + 1).context("a day has fewer than 2^32 lines")?;
            day.push_line(number, line, &mut entered).with_context(|| format!("line {number}: {line:?}"))?;
        }
        Ok(day)
    }

    fn push_line(&mut self, line: u32, text: &str, entered: &mut HashSet<u64>) -> Result<()> {
        let mut words = Words { rest: text.split_ascii_whitespace(), unit: self.price_unit };
        let Some(verb) = words.rest.next() else { return Ok(()) };
        match verb {
            "T" => {
                let trade = ExpectedTrade { line, maker: words.id()?, price: words.price()?, shares: words.shares()? };
                self.last()?.trades.push(trade);
            }
            "K" => {
                let row = words.id()? as usize;
                self.last()?.checks.push((line, Check::Row(row)));
            }
            "C" => {
                let (bid, ask) = (words.top()?, words.top()?);
                self.last()?.checks.push((line, Check::Top { bid, ask }));
            }
            verb => {
                let action = words.action(verb)?;
                match action {
                    Action::New { id, .. } => _ = entered.insert(id),
                    Action::Cancel { id } | Action::Reduce { id, .. } if !entered.contains(&id) => {
                        bail!("order {id} was not entered by a line before this one");
                    }
                    _ => {}
                }
                self.commands.push(DayCommand { line, action, trades: Vec::new(), checks: Vec::new() });
            }
        }
        if words.rest.next().is_some() { bail!("the line has more fields than its command") } else { Ok(()) }
    }

    fn last(&mut self) -> Result<&mut DayCommand> {
        self.commands.last_mut().context("a T, K or C line needs a command before it")
    }

    /// The largest tick of which every price of the day is a multiple.
    pub fn tick(&self) -> PriceE9 {
        let prices = self.commands.iter().filter_map(|command| match command.action {
            Action::New { price, .. } => Some(price.0),
            _ => None,
        });
        PriceE9(prices.fold(0, gcd).max(self.price_unit.0))
    }

    pub fn trades_count(&self) -> usize {
        self.commands.iter().map(|command| command.trades.len()).sum()
    }

    pub fn checks_count(&self) -> usize {
        self.commands.iter().map(|command| command.checks.len()).sum()
    }

    /// Whether a check refers to a row of the published book.
    pub fn needs_book(&self) -> bool {
        self.commands.iter().flat_map(|command| &command.checks).any(|(_, check)| matches!(check, Check::Row(_)))
    }
}

/// The fields of one line.
struct Words<'a> {
    rest: std::str::SplitAsciiWhitespace<'a>,
    unit: PriceE9,
}

impl Words<'_> {
    fn action(&mut self, verb: &str) -> Result<Action> {
        Ok(match verb {
            "N" | "n" | "M" => self.new_order(TimeInForce::Gtc)?,
            "A" => self.new_order(TimeInForce::Ioc)?,
            "D" | "d" => Action::Cancel { id: self.id()? },
            "R" | "r" => Action::Reduce { id: self.id()?, shares: self.shares()? },
            "Z" => Action::Clear,
            other => bail!("{other:?} is not a command; docs/TOOLS.md lists them"),
        })
    }

    fn new_order(&mut self, tif: TimeInForce) -> Result<Action> {
        let id = self.id()?;
        let side = match self.rest.next() {
            Some("B") => Side::Buy,
            Some("S") => Side::Sell,
            other => bail!("{other:?} is neither B nor S"),
        };
        Ok(Action::New { id, side, price: self.price()?, shares: self.shares()?, tif })
    }

    fn id(&mut self) -> Result<u64> {
        let word = self.rest.next().context("a field is missing")?;
        word.parse().with_context(|| format!("{word:?} is not a number"))
    }

    fn price(&mut self) -> Result<PriceE9> {
        let units = i64::try_from(self.id()?).context("the price is too large")?;
        units.checked_mul(self.unit.0).map(PriceE9).context("the price is too large")
    }

    fn shares(&mut self) -> Result<i64> {
        let shares = i64::try_from(self.id()?).ok().filter(|shares| shares.checked_mul(SHARE_E8).is_some());
        shares.filter(|shares| 0 < *shares).context("the quantity is zero or too large")
    }

    /// Reads `px qty count`, or three dashes for an empty side.
    fn top(&mut self) -> Result<Option<ExpectedTop>> {
        let mut ahead = self.rest.clone();
        if ahead.next() == Some("-") {
            if ahead.next() != Some("-") || ahead.next() != Some("-") {
                bail!("an empty side is three dashes");
            }
            self.rest = ahead;
            return Ok(None);
        }
        // A level may have more than any order of it.
        let price = self.price()?;
        let shares = i64::try_from(self.id()?).ok().filter(|shares| 0 < *shares);
        let shares = shares.context("the quantity is zero or too large")?;
        let orders = u32::try_from(self.id()?).context("too many orders")?;
        Ok(Some(ExpectedTop { price, shares, orders }))
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_or_belongs_to_the_one_before() {
        let text = "N 1 B 5800000 100\nA 2 S 5800000 40\nT 1 5800000 40\nK 7\nR 1 20\nD 1\nZ\n";
        let day = Day::parse(text).expect("valid");
        let actions: Vec<Action> = day.commands.iter().map(|command| command.action).collect();
        let price = PriceE9(580_000_000_000);
        assert_eq!(
            actions,
            [
                Action::New { id: 1, side: Side::Buy, price, shares: 100, tif: TimeInForce::Gtc },
                Action::New { id: 2, side: Side::Sell, price, shares: 40, tif: TimeInForce::Ioc },
                Action::Reduce { id: 1, shares: 20 },
                Action::Cancel { id: 1 },
                Action::Clear,
            ]
        );
        assert_eq!(day.commands[1].trades, [ExpectedTrade { line: 3, maker: 1, price, shares: 40 }]);
        assert_eq!(day.commands[1].checks, [(4, Check::Row(7))]);
        assert_eq!(day.tick(), price, "one price is its own grid");
    }

    #[test]
    fn the_unit_of_prices_does_not_depend_on_white_space() {
        for row in ["K 7", " K 7", "K\t7"] {
            let day = Day::parse(&format!("N 1 B 5800000 100\n{row}\n")).expect("valid");
            assert_eq!(day.price_unit, PriceE9(LOBSTER_PRICE_E9), "{row:?}");
        }
    }

    #[test]
    fn the_top_of_a_side_may_be_empty() {
        let day = Day::parse("Z\nC 5510000000 100 1 - - -\n").expect("valid");
        let bid = ExpectedTop { price: PriceE9(5_510_000_000), shares: 100, orders: 1 };
        assert_eq!(day.commands[0].checks, [(2, Check::Top { bid: Some(bid), ask: None })]);
    }

    #[test]
    fn an_invalid_line_is_named() {
        for (text, line) in [
            ("D 1\n", 1),
            ("N 1 B 5 5\nX\n", 2),
            ("T 1 2 3\n", 1),
            ("N 1 B 5\n", 1),
            ("N 1 Q 5 5\n", 1),
            ("Z 1\n", 1),
            ("N 1 B 5 0\n", 1),
        ] {
            let error = format!("{:#}", Day::parse(text).expect_err("not a day"));
            assert!(error.contains(&format!("line {line}:")), "{text:?}: {error}");
        }
    }
}
