//! A recorded day: what is read is written and read the same; a mistake names its line.

use crate::meter;
use crate::target::{Outcome, Target, mend_nothing};
use api::decimal::PriceE9;
use book::command::Side;
use std::fmt::Write;
use tools::recorded_day::day::{Act, Check, Day, DayCommand, ExpectedTop, Life};

pub const TARGET: Target =
    Target { name: "day", seeds, mend: mend_nothing, check, bytes_max: 2048, round_inputs: 15_000 };

fn check(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    // A command of two bytes ("Z", end of line) becomes one of some hundred in memory, in a vector that may hold twice.
    let day = match meter::within(1024 * input.len() + (16 << 10), || Day::parse(text)) {
        Ok(day) => day,
        Err(error) => {
            let shown = format!("{error:#}");
            let line = shown.strip_prefix("line ").and_then(|rest| rest.split_once(':'));
            let line: usize = line.and_then(|(number, _)| number.parse().ok()).expect("a mistake names its line");
            assert!((1..=text.lines().count()).contains(&line), "{shown}");
            return Outcome::Refused;
        }
    };
    let unit = day.price_unit.0;
    let tick = day.tick();
    assert!(unit <= tick.0, "a grid is not finer than the file's prices");
    assert!(prices(&day).all(|price| price.0 % tick.0 == 0), "every price lies on the grid");
    let written = write(&day.commands, unit);
    let again = Day::parse(&written).expect("what was written is read");
    assert_eq!(without_lines(again.commands), without_lines(day.commands), "{written:?}");
    Outcome::Decoded
}

fn prices(day: &Day) -> impl Iterator<Item = PriceE9> + '_ {
    day.commands.iter().filter_map(|command| match command.act {
        Act::New { price, .. } => Some(price),
        _ => None,
    })
}

/// Empty lines are not commands, so only the numbers of lines may differ.
fn without_lines(mut commands: Vec<DayCommand>) -> Vec<DayCommand> {
    for command in &mut commands {
        command.line = 0;
        command.trades.iter_mut().for_each(|trade| trade.line = 0);
        command.checks.iter_mut().for_each(|(line, _)| *line = 0);
    }
    commands
}

fn write(commands: &[DayCommand], unit: i64) -> String {
    // The unit follows from whether rows are asked for anywhere, which the checks bring with them.
    let mut text = String::new();
    for command in commands {
        let line = match command.act {
            Act::New { id, side, price, shares, life } => {
                let verb = if life == Life::Rests { "N" } else { "A" };
                let side = if side == Side::Buy { "B" } else { "S" };
                writeln!(text, "{verb} {id} {side} {} {shares}", price.0 / unit)
            }
            Act::Cancel { id } => writeln!(text, "D {id}"),
            Act::Reduce { id, shares } => writeln!(text, "R {id} {shares}"),
            Act::Clear => writeln!(text, "Z"),
        };
        line.expect("memory takes text");
        for trade in &command.trades {
            writeln!(text, "T {} {} {}", trade.maker, trade.price.0 / unit, trade.shares).expect("memory takes text");
        }
        for (_, check) in &command.checks {
            let line = match check {
                Check::Row(row) => format!("K {row}"),
                Check::Top { bid, ask } => format!("C {} {}", top(*bid, unit), top(*ask, unit)),
            };
            writeln!(text, "{line}").expect("memory takes text");
        }
    }
    text
}

fn top(top: Option<ExpectedTop>, unit: i64) -> String {
    top.map_or("- - -".to_owned(), |top| format!("{} {} {}", top.price.0 / unit, top.shares, top.orders))
}

fn seeds() -> Vec<Vec<u8>> {
    let lobster = "N 1 B 5800000 100\nA 2 S 5800000 40\nT 1 5800000 40\nK 7\nR 1 20\nD 1\nZ\n";
    let own =
        "M 1 B 5510000000 100\nC 5510000000 100 1 - - -\nn 2 S 5520000000 3\nC - - - 5520000000 3 1\n\nd 2\nr 1 1\n";
    vec![lobster.into(), own.into()]
}
