//! Messages of the public matching engine benchmark (MEB), and its check: a SHA-256 over the report stream as text.
//!
//! ```text
//! file    "MEBC0001" | count u32 | columns: kind u8 (bits 0-1 new, cancel, modify; 2 sell; 3 ioc) | qty u8
//!         order id u32 | price i32, little endian; a message's sequence is its index
//! report  0,seq,side,id,price,qty accepted | 1,seq,price,qty,maker,taker trade | 2,seq,side,id,price cancelled
//!         3,seq,side,id,price,qty modified | 4,seq,id cancel refused | 5,seq,id modify refused
//! ```
//!
//! While the clock runs, reports are kept in memory in a compact form; the text and its hash are made afterwards.

use crate::clock::thread_cpu;
use crate::measure::{Check, Run};
use crate::streams::{Cmd, Op, Side, u32_at};
use crate::subject::{Fills, Subject};
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::Path;

const MAGIC: &[u8; 8] = b"MEBC0001";

/// Published SHA-256 of the report stream, by scenario.
const PUBLISHED: [(&str, &str); 5] = [
    ("normal", "e9b2e3926854410b01a035aeb25dd05f1e597c233be8263de9eb49b6713d367e"),
    ("static", "9803843ee404fc29c9a0aa5614f8f0d5a58b5c44fcac9ef89067886fcaaa30d1"),
    ("swing-25", "61a84be9469661bd039e00dbc9a7c011e70b6ace37aadfe60045ea083b05f4df"),
    ("swing-40", "3cb0175e7982ff09ea220d1feaee3844cf9116a5ce455757879dea1d880b9b9f"),
    ("flash-crash", "cff8d3f94b709fc64a8b2058a6ca4fb6920364904796e46906895e362d2bb16b"),
];

#[derive(Clone, Debug)]
pub struct Messages {
    pub name: String,
    pub cmds: Vec<Cmd>,
    pub published: Option<&'static str>,
}

/// Whether a path names a file of messages, packed or not.
pub fn is_message_file(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.ends_with(".meb") || name.ends_with(".meb.xz")
}

impl Messages {
    pub fn read(path: &Path) -> Result<Self> {
        let mut bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        if path.extension().is_some_and(|e| e == "xz") {
            let mut plain = Vec::new();
            if let Err(error) = lzma_rs::xz_decompress(&mut bytes.as_slice(), &mut plain) {
                bail!("unpacking {}: {error:?}", path.display());
            }
            bytes = plain;
        }
        let file_name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        Self::parse(&bytes, file_name).with_context(|| format!("in {}", path.display()))
    }

    pub fn parse(bytes: &[u8], name: String) -> Result<Self> {
        ensure!(bytes.starts_with(MAGIC) && bytes.len() >= 12, "not an MEBC0001 file of {} bytes", bytes.len());
        let len = u32_at(bytes, 8) as usize;
        let expected = 12 + 10 * len;
        ensure!(
            bytes.len() == expected,
            "{} bytes, expected {expected} for the {len} messages that it counts",
            bytes.len()
        );
        let (kinds, rest) = bytes[12..].split_at(len);
        let (qtys, rest) = rest.split_at(len);
        let (ids, prices) = rest.split_at(4 * len);
        let cmds = (0..len).map(|idx| message(kinds[idx], qtys[idx], &ids[4 * idx..], &prices[4 * idx..]));
        let cmds = cmds.collect::<Result<Vec<_>>>()?;
        let scenario = name.split('.').next().unwrap_or_default();
        let published = PUBLISHED.iter().find(|(known, _)| *known == scenario).map(|(_, hash)| *hash);
        Ok(Self { name, cmds, published })
    }
}

fn message(kind: u8, qty: u8, id: &[u8], price: &[u8]) -> Result<Cmd> {
    let op = match kind & 3 {
        0 => Op::New,
        1 => Op::Cancel,
        2 => Op::Move,
        other => bail!("unknown kind of message {other}, expected 0 (new), 1 (cancel) or 2 (modify)"),
    };
    let price = i32::try_from(u32_at(price, 0)).ok();
    Ok(Cmd {
        id: u64::from(u32_at(id, 0)),
        price: price.context("a price that does not fit 31 bits")?.unsigned_abs(),
        qty: u32::from(qty),
        user: 1,
        op,
        side: if kind & 4 == 0 { Side::Bid } else { Side::Ask },
        ioc: kind & 8 != 0,
        traded: false,
    })
}

