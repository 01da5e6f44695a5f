//! A recorded day: a day that parses is the same after it was written and parsed again, and an error names its line.

use crate::meter;
use crate::target::{Outcome, Target, repair_nothing};
use api::decimal::PriceE9;
use book::command::Side;
use std::fmt::Write;
use tools::recorded_day::day::{Action, Check, Day, DayCommand, ExpectedTop, TimeInForce};

pub const TARGET: Target =
    Target { name: "day", seeds, repair: repair_nothing, check, bytes_max: 2048, round_inputs: 15_000 };

fn check(input: &[u8]) -> Outcome {
    let Ok(text) = std::str::from_utf8(input) else { return Outcome::Refused };
    // A command of two bytes ("Z" and a line feed) takes some hundred in memory, in a vector that may have twice the
    // capacity that it needs.
    let day = match meter::within(1024 * input.len() + (16 << 10), || Day::parse(text)) {
        Ok(day) => day,
        Err(error) => {
            let shown = format!("{error:#}");
            let line = shown.strip_prefix("line ").and_then(|rest| rest.split_once(':'));
            let line: usize = line.and_then(|(number, _)| number.parse().ok()).expect("an error names its line");
            assert!((1..=text.lines().count()).contains(&line), "{shown}");
            return Outcome::Refused;
        }
    };
    let unit = day.price_unit.0;
    let tick = day.tick();
    assert!(unit <= tick.0, "a tick is not finer than the unit of the file's prices");
    assert!(prices(&day).all(|price| price.0 % tick.0 == 0), "every price is a multiple of the tick");
    let written = write(&day.commands, unit);
    let again = Day::parse(&written).expect("a day that was written parses");
    assert_eq!(without_lines(again.commands), without_lines(day.commands), "{written:?}");
    Outcome::Decoded
}

fn prices(day: &Day) -> impl Iterator<Item = PriceE9> + '_ {
    day.commands.iter().filter_map(|command| match command.action {
        Action::New { price, .. } => Some(price),
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
    // The parser chooses the unit of prices by the kind of the checks, and those are written along.
    let mut text = String::new();
    for command in commands {
        let line = match command.action {
            Action::New { id, side, price, shares, tif } => {
                let verb = if tif == TimeInForce::Gtc { "N" } else { "A" };
                let side = if side == Side::Buy { "B" } else { "S" };
                writeln!(text, "{verb} {id} {side} {} {shares}", price.0 / unit)
            }
            Action::Cancel { id } => writeln!(text, "D {id}"),
            Action::Reduce { id, shares } => writeln!(text, "R {id} {shares}"),
            Action::Clear => writeln!(text, "Z"),
        };
        line.expect("a string accepts text");
        for trade in &command.trades {
            writeln!(text, "T {} {} {}", trade.maker, trade.price.0 / unit, trade.shares)
                .expect("a string accepts text");
        }
        for (_, check) in &command.checks {
            let line = match check {
                Check::Row(row) => format!("K {row}"),
                Check::Top { bid, ask } => format!("C {} {}", top(*bid, unit), top(*ask, unit)),
            };
            writeln!(text, "{line}").expect("a string accepts text");
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
