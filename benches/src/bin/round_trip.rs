//! Order to acknowledgement over loopback TCP through a whole node, beside what sockets and disk allow.

use anyhow::{Context, Result, ensure};
use benches::client::{Seat, Stages, Subject, on_core_zero};
use benches::clock::Ticks;
use benches::disk::{Disk, place};
use benches::echo::Echo;
use benches::fixture::{NODE_CORE, Sync};
use benches::flow::RESTING;
use benches::machine::Machine;
use benches::report::Spread;
use benches::rounds::{Latencies, Rounds, head};
use benches::threads::CpuTimes;
use clap::Parser;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const WIRING: &str = "\
round_trip: order to acknowledgement, one session over loopback TCP

  bench thread, core 0                                       node in this process, spinning, core 1
  command -> socket -------------------------------------->  reactor -> gateway -> engine -> head: write + fdatasync
  answer  <- socket <--------------------------------------  reactor <- gateway <- outbox behind seq_durable
                                                             keeper, feed: wherever there is room

limits  the same bytes echoed between two spinning threads on the same cores, and the same with a durable 4 KiB write
        (O_DIRECT, linked to fdatasync) before the answer
flow    post-only orders that rest and cancels of the oldest, in turn, 1000 resting; a command is either of them
depth 1 one command under way; timed from before the write of the request to the whole answer read
open    commands are due at a fixed rate and timed from when they were due; the client sleeps until the next is due or an
        answer comes; the first fifth is warm-up
flood   a window of commands always under way: what the node takes at most, and what a command costs
check   each command is answered once, in order, none is refused; a restart recovers every command, the state verifies,
        and as many orders rest as the flow left";

/// What an open loop must stay under to count as sustained.
const P99_NS_MAX: u64 = 2_000_000;
const SUSTAINED: f64 = 0.98;

