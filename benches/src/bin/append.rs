//! The journal's head through the node's reactor, beside the raw limit of the disk and a synced RocksDB write.

use anyhow::{Context, Result, ensure};
use benches::clock::Ticks;
use benches::disk::{Disk, noise, place};
use benches::machine::Machine;
use benches::raw_write::RawWrites;
use benches::rounds::{Latencies, Rounds, head};
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
use wal::identity::Identity;
use wal::segment::{Access, Geometry, SEGMENT_DATA_OFFSET};
use wal::units::{Lsn, NodeId, Timeline};

const WIRING: &str = "\
append: one durable write after the other, one thread

  limit    zeroed file, O_DIRECT write --linked--> fdatasync, own io_uring        timed: submission to completion seen
  head     record -> Head (crc, chain) -> Reactor: the same on the head's file    timed: staging to seq_durable
  rocksdb  put, sync = true, write-ahead log on, its files recycled               timed: the call

Same bytes, same file system, same ring flags, completions polled. Blocks of operations interleaved, ratios inside a
round. At depth 4 ring subjects keep four writes under way; RocksDB gets four threads, so that it can group them.
check    the limit's blocks, the head's records (through recovery) and RocksDB's values are read back and compared";

#[derive(Clone, Debug, Parser)]
struct Args {
    /// Interleaved rounds; the figures are medians over them.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Operations of one subject in one round.
    #[arg(long, default_value_t = 200)]
    ops: u64,
    /// Where the files go, instead of beside the binary.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Pin to this core instead of the last one.
    #[arg(long)]
    core: Option<usize>,
    /// One JSON document instead of text.
    #[arg(long)]
    json: bool,
    /// One short round: does it run, is it right?
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("append: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One table: a write of so many bytes, so many at a time.
#[derive(Clone, Copy)]
struct Case {
    bytes: usize,
    depth: u64,
    /// All operations of one subject, warm-up included.
    total: u64,
}

fn run(args: &Args) -> Result<()> {
    let (rounds, ops) = if args.quick { (1, 50) } else { (args.rounds.max(1), args.ops.max(1)) };
    let ticks = Ticks::default();
    let machine = Machine::enter(args.core, &ticks);
    if !args.json {
        println!("{WIRING}\n\n{}\n", machine.text());
    }
    let mut tables = Vec::new();
    for bytes in [4 << 10, 64 << 10] {
        for depth in [1, 4] {
            let table = measure(args, Case { bytes, depth, total: ops * (rounds as u64 + 1) }, rounds, ops, &ticks)?;
            if !args.json {
                println!("{}", table.text());
            }
            tables.push(table);
        }
    }
    if args.json {
        let tables: Vec<_> = tables.iter().map(Table::json).collect();
        println!("{:#}", json!({ "bench": "append", "machine": machine.json(), "ok": true, "tables": tables }));
    }
    Ok(())
}

/// Every subject goes through the same rounds; a round of its own at the start is warm-up and not counted.
fn measure(args: &Args, case: Case, rounds: usize, ops: u64, ticks: &Ticks) -> Result<Table> {
    let place = place(args.dir.as_deref())?;
    let disk = Disk::of(place.path())?;
    let record = noise(case.bytes - FRAME_HEADER_BYTES - RECORD_HEADER_BYTES);
    let mut limit = Limit(RawWrites::create(&place.path().join("limit"), &noise(case.bytes), case.total)?);
    let mut pinion = Pinion::create(&place.path().join("node"), record, case)?;
    let mut rocks = Rocks::create(&place.path().join("rocks"), case)?;
    let subjects: [&mut dyn Appends; 3] = [&mut limit, &mut pinion, &mut rocks];
    let mut series: Vec<Column> = subjects.iter().map(|s| Column::new(s.name())).collect();
    for round in 0..=rounds {
        for (subject, column) in [&mut limit as &mut dyn Appends, &mut pinion, &mut rocks].into_iter().zip(&mut series)
        {
            let before = disk.flushes();
            let mut block = Latencies::default();
            subject.block(ops, case.depth, ticks, &mut block)?;
            ensure!(block.count() == ops, "{}: {} of {ops} operations came back", subject.name(), block.count());
            if round > 0 {
                column.flushes += disk.flushes().zip(before).map_or(0, |(after, before)| after - before);
                column.rounds.push(block);
            }
        }
    }
    for (subject, column) in
        [Box::new(limit) as Box<dyn Appends>, Box::new(pinion), Box::new(rocks)].into_iter().zip(&mut series)
    {
        column.syncs = subject.check(case.total).with_context(|| format!("the check of {}", column.rounds.name))?;
    }
    Ok(Table { case, series })
}

/// What is measured: a way to make bytes durable.
trait Appends {
    fn name(&self) -> &'static str;
    /// `ops` durable writes, `depth` under way at once.
    fn block(&mut self, ops: u64, depth: u64, ticks: &Ticks, latencies: &mut Latencies) -> Result<()>;
    /// Reads everything back; how many syncs made it durable.
    fn check(self: Box<Self>, total: u64) -> Result<u64>;
}

struct Limit(RawWrites);

impl Appends for Limit {
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
                let idx = under_way.iter().position(|(n, _)| *n == number).expect("only what is under way completes");
                let (_, started) = under_way.remove(idx).expect("it was just found");
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
    /// A data directory whose head holds the whole run, so that recovery can show all of it.
    fn create(dir: &Path, record: Vec<u8>, case: Case) -> Result<Self> {
        const SEGMENTS: u32 = 2;
        let frames = case.total.div_ceil(u64::from(SEGMENTS)) + 1;
        let segment_bytes = SEGMENT_DATA_OFFSET + frames * case.bytes as u64;
        let geometry = Geometry { segment_count: SEGMENTS, segment_bytes };
        let identity = Identity { node_id: NodeId([1; 16]), timeline: Timeline(1), seq_base: Lsn(0), geometry };
        Directory::create(dir, &identity, 0)?;
        let directory = Directory::open(dir)?;
        let config = HeadConfig {
            timeline: identity.timeline,
            geometry,
            frame_bytes_max: case.bytes,
            frames_in_flight_max: case.depth as usize,
        };
        let at = HeadPosition::fresh(identity.node_id, identity.timeline, identity.seq_base);
        let head = Head::new(config, at).context("the head")?;
        let files = directory.segments(Access::Direct)?.into_files();
        let reactor = Reactor::new(0)?.with_journal(head, files, JournalFault::default());
        Ok(Self { dir: dir.to_owned(), reactor, record })
    }
}

impl Appends for Pinion {
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
                head.stage(seq, &self.record);
                ensure!(self.reactor.write_journal() == 1, "a full frame is closed at once");
                under_way.push_back(started);
                left -= 1;
            }
            self.reactor.poll(Wait::Spin)?;
            if let Some(poisoned) = self.reactor.poisoned() {
                return Err((*poisoned).into());
            }
            while self.reactor.head().durable_frame().is_some() {
                let started = under_way.pop_front().context("frames become durable in their order")?;
                latencies.record(ticks.ns(ticks.now() - started));
                self.reactor.head_mut().release_durable_frame();
            }
        }
        Ok(())
    }

    fn check(self: Box<Self>, total: u64) -> Result<u64> {
        let Self { dir, reactor, record } = *self;
        ensure!(reactor.head().seq_durable() == Lsn(total), "durable up to {}", reactor.head().seq_durable());
        drop(reactor);
        let directory = Directory::open_read_only(&dir)?;
        let mut next = Lsn(1);
        let found = wal::recover::inspect(&directory, Lsn(1), |seq, bytes| {
            if seq != next || bytes != record {
                return Err(format!("sequence {seq} where {next} is due, or other bytes than were staged").into());
            }
            next = next.next();
            Ok(())
        })?;
        ensure!(found.records == total && found.cut.is_none(), "{} of {total} records are there", found.records);
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
        // The one way to recover that recycled log files allow in every release.
        options.set_wal_recovery_mode(DBRecoveryMode::SkipAnyCorruptedRecord);
        options.enable_statistics();
        let db = DB::open(&options, dir)?;
        let value = noise(case.bytes);
        // As many bytes as make the log files that are recycled from now on.
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

impl Appends for Rocks {
    fn name(&self) -> &'static str {
        "rocksdb"
    }

    fn block(&mut self, ops: u64, depth: u64, ticks: &Ticks, latencies: &mut Latencies) -> Result<()> {
        let first = self.next;
        self.next += ops;
        // Threads of their own also at depth 1: this one has a slice that suits a thread which spins, not one which waits.
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
            ensure!(found.as_deref() == Some(&self.value[..]), "the value of key {key} is not what was put");
        }
        Ok(self.options.get_ticker_count(rocksdb::statistics::Ticker::WalFileSynced))
    }
}

struct Column {
    rounds: Rounds,
    /// Flushes that the disk counted during the measured blocks, whoever asked for them.
    flushes: u64,
    /// Syncs that the subject asked for, warm-up included.
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
        let Case { bytes, depth, total } = self.case;
        let mut out = format!("{} KiB, {depth} under way\n{}\n", bytes >> 10, head());
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
        json!({ "bytes": self.case.bytes, "depth": self.case.depth, "writes": self.case.total, "subjects": series })
    }
}
