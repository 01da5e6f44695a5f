//! Bytes of the past: snapshots, and the live stream from far back. They are paced, because anybody may ask for them,
//! and the newest messages must not wait for them.
//!
//! Invariants: a block of addresses gets `BLOCK_RATE` bytes a second after a first `BLOCK_BURST`, all together get
//! `RATE`, and one cycle sends `CYCLE_MAX`. What a reader may not send now it sends in a later cycle. A block that has
//! used nothing for a while is forgotten, and begins with its burst; at most `BLOCKS_MAX` are known, and the others
//! share one bucket.

use crate::gateway::address_block::AddressBlock;
use book::units::TsNs;
use std::collections::BTreeMap;

/// Enough for a snapshot of a million orders at full speed.
const BLOCK_BURST: u64 = 64 << 20;
const BLOCK_RATE: u64 = 16 << 20;
const BURST: u64 = 256 << 20;
const RATE: u64 = 128 << 20;
const CYCLE_MAX: u64 = 512 << 10;
const BLOCKS_MAX: usize = 4_096;
/// A grant that is smaller is none: few bytes cost as much as many.
const GRANT_MIN: u64 = 4 << 10;

/// Bytes that may be sent: so many now, and more as time passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    bytes: u64,
    burst: u64,
    at: TsNs,
}

impl Bucket {
    pub(super) fn full(now: TsNs, burst: u64) -> Self {
        Self { bytes: burst, burst, at: now }
    }

    /// Whether it has less than so many bytes, and less than its burst.
    pub(super) fn is_used(&self, bytes: u64) -> bool {
        self.bytes < bytes.min(self.burst)
    }

    /// Takes so many bytes, or all.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(super) fn refill(&mut self, now: TsNs, rate: u64) {
        let ns = now.0.saturating_sub(self.at.0);
        let more = u128::from(ns) * u128::from(rate) / 1_000_000_000;
        // What is less than a byte stays in the time.
        if more > 0 {
            let more = u64::try_from(more).unwrap_or(u64::MAX);
            (self.bytes, self.at) = (self.bytes.saturating_add(more).min(self.burst), now);
        }
    }
}

#[derive(Debug)]
pub(super) struct Bulk {
    all: Bucket,
    blocks: BTreeMap<AddressBlock, Bucket>,
    others: Bucket,
    cycle: u64,
}

impl Bulk {
    pub(super) fn new() -> Self {
        let start = TsNs(0);
        let (all, others) = (Bucket::full(start, BURST), Bucket::full(start, BLOCK_BURST));
        Self { all, blocks: BTreeMap::new(), others, cycle: CYCLE_MAX }
    }

    pub(super) fn begin_cycle(&mut self, now: TsNs) {
        self.cycle = CYCLE_MAX;
        self.all.refill(now, RATE);
    }

    /// The most bytes that a reader of this block may be sent now; `spend` says how many it was, and asserts the bound.
    pub(super) fn grant(&mut self, now: TsNs, block: AddressBlock) -> usize {
        let (cycle, all) = (self.cycle, self.all.bytes);
        let bucket = self.bucket(now, block);
        bucket.refill(now, BLOCK_RATE);
        let bytes = bucket.bytes.min(cycle).min(all);
        if bytes < GRANT_MIN { 0 } else { bytes as usize }
    }

    pub(super) fn spend(&mut self, now: TsNs, block: AddressBlock, bytes: usize) {
        let bytes = bytes as u64;
        let bucket = self.bucket(now, block);
        assert!(bytes <= bucket.bytes, "a reader is sent no more than it is granted");
        bucket.bytes -= bytes;
        self.all.bytes -= bytes;
        self.cycle -= bytes;
    }

    /// Forgets blocks that have their burst again. To be called now and then.
    pub(super) fn tick(&mut self, now: TsNs) {
        self.blocks.retain(|_, bucket| {
            bucket.refill(now, BLOCK_RATE);
            bucket.bytes < BLOCK_BURST
        });
    }

    fn bucket(&mut self, now: TsNs, block: AddressBlock) -> &mut Bucket {
        if self.blocks.len() == BLOCKS_MAX && !self.blocks.contains_key(&block) {
            return &mut self.others;
        }
        self.blocks.entry(block).or_insert_with(|| Bucket::full(now, BLOCK_BURST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn block(network: u32) -> AddressBlock {
        AddressBlock::of(std::net::Ipv4Addr::from_bits(network << 8).into())
    }

    /// Bytes that a block is granted from `from` to `until`, in seconds, with a thousand cycles each.
    fn sent(bulk: &mut Bulk, from: u64, until: u64, networks: &[u32]) -> u64 {
        let mut sent = 0;
        for ms in from * 1_000..until * 1_000 {
            let now = TsNs(ms * SECOND / 1_000);
            bulk.begin_cycle(now);
            let mut cycle = 0;
            for network in networks {
                let granted = bulk.grant(now, block(*network));
                bulk.spend(now, block(*network), granted);
                cycle += granted as u64;
            }
            assert!(cycle <= CYCLE_MAX);
            sent += cycle;
        }
        sent
    }

    #[test]
    fn a_block_has_its_burst_and_then_its_rate() {
        let mut bulk = Bulk::new();
        let first = sent(&mut bulk, 100, 101, &[1]);
        assert!((BLOCK_BURST..=BLOCK_BURST + BLOCK_RATE).contains(&first), "{first}");
        let then = sent(&mut bulk, 101, 111, &[1]);
        assert!((9 * BLOCK_RATE..=10 * BLOCK_RATE + GRANT_MIN).contains(&then), "{then}");
        bulk.tick(TsNs(200 * SECOND));
        assert!(bulk.blocks.is_empty(), "it has its burst again");
    }

    #[test]
    fn all_blocks_together_have_a_rate_and_another_one_its_share() {
        let mut bulk = Bulk::new();
        let many: Vec<u32> = (0..50).collect();
        sent(&mut bulk, 100, 110, &many);
        let then = sent(&mut bulk, 110, 120, &many);
        assert!(then <= 10 * RATE + CYCLE_MAX, "{then}");
        let later = sent(&mut bulk, 121, 122, &[99]);
        assert!(BLOCK_BURST <= later, "{later}");
    }

    #[test]
    fn blocks_beyond_the_bound_share_a_bucket() {
        let mut bulk = Bulk::new();
        let now = TsNs(SECOND);
        for network in 0..BLOCKS_MAX as u32 + 2 {
            bulk.begin_cycle(now);
            bulk.grant(now, block(network));
        }
        assert_eq!(bulk.blocks.len(), BLOCKS_MAX);
    }
}
