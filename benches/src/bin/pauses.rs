//! pauses: order to acknowledgement on a large state under load, with snapshots and without, in turn.
//!
//! ```text
//!   client, core 0 --> loopback TCP --> node in this process, spinning, core 1
//!                                       its other threads (shadow, store writer, feed): on any free core
//!
//! state     accounts with two balances and two resting orders each, far from the flow's prices, written into the log
//!           first
//! flow      as in round_trip: post-only orders that rest and cancels of the oldest; due at a fixed rate, timed from
//!           when due
//! inside    from the read of a command's bytes to the send of its answer, counted by the node over the complete
//!           session
//! cycle     the engine loop's longest cycle under load, its wait for work included
//! checked   every command is answered once, in order; the shadow agrees with every hash in the log and reaches its
//!           end; a restart recovers every command
//! printed   beside each other, without snapshots and with them: p50, p99, p99.9 and maximum at the client; p99 and
//!           p99.9 inside the node, of the journal and of the queue; the longest cycle; snapshots; the shadow's lag
//!           in commands; median [min .. max] over the rounds
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::Result;
use benches::client::{Client, Subject};
use benches::clock::Ticks;
use benches::disk::run_directory;
use benches::exchange::resting_order;
use benches::fixture::{NODE_CORE, Sync, USER, setup_commands};
use benches::flow::RESTING;
use benches::machine::Machine;
use benches::options::{Files, Mode, RoundCount, exit_code};
use benches::report::Spread;
use benches::rounds::Latencies;
use book::command::{AccountKind, AccountSpec, Admin, Command, FundsMove, Side};
use book::ids::{AccountId, AssetId, ClientKey, MarketId};
use book::units::Units;
use clap::Parser;
use node::rings::stages::StageTotals;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Clone, Debug, Parser)]
struct Args {
    #[command(flatten)]
    rounds: RoundCount<3>,
    /// Commands due in a second.
    #[arg(long, default_value_t = 100_000)]
    rate: u64,
    /// Seconds of load in a round.
    #[arg(long, default_value_t = 65.0)]
    seconds: f64,
    /// Seconds between two snapshots.
    #[arg(long, default_value_t = 30)]
    every: u64,
    /// Orders at rest, and as many balances.
    #[arg(long, default_value_t = 1_000_000)]
    orders: u32,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    mode: Mode,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.mode.quick {
        (args.rate, args.seconds, args.every, args.orders) = (5_000, 3.0, 1, 2_000);
    }
    exit_code("pauses", run(&args))
}

/// Figures of one session under load.
struct Load {
    latencies: Latencies,
    inside_p99_ns: u64,
    inside_p999_ns: u64,
    journal_p999_ns: u64,
    queue_p999_ns: u64,
    cycle_ns_max: u64,
    snapshots: u64,
    snapshot_ns: u64,
    /// The shadow's lag when the load ended, in commands.
    shadow_lag: u64,
}

struct Column {
    name: &'static str,
    loads: Vec<Load>,
}

fn run(args: &Args) -> Result<()> {
    let ticks = Ticks::default();
    let machine = Machine::enter_aside(0, &ticks)?;
    args.mode.print_head(include_str!("pauses.rs"), &machine.text());
    let directory = run_directory(args.files.dir.as_deref())?;
    let mut columns = [Column { name: "without", loads: Vec::new() }, Column { name: "with", loads: Vec::new() }];
    for round in 0..args.rounds.get(args.mode) {
        for (column, every) in columns.iter_mut().zip([None, Some(args.every)]) {
            let path = directory.path().join(format!("{}-{round}", column.name));
            column.loads.push(load(args, &path, every, &ticks)?);
            std::fs::remove_dir_all(&path)?;
        }
    }
    if args.mode.json {
        let columns: Vec<Value> = columns.iter().map(Column::json).collect();
        println!(
            "{:#}",
            json!({ "bench": "pauses", "machine": machine.json(), "rate": args.rate, "columns": columns })
        );
    } else {
        println!("{}", text(args, &columns));
    }
    Ok(())
}

fn load(args: &Args, path: &std::path::Path, every: Option<u64>, ticks: &Ticks) -> Result<Load> {
    let every = every.map_or("24h".to_owned(), |seconds| format!("{seconds}s"));
    let config = format!("[snapshot]\nevery_commands = 1000000000000\nevery = \"{every}\"\non_stop = false\n");
    let mut subject = Subject::with_log(path, Sync::Always, &config, log_commands(args.orders)?)?;
    let load = subject.session(|client| measure(client, args, ticks))?;
    subject.check()?;
    Ok(load)
}

