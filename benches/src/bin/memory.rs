//! What a full house costs: resting orders, balances and markets by the million, through `apply`, in resident bytes.

use anyhow::Result;
use benches::clock::Ticks;
use benches::exchange::Exchange;
use benches::full_book::{add_accounts, add_balances, add_markets, add_sessions, rest_orders};
use benches::machine::{Machine, resident_bytes};
use book::engine::Capacity;
use book::session::SESSIONS_MAX;
use clap::Parser;
use serde_json::{Value, json};
use std::process::ExitCode;

const WIRING: &str = "\
memory: one engine filled through `apply`, its resident memory after each stage

  assets, markets --> accounts, deposits --> sessions, resting orders --> RSS, bytes per thing
  every balance is deposited under a reference that is remembered for ever; every order comes through a session and
  is in its market's book, its account's list and the index of client ids";

#[derive(Clone, Debug, Parser)]
struct Options {
    #[arg(long, default_value_t = 4_000_000)]
    orders: u32,
    /// Two of them to an account.
    #[arg(long, default_value_t = 10_000_000)]
    balances: u32,
    #[arg(long, default_value_t = 100_000)]
    markets: u32,
    /// A hundredth of everything.
    #[arg(long)]
    quick: bool,
    #[arg(long)]
    json: bool,
    /// Fails when more than this many bytes are resident at the end.
    #[arg(long, default_value_t = 8 << 30)]
    bytes_max: u64,
}

/// Memory after a stage, and what the stage added.
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
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("memory: more is resident than is allowed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("memory: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let share = if options.quick { 100 } else { 1 };
    let (orders, balances, markets) = (options.orders / share, options.balances / share, options.markets / share);
    let machine = Machine::enter(None, &Ticks::default());
    if !options.json {
        println!("{WIRING}\n\n{}\n", machine.text());
    }
    let empty = resident_bytes();
    // No capacity is set aside: what is resident is what the things themselves made the arrays grow to.
    let mut exchange = Exchange::<false>::new(Capacity { orders: 0, leaves: 0, markets: 0 });
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
    let ok = resident <= options.bytes_max;
    if options.json {
        let stages: Vec<Value> = stages.iter().map(stage_json).collect();
        let bytes_max = options.bytes_max;
        let all = json!({
            "bench": "memory", "machine": machine.json(), "ok": ok, "resident_bytes": resident,
            "resident_bytes_max": bytes_max, "stages": stages,
        });
        println!("{all:#}");
    } else {
        println!("{:<16}{:>12}{:>14}{:>16}{:>16}", "thing", "count", "bytes each", "added MB", "resident MB");
        for s in &stages {
            let (added, resident) = (s.added >> 20, s.resident >> 20);
            println!("{:<16}{:>12}{:>14.0}{added:>16}{resident:>16}", s.thing, s.count, s.bytes_each());
        }
        let verdict = if ok { "fits" } else { "does NOT fit" };
        println!("\n{} MB resident, {verdict} in {} MB", resident >> 20, options.bytes_max >> 20);
    }
    Ok(ok)
}

fn stage_json(stage: &Stage) -> Value {
    json!({
        "thing": stage.thing, "count": stage.count, "bytes_each": stage.bytes_each(),
        "added_bytes": stage.added, "resident_bytes": stage.resident,
    })
}
