//! append: durable writes, one after the other, on one thread: the journal's head beside the disk's limit and RocksDB.
//!
//! ```text
//! limit     zeroed file, O_DIRECT write --linked--> fdatasync, own io_uring       timed: submission to completion seen
//! head      record -> Head (crc, chain) -> Reactor: the same on the head's file   timed: staging to seq_durable
//! rocksdb   put, sync = true, write-ahead log on, its files recycled              timed: the call
//!
//!           All three write the same bytes to the same file system. The rings have the same flags, and completions are
//!           polled. Blocks of operations are interleaved. At depth 4 limit and head keep four writes under way;
//!           RocksDB gets four threads, so that it can group their writes.
//! checked   the limit's blocks, the head's records (through recovery) and RocksDB's values are read back and compared
//! printed   for 4 and 64 KiB, 1 and 4 writes under way: p50, p90, p99, p99.9 in us, medians over the rounds; noise;
//!           syncs and the disk's flushes; the ratios of p50 and p99 to the limit, computed within each round
//! ```
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use anyhow::{Context, Result, ensure};
use benches::clock::Ticks;
use benches::disk::{Disk, incompressible, run_directory};
use benches::machine::Machine;
use benches::options::{Files, Mode, Pin, RoundCount, exit_code};
use benches::raw_write::RawWrites;
use benches::rounds::{Latencies, Rounds, table_head};
use clap::Parser;
use node::faults::fault::JournalFault;
use node::reactor::ports::{Journaling, Wait};
use node::reactor::uring::Reactor;
use rocksdb::{DB, DBCompressionType, DBRecoveryMode, Options, WriteOptions};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wal::directory::Directory;
use wal::frame::{FRAME_HEADER_BYTES, RECORD_HEADER_BYTES};
use wal::head::{Head, HeadConfig, HeadPosition};
use wal::identity::{FORMAT_NEWEST, Identity};
use wal::medium::Access;
use wal::segment::{Geometry, SEGMENT_DATA_OFFSET};
use wal::units::{Lsn, NodeId, Timeline};

#[derive(Clone, Debug, Parser)]
struct Args {
    #[command(flatten)]
    rounds: RoundCount<7>,
    /// Operations of one subject in one round.
    #[arg(long, default_value_t = 200)]
    ops: u64,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    pin: Pin,
    #[command(flatten)]
    mode: Mode,
}

fn main() -> ExitCode {
    exit_code("append", run(&Args::parse()))
}

/// The case of one table: the size of a write, and the number of writes under way at once.
#[derive(Clone, Copy)]
struct Case {
    bytes: usize,
    depth: u64,
    rounds: usize,
    /// Operations of one subject in one round.
    ops: u64,
}

impl Case {
    /// All operations of one subject; one round is warm-up.
    fn total(&self) -> u64 {
        self.ops * (self.rounds as u64 + 1)
    }
}

fn run(args: &Args) -> Result<()> {
    let rounds = args.rounds.get(args.mode);
    let ops = if args.mode.quick { 50 } else { args.ops.max(1) };
    let ticks = Ticks::default();
    let machine = Machine::enter(args.pin.core, &ticks);
    args.mode.print_head(include_str!("append.rs"), &machine.text());
    let mut tables = Vec::new();
    for bytes in [4 << 10, 64 << 10] {
        for depth in [1, 4] {
            let case = Case { bytes, depth, rounds, ops };
            let table = measure(args.files.dir.as_deref(), case, &ticks)?;
            args.mode.print(table.text());
            tables.push(table);
        }
    }
    if args.mode.json {
        let tables: Vec<_> = tables.iter().map(Table::json).collect();
        println!("{:#}", json!({ "bench": "append", "machine": machine.json(), "ok": true, "tables": tables }));
    }
    Ok(())
}

/// Runs every subject in every round; the first round is warm-up and is not counted.
fn measure(dir: Option<&Path>, case: Case, ticks: &Ticks) -> Result<Table> {
    let Case { rounds, ops, .. } = case;
    let directory = run_directory(dir)?;
    let disk = Disk::of(directory.path())?;
    let record = incompressible(case.bytes - FRAME_HEADER_BYTES - RECORD_HEADER_BYTES);
    let limit = RawWrites::create(&directory.path().join("limit"), &incompressible(case.bytes), case.total())?;
    let pinion = Pinion::create(&directory.path().join("node"), record, case)?;
    let rocks = Rocks::create(&directory.path().join("rocks"), case)?;
    let mut subjects: [Box<dyn Appender>; 3] = [Box::new(Limit(limit)), Box::new(pinion), Box::new(rocks)];
    let mut series: Vec<Column> = subjects.iter().map(|subject| Column::new(subject.name())).collect();
    for round in 0..=rounds {
        for (subject, column) in subjects.iter_mut().zip(&mut series) {
            let before = disk.flushes();
            let mut block = Latencies::default();
            subject.block(ops, case.depth, ticks, &mut block)?;
            ensure!(block.count() == ops, "{}: {} of {ops} operations completed", subject.name(), block.count());
            if round > 0 {
                column.flushes += disk.flushes().zip(before).map_or(0, |(after, before)| after - before);
                column.rounds.push(block);
            }
        }
    }
    for (subject, column) in subjects.into_iter().zip(&mut series) {
        column.syncs = subject.check(case.total()).with_context(|| format!("checking {}", column.rounds.name))?;
    }
    Ok(Table { case, series })
}

