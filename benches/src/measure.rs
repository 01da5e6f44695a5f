//! Runs a subject over a stream, once for throughput and once more for latencies, and checks every run.
//!
//! Throughput is commands per second of CPU time of the one thread. Between two commands the bench neither reads nor
//! allocates anything. The check compares the fill hash at the point where the run ended.

use crate::clock::{Ticks, thread_cpu};
use crate::pinion::{ClientIds, Pinion, scattered};
use crate::streams::{Cmd, Expected, Flow, Op, Resting, Tally};
use crate::subject::{Fills, Subject, drive, drive_next};
use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use std::time::Duration;

/// Commands between two readings of the clock in a run with a time limit, and between two marks.
const CHUNK: usize = 1 << 16;

/// One stream in one naming of its orders, with the expected result.
#[derive(Clone, Debug)]
pub struct Work {
    pub cmds: Vec<Cmd>,
    pub prefill_len: usize,
    pub main_len: usize,
    /// The expected tally after the prefill and after each chunk of the main part.
    marks: Vec<Tally>,
    expected: Expected,
}

/// A stream in every naming.
#[derive(Clone, Debug)]
pub struct Works {
    /// The stream's own ids: small, dense, ascending.
    pub dense: Work,
    /// Cancels and moves name orders by the ids that Pinion's book gives out.
    pub exchange: Work,
    /// The stream's ids, scattered over 64 bits.
    pub client: Work,
    /// Upper bound of the orders that rest at once.
    pub orders_max: usize,
}

impl Work {
    pub fn resting_at_end(&self) -> u64 {
        self.expected.resting.orders
    }

    /// The same stream with its orders under other names; the expected result is the same.
    pub fn renamed(&self, cmds: Vec<Cmd>) -> Self {
        assert_eq!(cmds.len(), self.cmds.len(), "a renamed stream has every command");
        Self { cmds, marks: self.marks.clone(), ..*self }
    }

    pub fn prefill(&self) -> &[Cmd] {
        &self.cmds[..self.prefill_len]
    }

    pub fn main(&self) -> &[Cmd] {
        &self.cmds[self.prefill_len..self.prefill_len + self.main_len]
    }
}

/// Tallies one run in two namings at once.
#[derive(Default)]
struct BothNamings {
    dense: Tally,
    client: Tally,
}

impl Fills for BothNamings {
    fn fill(&mut self, taker: u64, maker: u64, price: u32, qty: u32) {
        self.dense.fill(taker, maker, price, qty);
        self.client.fill(scattered(taker), scattered(maker), price, qty);
    }
}

