//! round_trip: order to acknowledgement, one session over loopback TCP, beside what sockets and disk allow.
//!
//! ```text
//!   client thread, core 0                                  node in this process, spinning, core 1
//!   command -> socket ---------------------------------->  reactor -> gateway -> engine -> head: write + fdatasync
//!   answer  <- socket <----------------------------------  reactor <- gateway <- outbox, released up to seq_durable
//!                                                          its other threads: on any core that is free
//!
//! limits    echo: the same bytes echoed between two spinning threads on the same cores; echo + durable write: the
//!           same with a durable write of 4 KiB (O_DIRECT, linked to fdatasync) before the answer
//! flow      post-only orders that rest and cancels of the oldest, in turn, 1000 resting; a command is either of them
//! depth 1   one command under way; timed from before the write of the request to the last byte of the answer
//! open      commands are due at a fixed rate and timed from when they were due; the client sleeps until the next is
//!           due or an answer arrives; the first fifth is warm-up
//! flood     a window of commands always under way: the highest throughput of the node, and the cost of a command
//! checked   every command is answered once, in order, none is refused; a restart recovers every command, the state
//!           verifies, and as many orders rest as the flow left
//! printed   depth 1: p50, p90, p99, p99.9 in us, medians over the rounds; noise; the node's ratios of p50 and p99 to
//!           its limit, computed within each round
//!           open and flood: answers a second, the same percentiles, rounds that sustain the rate, CPU time by
//!           thread, ring entries and disk flushes for each command
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::{Context, Result};
use benches::client::{Client, Stages, Subject, on_core_zero};
use benches::clock::Ticks;
use benches::disk::{Disk, run_directory};
use benches::echo::Echo;
use benches::fixture::{NODE_CORE, Sync};
use benches::flow::RESTING;
use benches::machine::Machine;
use benches::options::{Files, Mode, RoundCount, exit_code};
use benches::report::Spread;
use benches::rounds::{Latencies, Rounds, table_head};
use benches::threads::{CpuTimes, NODE_THREADS};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// A rate counts as sustained when p99 is at most this and at least this share of the commands due is answered in time.
const P99_NS_MAX: u64 = 2_000_000;
const SUSTAINED: f64 = 0.98;

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    #[value(name = "depth1")]
    DepthOne,
    Open,
    Flood,
}

#[derive(Clone, Debug, Parser)]
struct Args {
    #[command(flatten)]
    rounds: RoundCount<5>,
    /// Commands of one subject in one round of depth 1.
    #[arg(long, default_value_t = 2_000)]
    ops: u64,
    /// Rates of the open loop in commands a second, measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "10000,25000,50000,100000,150000,200000,250000,300000")]
    rates: Vec<u64>,
    /// Seconds of each rate and of a flood.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Measure only these parts.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::DepthOne, Part::Open, Part::Flood])]
    parts: Vec<Part>,
    /// When the node of the open loop and of the flood acknowledges.
    #[arg(long, value_enum, default_value_t = Sync::Always)]
    sync: Sync,
    /// Ask the node for the stage times of every answer at depth 1.
    #[arg(long)]
    stages: bool,
    /// More of the node's configuration, in TOML.
    #[arg(long, default_value = "")]
    config: String,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    mode: Mode,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.mode.quick {
        (args.ops, args.seconds, args.rates) = (200, 0.3, vec![10_000, 50_000]);
    }
    exit_code("round_trip", run(&args))
}

fn run(args: &Args) -> Result<()> {
    let ticks = Ticks::default();
    let machine = Machine::enter_aside(0, &ticks)?;
    args.mode.print_head(include_str!("round_trip.rs"), &machine.text());
    let directory = run_directory(args.files.dir.as_deref())?;
    let wants = |part: Part| args.parts.contains(&part);
    let mut out = json!({ "bench": "round_trip", "machine": machine.json(), "ok": true });
    if wants(Part::DepthOne) {
        let sheet = depth_one(args, directory.path(), &ticks)?;
        args.mode.print(sheet.text());
        out["depth1"] = sheet.json();
    }
    if wants(Part::Open) || wants(Part::Flood) {
        let sheet = under_load(args, directory.path(), &ticks, wants(Part::Open), wants(Part::Flood))?;
        args.mode.print(sheet.text());
        out["load"] = sheet.json();
    }
    if args.mode.json {
        println!("{out:#}");
    }
    Ok(())
}

