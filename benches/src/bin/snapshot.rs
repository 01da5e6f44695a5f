//! How fast a full house is saved to a snapshot file and loaded from it.

use anyhow::{Context, Result, ensure};
use benches::clock::Ticks;
use benches::disk::place;
use benches::exchange::Exchange;
use benches::full_book::{add_accounts, add_balances, add_markets, add_sessions, rest_orders};
use benches::machine::Machine;
use book::engine::{Capacity, Engine};
use book::session::SESSIONS_MAX;
use book::snapshot::{Loader, Section};
use clap::Parser;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wal::snapshot::{SnapshotHeader, SnapshotReader, SnapshotWriter};
use wal::units::{ChainHash, Lsn, NodeId, Tail, Timeline};

const WIRING: &str = "\
snapshot: one engine filled through `apply`, then hashed, saved and loaded, each on one thread

  engine --hash--> state hash       engine --rows, zstd, crc32c, BLAKE3--> file, synced, renamed
  file --proved, unpacked--> engine with books, lists and indexes --hash--> compared with the first
  state bytes are those of the rows before compression; the file is read from the page cache, as after a restart
  of the process";

#[derive(Clone, Debug, Parser)]
struct Options {
    #[arg(long, default_value_t = 1_000_000)]
    orders: u32,
    /// Two of them to an account.
    #[arg(long, default_value_t = 1_000_000)]
    balances: u32,
    #[arg(long, default_value_t = 1_000)]
    markets: u32,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A hundredth of everything.
    #[arg(long)]
    quick: bool,
    #[arg(long)]
    json: bool,
    /// Where the files go.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// One save and one load.
struct Round {
    hash: Duration,
    save: Duration,
    load: Duration,
    state_bytes: u64,
    file_bytes: u64,
}

impl Round {
    fn save_mb_s(&self) -> f64 {
        self.state_bytes as f64 / 1e6 / self.save.as_secs_f64()
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("snapshot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let share = if options.quick { 100 } else { 1 };
    let machine = Machine::enter(None, &Ticks::default());
    if !options.json {
        println!("{WIRING}\n\n{}\n", machine.text());
    }
    let orders = options.orders / share;
    let engine = fill(orders, options.balances / share, (options.markets / share).max(1))?;
    let dir = place(options.dir.as_deref())?;
    let rounds: Vec<Round> = (0..options.rounds.max(1)).map(|_| round(&engine, dir.path())).collect::<Result<_>>()?;
    let median = |of: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        (values[0], values[values.len() / 2], values[values.len() - 1])
    };
    let figures = [
        ("state hash, s", median(|r| r.hash.as_secs_f64())),
        ("saved, s", median(|r| r.save.as_secs_f64())),
        ("saved, MB/s of state", median(Round::save_mb_s)),
        ("loaded and compared, s", median(|r| r.load.as_secs_f64())),
    ];
    let (state_bytes, file_bytes) = (rounds[0].state_bytes, rounds[0].file_bytes);
    if options.json {
        let figure = |(name, (low, median, high)): &(&str, (f64, f64, f64))| json!({ "name": name, "min": low, "median": median, "max": high });
        let figures: Vec<Value> = figures.iter().map(figure).collect();
        let all = json!({
            "bench": "snapshot", "machine": machine.json(), "orders": orders, "rounds": rounds.len(),
            "state_bytes": state_bytes, "file_bytes": file_bytes, "figures": figures,
        });
        println!("{all:#}");
        return Ok(());
    }
    println!("{orders} orders, {} MB of state, {} MB of file", state_bytes / 1_000_000, file_bytes / 1_000_000);
    println!("{:<26}{:>10}{:>10}{:>10}", format!("{} rounds", rounds.len()), "min", "median", "max");
    for (name, (low, median, high)) in figures {
        println!("{name:<26}{low:>10.3}{median:>10.3}{high:>10.3}");
    }
    println!("\nevery loaded state had the hash of the saved one");
    Ok(())
}

fn fill(orders: u32, balances: u32, markets: u32) -> Result<Engine> {
    let mut exchange = Exchange::<false>::new(Capacity { orders: orders as usize, ..Capacity::default() });
    let accounts = (balances / 2).max(1);
    let sessions = accounts.min(SESSIONS_MAX);
    add_markets(&mut exchange, markets)?;
    add_accounts(&mut exchange, accounts)?;
    add_balances(&mut exchange, accounts)?;
    add_sessions(&mut exchange, sessions)?;
    rest_orders(&mut exchange, orders, sessions)?;
    Ok(exchange.engine)
}

fn round(engine: &Engine, dir: &Path) -> Result<Round> {
    let started = Instant::now();
    let state_hash = engine.state_hash();
    let hash = started.elapsed();
    let started = Instant::now();
    let header = SnapshotHeader {
        node_id: NodeId([1; 16]),
        timeline: Timeline(1),
        tail: Tail { seq: Lsn(engine.stamp().seq.0), chain: ChainHash([0; 32]) },
        time: engine.stamp().ts.0,
        log_bytes: 0,
        state_hash: state_hash.0,
        build: String::new(),
    };
    let mut writer = SnapshotWriter::create(dir, header)?;
    engine.save(&mut |section, piece| writer.piece(section as u8, piece))?;
    let state_bytes = writer.raw_bytes();
    let file = writer.finish()?;
    let save = started.elapsed();
    let started = Instant::now();
    let loaded = load(&file.path, engine.pool().orders.len())?;
    ensure!(loaded.state_hash() == state_hash, "the loaded state has another hash");
    Ok(Round { hash, save, load: started.elapsed(), state_bytes, file_bytes: file.bytes })
}

fn load(path: &Path, orders: usize) -> Result<Engine> {
    let mut reader = SnapshotReader::open(path)?;
    let mut loader = Loader::new(Engine::new(Capacity { orders, ..Capacity::default() }));
    while let Some((tag, piece)) = reader.next_piece()? {
        loader.take(Section::of(tag).context("a tag that is no section")?, piece)?;
    }
    Ok(loader.finish()?)
}