impl Works {
    /// Finds in one untimed pass over the stream the ids that Pinion's book will give out, and the fill hash after
    /// every chunk in both namings. Fails unless the pass itself ends with the hash in the stream's header.
    pub fn prepare(flow: Flow, main_len_max: usize) -> Result<Self> {
        let orders_max = flow.prefill_len + flow.prefill_len / 4 + 4096;
        let mut book = Pinion::<ClientIds>::new(orders_max);
        let mut both = BothNamings::default();
        let mut exchange = Vec::with_capacity(flow.cmds.len());
        let mut marks = (Vec::new(), Vec::new());
        for (idx, cmd) in flow.cmds.iter().enumerate() {
            if idx >= flow.prefill_len && (idx - flow.prefill_len).is_multiple_of(CHUNK) {
                marks.0.push(both.dense);
                marks.1.push(both.client);
            }
            let id = match cmd.op {
                Op::New => cmd.id,
                // `u64::MAX` names no order: one that no longer rests must not be found in this naming either.
                Op::Cancel | Op::Move => book.order_id(cmd.id).map_or(u64::MAX, |id| id.0),
            };
            exchange.push(Cmd { id, ..*cmd });
            drive(&mut book, cmd, &mut both);
        }
        marks.0.push(both.dense);
        marks.1.push(both.client);
        ensure!(
            both.dense == flow.expected.tally,
            "the fills of Pinion's book differ from those of the stream's reference matcher: {:?}, expected {:?}",
            both.dense,
            flow.expected.tally
        );
        let client = flow.cmds.iter().map(|cmd| Cmd { id: scattered(cmd.id), ..*cmd }).collect();
        let main_len = flow.main_len().min(main_len_max.div_ceil(CHUNK).max(1).saturating_mul(CHUNK));
        let work = |cmds: Vec<Cmd>, marks: Vec<Tally>| {
            let tally = *marks.last().expect("the last mark is taken at the end of the stream");
            let expected = Expected { tally, ..flow.expected };
            Work { cmds, prefill_len: flow.prefill_len, main_len, marks, expected }
        };
        Ok(Self {
            exchange: work(exchange, marks.0.clone()),
            client: work(client, marks.1),
            dense: work(flow.cmds, marks.0),
            orders_max,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Fills, quantity, notional, hash and the orders resting at the end equal the stream's.
    Exact,
    /// They equal the stream's up to the point where the time limit ended the run.
    ExactSoFar,
    /// Something differs.
    Diff,
    /// The time limit ended the run during the untimed prefill.
    TooSlow,
}

impl Check {
    pub fn text(self) -> &'static str {
        match self {
            Self::Exact => "EXACT",
            Self::ExactSoFar => "EXACT (cut)",
            Self::Diff => "DIFF",
            Self::TooSlow => "TOO SLOW",
        }
    }

    pub fn is_exact(self) -> bool {
        matches!(self, Self::Exact | Self::ExactSoFar)
    }
}

/// One timed run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub mops: f64,
    pub check: Check,
}

/// Drives the stream from its first command and times its main part; ends early when `limit` of CPU time is used up.
#[inline(never)]
pub fn throughput<S: Subject>(mut subject: S, work: &Work, limit: Option<Duration>) -> Run {
    let mut tally = Tally::default();
    let prefill_started = thread_cpu();
    for chunk in work.prefill().chunks(CHUNK) {
        if limit.is_some_and(|limit| thread_cpu() - prefill_started > limit * 3) {
            return Run { mops: 0.0, check: Check::TooSlow };
        }
        chunk.iter().for_each(|cmd| drive(&mut subject, cmd, &mut tally));
    }
    let started = thread_cpu();
    let mut done = 0;
    while done < work.main_len {
        if limit.is_some_and(|limit| thread_cpu() - started > limit) {
            break;
        }
        let end = work.main_len.min(done + CHUNK);
        for at in done..end {
            drive_next(&mut subject, &work.main()[at..], &mut tally);
        }
        done = end;
    }
    let spent = thread_cpu() - started;
    Run { mops: done as f64 / spent.as_secs_f64() / 1e6, check: check(work, done, tally, subject.resting()) }
}

/// Compares the result after `done` main commands with the expected one.
pub fn check(work: &Work, done: usize, tally: Tally, resting: Option<Resting>) -> Check {
    let to_the_end = work.prefill_len + done == work.cmds.len();
    let mark = work.marks[done.div_ceil(CHUNK)];
    if tally != mark || done == 0 {
        return Check::Diff;
    }
    if !to_the_end {
        return Check::ExactSoFar;
    }
    let resting_ok = resting.is_none_or(|resting| resting == work.expected.resting);
    if tally == work.expected.tally && resting_ok { Check::Exact } else { Check::Diff }
}

/// Kinds of commands by their effect; the last is all of them together.
pub const KINDS: [&str; 5] = ["new", "cancel", "move", "trading", "all"];
const ALL: usize = KINDS.len() - 1;

fn kind(cmd: &Cmd) -> usize {
    match cmd.op {
        _ if cmd.traded => 3,
        Op::New => 0,
        Op::Cancel => 1,
        Op::Move => 2,
    }
}

/// Distribution of the time of single commands, by kind.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// One histogram in nanoseconds for each of `KINDS`.
    pub by_kind: Vec<Histogram<u64>>,
    pub check: Check,
}

pub fn latencies<S: Subject>(mut subject: S, work: &Work, ticks: &Ticks) -> Result<Latencies> {
    let mut tally = Tally::default();
    work.prefill().iter().for_each(|cmd| drive(&mut subject, cmd, &mut tally));
    let samples = sample(work, ticks, |rest| drive_next(&mut subject, rest, &mut tally));
    let check = check(work, work.main_len, tally, subject.resting());
    Ok(Latencies { by_kind: histograms(work, &samples, ticks)?, check })
}

/// Ticks that each main command took. `step` runs the first of the commands that it is given.
///
/// The array is filled with ones first: pages of zeros fault in on first use, and that would show up as a false p99.9.
pub fn sample(work: &Work, ticks: &Ticks, mut step: impl FnMut(&[Cmd])) -> Vec<u32> {
    let mut samples = vec![1u32; work.main_len];
    let mut before = ticks.now();
    for (at, sample) in samples.iter_mut().enumerate() {
        step(&work.main()[at..]);
        let after = ticks.now();
        *sample = u32::try_from(after - before).unwrap_or(u32::MAX);
        before = after;
    }
    samples
}

pub fn histograms(work: &Work, samples: &[u32], ticks: &Ticks) -> Result<Vec<Histogram<u64>>> {
    let mut by_kind = Vec::new();
    for _ in KINDS {
        by_kind.push(Histogram::<u64>::new(3)?);
    }
    for (cmd, &sample) in work.main().iter().zip(samples) {
        let ns = ticks.ns(u64::from(sample));
        by_kind[kind(cmd)].record(ns)?;
        by_kind[ALL].record(ns)?;
    }
    Ok(by_kind)
}