/// Runs a load and counts what it cost.
fn load(
    client: &mut Client<'_>,
    disk: &Disk,
    ticks: &Ticks,
    work: impl FnOnce(&mut Client<'_>) -> Result<Latencies>,
) -> Result<Load> {
    let status = &client.node.status;
    let (number, ring_entries) = (client.flow.number(), status.ring_entries.get());
    let (cpu, flushes, start) = (CpuTimes::now(), disk.flushes(), ticks.now());
    let latencies = work(client)?;
    let seconds = ticks.ns(ticks.now() - start) as f64 / 1e9;
    Ok(Load {
        commands: client.flow.number() - number,
        seconds,
        latencies,
        cpu: CpuTimes::now().since(&cpu),
        ring_entries: status.ring_entries.get() - ring_entries,
        flushes: disk.flushes().zip(flushes).map_or(0, |(after, before)| after - before),
    })
}

/// Figures of one block under load.
struct Load {
    commands: u64,
    seconds: f64,
    latencies: Latencies,
    cpu: CpuTimes,
    ring_entries: u64,
    flushes: u64,
}

/// Figures of depth 1.
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
    for round in 0..args.rounds.get(args.mode) {
        let file = place.join(format!("raw-{round}"));
        series[ECHO].push(echo(None, ops, warm_up, ticks)?);
        series[ECHO_DURABLE].push(echo(Some((file, ops + warm_up)), ops, warm_up, ticks)?);
        for (subject, at) in [(&mut always, NODE_ALWAYS), (&mut interval, NODE_INTERVAL)] {
            series[at].push(subject.session(|client| {
                client.closed_loop(warm_up, ticks)?;
                client.closed_loop(ops, ticks)
            })?);
        }
        if args.stages {
            let Stages { inside, outside } = always.session(|client| {
                client.closed_loop(warm_up, ticks)?;
                client.staged_loop(ops, ticks)
            })?;
            stages[0].push(inside);
            stages[1].push(outside);
        }
    }
    always.check().context("the node with sync = always")?;
    interval.check().context("the node with sync = interval")?;
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
    /// Each subject with the limit to which its ratios are taken.
    const LIMITS: [(usize, usize); 2] = [(NODE_ALWAYS, ECHO_DURABLE), (NODE_INTERVAL, ECHO)];

    fn text(&self) -> String {
        let mut out = format!("depth 1\n{}\n", table_head());
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

/// One load and its figures, round by round.
struct LoadColumn {
    name: String,
    rate: Option<u64>,
    loads: Vec<Load>,
}

struct UnderLoad {
    sync: Sync,
    columns: Vec<LoadColumn>,
}

/// Measures every load in each round. Inside a round the rates rise until the node does not keep up with one; each
/// round has a directory of its own.
fn under_load(args: &Args, place: &Path, ticks: &Ticks, open: bool, flood: bool) -> Result<UnderLoad> {
    let length = Duration::from_secs_f64(args.seconds);
    let mut columns: Vec<LoadColumn> = Vec::new();
    if open {
        columns.extend(args.rates.iter().map(|&rate| LoadColumn::new(format!("open {rate}"), Some(rate))));
    }
    if flood {
        columns.push(LoadColumn::new("flood".to_owned(), None));
    }
    for round in 0..args.rounds.get(args.mode) {
        let path = place.join(format!("load-{round}"));
        let mut subject = Subject::build(&path, args.sync, &args.config)?;
        let disk = Disk::of(&path)?;
        subject.session(|client| {
            client.closed_loop(2 * RESTING, ticks)?;
            let mut keeps_up = true;
            for column in &mut columns {
                match column.rate {
                    Some(_) if !keeps_up => {}
                    Some(rate) => {
                        let load = load(client, &disk, ticks, |client| client.open_loop(rate, length, ticks))?;
                        keeps_up = load.keeps_up(rate);
                        column.loads.push(load);
                    }
                    None => column.loads.push(load(client, &disk, ticks, |client| client.flood(length, ticks))?),
                }
            }
            Ok(())
        })?;
        subject.check()?;
        std::fs::remove_dir_all(&path)?;
    }
    Ok(UnderLoad { sync: args.sync, columns })
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
        self.cpu.of_node() as f64 / self.commands as f64
    }
}

impl LoadColumn {
    fn new(name: String, rate: Option<u64>) -> Self {
        Self { name, rate, loads: Vec::new() }
    }

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
            "under load, sync = {}, node on core {NODE_CORE}; medians of rounds; CPU in nanoseconds a command (the core spins, so \
             below saturation its idle time counts)\n  {:<14}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>9}{:>9}\n",
            self.sync.name(),
            "due a second",
            "answered",
            "p50 us",
            "p90",
            "p99",
            "p99.9",
            "sustained",
            "node",
            "core",
            "iou-wrk",
            "store",
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
                column.per_command("store_writer"),
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
                let cpu: serde_json::Map<String, Value> = NODE_THREADS
                    .iter()
                    .chain(&[("client", "client")])
                    .map(|(thread, key)| {
                        ((*key).to_owned(), (load.cpu.of(thread) as f64 / load.commands as f64).into())
                    })
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
