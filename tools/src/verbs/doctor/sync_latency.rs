//! Measures how long the disk takes to make a block durable as the node does it: with its reactor, its journal head
//! and its core, on two files that have no name. The time is from staging a record to `seq_durable`, so a microsecond
//! or two of it is the hashing of the frame.

use super::finding::{DISK, Finding};
use super::scratch;
use anyhow::{Context, Result, anyhow, ensure};
use node::faults::fault::JournalFault;
use node::host::pin::pin_to;
use node::reactor::ports::{Journaling, Wait};
use node::reactor::uring::Reactor;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};
use wal::block::BLOCK_BYTES;
use wal::frame::{FRAME_HEADER_BYTES, RECORD_HEADER_BYTES};
use wal::head::{Head, HeadConfig, HeadPosition};
use wal::segment::{Geometry, SEGMENT_DATA_OFFSET};
use wal::units::{Lsn, NodeId, Timeline};

const CHECK: &str = "sync latency";
const WARM_UP: usize = 20;
const WRITES: usize = 200;
/// After this time no further write is made, and the disk is judged by the writes so far.
const MEASURE_MAX: Duration = Duration::from_secs(5);

const SEGMENTS: usize = 2;
/// Each segment holds its header and half of the frames, so no block is written twice.
const SEGMENT_BLOCKS: usize = 1 + (WARM_UP + WRITES).div_ceil(SEGMENTS);

/// The shortest time from an order to its answer, when nothing else runs; a good drive takes 20 to 100 us.
const P50_MAX: Duration = Duration::from_micros(500);
const P99_MAX: Duration = Duration::from_millis(5);

#[derive(Clone, Debug)]
pub(super) struct Latencies {
    /// In ascending order; at least one.
    sorted: Vec<Duration>,
    /// The core of the measuring thread; none where it could not be pinned.
    core: Option<usize>,
}

impl Latencies {
    /// Measures on a thread of its own, so that pinning and the reactor's time slice end with it.
    pub(super) fn measure(dir: &Path, core: usize) -> Result<Self> {
        let dir = dir.to_owned();
        let thread = std::thread::spawn(move || {
            let pinned = pin_to(core);
            let mut sorted = durable_writes(&dir)?;
            sorted.sort_unstable();
            Ok(Self { sorted, core: pinned.then_some(core) })
        });
        thread.join().map_err(|_| anyhow!("the measuring thread panicked"))?
    }

    fn quantile(&self, percent: usize) -> Duration {
        self.sorted[(self.sorted.len() - 1) * percent / 100]
    }

    fn text(&self) -> String {
        let us = |duration: Duration| format!("{:.0}", duration.as_nanos() as f64 / 1_000.0);
        let core = self.core.map_or("not pinned".to_owned(), |core| format!("core {core}"));
        format!(
            "p50 {} us, p99 {} us, max {} us ({} durable writes of 4 KiB, one at a time, {core})",
            us(self.quantile(50)),
            us(self.quantile(99)),
            us(self.quantile(100)),
            self.sorted.len(),
        )
    }
}

pub(super) fn judge(latencies: &Latencies) -> Finding {
    let found = latencies.text();
    if latencies.quantile(50) <= P50_MAX && latencies.quantile(99) <= P99_MAX {
        return DISK.ok(CHECK, found);
    }
    let advice = "run this again when disk and core are idle; if it stays slow, use a faster drive, best with \
                  power-loss protection: with journal.sync = \"always\" no order is answered sooner than this";
    DISK.advice(CHECK, found, advice)
}

/// `ok`, because what prevents the measurement is a finding of its own.
pub(super) fn not_measured(why: &str) -> Finding {
    DISK.ok(CHECK, format!("not measured: {why}"))
}

/// The latency of each of several writes, one after the other.
fn durable_writes(dir: &Path) -> Result<Vec<Duration>> {
    let mut reactor = journal(dir)?;
    let started = Instant::now();
    for _ in 0..WARM_UP {
        durable_write(&mut reactor)?;
    }
    let mut latencies = Vec::with_capacity(WRITES);
    while latencies.len() < WRITES && (latencies.is_empty() || started.elapsed() < MEASURE_MAX) {
        latencies.push(durable_write(&mut reactor)?);
    }
    Ok(latencies)
}

/// A reactor that drives a head on anonymous files. No segment headers are written: only a start reads them.
fn journal(dir: &Path) -> Result<Reactor> {
    let geometry = Geometry { segment_count: SEGMENTS as u32, segment_bytes: (SEGMENT_BLOCKS * BLOCK_BYTES) as u64 };
    let files: Vec<File> = (0..SEGMENTS)
        .map(|_| {
            let file = scratch::anonymous_file(dir, SEGMENT_BLOCKS)?;
            scratch::write_direct(&file).map(|()| file)
        })
        .collect::<std::io::Result<_>>()
        .context("making files to measure the disk with")?;
    let timeline = Timeline(1);
    let config = HeadConfig { timeline, geometry, frame_bytes_max: BLOCK_BYTES, frames_in_flight_max: 1 };
    let head = Head::new(config, HeadPosition::fresh(NodeId([0; 16]), timeline, Lsn::ZERO)).context("a head")?;
    Ok(Reactor::new(0)?.with_journal(head, files, JournalFault::default()))
}

fn durable_write(reactor: &mut Reactor) -> Result<Duration> {
    const RECORD: [u8; BLOCK_BYTES - FRAME_HEADER_BYTES - RECORD_HEADER_BYTES] =
        [0xA5; BLOCK_BYTES - FRAME_HEADER_BYTES - RECORD_HEADER_BYTES];
    let started = Instant::now();
    let head = reactor.head_mut();
    head.append(head.seq_next(), &RECORD);
    ensure!(reactor.write_journal() == 1, "a full frame is closed at once");
    while reactor.head().durable_frame().is_none() {
        reactor.poll(Wait::Spin)?;
        if let Some(poisoned) = reactor.poisoned() {
            return Err((*poisoned).into());
        }
    }
    let latency = started.elapsed();
    reactor.head_mut().release_durable_frame();
    Ok(latency)
}

const _: () = assert!(SEGMENT_DATA_OFFSET == BLOCK_BYTES as u64 && WARM_UP + WRITES <= SEGMENTS * (SEGMENT_BLOCKS - 1));

#[cfg(test)]
mod tests {
    use super::super::fake::expect;
    use super::*;

    fn check(us: impl Fn(u64) -> u64, core: Option<usize>, expected: &str) {
        let mut sorted: Vec<Duration> = (1..=WRITES as u64).map(|n| Duration::from_micros(us(n))).collect();
        sorted.sort_unstable();
        expect(&[judge(&Latencies { sorted, core })], expected);
    }

    #[test]
    fn a_disk_is_slow_mostly_or_now_and_then() {
        let tail = "(200 durable writes of 4 KiB, one at a time, core 1)";
        check(|n| n, Some(1), &format!("ok sync latency: p50 100 us, p99 198 us, max 200 us {tail}"));
        check(|n| 10 * n, Some(1), &format!("advice sync latency: p50 1000 us, p99 1980 us, max 2000 us {tail}"));
        let tail = "(200 durable writes of 4 KiB, one at a time, not pinned)";
        let rare = |n| if n < 195 { 50 } else { 9_000 };
        check(rare, None, &format!("advice sync latency: p50 50 us, p99 9000 us, max 9000 us {tail}"));
    }
}
