//! scale: how the cost of a command grows with one number, while the others stay.
//!
//! ```text
//!   engine    commands in memory --> [ Engine::apply ] --> events in one buffer      one thread, the last core
//!             5 % take, 40 % amend, 55 % add or cancel; accounts, markets and orders are drawn evenly, the worst
//!             case for caches
//!             an account has a session and every asset; half of all cancels and amendments carry the exchange's id
//!             timed: million commands per CPU second over 45 % of the commands, then single commands over as many,
//!             after 10 % of warm-up; set-up and filling the books are not timed; every point has the same number of
//!             commands
//!   node      client process, spinning on core 0 --> loopback TCP --> node in this process, spinning on core 1
//!             every session is logged in and floods: post-only orders and cancels of the oldest, after a warm-up
//!             a session keeps 65,536 messages for a resend, the default, and 1,024 where there are 10,000 sessions
//!
//! checked   engine: verify() at the end of every round, as many orders at rest as the events say, and the state hash
//!           of the run that made the commands; node: every command answered in order, none refused, a restart
//!           recovers all
//! printed   engine, for each point: throughput (median, min, max over the rounds, noise), p50 and p99 of one command
//!           in ns (median, min to max), orders at rest, fills; node, for each number of sessions: commands a second
//!           (median, min, max, noise), the node's CPU time for a command (its core spins, so idling is in it), its
//!           entries into the kernel and its idle cycles for a command, seconds of the login
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::{Context, Result, bail};
use benches::clock::Ticks;
use benches::disk::run_directory;
use benches::fixture::Sync;
use benches::flood::serve;
use benches::growth::Sweep;
use benches::machine::{Machine, available_bytes};
use benches::options::{Files, Mode, Pin, RoundCount, exit_code};
use benches::population::Shape;
use benches::sessions::{Plan, Sessions};
use book::session::SESSIONS_MAX;
use clap::Parser;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::{Command, ExitCode};

/// Orders at rest and accounts, in the sweeps in which they stay.
const ORDERS: u32 = 100_000;
const ACCOUNTS: u32 = 1_000;
/// Upper bound of the memory of an order at rest, with its links, its place in the index and its share of a level.
const BYTES_PER_ORDER: u64 = 256;

#[derive(Clone, Debug, Parser)]
struct Args {
    #[command(flatten)]
    rounds: RoundCount<5>,
    /// Commands at each point, warm-up included.
    #[arg(long, default_value_t = 1_000_000)]
    commands: usize,
    /// Measure only these sweeps.
    #[arg(long, value_delimiter = ',', default_value = "markets,sessions,orders,node")]
    sweeps: Vec<String>,
    /// Skip the points that are larger than this.
    #[arg(long, default_value_t = 10_000_000)]
    value_max: u32,
    /// Numbers of sessions that flood the node.
    #[arg(long, value_delimiter = ',', default_value = "1,100,10000")]
    node_sessions: Vec<u32>,
    /// Seconds of each flood of the node.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// When the node acknowledges.
    #[arg(long, value_enum, default_value_t = Sync::Always)]
    sync: Sync,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    pin: Pin,
    #[command(flatten)]
    mode: Mode,
    /// Run as the client process of a node at this address, with so many sessions.
    #[arg(long, hide = true, num_args = 2)]
    client: Vec<String>,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.mode.quick {
        (args.commands, args.seconds) = (20_000, 0.2);
        args.value_max = args.value_max.min(10_000);
    }
    let outcome = match &args.client[..] {
        [address, sessions] => run_client(address, sessions),
        _ => run(&args),
    };
    exit_code("scale", outcome)
}

fn run_client(address: &str, sessions: &str) -> Result<()> {
    serve(address.parse()?, sessions.parse()?)
}

/// This binary again, as the client process.
fn client(address: SocketAddr, sessions: u32) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--client", &address.to_string(), &sessions.to_string()]);
    Ok(command)
}

