//! A recorded trading day as commands, with what it says must come of them.
//!
//! One command per line, the grammar of `docs/TOOLS.md`. Invariants: every expected trade and every check belongs to the
//! command before it; prices are in 1e-9 whatever unit the file counts in; a cancel or an amendment names an id that was
//! entered before.

use api::decimal::PriceE9;
use book::command::Side;
use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// What the file's prices count in 1e-9 of the currency: LOBSTER writes 1e-4 dollars, others the wire's own unit.
const LOBSTER_PRICE_E9: i64 = 100_000;
/// One share as the wire counts it.
pub const SHARE_E8: i64 = 100_000_000;
/// A day is held in memory; this is fifty times the largest one known.
const DAY_BYTES_MAX: u64 = 512 << 20;

/// How an order of the day is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Rests,
    /// What does not trade at once is gone.
    Immediate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    New {
        id: u64,
        side: Side,
        price: PriceE9,
        shares: i64,
        life: Life,
    },
    Cancel {
        id: u64,
    },
    /// So many shares are taken off, the rest keeps its price and rank.
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

/// What the book must look like after a command.
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
    pub act: Act,
    pub trades: Vec<ExpectedTrade>,
    /// With the line that asks for it.
    pub checks: Vec<(u32, Check)>,
}

#[derive(Debug)]
pub struct Day {
    pub commands: Vec<DayCommand>,
    /// What one unit of the file's prices is.
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
            day.take(number, line, &mut entered).with_context(|| format!("line {number}: {line:?}"))?;
        }
        Ok(day)
    }

    fn take(&mut self, line: u32, text: &str, entered: &mut HashSet<u64>) -> Result<()> {
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
                let act = words.act(verb)?;
                match act {
                    Act::New { id, .. } => _ = entered.insert(id),
                    Act::Cancel { id } | Act::Reduce { id, .. } if !entered.contains(&id) => {
                        bail!("order {id} was never entered");
                    }
                    _ => {}
                }
                self.commands.push(DayCommand { line, act, trades: Vec::new(), checks: Vec::new() });
            }
        }
        if words.rest.next().is_some() { bail!("there is more on the line than belongs there") } else { Ok(()) }
    }

    fn last(&mut self) -> Result<&mut DayCommand> {
        self.commands.last_mut().context("an expectation without a command before it")
    }

    /// The coarsest grid that holds every price of the day.
    pub fn tick(&self) -> PriceE9 {
        let prices = self.commands.iter().filter_map(|command| match command.act {
            Act::New { price, .. } => Some(price.0),
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
    fn act(&mut self, verb: &str) -> Result<Act> {
        Ok(match verb {
            "N" | "n" | "M" => self.new_order(Life::Rests)?,
            "A" => self.new_order(Life::Immediate)?,
            "D" | "d" => Act::Cancel { id: self.id()? },
            "R" | "r" => Act::Reduce { id: self.id()?, shares: self.shares()? },
            "Z" => Act::Clear,
            other => bail!("{other:?} is no command"),
        })
    }

    fn new_order(&mut self, life: Life) -> Result<Act> {
        let id = self.id()?;
        let side = match self.rest.next() {
            Some("B") => Side::Buy,
            Some("S") => Side::Sell,
            other => bail!("{other:?} is neither B nor S"),
        };
        Ok(Act::New { id, side, price: self.price()?, shares: self.shares()?, life })
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

    /// `px qty count`, or three dashes for an empty side.
    fn top(&mut self) -> Result<Option<ExpectedTop>> {
        let mut ahead = self.rest.clone();
        if ahead.next() == Some("-") {
            if ahead.next() != Some("-") || ahead.next() != Some("-") {
                bail!("an empty side is three dashes");
            }
            self.rest = ahead;
            return Ok(None);
        }
        let (price, shares) = (self.price()?, self.shares()?);
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
        let acts: Vec<Act> = day.commands.iter().map(|command| command.act).collect();
        let price = PriceE9(580_000_000_000);
        assert_eq!(
            acts,
            [
                Act::New { id: 1, side: Side::Buy, price, shares: 100, life: Life::Rests },
                Act::New { id: 2, side: Side::Sell, price, shares: 40, life: Life::Immediate },
                Act::Reduce { id: 1, shares: 20 },
                Act::Cancel { id: 1 },
                Act::Clear,
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
    fn mistakes_name_their_line() {
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