/// One report in 28 bytes. `kind` is the first column of the text.
#[derive(Clone, Copy, Debug)]
struct Report {
    kind: u8,
    side: Side,
    seq: u32,
    id: u32,
    taker: u32,
    price: u32,
    qty: u32,
}

const NO_REPORT: Report = Report { kind: 9, side: Side::Bid, seq: 0, id: 0, taker: 0, price: 0, qty: 0 };

/// The report stream as it grows. Its memory is written once before use, so that no page faults in while the clock
/// runs.
#[derive(Debug)]
pub struct Reports {
    seq: u32,
    rows: Vec<Report>,
}

impl Fills for Reports {
    #[inline(always)]
    fn fill(&mut self, taker: u64, maker: u64, price: u32, qty: u32) {
        let (id, taker) = (maker as u32, taker as u32);
        self.rows.push(Report { kind: 1, side: Side::Bid, seq: self.seq, id, taker, price, qty });
    }
}

impl Reports {
    pub fn new(messages: usize) -> Self {
        let mut rows = vec![NO_REPORT; messages * 3];
        rows.clear();
        Self { seq: 0, rows }
    }

    #[inline(always)]
    fn push(&mut self, kind: u8, side: Side, id: u64, price: u32, qty: u32) {
        self.rows.push(Report { kind, side, seq: self.seq, id: id as u32, taker: 0, price, qty });
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// SHA-256 of the published text form: one line per report, no newline at the end.
    pub fn sha256(&self) -> Result<String> {
        let mut digest = Sha256::new();
        let mut line = String::new();
        for (idx, report) in self.rows.iter().enumerate() {
            line.clear();
            if idx > 0 {
                line.push('\n');
            }
            report.write(&mut line)?;
            digest.update(line.as_bytes());
        }
        Ok(hex(&digest.finalize()))
    }
}

/// SHA-256 of some bytes, as text.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Report {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { kind, side, seq, id, taker, price, qty } = *self;
        let side = side.idx();
        match kind {
            0 | 3 => write!(out, "{kind},{seq},{side},{id},{price},{qty}"),
            1 => write!(out, "1,{seq},{price},{qty},{id},{taker}"),
            2 => write!(out, "2,{seq},{side},{id},{price}"),
            _ => write!(out, "{kind},{seq},{id}"),
        }
    }
}

/// Runs one message and reports its effects in the order that the benchmark prescribes.
#[inline(always)]
fn answer<S: Subject>(subject: &mut S, cmd: &Cmd, reports: &mut Reports) {
    match cmd.op {
        Op::New => {
            reports.push(0, cmd.side, cmd.id, cmd.price, cmd.qty);
            let left = subject.place(cmd, reports);
            if left > 0 && cmd.ioc {
                reports.push(2, cmd.side, cmd.id, cmd.price, 0);
            }
        }
        Op::Cancel => match subject.cancel(cmd.id) {
            Some(removed) => reports.push(2, removed.side, cmd.id, removed.price, 0),
            None => reports.push(4, Side::Bid, cmd.id, 0, 0),
        },
        Op::Move => match subject.amend(cmd, Some(cmd.qty), reports) {
            Some(before) => reports.push(3, before.side, cmd.id, cmd.price, cmd.qty),
            None => reports.push(5, Side::Bid, cmd.id, 0, 0),
        },
    }
}

/// A run, with the count and the hash of its reports.
#[derive(Debug)]
pub struct ReportedRun {
    pub run: Run,
    pub reports: usize,
    pub sha256: String,
}

/// Runs all messages from an empty book and compares the hash of the reports with `expected`. Hashing is not timed.
pub fn run<S: Subject>(mut subject: S, messages: &Messages, expected: Option<&str>) -> Result<ReportedRun> {
    let mut reports = Reports::new(messages.cmds.len());
    let started = thread_cpu();
    for (seq, cmd) in messages.cmds.iter().enumerate() {
        reports.seq = seq as u32;
        answer(&mut subject, cmd, &mut reports);
    }
    let spent = thread_cpu() - started;
    let sha256 = reports.sha256()?;
    let check = if expected.is_none_or(|expected| expected == sha256) { Check::Exact } else { Check::Diff };
    let mops = messages.cmds.len() as f64 / spent.as_secs_f64() / 1e6;
    Ok(ReportedRun { run: Run { mops, check }, reports: reports.len(), sha256 })
}