fn run(args: &Args) -> Result<()> {
    let known = ["markets", "sessions", "orders", "node"];
    let unknown = args.sweeps.iter().find(|name| !known.contains(&name.as_str()));
    if let Some(unknown) = unknown {
        bail!("--sweeps: there is no sweep {unknown:?}; allowed: {}", known.join(", "));
    }
    let wants = |name: &str| args.sweeps.iter().any(|wanted| wanted == name);
    let (ticks, rounds) = (Ticks::default(), args.rounds.get(args.mode));
    // On a thread of its own, because every thread of the node would inherit the core to which it is pinned.
    let engine = || engine_sweeps(args, &wants, &ticks);
    let (machine, sweeps) =
        std::thread::scope(|scope| scope.spawn(engine).join().expect("a sweep reports an error and does not panic"))?;
    let mut out = json!({
        "bench": "scale", "machine": machine.json(), "ok": true, "commands": args.commands, "rounds": rounds,
        "sweeps": sweeps.iter().map(Sweep::json).collect::<Vec<Value>>(),
    });
    if wants("node") {
        let node = node_sweep(args, &machine)?;
        args.mode.print(node.text());
        out["node"] = node.json();
    }
    if args.mode.json {
        println!("{out:#}");
    }
    Ok(())
}

/// A sweep: the number that grows, the others in words, its values, and the shape that a value gives.
type Growing = (&'static str, String, &'static [u32], fn(u32) -> Shape);

fn engine_sweeps(
    args: &Args,
    wants: &(dyn Fn(&str) -> bool + std::marker::Sync),
    ticks: &Ticks,
) -> Result<(Machine, Vec<Sweep>)> {
    let machine = Machine::enter(args.pin.core, ticks);
    args.mode.print_head(include_str!("scale.rs"), &machine.text());
    let growing: [Growing; 3] = [
        (
            "markets",
            format!("{ACCOUNTS} accounts, {ORDERS} orders at rest over all"),
            &[1, 10, 100, 1_000, 10_000],
            |markets| Shape { markets, accounts: ACCOUNTS, orders: ORDERS },
        ),
        // Up to as many sessions as the engine allows.
        (
            "sessions",
            format!("one market, {ORDERS} orders at rest over all"),
            &[1, 100, 10_000, SESSIONS_MAX],
            |accounts| Shape { markets: 1, accounts, orders: ORDERS },
        ),
        (
            "orders",
            format!("at rest, one market, {ACCOUNTS} accounts"),
            &[1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000],
            |orders| Shape { markets: 1, accounts: ACCOUNTS, orders },
        ),
    ];
    let mut sweeps = Vec::new();
    for (name, fixed, values, shape) in growing {
        if !wants(name) {
            continue;
        }
        let fits = |&&value: &&u32| value <= args.value_max && has_memory(value, shape(value));
        let points: Vec<(u32, Shape)> = values.iter().filter(fits).map(|&value| (value, shape(value))).collect();
        let sweep = Sweep::measure(name, fixed, &points, args.commands, args.rounds.get(args.mode), ticks)?;
        args.mode.print(sweep.text());
        sweeps.push(sweep);
    }
    Ok((machine, sweeps))
}

/// Whether the machine has the memory of a point: one engine exists at a time, beside the commands of all points.
fn has_memory(value: u32, shape: Shape) -> bool {
    let needed = u64::from(shape.orders) * BYTES_PER_ORDER;
    let Some(available) = available_bytes() else { return true };
    let fits = needed <= available;
    if !fits {
        let (needed, available) = (needed >> 20, available >> 20);
        eprintln!(
            "scale: point {value} is skipped: it needs about {needed} MB of memory, {available} MB are available"
        );
    }
    fits
}

fn node_sweep(args: &Args, machine: &Machine) -> Result<Sessions> {
    machine.require_two_cores()?;
    let directory = run_directory(args.files.dir.as_deref())?;
    let plan = Plan { directory: directory.path(), sync: args.sync, seconds: args.seconds, client };
    let value_max = if args.mode.quick { args.value_max.min(100) } else { args.value_max };
    let values: Vec<u32> = args.node_sessions.iter().copied().filter(|value| *value <= value_max).collect();
    Sessions::measure(&plan, &values, args.rounds.get(args.mode)).context("measuring the node")
}
