//! start: the time from a log on disk to a state that can go on, for the complete start and for each of its parts.
//!
//! ```text
//!   whole    the complete start, node::replica::recover::restore, on two threads: frames, decode and apply on this
//!            one, whose CPU time is printed, the rest on the other; then opening the store and reading the head again
//!   parts    one after the other on this thread
//!            frames     frames read from the store, verified (crc32c, chain) and linked; the head's files scanned
//!            decode     records --> commands
//!            apply      Engine::apply, events into one buffer
//!            translate  events --> answers of sessions, items of the feed
//!            streams    answers --> the streams of their sessions
//!            feed       items --> the feed's books and its live stream
//!
//! log       written through the journal's head and the store, as a node leaves it after a clean stop: all of it in
//!           the store
//! flow      book::testing::workload: places, amendments and cancels around a moving price, some trades
//! warm-up   one start that is not counted; afterwards the log is in the page cache, so the disk's speed is not
//!           measured
//! checked   after each start and after the parts: the state hash equals that of the engine that made the log
//! printed   for the complete start, each part and the sum of the parts: median wall and CPU time over the rounds,
//!           noise, commands a second, ns a command, MB a second
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::{Context, Result, ensure};
use benches::clock::Ticks;
use benches::disk::run_directory;
use benches::log_writer::{LogWriter, Written};
use benches::machine::Machine;
use benches::options::{Files, Mode, RoundCount, exit_code};
use benches::replay_parts::{PARTS, RESEND_MAX, Spent, Stopwatch, measure};
use benches::report::Spread;
use book::command::Command;
use book::engine::{Capacity, Engine};
use book::event::{Event, Sink};
use book::state_hash::StateHash;
use book::testing::workload::{Profile, Workload};
use book::units::{Seq, Stamp};
use clap::{Parser, ValueEnum};
use node::replica::recover::restore;
use node::status::recovery::Recovery;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use wal::directory::Directory;
use wal::identity::{FORMAT_NEWEST, Identity};
use wal::quarantine::Quarantine;
use wal::segment::Geometry;
use wal::units::{NodeId, Timeline};

#[derive(Clone, Debug, Parser)]
struct Args {
    /// Commands in the log, after those that set the exchange up.
    #[arg(long, default_value_t = 3_000_000)]
    commands: u64,
    /// Target number of orders at rest.
    #[arg(long, default_value_t = 10_000)]
    orders: usize,
    /// The kind of flow.
    #[arg(long, value_enum, default_value_t = Day::Maker)]
    day: Day,
    /// Commands in a frame of the log, which became durable together.
    #[arg(long, default_value_t = 64)]
    records_per_frame: u32,
    #[command(flatten)]
    rounds: RoundCount<5>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    mode: Mode,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Day {
    /// Market makers.
    Maker,
    /// Traders whose orders often cross.
    Crosses,
    /// Every message that a client can send, invalid ones included.
    Mixed,
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.mode.quick {
        args.commands = 50_000;
    }
    exit_code("start", run(&args))
}

fn run(args: &Args) -> Result<()> {
    let machine = Machine::describe(&Ticks::default());
    args.mode.print_head(include_str!("start.rs"), &machine.text());
    let run_directory = run_directory(args.files.dir.as_deref())?;
    let directory = make_directory(&run_directory.path().join("data"))?;
    let made = make_log(args, &directory)?;
    let mut figures = Figures { made, complete: Vec::new(), parts: Vec::new() };
    figures.start(&directory).context("the warm-up start")?;
    for _ in 0..args.rounds.get(args.mode) {
        let complete = figures.start(&directory)?;
        figures.complete.push(complete);
        let measured = measure(&directory).context("measuring the parts")?;
        ensure!(
            measured.hash == figures.made.hash,
            "the parts reached the state hash {}, expected {}",
            measured.hash,
            figures.made.hash
        );
        figures.parts.push(measured.spent);
    }
    if args.mode.json {
        let mut out = figures.json();
        out["machine"] = machine.json();
        println!("{out:#}");
    } else {
        println!("{}", figures.text());
    }
    Ok(())
}

/// Makes a data directory with the default geometry of a node.
fn make_directory(path: &Path) -> Result<Directory> {
    let geometry = Geometry { segment_count: 4, segment_bytes: 64 << 20 };
    let identity = Identity {
        format: FORMAT_NEWEST,
        node_id: NodeId([7; 16]),
        timeline: Timeline(1),
        seq_base: wal::units::Lsn(0),
        geometry,
    };
    Directory::create(path, &identity, 0)?;
    Ok(Directory::open(path)?)
}

/// Totals of the log, and of the engine's state after its last command.
struct Made {
    written: Written,
    hash: StateHash,
    resting: usize,
    fills: u64,
}

/// Passes events to the workload, which follows the engine's answers, and counts the trades.
struct Events<'a> {
    workload: &'a mut Workload,
    fills: &'a mut u64,
}

impl Sink for Events<'_> {
    const LEDGER: bool = false;

    fn push(&mut self, event: Event) {
        *self.fills += u64::from(matches!(event, Event::Fill(_)));
        self.workload.observe(&event);
    }
}

