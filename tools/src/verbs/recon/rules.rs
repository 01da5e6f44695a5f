//! The rules about a state alone.

use super::finding::Finding;
use super::history::Unwritten;
use crate::offline::as_of::StateAt;
use book::command::Side;
use book::engine::Engine;
use book::ids::AssetId;
use book::units::UNITS_MAX;
use book::verify::Inconsistent;
use node::replica::Replica;
use std::collections::BTreeMap;

pub(super) fn of_state(replica: &Replica) -> Vec<Finding> {
    let engine = &replica.engine;
    let mut findings: Vec<Finding> = conservation(engine);
    findings.push(holds(engine));
    findings.push(amounts(engine));
    findings.push(books(engine));
    findings.push(lists(engine));
    findings
}

#[derive(Clone, Copy, Default)]
struct Sum {
    available: u128,
    held: u128,
}

fn sums(engine: &Engine) -> BTreeMap<AssetId, Sum> {
    let mut sums: BTreeMap<AssetId, Sum> = BTreeMap::new();
    for balance in engine.accounts().iter().flat_map(|(_, account)| account.balances()) {
        let sum = sums.entry(balance.asset).or_default();
        sum.available += u128::from(balance.available.0);
        sum.held += u128::from(balance.held.0);
    }
    sums
}

/// Per asset: what all accounts have, plus the fees earned, is what the custodian holds.
fn conservation(engine: &Engine) -> Vec<Finding> {
    let sums = sums(engine);
    let each = engine.accounts().assets().iter().map(|book| {
        let Sum { available, held } = sums.get(&book.asset.id).copied().unwrap_or_default();
        let (fees, custody) = (u128::from(book.fees.0), u128::from(book.custody.0));
        let sum = available + held + fees;
        let symbol = book.asset.symbol.as_str();
        let figures = format!("{symbol}: available {available} + held {held} + fees {fees} = {sum}, custody {custody}");
        let breaks = if sum == custody { Vec::new() } else { vec![format!("{symbol}: {sum} is not {custody}")] };
        Finding::new("conservation", figures, breaks)
    });
    let mut findings: Vec<Finding> = each.collect();
    // The engine's own check also finds balances without an asset, and rows out of order.
    let breaks = breaks_of(engine.verify_conservation());
    if !breaks.is_empty() && findings.iter().all(|finding| finding.breaks.is_empty()) {
        findings.push(Finding::new("conservation", "rows".to_owned(), breaks));
    }
    findings
}

fn breaks_of(verdict: Result<(), Inconsistent>) -> Vec<String> {
    verdict.err().map(|why| why.0).into_iter().collect()
}

/// Each account holds exactly what its open orders need.
fn holds(engine: &Engine) -> Finding {
    let (orders, accounts) = (engine.pool().orders.len(), engine.accounts().len());
    let figures = format!("{accounts} accounts hold what their {orders} open orders need");
    Finding::new("holds", figures, breaks_of(engine.verify_holds()))
}

/// Amounts are unsigned, so one below zero would show as a huge one.
fn amounts(engine: &Engine) -> Finding {
    let mut largest = 0;
    let mut breaks = Vec::new();
    let mut count = 0;
    for (id, account) in engine.accounts().iter() {
        for balance in account.balances() {
            count += 1;
            for (word, amount) in [("available", balance.available.0), ("held", balance.held.0)] {
                largest = largest.max(amount);
                if UNITS_MAX < amount {
                    breaks.push(format!("account {}, asset {}: {word} {amount}", id.0, balance.asset.0));
                }
            }
        }
    }
    Finding::new("amounts", format!("{count} balances, the largest amount {largest}, none below zero"), breaks)
}

fn books(engine: &Engine) -> Finding {
    let two_sided = engine
        .markets()
        .filter(|market| market.book.best_price(Side::Buy).is_some() && market.book.best_price(Side::Sell).is_some());
    let (markets, two_sided, orders) = (engine.markets().count(), two_sided.count(), engine.pool().orders.len());
    let figures = format!("{orders} orders in {markets} books, {two_sided} of them with both sides, none crossed");
    Finding::new("books", figures, breaks_of(engine.verify_books()))
}

fn lists(engine: &Engine) -> Finding {
    let sessions = engine.sessions().len();
    let figures =
        format!("every open order is on its account's list, and found by its client id in {sessions} sessions");
    Finding::new("lists", figures, breaks_of(engine.verify_lists()))
}

/// A replay ends where a recorded hash disagrees, so after a replay all that it compares have agreed.
pub(super) fn checks(unwritten: &Unwritten, state: &StateAt) -> Finding {
    let skipped = state.checks_skipped;
    let compared = unwritten.checks.saturating_sub(skipped.count);
    let mut figures = format!("{compared} recorded hashes in {} commands applied, all equal", state.commands_applied);
    if 0 < skipped.count {
        figures += &format!("; {}", skipped.text());
    }
    Finding::new("checks", figures, Vec::new())
}