/// A subject: one way to make bytes durable.
trait Appender {
    fn name(&self) -> &'static str;
    /// Makes `ops` durable writes with `depth` of them under way at once.
    fn block(&mut self, ops: u64, depth: u64, ticks: &Ticks, latencies: &mut Latencies) -> Result<()>;
    /// Reads everything back and compares it; returns the number of syncs that made it durable.
    fn check(self: Box<Self>, total: u64) -> Result<u64>;
}

struct Limit(RawWrites);

impl Appender for Limit {
    fn name(&self) -> &'static str {
        "limit"
    }

    fn block(&mut self, ops: u64, depth: u64, ticks: &Ticks, latencies: &mut Latencies) -> Result<()> {
        let mut under_way: VecDeque<(u64, u64)> = VecDeque::with_capacity(depth as usize);
        let mut left = ops;
        while left > 0 || !under_way.is_empty() {
            while left > 0 && (under_way.len() as u64) < depth {
                let started = ticks.now();
                under_way.push_back((self.0.start(), started));
                left -= 1;
            }
            self.0.poll(&mut |number| {
                let idx = under_way.iter().position(|(n, _)| *n == number).expect("only writes under way complete");
                let (_, started) = under_way.remove(idx).expect("the position was just found");
                latencies.record(ticks.ns(ticks.now() - started));
            })?;
        }
        Ok(())
    }

    fn check(self: Box<Self>, _total: u64) -> Result<u64> {
        self.0.check()?;
        Ok(self.0.syncs())
    }
}

struct Pinion {
    dir: PathBuf,
    reactor: Reactor,
    record: Vec<u8>,
}

impl Pinion {
    /// Makes a data directory whose head holds every record of the run, so that recovery can read all of them back.
    fn create(dir: &Path, record: Vec<u8>, case: Case) -> Result<Self> {
        const SEGMENTS: u32 = 2;
        let frames = case.total().div_ceil(u64::from(SEGMENTS)) + 1;
        let segment_bytes = SEGMENT_DATA_OFFSET + frames * case.bytes as u64;
        let geometry = Geometry { segment_count: SEGMENTS, segment_bytes };
        let identity = Identity {
            format: FORMAT_NEWEST,
            node_id: NodeId([1; 16]),
            timeline: Timeline(1),
            seq_base: Lsn(0),
            geometry,
        };
        Directory::create(dir, &identity, 0)?;
        let directory = Directory::open(dir)?;
        let config = HeadConfig {
            timeline: identity.timeline,
            geometry,
            frame_bytes_max: case.bytes,
            frames_in_flight_max: case.depth as usize,
        };
        let at = HeadPosition::fresh(identity.node_id, identity.timeline, identity.seq_base);
        let head = Head::new(config, at).context("making the head")?;
        let files = directory.segments(Access::Direct)?.into_files();
        let reactor = Reactor::new(0)?.with_journal(head, files, JournalFault::default());
        Ok(Self { dir: dir.to_owned(), reactor, record })
    }
}

impl Appender for Pinion {
    fn name(&self) -> &'static str {
        "head"
    }

    fn block(&mut self, ops: u64, depth: u64, ticks: &Ticks, latencies: &mut Latencies) -> Result<()> {
        let mut under_way: VecDeque<u64> = VecDeque::with_capacity(depth as usize);
        let mut left = ops;
        while left > 0 || !under_way.is_empty() {
            while left > 0 && (under_way.len() as u64) < depth {
                let started = ticks.now();
                let head = self.reactor.head_mut();
                let seq = head.seq_next();
                head.append(seq, &self.record);
                ensure!(self.reactor.write_journal() == 1, "a record that fills a frame did not close it");
                under_way.push_back(started);
                left -= 1;
            }
            self.reactor.poll(Wait::Spin)?;
            if let Some(poisoned) = self.reactor.poisoned() {
                return Err((*poisoned).into());
            }
            while self.reactor.head().durable_frame().is_some() {
                let started = under_way.pop_front().context("more frames became durable than were written")?;
                latencies.record(ticks.ns(ticks.now() - started));
                self.reactor.head_mut().release_durable_frame();
            }
        }
        Ok(())
    }

    fn check(self: Box<Self>, total: u64) -> Result<u64> {
        let Self { dir, reactor, record } = *self;
        ensure!(
            reactor.head().seq_durable() == Lsn(total),
            "durable up to {}, expected {total}",
            reactor.head().seq_durable()
        );
        drop(reactor);
        let directory = Directory::open_read_only(&dir)?;
        let mut next = Lsn(1);
        let found = wal::recover::inspect(&directory, Lsn(1), |seq, bytes| {
            if seq != next || bytes != record {
                return Err(format!("record {seq}, expected {next} with the bytes that were staged").into());
            }
            next = next.next();
            Ok(())
        })?;
        ensure!(found.records == total && found.cut.is_none(), "recovery found {} of {total} records", found.records);
        // Every frame is written with a sync of its own.
        Ok(found.frames_from_head)
    }
}