fn measure(client: &mut Client<'_>, args: &Args, ticks: &Ticks) -> Result<Load> {
    let node = client.node;
    let status = &node.status;
    // The shadow starts at the beginning of the log; the load starts when the shadow has reached its end.
    while status.watermarks.shadow.get().0 < status.watermarks.durable.get().0 {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    client.closed_loop(2 * RESTING, ticks)?;
    status.engine_cycle_ns_max.set(0);
    let length = Duration::from_secs_f64(args.seconds);
    let latencies = collecting(&node.stages, || client.open_loop(args.rate, length, ticks))?;
    let (durable, shadow) = (status.watermarks.durable.get().0, status.watermarks.shadow.get().0);
    let shadow_lag = durable.saturating_sub(shadow);
    let stage = |wanted: &str, quantile| {
        node.stages.read(|set| {
            set.iter().find(|(name, _)| *name == wanted).map_or(0, |(_, times)| times.quantile_ns(quantile))
        })
    };
    Ok(Load {
        latencies,
        inside_p99_ns: stage("total", 0.99),
        inside_p999_ns: stage("total", 0.999),
        journal_p999_ns: stage("journal", 0.999),
        queue_p999_ns: stage("queue", 0.999),
        cycle_ns_max: status.engine_cycle_ns_max.get(),
        snapshots: status.snapshots.get(),
        snapshot_ns: status.snapshot_ns.get(),
        shadow_lag,
    })
}

/// Collects stage times while `work` runs, because the gateway records only into sets that were collected. In a
/// complete node the ops thread does that; here there is none.
fn collecting<T>(stages: &StageTotals, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                stages.collect();
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        let worked = work();
        done.store(true, Ordering::Release);
        worked
    })
}

/// The commands that make the state: the bench's user, and others with two balances and two orders each.
fn log_commands(orders: u32) -> Result<impl Iterator<Item = Command>> {
    let admin = |admin: Admin| Command::Admin(Box::new(admin));
    let own = setup_commands(&[USER.to_owned()])?.into_iter().map(admin);
    let others = (2..orders / 2 + 2).flat_map(move |account| {
        let spec = AccountSpec {
            name: format!("client {account}"),
            kind: AccountKind::Client,
            parent: AccountId::NONE,
            fee_tier: 0,
        };
        let deposit = |asset: u32| {
            admin(Admin::Deposit(FundsMove {
                account: AccountId(account),
                asset: AssetId(asset),
                amount: Units(1_000_000_000_000),
                reference: ClientKey(u128::from(account) << 64 | u128::from(asset)),
            }))
        };
        [admin(Admin::AddAccount(spec)), deposit(1), deposit(2), rest(account, Side::Buy), rest(account, Side::Sell)]
    });
    Ok(own.chain(others))
}

/// An order that never trades with the flow, whose prices stay between 900 and 1,100.
fn rest(account: u32, side: Side) -> Command {
    let away = account.wrapping_mul(2_654_435_761) >> 23;
    let price = if side == Side::Buy { 800 - away } else { 1_200 + away };
    Command::Place(resting_order(account, MarketId(1), side, price))
}

impl Column {
    fn median(&self, value: impl Fn(&Load) -> u64) -> Spread {
        Spread::of(self.loads.iter().map(|load| value(load) as f64)).expect("there is at least one round")
    }

    fn json(&self) -> Value {
        let loads = self.loads.iter().map(|load| {
            json!({
                "p50_ns": load.latencies.at(0.5), "p99_ns": load.latencies.at(0.99), "p999_ns": load.latencies.at(0.999),
                "max_ns": load.latencies.at(1.0), "inside_p99_ns": load.inside_p99_ns,
                "inside_p999_ns": load.inside_p999_ns, "journal_p999_ns": load.journal_p999_ns,
                "queue_p999_ns": load.queue_p999_ns, "cycle_ns_max": load.cycle_ns_max,
                "snapshots": load.snapshots, "snapshot_ns": load.snapshot_ns, "shadow_behind": load.shadow_lag,
            })
        });
        json!({ "name": self.name, "loads": loads.collect::<Vec<_>>() })
    }
}

type Figure = (&'static str, fn(&Load) -> u64, f64);

const FIGURES: [Figure; 11] = [
    ("p50 us", |load| load.latencies.at(0.5), 1e3),
    ("p99 us", |load| load.latencies.at(0.99), 1e3),
    ("p99.9 us", |load| load.latencies.at(0.999), 1e3),
    ("max us", |load| load.latencies.at(1.0), 1e3),
    ("inside p99 us", |load| load.inside_p99_ns, 1e3),
    ("inside p99.9 us", |load| load.inside_p999_ns, 1e3),
    ("journal p99.9 us", |load| load.journal_p999_ns, 1e3),
    ("queue p99.9 us", |load| load.queue_p999_ns, 1e3),
    ("longest cycle us", |load| load.cycle_ns_max, 1e3),
    ("snapshots", |load| load.snapshots, 1.0),
    ("shadow lag", |load| load.shadow_lag, 1.0),
];

fn text(args: &Args, columns: &[Column; 2]) -> String {
    let mut out = format!(
        "{} commands a second for {} s, {} orders at rest and {} balances, snapshots every {} s, node on core {NODE_CORE}\n\
         median [min .. max] of {} rounds in turn\n\n  {:<18}{:>34}{:>34}\n",
        args.rate,
        args.seconds,
        args.orders,
        args.orders,
        args.every,
        args.rounds.get(args.mode),
        "",
        columns[0].name,
        columns[1].name
    );
    for (name, value, unit) in FIGURES {
        let cell = |column: &Column| {
            let spread = column.median(value);
            format!("{:.1} [{:.1} .. {:.1}]", spread.median / unit, spread.min / unit, spread.max / unit)
        };
        out += &format!("  {:<18}{:>34}{:>34}\n", name, cell(&columns[0]), cell(&columns[1]));
    }
    out + "  check: EXACT\n"
}
