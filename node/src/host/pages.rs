//! Huge pages and prefaulting for the large arrays of the state.
//!
//! An order is one cache line in an array of many megabytes, and orders are touched at random: with pages of 4 KiB
//! nearly every access misses the TLB and costs a page walk. Pages of 2 MiB avoid that. Touching every page at start
//! keeps page faults out of trading.
//!
//! `unsafe`: `madvise` on memory that the engine owns changes which pages back it, never what it holds.
#![allow(unsafe_code)]

use crate::config::{HugePages, NodeConfig};
use book::engine::Engine;
use book::extent::Extent;

const PAGE_BYTES: usize = 4096;

/// What the kernel was asked for and what it refused, for a log line at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageAdvice {
    pub state_bytes: usize,
    /// Extents for which the kernel refused: it has no transparent huge pages, or no `MADV_POPULATE_WRITE`.
    pub refused_count: usize,
}

/// Asks the kernel for the pages that the configuration names. To be called before the state is touched: a page that
/// exists already stays small until the kernel collapses it in the background.
pub fn advise_pages(engine: &Engine, config: &NodeConfig) -> PageAdvice {
    let mut given = PageAdvice::default();
    for extent in engine.extents() {
        given.state_bytes += extent.bytes;
        if config.huge_pages == HugePages::Advise && !madvise(&extent, libc::MADV_HUGEPAGE) {
            given.refused_count += 1;
        }
        if config.prefault && !madvise(&extent, libc::MADV_POPULATE_WRITE) {
            given.refused_count += 1;
        }
    }
    given
}

/// Gives the advice for the pages that lie entirely inside `extent`; false if the kernel refused.
fn madvise(extent: &Extent, advice: libc::c_int) -> bool {
    let start = extent.address.next_multiple_of(PAGE_BYTES);
    let end = (extent.address + extent.bytes) / PAGE_BYTES * PAGE_BYTES;
    if end <= start {
        return true;
    }
    // SAFETY: the range lies inside an allocation that the engine owns; neither advice changes or frees its contents.
    unsafe { libc::madvise(std::ptr::without_provenance_mut(start), end - start, advice) == 0 }
}

/// Anonymous memory of this process that lies on huge pages, as the kernel counts it.
pub fn huge_bytes() -> Option<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("AnonHugePages:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::engine::Capacity;

    #[test]
    fn extents_cover_what_was_set_aside_and_take_the_advice() {
        let engine = Engine::new(Capacity { orders: 1 << 16, leaves: 1 << 12, markets: 64, names: 1 });
        let bytes: usize = engine.extents().map(|extent| extent.bytes).sum();
        assert!((1 << 16) * 64 <= bytes, "{bytes} bytes are less than the orders alone");
        for extent in engine.extents() {
            assert!(madvise(&extent, libc::MADV_POPULATE_WRITE), "{} at {:#x}", extent.name, extent.address);
        }
        // Every page exists now, and its contents have not changed.
        assert!(engine.pool().orders.is_empty() && engine.verify().is_ok());
    }
}
