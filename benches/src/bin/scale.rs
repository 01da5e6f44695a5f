//! How the cost of a command grows with markets, sessions and orders at rest, and with sessions of a whole node.

use anyhow::{Context, Result, ensure};
use benches::clock::Ticks;
use benches::disk::place;
use benches::fixture::Sync;
use benches::flood::serve;
use benches::growth::Sweep;
use benches::machine::{Machine, available_bytes};
use benches::population::Shape;
use benches::sessions::{Plan, Sessions};
use book::session::SESSIONS_MAX;
use clap::Parser;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const WIRING: &str = "\
scale: one number grows, the others stay

  engine   commands in memory --> [ Engine::apply ] --> events in one buffer      one thread, the last core
           5 % take, 40 % amend, 55 % add or cancel; accounts, markets and orders are drawn evenly, hence cold
           an account has a session and every asset; half of all cancels and amendments name the exchange's id
           timed: million commands per CPU second over 45 % of the commands, single commands over as many, behind
           10 % of warm-up; setting up and filling the books is not; the number of commands is the same at every point
  node     client process, spinning on core 0 --> loopback TCP --> node in this process, spinning on core 1
           every session is logged in and floods; post-only orders and cancels of the oldest; a warm-up before;
           a session keeps 65,536 messages for a resend, the default, and 1,024 where there are 10,000 of them
check    engine: verify() at the end of every round, as many orders at rest as the events say, and the state hash of the
         run that made the commands; node: every command answered in order, none refused, a restart recovers all";

/// Orders at rest and accounts, where they are not what grows.
const ORDERS: u32 = 100_000;
const ACCOUNTS: u32 = 1_000;
/// Memory of an order at rest with its links, its place in the index and its share of a level, with room.
const BYTES_PER_ORDER: u64 = 256;

#[derive(Clone, Debug, Parser)]
struct Args {
    /// Interleaved rounds; the figures are medians over them.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Commands at each point, warm-up included.
    #[arg(long, default_value_t = 1_000_000)]
    commands: usize,
    /// Only these sweeps.
    #[arg(long, value_delimiter = ',', default_value = "markets,sessions,orders,node")]
    sweeps: Vec<String>,
    /// Leave out what is larger than this.
    #[arg(long, default_value_t = 10_000_000)]
    value_max: u32,
    /// Seconds of each flood of the node.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// When the node acknowledges: always or interval.
    #[arg(long, default_value = "always")]
    sync: String,
    /// Where the node's files go, instead of beside the binary.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Pin the engine to this core instead of the last one.
    #[arg(long)]
    core: Option<usize>,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
    /// Small points, one short round: does it run, is it right?
    #[arg(long)]
    quick: bool,
    /// Be the client of a node at this address, with so many sessions.
    #[arg(long, hide = true, num_args = 2)]
    client: Vec<String>,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.quick {
        (args.rounds, args.commands, args.seconds) = (1, 20_000, 0.2);
        args.value_max = args.value_max.min(10_000);
    }
    let outcome = match &args.client[..] {
        [address, sessions] => be_client(address, sessions),
        _ => run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn be_client(address: &str, sessions: &str) -> Result<()> {
    serve(address.parse()?, sessions.parse()?)
}

fn client(address: SocketAddr, sessions: u32) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--client", &address.to_string(), &sessions.to_string()]);
    Ok(command)
}

fn run(args: &Args) -> Result<()> {
    let known = ["markets", "sessions", "orders", "node"];
    let unknown = args.sweeps.iter().find(|name| !known.contains(&name.as_str()));
    ensure!(unknown.is_none(), "there is no sweep {unknown:?}; there is: {known:?}");
    let wants = |name: &str| args.sweeps.iter().any(|wanted| wanted == name);
    let ticks = Ticks::default();
    // On a thread of its own: what is pinned here would be inherited by every thread of the node.
    let engine = || engine_sweeps(args, &wants, &ticks);
    let (machine, sweeps) =
        std::thread::scope(|scope| scope.spawn(engine).join().expect("a sweep fails, it does not panic"))?;
    let mut out = json!({
        "bench": "scale", "machine": machine.json(), "ok": true, "commands": args.commands, "rounds": args.rounds,
        "sweeps": sweeps.iter().map(Sweep::json).collect::<Vec<Value>>(),
    });
    if wants("node") {
        let node = node_sweep(args, &machine)?;
        say(args, &node.text());
        out["node"] = node.json();
    }
    if args.json {
        println!("{out:#}");
    }
    Ok(())
}

fn say(args: &Args, text: &str) {
    if !args.json {
        println!("{text}");
    }
}

/// What grows, what stays, and the shape that a value makes.
type Growing = (&'static str, String, &'static [u32], fn(u32) -> Shape);

fn engine_sweeps(
    args: &Args,
    wants: &(dyn Fn(&str) -> bool + std::marker::Sync),
    ticks: &Ticks,
) -> Result<(Machine, Vec<Sweep>)> {
    let machine = Machine::enter(args.core, ticks);
    say(args, &format!("{WIRING}\n\n{}\n", machine.text()));
    let growing: [Growing; 3] = [
        (
            "markets",
            format!("{ACCOUNTS} accounts, {ORDERS} orders at rest over all"),
            &[1, 10, 100, 1_000, 10_000],
            |markets| Shape { markets, accounts: ACCOUNTS, orders: ORDERS },
        ),
        // As many as the engine admits.
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
        let sweep = Sweep::measure(name, fixed, &points, args.commands, args.rounds, ticks)?;
        say(args, &sweep.text());
        sweeps.push(sweep);
    }
    Ok((machine, sweeps))
}

/// One engine at a time is alive, beside the commands of all points.
fn has_memory(value: u32, shape: Shape) -> bool {
    let needed = u64::from(shape.orders) * BYTES_PER_ORDER;
    let Some(available) = available_bytes() else { return true };
    let fits = needed <= available;
    if !fits {
        let (needed, available) = (needed >> 20, available >> 20);
        eprintln!("scale: {value} is skipped: it needs about {needed} MB of memory, {available} MB are available");
    }
    fits
}

fn node_sweep(args: &Args, machine: &Machine) -> Result<Sessions> {
    ensure!(machine.cores >= 2, "client and node need a core each");
    let sync = match args.sync.as_str() {
        "always" => Sync::Always,
        "interval" => Sync::Interval,
        other => anyhow::bail!("--sync {other}: always or interval"),
    };
    let place = place(args.dir.as_deref())?;
    let plan = Plan { place: place.path(), sync, seconds: args.seconds, client };
    let values: &[u32] = if args.quick { &[1, 100] } else { &[1, 100, 10_000] };
    let values: Vec<u32> = values.iter().copied().filter(|value| *value <= args.value_max).collect();
    Sessions::measure(&plan, &values, args.rounds).context("the node")
}
