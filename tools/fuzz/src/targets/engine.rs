//! The engine and all that follows its events: any commands, with operands at the ends of their types, keep every
//! invariant of `exchange`.
//!
//! An input is steps of `STEP_BYTES` bytes each. `commands` has their meaning, in which no byte is wrong; `opening` has
//! the exchange on which they begin.

mod commands;
mod exchange;
mod opening;
mod operands;

use crate::target::{Outcome, Target, repair_nothing};
use commands::{STEP_BYTES, Step, kind};
use exchange::Exchange;

pub const TARGET: Target =
    Target { name: "engine", seeds, repair: repair_nothing, check, bytes_max: 256 * STEP_BYTES, round_inputs: 500 };

/// An input of which no order rests tests little, and counts as refused.
fn check(input: &[u8]) -> Outcome {
    let mut exchange = Exchange::new();
    opening::commands().iter().for_each(|command| exchange.apply(command));
    let (markets, sessions) = (exchange.engine.market_ids(), exchange.engine.sessions().len());
    assert_eq!((markets, sessions), (opening::MARKETS.into(), opening::SESSIONS.len()), "the opening is accepted");
    for step in input.chunks(STEP_BYTES) {
        match commands::read(step, &exchange.engine, &exchange.rested) {
            Step::Command(command) => exchange.apply(&command),
            Step::Wait { ns } => exchange.wait(ns),
            Step::StartAgain => exchange.start_again(),
        }
    }
    exchange.start_again();
    if exchange.rested.is_empty() { Outcome::Refused } else { Outcome::Decoded }
}

/// Days of a few steps: orders that rest, trade, change and end, in each of the opening's markets, under the first
/// rules and under the newest; one of API keys, and one of sessions' lives.
fn seeds() -> Vec<Vec<u8>> {
    let days = (1..=opening::MARKETS).flat_map(|market| [quiet(market), lively(market)]);
    let under_newest = days.clone().map(|day| [raise(), day].concat());
    days.clone().chain(under_newest).chain([keyed(), renewed()]).collect()
}

/// The node raises the log to the newest rules.
fn raise() -> Vec<u8> {
    step(kind::ACTED, &[&[2, 0], &[8, 1]])
}

/// The number operands of one, of a hundred, and of a hundred million.
const ONE: [u8; 2] = [1, 0];
const HUNDRED: [u8; 2] = [73, 0];
const LARGE: [u8; 2] = [76, 0];

fn step(kind: u8, operands: &[&[u8]]) -> Vec<u8> {
    let mut step = vec![kind];
    operands.iter().for_each(|operand| step.extend_from_slice(operand));
    step.resize(STEP_BYTES, 0);
    step
}

/// A limit order that rests, of the `session`-th session; `side` is 0 to buy, 1 to sell.
fn limit(session: u8, market: u8, side: u8, price: [u8; 2], qty: [u8; 2]) -> Vec<u8> {
    step(kind::PLACE, &[&[session, market, side], &price, &[0], &qty])
}

fn quiet(market: u8) -> Vec<u8> {
    let two = [2, 0];
    [
        limit(2, market, 0, ONE, HUNDRED),
        limit(3, market, 1, two, HUNDRED),
        step(kind::CANCEL, &[&[0, 0], &[2, 0, 0, market]]),
        step(kind::WAIT, &[&HUNDRED]),
        step(kind::START_AGAIN, &[]),
    ]
    .concat()
}

fn lively(market: u8) -> Vec<u8> {
    let two = [2, 0];
    [
        limit(2, market, 0, ONE, HUNDRED),
        limit(4, market, 0, ONE, LARGE),
        limit(3, market, 1, ONE, ONE),
        step(kind::AMEND, &[&[0, 1], &ONE, &HUNDRED, &[0, 4, 0, 0, market]]),
        step(kind::START_AGAIN, &[]),
        limit(3, market, 1, two, HUNDRED),
        step(kind::PLACE, &[&[2, market, 2 << 1], &two, &[6], &ONE]),
        step(kind::CANCEL_REPLACE, &[&[0, 0, 0], &[2, market, 0], &ONE, &[0], &ONE]),
        step(kind::QUERY, &[&[4, 7, 0]]),
        step(kind::CHECK, &[]),
        step(kind::MASS_CANCEL, &[&[4, 1, 0]]),
        step(kind::SESSION_DOWN, &[&[0, 2]]),
        step(kind::ADMIN, &[&[16, 2, 1, 77], &ONE]),
    ]
    .concat()
}

/// A log that is opened and raised to the newest rules; then a key of an account with an order cancels it, pays out,
/// and gives itself up.
fn keyed() -> Vec<u8> {
    let (ops, key) = (0, 3);
    [
        step(kind::OPENED, &[&[12], &ONE, &LARGE]),
        raise(),
        step(kind::ACTED, &[&[ops, 0], &[7, 2, 1, 7, 1], &[0, 0]]),
        limit(2, 1, 0, ONE, HUNDRED),
        step(kind::ACTED, &[&[key, 1], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20]]),
        limit(2, 1, 0, ONE, HUNDRED),
        step(kind::ACTED, &[&[key, 1], &[4, 0, 1, 9], &ONE]),
        step(kind::START_AGAIN, &[]),
        step(kind::ACTED, &[&[key, 1], &[3, 1]]),
        step(kind::ACTED, &[&[key, 1], &[6, 1]]),
        step(kind::ACTED, &[&[key, 1], &[3, 0]]),
    ]
    .concat()
}

/// A log that is raised to the newest rules; then a session with orders loses its connection, gets a new life, trades
/// in it, and is removed.
fn renewed() -> Vec<u8> {
    [
        raise(),
        limit(2, 1, 0, ONE, HUNDRED),
        step(kind::CONNECTION_END, &[&[0, 2]]),
        limit(2, 1, 0, ONE, HUNDRED),
        step(kind::SESSION, &[&[0, 2], &HUNDRED]),
        step(kind::START_AGAIN, &[]),
        limit(2, 1, 0, ONE, HUNDRED),
        step(kind::SESSION, &[&[5, 2], &HUNDRED]),
        step(kind::SESSION, &[&[7, 2]]),
        step(kind::SESSION, &[&[4, 2]]),
        limit(2, 1, 0, ONE, HUNDRED),
        step(kind::START_AGAIN, &[]),
    ]
    .concat()
}
