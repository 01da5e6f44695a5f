//! adversary: what attacks cost, and whom.
//!
//! ```text
//!   engine    an attack's commands in memory --> [ Engine::apply ]       one thread, the last core
//!             at --orders orders at rest of one account; growth begins with none
//!             timed: each command, and each part that continues one, as the shortest of all rounds
//!   node      honest load, 4 sessions, due at --rate --+
//!             an attack's steps, one for each of them -+--> loopback TCP --> node in this process, core 1
//!             one thread on core 0 does both; the node's other threads are on core 0 too
//!             the attacks follow each other on one node, each after the same load without it
//!
//! checked   engine: verify() after every round; node: every honest command answered in order, none refused, and after
//!           each round a restart recovers a state that verifies, with the honest sessions' orders
//! printed   engine, for each attack: commands, the median command, the longest and which of them it is, and the
//!           longest of a round as measured
//!           node, for each attack: honest answers a second, as a share of those without it; p99 from when due and the
//!           engine's longest cycle, without and with it; memory that the process has grown by; medians of the rounds
//! aims      the longest command of the engine at most 1 ms; a share of at least 0.9; none is asserted
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::{Result, ensure};
use benches::adversary::attacks;
use benches::adversary::commands::{Costs, Kind, LONGEST_NS_AIM};
use benches::adversary::node::{Beside, Plan, SHARE_AIM, round};
use benches::clock::Ticks;
use benches::disk::run_directory;
use benches::machine::Machine;
use benches::options::{Files, Mode, RoundCount, exit_code};
use clap::Parser;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Clone, Debug, Parser)]
struct Args {
    #[command(flatten)]
    rounds: RoundCount<5>,
    /// Orders at rest, of one account.
    #[arg(long, default_value_t = 1_000_000)]
    orders: u32,
    /// Honest commands due in a second.
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Seconds of each load, without an attack and with it.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Measure only attacks whose name contains this text.
    #[arg(long)]
    only: Option<String>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    mode: Mode,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.mode.quick {
        (args.orders, args.rate, args.seconds) = (2_000, 2_000, 0.1);
    }
    exit_code("adversary", run(&args))
}

fn run(args: &Args) -> Result<()> {
    let ticks = Ticks::default();
    let machine = Machine::enter_aside(0, &ticks)?;
    args.mode.print_head(include_str!("adversary.rs"), &machine.text());
    let wants = |name: &str| args.only.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let costs = engine_attacks(args, &wants, &ticks)?;
    let beside = node_attacks(args, &wants, &ticks)?;
    ensure!(!costs.is_empty() || !beside.is_empty(), "--only: no attack has this text in its name: {}", names());
    if args.mode.json {
        let document = json!({
            "bench": "adversary", "machine": machine.json(), "ok": true, "orders": args.orders, "rate": args.rate,
            "longest_ns_aim": LONGEST_NS_AIM, "share_aim": SHARE_AIM,
            "engine": costs.iter().map(Costs::json).collect::<Vec<Value>>(),
            "node": beside.iter().map(Beside::json).collect::<Vec<Value>>(),
        });
        println!("{document:#}");
    }
    Ok(())
}

fn names() -> String {
    let engine = Kind::ALL.iter().map(|kind| kind.name());
    engine.chain(attacks::Kind::ALL.iter().map(|kind| kind.name())).collect::<Vec<_>>().join("; ")
}

/// On a thread of its own, because every thread of the node would inherit the core to which it is pinned.
fn engine_attacks(args: &Args, wants: &(dyn Fn(&str) -> bool + Sync), ticks: &Ticks) -> Result<Vec<Costs>> {
    let measure = || {
        Machine::enter(None, ticks);
        let kinds = Kind::ALL.into_iter().filter(|kind| wants(kind.name()));
        kinds.map(|kind| Costs::measure(kind, args.orders, args.rounds.get(args.mode), ticks)).collect()
    };
    let costs: Result<Vec<Costs>> =
        std::thread::scope(|scope| scope.spawn(measure).join().expect("an attack reports an error and does not panic"));
    let costs = costs?;
    let head = format!("{} orders at rest, aim: longest at most {} us", args.orders, LONGEST_NS_AIM / 1_000);
    let lines: Vec<String> = costs.iter().map(Costs::line).collect();
    args.mode.print(format_args!("{head}\n{}\n{}\n", Costs::head(), lines.join("\n")));
    Ok(costs)
}

fn node_attacks(args: &Args, wants: &dyn Fn(&str) -> bool, ticks: &Ticks) -> Result<Vec<Beside>> {
    let directory = run_directory(args.files.dir.as_deref())?;
    let (orders, rate, length) = (args.orders, args.rate, Duration::from_secs_f64(args.seconds));
    let plan = Plan { directory: directory.path(), orders, rate, length };
    let mut beside = Beside::all(wants);
    if beside.is_empty() {
        return Ok(beside);
    }
    for _ in 0..args.rounds.get(args.mode) {
        round(&plan, &mut beside, ticks)?;
    }
    let head =
        format!("{rate} honest commands due in a second, {orders} orders at rest, aim: share at least {SHARE_AIM}");
    let lines: Vec<String> = beside.iter().map(Beside::line).collect();
    args.mode.print(format_args!("{head}\n{}\n{}", Beside::head(), lines.join("\n")));
    Ok(beside)
}