#[derive(Clone, Debug, Parser)]
struct Args {
    /// Interleaved rounds; the figures are medians over them.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Commands of one subject in one round of depth 1.
    #[arg(long, default_value_t = 2_000)]
    ops: u64,
    /// Commands a second of the open loop, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "10000,25000,50000,100000,150000,200000,250000,300000")]
    rates: Vec<u64>,
    /// Seconds of each rate, and of a flood.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Only these parts.
    #[arg(long, value_delimiter = ',', default_value = "depth1,open,flood")]
    parts: Vec<String>,
    /// When the node of the open loop and the flood acknowledges: always or interval.
    #[arg(long, default_value = "always")]
    sync: String,
    /// Ask the node for the stage times of every answer at depth 1.
    #[arg(long)]
    stages: bool,
    /// More of the node's configuration, in TOML.
    #[arg(long, default_value = "")]
    config: String,
    /// Where the files go, instead of beside the binary.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
    /// One short round: does it run, is it right?
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.quick {
        (args.rounds, args.ops, args.seconds, args.rates) = (1, 200, 0.3, vec![10_000, 50_000]);
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("round_trip: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let ticks = Ticks::default();
    // On a thread of its own: what is pinned here would be inherited by every thread of the node.
    let look = || Machine::enter(Some(0), &ticks);
    let machine = std::thread::scope(|scope| scope.spawn(look).join().expect("looking around does not panic"));
    ensure!(machine.cores >= 2, "client and node need a core each");
    if !args.json {
        println!("{WIRING}\n\n{}\n", machine.text());
    }
    let place = place(args.dir.as_deref())?;
    let wants = |part: &str| args.parts.iter().any(|p| p == part);
    let mut out = json!({ "bench": "round_trip", "machine": machine.json(), "ok": true });
    if wants("depth1") {
        let sheet = depth_one(args, place.path(), &ticks)?;
        if !args.json {
            println!("{}", sheet.text());
        }
        out["depth1"] = sheet.json();
    }
    if wants("open") || wants("flood") {
        let sheet = under_load(args, place.path(), &ticks, wants("open"), wants("flood"))?;
        if !args.json {
            println!("{}", sheet.text());
        }
        out["load"] = sheet.json();
    }
    if args.json {
        println!("{out:#}");
    }
    Ok(())
}

/// Runs a load and notes what it took.
fn load(
    seat: &mut Seat<'_>,
    disk: &Disk,
    ticks: &Ticks,
    work: impl FnOnce(&mut Seat<'_>) -> Result<Latencies>,
) -> Result<Load> {
    let status = &seat.open.node().status;
    let before = (seat.flow.number(), CpuTimes::now(), status.ring_entries.get(), disk.flushes(), ticks.now());
    let latencies = work(seat)?;
    let seconds = ticks.ns(ticks.now() - before.4) as f64 / 1e9;
    let status = &seat.open.node().status;
    Ok(Load {
        commands: seat.flow.number() - before.0,
        seconds,
        latencies,
        cpu: CpuTimes::now().since(&before.1),
        ring_entries: status.ring_entries.get() - before.2,
        flushes: disk.flushes().zip(before.3).map_or(0, |(after, before)| after - before),
    })
}

/// One block under load.
struct Load {
    commands: u64,
    seconds: f64,
    latencies: Latencies,
    cpu: CpuTimes,
    ring_entries: u64,
    flushes: u64,
}

/// The node's threads whose CPU time is shown; `iou-wrk` are the kernel's own workers for its ring.
const THREADS: [&str; 4] = ["core", "iou-wrk", "keeper", "feed"];

/// Depth 1.
struct DepthOne {
    series: Vec<Rounds>,
    stages: Vec<Rounds>,
}

const ECHO: usize = 0;
const ECHO_DURABLE: usize = 1;
const NODE_ALWAYS: usize = 2;
const NODE_INTERVAL: usize = 3;

fn depth_one(args: &Args, place: &Path, ticks: &Ticks) -> Result<DepthOne> {
    let mut always = Subject::build(&place.join("always"), Sync::Always, &args.config)?;
    let mut interval = Subject::build(&place.join("interval"), Sync::Interval, &args.config)?;
    let names = ["echo", "echo + durable write", "node, sync = always", "node, sync = interval"];
    let mut series: Vec<Rounds> = names.into_iter().map(Rounds::new).collect();
    let mut stages = ["always: inside the node", "always: outside"].map(Rounds::new);
    let (ops, warm_up) = (args.ops, args.ops / 10);
    for round in 0..args.rounds.max(1) {
        let file = place.join(format!("raw-{round}"));
        series[ECHO].push(echo(None, ops, warm_up, ticks)?);
        series[ECHO_DURABLE].push(echo(Some((file, ops + warm_up)), ops, warm_up, ticks)?);
        for (subject, at) in [(&mut always, NODE_ALWAYS), (&mut interval, NODE_INTERVAL)] {
            series[at].push(subject.session(|seat| {
                seat.closed_loop(warm_up, ticks)?;
                seat.closed_loop(ops, ticks)
            })?);
        }
        if args.stages {
            let Stages { inside, outside } = always.session(|seat| {
                seat.closed_loop(warm_up, ticks)?;
                seat.staged_loop(ops, ticks)
            })?;
            stages[0].push(inside);
            stages[1].push(outside);
        }
    }
    always.check().context("sync = always")?;
    interval.check().context("sync = interval")?;
    Ok(DepthOne { series, stages: if args.stages { stages.into() } else { Vec::new() } })
}

fn echo(durable: Option<(PathBuf, u64)>, ops: u64, warm_up: u64, ticks: &Ticks) -> Result<Latencies> {
    let mut echo = Echo::start(durable)?;
    let latencies = on_core_zero(|| {
        echo.closed_loop(warm_up, ticks)?;
        echo.closed_loop(ops, ticks)
    });
    echo.end()?;
    latencies
}

impl DepthOne {
    /// Which limit a subject is held against.
    const LIMITS: [(usize, usize); 2] = [(NODE_ALWAYS, ECHO_DURABLE), (NODE_INTERVAL, ECHO)];

    fn text(&self) -> String {
        let mut out = format!("depth 1\n{}\n", head());
        for rounds in self.series.iter().chain(&self.stages) {
            out += &format!("{}\n", rounds.line());
        }
        for (subject, limit) in Self::LIMITS {
            out += &format!("{}\n", self.series[subject].ratio_line(&self.series[limit]));
        }
        out + "  check: EXACT\n"
    }

    fn json(&self) -> Value {
        let limit = |idx: usize| Self::LIMITS.iter().find(|(s, _)| *s == idx).map(|(_, limit)| &self.series[*limit]);
        let series = self.series.iter().enumerate().map(|(idx, rounds)| rounds.json(limit(idx)));
        let stages = self.stages.iter().map(|rounds| rounds.json(None));
        json!({ "subjects": series.collect::<Vec<_>>(), "stages": stages.collect::<Vec<_>>(), "check": "EXACT" })
    }
}

/// What was asked of the node, and what came out round by round.
struct LoadColumn {
    name: String,
    rate: Option<u64>,
    loads: Vec<Load>,
}

struct UnderLoad {
    sync: Sync,
    columns: Vec<LoadColumn>,
}

/// Rates rise inside a round until the node does not keep up with one; a round has a directory of its own.
fn under_load(args: &Args, place: &Path, ticks: &Ticks, open: bool, flood: bool) -> Result<UnderLoad> {
    let sync = match args.sync.as_str() {
        "always" => Sync::Always,
        "interval" => Sync::Interval,
        other => anyhow::bail!("--sync {other}: always or interval"),
    };
    let length = Duration::from_secs_f64(args.seconds);
    let mut columns: Vec<LoadColumn> = Vec::new();
    let rates = if open { args.rates.as_slice() } else { &[] };
    for &rate in rates {
        columns.push(LoadColumn { name: format!("open {rate}"), rate: Some(rate), loads: Vec::new() });
    }
    if flood {
        columns.push(LoadColumn { name: "flood".to_owned(), rate: None, loads: Vec::new() });
    }
    for round in 0..args.rounds.max(1) {
        let path = place.join(format!("load-{round}"));
        let mut subject = Subject::build(&path, sync, &args.config)?;
        let disk = Disk::of(&path)?;
        subject.session(|seat| {
            seat.closed_loop(2 * RESTING, ticks)?;
            let mut keeps_up = true;
            for column in &mut columns {
                if let Some(rate) = column.rate {
                    if !keeps_up {
                        continue;
                    }
                    let load = load(seat, &disk, ticks, |seat| seat.open_loop(rate, length, ticks))?;
                    keeps_up = load.keeps_up(rate);
                    column.loads.push(load);
                } else {
                    column.loads.push(load(seat, &disk, ticks, |seat| seat.flood(length, ticks))?);
                }
            }
            Ok(())
        })?;
        subject.check()?;
        std::fs::remove_dir_all(&path)?;
    }
    Ok(UnderLoad { sync, columns })
}

impl Load {
    fn per_second(&self) -> f64 {
        self.commands as f64 / self.seconds
    }

    fn keeps_up(&self, rate: u64) -> bool {
        self.per_second() >= SUSTAINED * rate as f64
    }

    fn sustains(&self, rate: u64) -> bool {
        self.keeps_up(rate) && self.latencies.at(0.99) <= P99_NS_MAX
    }

    fn node_cpu_ns(&self) -> f64 {
        THREADS.iter().map(|thread| self.cpu.of(thread)).sum::<u64>() as f64 / self.commands as f64
    }
}

impl LoadColumn {
    fn median(&self, value: impl Fn(&Load) -> f64) -> f64 {
        Spread::of(self.loads.iter().map(value)).map_or(0.0, |spread| spread.median)
    }

    fn sustained(&self) -> usize {
        self.rate.map_or(0, |rate| self.loads.iter().filter(|load| load.sustains(rate)).count())
    }

    fn per_command(&self, thread: &str) -> f64 {
        self.median(|load| load.cpu.of(thread) as f64 / load.commands as f64)
    }
}

impl UnderLoad {
    fn text(&self) -> String {
        let mut out = format!(
            "under load, sync = {}, node on core {NODE_CORE}; medians of rounds; CPU in nanoseconds a command (core spins, so \
             below saturation it counts idling)\n  {:<14}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>9}{:>9}\n",
            self.sync.name(),
            "due a second",
            "taken",
            "p50 us",
            "p90",
            "p99",
            "p99.9",
            "sustained",
            "node",
            "core",
            "iou-wrk",
            "keeper",
            "feed",
            "client",
            "enters",
            "flushes"
        );
        for column in self.columns.iter().filter(|column| !column.loads.is_empty()) {
            let us = |quantile: f64| column.median(|load| load.latencies.at(quantile) as f64 / 1e3);
            let sustained =
                column.rate.map_or(String::new(), |_| format!("{}/{}", column.sustained(), column.loads.len()));
            out += &format!(
                "  {:<14}{:>9.0}{:>9.1}{:>9.1}{:>9.1}{:>9.1}{:>10}{:>8.0}{:>8.0}{:>8.0}{:>8.0}{:>8.0}{:>8.0}{:>9.3}{:>9.4}\n",
                column.name,
                column.median(Load::per_second),
                us(0.5),
                us(0.9),
                us(0.99),
                us(0.999),
                sustained,
                column.median(Load::node_cpu_ns),
                column.per_command("core"),
                column.per_command("iou-wrk"),
                column.per_command("keeper"),
                column.per_command("feed"),
                column.per_command("client"),
                column.median(|load| load.ring_entries as f64 / load.commands as f64),
                column.median(|load| load.flushes as f64 / load.commands as f64),
            );
        }
        out + "  check: EXACT\n"
    }

    fn json(&self) -> Value {
        let columns = self.columns.iter().map(|column| {
            let loads = column.loads.iter().map(|load| {
                let cpu: serde_json::Map<String, Value> = THREADS
                    .iter()
                    .chain(&["client"])
                    .map(|t| ((*t).to_owned(), (load.cpu.of(t) as f64 / load.commands as f64).into()))
                    .collect();
                let at = |q: f64| load.latencies.at(q);
                json!({
                    "commands_per_second": load.per_second(), "p50_ns": at(0.5), "p90_ns": at(0.9), "p99_ns": at(0.99),
                    "p999_ns": at(0.999), "cpu_ns_per_command": cpu, "node_cpu_ns_per_command": load.node_cpu_ns(),
                    "ring_entries": load.ring_entries, "flushes": load.flushes, "commands": load.commands,
                })
            });
            json!({
                "name": column.name, "rate": column.rate, "sustained_rounds": column.sustained(),
                "rounds": loads.collect::<Vec<_>>(),
            })
        });
        json!({ "sync": self.sync.name(), "check": "EXACT", "loads": columns.collect::<Vec<_>>() })
    }
}
