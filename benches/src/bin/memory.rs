//! memory: resident bytes of one engine that is filled through `apply` with markets, balances and orders by the
//! million.
//!
//! ```text
//!   assets, markets --> accounts, deposits --> sessions, resting orders     resident memory is read after each stage
//!
//! checked   the engine's own verification passes on the full state; at most --bytes-max bytes are resident, or exit
//!           code 1
//! printed   for each stage: count, bytes of one thing, bytes added, bytes resident; the total beside its limit
//!
//! Every deposit has a reference, which the engine keeps. Every order comes through a session and stands in its
//! market's book, its account's list and the index of client order ids.
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::{Result, ensure};
use benches::clock::Ticks;
use benches::exchange::Exchange;
use benches::full_book::{add_accounts, add_balances, add_markets, add_sessions, rest_orders};
use benches::machine::{Machine, resident_bytes};
use benches::options::{Mode, exit_code};
use book::engine::Capacity;
use book::session::SESSIONS_MAX;
use clap::Parser;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Clone, Debug, Parser)]
struct Args {
    /// Orders at rest; a quick run makes a hundredth of them, and of balances and markets.
    #[arg(long, default_value_t = 4_000_000)]
    orders: u32,
    /// Balances, two for each account.
    #[arg(long, default_value_t = 10_000_000)]
    balances: u32,
    /// Markets.
    #[arg(long, default_value_t = 100_000)]
    markets: u32,
    #[command(flatten)]
    mode: Mode,
    /// Fail when more than this many bytes are resident at the end.
    #[arg(long, default_value_t = 8 << 30)]
    bytes_max: u64,
}

/// Resident memory after a stage, and the part that the stage added.
struct Stage {
    thing: &'static str,
    count: u64,
    resident: u64,
    added: u64,
}

impl Stage {
    fn bytes_each(&self) -> f64 {
        self.added as f64 / self.count.max(1) as f64
    }
}

fn main() -> ExitCode {
    exit_code("memory", run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let share = if args.mode.quick { 100 } else { 1 };
    let (orders, balances, markets) = (args.orders / share, args.balances / share, args.markets / share);
    let machine = Machine::enter(None, &Ticks::default());
    args.mode.print_head(include_str!("memory.rs"), &machine.text());
    let (stages, resident) = fill(orders, balances, markets)?;
    let (ok, bytes_max) = (resident <= args.bytes_max, args.bytes_max);
    if args.mode.json {
        let stages: Vec<Value> = stages.iter().map(stage_json).collect();
        let all = json!({
            "bench": "memory", "machine": machine.json(), "ok": ok, "resident_bytes": resident,
            "resident_bytes_max": bytes_max, "stages": stages,
        });
        println!("{all:#}");
    } else {
        print_stages(&stages);
        println!("\n{} MB resident, limit {} MB", resident >> 20, bytes_max >> 20);
    }
    ensure!(ok, "{resident} bytes are resident, more than the {bytes_max} of --bytes-max");
    Ok(())
}

/// Fills an engine; returns its stages and the bytes resident at the end.
fn fill(orders: u32, balances: u32, markets: u32) -> Result<(Vec<Stage>, u64)> {
    let empty = resident_bytes();
    // No capacity is reserved, so that the resident bytes are those to which the arrays grow on their own.
    let mut exchange = Exchange::<false>::new(Capacity { orders: 0, leaves: 0, markets: 0, names: 1 });
    let mut stages: Vec<Stage> = Vec::new();
    let mut stage = |thing, count: u32| {
        let resident = resident_bytes();
        let added = resident.saturating_sub(stages.last().map_or(empty, |stage: &Stage| stage.resident));
        stages.push(Stage { thing, count: u64::from(count), resident, added });
    };
    add_markets(&mut exchange, markets)?;
    stage("market", markets);
    let accounts = balances / 2;
    add_accounts(&mut exchange, accounts)?;
    stage("account", accounts);
    add_balances(&mut exchange, accounts)?;
    stage("balance", accounts * 2);
    let sessions = accounts.min(SESSIONS_MAX);
    add_sessions(&mut exchange, sessions)?;
    stage("session", sessions);
    rest_orders(&mut exchange, orders, sessions)?;
    stage("resting order", orders);
    exchange.engine.verify()?;
    let resident = stages.last().map_or(empty, |stage| stage.resident);
    Ok((stages, resident))
}

fn print_stages(stages: &[Stage]) {
    println!("{:<16}{:>12}{:>14}{:>16}{:>16}", "thing", "count", "bytes each", "added MB", "resident MB");
    for s in stages {
        let (added, resident) = (s.added >> 20, s.resident >> 20);
        println!("{:<16}{:>12}{:>14.0}{added:>16}{resident:>16}", s.thing, s.count, s.bytes_each());
    }
}

fn stage_json(stage: &Stage) -> Value {
    json!({
        "thing": stage.thing, "count": stage.count, "bytes_each": stage.bytes_each(),
        "added_bytes": stage.added, "resident_bytes": stage.resident,
    })
}