fn make_log(args: &Args, directory: &Directory) -> Result<Made> {
    const SEED: u64 = 20_260_728;
    let profile = match args.day {
        Day::Maker => Profile::Maker,
        Day::Crosses => Profile::Crosses,
        Day::Mixed => Profile::Mixed,
    };
    let mut workload = Workload::new(profile, SEED).with_live_target(args.orders);
    let mut log = LogWriter::new(directory, args.records_per_frame)?;
    let mut engine = Engine::new(Capacity::default());
    let (mut seq, mut fills) = (0, 0);
    let mut run = |command: &Command, workload: &mut Workload| -> Result<()> {
        seq += 1;
        let stamp = Stamp { seq: Seq(seq), ts: workload.now() };
        log.append(stamp.ts, command)?;
        engine.apply(stamp, command, &mut Events { workload, fills: &mut fills });
        Ok(())
    };
    for command in workload.setup() {
        run(&command, &mut workload)?;
    }
    for _ in 0..args.commands {
        let command = workload.next_command();
        run(&command, &mut workload)?;
    }
    engine.verify()?;
    let resting = engine.pool().orders.len();
    Ok(Made { written: log.finish()?, hash: engine.state_hash(), resting, fills })
}

struct Figures {
    made: Made,
    complete: Vec<Spent>,
    parts: Vec<[Spent; PARTS.len()]>,
}

impl Figures {
    /// Makes one complete start; fails unless it reaches the state that the log stands for.
    fn start(&self, directory: &Directory) -> Result<Spent> {
        let mut watch = Stopwatch::start();
        let (new_engine, recovery) = (|| Engine::new(Capacity::default()), Recovery::default());
        let (restored, _store) = restore(directory, &Quarantine::default(), new_engine, RESEND_MAX, &recovery)?;
        let spent = watch.lap();
        let (found, due) = (restored.engine.state_hash(), self.made.hash);
        ensure!(found == due, "the start reached the state hash {found}, expected {due}");
        let (found, due) = (restored.log.records, self.made.written.records);
        ensure!(found == due, "the start replayed {found} records, expected {due}");
        Ok(spent)
    }

    /// Name and rounds of every row: the complete start, each part, and the sum of the parts.
    fn lines(&self) -> Vec<(&'static str, Vec<Spent>)> {
        let part = |idx: usize| self.parts.iter().map(|parts| parts[idx]).collect();
        let together = self.parts.iter().map(|parts| {
            let mut sum = Spent::default();
            parts.iter().for_each(|part| sum += *part);
            sum
        });
        let mut lines = vec![("whole", self.complete.clone())];
        lines.extend(PARTS.iter().enumerate().map(|(idx, name)| (*name, part(idx))));
        lines.push(("parts together", together.collect()));
        lines
    }

    fn text(&self) -> String {
        let Made { written: Written { records, frames, bytes }, resting, fills, .. } = self.made;
        let mb = bytes as f64 / 1e6;
        let mut out = format!(
            "log: {records} commands in {frames} frames, {mb:.1} MB; {fills} fills; {resting} orders at rest at the end\n  \
             {:<16}{:>10}{:>10}{:>8}{:>14}{:>14}{:>10}\n",
            "", "wall s", "CPU s", "noise", "commands/s", "ns a command", "MB/s"
        );
        for (name, rounds) in self.lines() {
            let Some(wall) = wall(&rounds) else { continue };
            let cpu = cpu(&rounds).map_or(0.0, |cpu| cpu.median);
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "  {name:<16}{:>10.3}{cpu:>10.3}{:>6.0} %{:>14.0}{:>14.0}{:>10.1}",
                wall.median,
                wall.noise_percent(),
                records as f64 / wall.median,
                wall.median * 1e9 / records as f64,
                mb / wall.median,
            );
        }
        out + "  check: EXACT\n"
    }

    fn json(&self) -> Value {
        let Made { written: Written { records, frames, bytes }, hash, resting, fills } = self.made;
        let line = |(name, rounds): (&str, Vec<Spent>)| {
            let per_second = Spread::of(rounds.iter().map(|spent| records as f64 / spent.wall.as_secs_f64()));
            json!({
                "name": name, "wall_seconds": wall(&rounds).map(Spread::json),
                "cpu_seconds": cpu(&rounds).map(Spread::json), "commands_per_second": per_second.map(Spread::json),
                "ns_per_command": wall(&rounds).map(|wall| wall.median * 1e9 / records as f64),
                "mb_per_second": wall(&rounds).map(|wall| bytes as f64 / 1e6 / wall.median),
            })
        };
        let lines: Vec<Value> = self.lines().into_iter().map(line).collect();
        json!({
            "bench": "start", "ok": true, "rounds": self.complete.len(), "commands": records, "frames": frames,
            "log_bytes": bytes, "fills": fills, "resting": resting, "state_hash": hash.to_string(), "check": "EXACT",
            "lines": lines,
        })
    }
}

fn wall(rounds: &[Spent]) -> Option<Spread> {
    Spread::of(rounds.iter().map(|spent| spent.wall.as_secs_f64()))
}

fn cpu(rounds: &[Spent]) -> Option<Spread> {
    Spread::of(rounds.iter().map(|spent| spent.cpu.as_secs_f64()))
}