struct Rocks {
    db: DB,
    value: Vec<u8>,
    next: u64,
    options: Options,
}

impl Rocks {
    fn create(dir: &Path, case: Case) -> Result<Self> {
        const BUFFER_BYTES: usize = 4 << 20;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::None);
        options.set_write_buffer_size(BUFFER_BYTES);
        options.set_recycle_log_file_num(4);
        // The only recovery mode that every release allows with recycled log files.
        options.set_wal_recovery_mode(DBRecoveryMode::SkipAnyCorruptedRecord);
        options.enable_statistics();
        let db = DB::open(&options, dir)?;
        let value = incompressible(case.bytes);
        // Enough bytes to create the log files that are recycled from now on.
        for idx in 0..(8 * BUFFER_BYTES / case.bytes) as u64 {
            db.put((u64::MAX - idx).to_be_bytes(), &value)?;
        }
        db.flush()?;
        Ok(Self { db, value, next: 0, options })
    }

    fn put(&self, key: u64, ticks: &Ticks) -> Result<u64> {
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        let started = ticks.now();
        self.db.put_opt(key.to_be_bytes(), &self.value, &synced)?;
        Ok(ticks.ns(ticks.now() - started))
    }
}

impl Appender for Rocks {
    fn name(&self) -> &'static str {
        "rocksdb"
    }

    fn block(&mut self, ops: u64, depth: u64, ticks: &Ticks, latencies: &mut Latencies) -> Result<()> {
        let first = self.next;
        self.next += ops;
        // A thread of its own also at depth 1, because this thread's time slice suits a thread that spins, not one that
        // waits.
        let this = &*self;
        let parts: Vec<Result<Vec<u64>>> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..depth)
                .map(|part| {
                    let keys = (first + part..first + ops).step_by(depth as usize);
                    scope.spawn(move || keys.map(|key| this.put(key, ticks)).collect())
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().expect("a writer does not panic")).collect()
        });
        for part in parts {
            part?.into_iter().for_each(|ns| latencies.record(ns));
        }
        Ok(())
    }

    fn check(self: Box<Self>, total: u64) -> Result<u64> {
        for key in 0..total {
            let found = self.db.get(key.to_be_bytes())?;
            ensure!(found.as_deref() == Some(&self.value[..]), "key {key} does not hold the value that was put");
        }
        Ok(self.options.get_ticker_count(rocksdb::statistics::Ticker::WalFileSynced))
    }
}

struct Column {
    rounds: Rounds,
    /// Flushes that the disk counted during the measured blocks, those of other programs included.
    flushes: u64,
    /// Syncs that the subject made, warm-up included.
    syncs: u64,
}

impl Column {
    fn new(name: &str) -> Self {
        Self { rounds: Rounds::new(name), flushes: 0, syncs: 0 }
    }
}

struct Table {
    case: Case,
    series: Vec<Column>,
}

impl Table {
    fn text(&self) -> String {
        let (Case { bytes, depth, .. }, total) = (self.case, self.case.total());
        let mut out = format!("{} KiB, {depth} under way\n{}\n", bytes >> 10, table_head());
        for column in &self.series {
            let name = &column.rounds.name;
            let flushes = format!("{name}: {} syncs for {total} writes, {} flushes", column.syncs, column.flushes);
            out += &format!("{}   {flushes}\n", column.rounds.line());
        }
        let limit = &self.series[0].rounds;
        for column in &self.series[1..] {
            out += &format!("{}\n", column.rounds.ratio_line(limit));
        }
        out
    }

    fn json(&self) -> Value {
        let limit = &self.series[0].rounds;
        let series: Vec<Value> = self
            .series
            .iter()
            .map(|column| {
                let mut value = column.rounds.json(Some(limit));
                value["syncs"] = column.syncs.into();
                value["flushes"] = column.flushes.into();
                value
            })
            .collect();
        json!({ "bytes": self.case.bytes, "depth": self.case.depth, "writes": self.case.total(), "subjects": series })
    }
}
