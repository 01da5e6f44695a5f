//! snapshot: how fast a large state is hashed, saved to a snapshot file and loaded from it, each on one thread.
//!
//! ```text
//!   engine --hash--> state hash       engine --rows, zstd, crc32c, BLAKE3--> file, synced, renamed
//!   file --verified, unpacked--> engine with books, lists and indexes --hash--> equal to the first hash
//!
//! checked   every loaded engine has the state hash of the saved one
//! printed   seconds of the hash, of the save and of the load, and MB of state saved in a second: min, median, max
//!
//! The engine is filled through `apply`. State bytes are those of the rows before compression. The file is read from
//! the page cache, as after a restart of the process.
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::{Context, Result, ensure};
use benches::clock::Ticks;
use benches::disk::run_directory;
use benches::exchange::Exchange;
use benches::full_book::{add_accounts, add_balances, add_markets, add_sessions, rest_orders};
use benches::machine::Machine;
use benches::options::{Files, Mode, RoundCount, exit_code};
use benches::report::Spread;
use book::engine::{Capacity, Engine};
use book::session::SESSIONS_MAX;
use book::snapshot::{Loader, Section};
use clap::Parser;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wal::snapshot::{SNAPSHOT_VERSION_NEWEST, SnapshotHeader, SnapshotReader, SnapshotWriter};
use wal::units::{ChainHash, Lsn, NodeId, Tail, Timeline};

#[derive(Clone, Debug, Parser)]
struct Args {
    /// Orders at rest; a quick run makes a hundredth of them, and of balances and markets.
    #[arg(long, default_value_t = 1_000_000)]
    orders: u32,
    /// Balances, two for each account.
    #[arg(long, default_value_t = 1_000_000)]
    balances: u32,
    /// Markets.
    #[arg(long, default_value_t = 1_000)]
    markets: u32,
    #[command(flatten)]
    rounds: RoundCount<5>,
    #[command(flatten)]
    mode: Mode,
    #[command(flatten)]
    files: Files,
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
    exit_code("snapshot", run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let share = if args.mode.quick { 100 } else { 1 };
    let machine = Machine::enter(None, &Ticks::default());
    args.mode.print_head(include_str!("snapshot.rs"), &machine.text());
    let orders = args.orders / share;
    let engine = fill(orders, args.balances / share, (args.markets / share).max(1))?;
    let dir = run_directory(args.files.dir.as_deref())?;
    let rounds = args.rounds.get(args.mode);
    let rounds: Vec<Round> = (0..rounds).map(|_| round(&engine, dir.path())).collect::<Result<_>>()?;
    let spread = |of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of)).expect("there is at least one round");
    let figures = [
        ("state hash, s", spread(|r| r.hash.as_secs_f64())),
        ("saved, s", spread(|r| r.save.as_secs_f64())),
        ("saved, MB/s of state", spread(Round::save_mb_s)),
        ("loaded and compared, s", spread(|r| r.load.as_secs_f64())),
    ];
    let (state_bytes, file_bytes) = (rounds[0].state_bytes, rounds[0].file_bytes);
    if args.mode.json {
        let figure =
            |(name, s): &(&str, Spread)| json!({ "name": name, "min": s.min, "median": s.median, "max": s.max });
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
    for (name, Spread { min, median, max }) in figures {
        println!("{name:<26}{min:>10.3}{median:>10.3}{max:>10.3}");
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
        version: SNAPSHOT_VERSION_NEWEST,
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
    let loaded_hash = loaded.state_hash();
    ensure!(loaded_hash == state_hash, "the loaded state has the hash {loaded_hash}, expected {state_hash}");
    Ok(Round { hash, save, load: started.elapsed(), state_bytes, file_bytes: file.bytes })
}

fn load(path: &Path, orders: usize) -> Result<Engine> {
    let mut reader = SnapshotReader::open(path)?;
    let mut loader = Loader::new(Engine::new(Capacity { orders, ..Capacity::default() }));
    while let Some((tag, piece)) = reader.next_piece()? {
        loader.take(Section::of(tag).with_context(|| format!("unknown section {tag} in the snapshot"))?, piece)?;
    }
    Ok(loader.finish()?)
}
