//! Which pages lie under the large arrays of the state.
//!
//! An order is one line of an array of many megabytes, and orders are met in no order: with pages of 4 KiB nearly every
//! one of them costs a walk through the page tables besides its load. Pages of 2 MiB take that away. Touching all pages at
//! start takes the page faults out of trading.
//!
//! `unsafe`: advice about memory that is ours and stays ours changes what pages it consists of, never what it holds.
#![allow(unsafe_code)]

use crate::config::{HugePages, NodeConfig};
use book::engine::Engine;
use book::extent::Extent;

const PAGE_BYTES: usize = 4096;

/// What was asked of the kernel, for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Laid {
    pub state_bytes: usize,
    /// Extents for which the kernel refused the advice: a kernel without huge pages, or without `MADV_POPULATE_WRITE`.
    pub refused_count: usize,
}

/// Asks for the pages that the configuration wants. Call it before the state is touched: what is there already stays
/// where it is until the kernel finds time to move it.
pub fn lay(engine: &Engine, config: &NodeConfig) -> Laid {
    let mut laid = Laid::default();
    for extent in engine.extents() {
        laid.state_bytes += extent.bytes;
        if config.huge_pages == HugePages::Advise && !advise(&extent, libc::MADV_HUGEPAGE) {
            laid.refused_count += 1;
        }
        if config.prefault && !advise(&extent, libc::MADV_POPULATE_WRITE) {
            laid.refused_count += 1;
        }
    }
    laid
}

/// Gives the advice for the whole pages inside `extent`.
fn advise(extent: &Extent, advice: libc::c_int) -> bool {
    let start = extent.address.next_multiple_of(PAGE_BYTES);
    let end = (extent.address + extent.bytes) / PAGE_BYTES * PAGE_BYTES;
    if end <= start {
        return true;
    }
    // SAFETY: the range lies inside an allocation that the engine owns; neither advice changes or frees its contents.
    unsafe { libc::madvise(std::ptr::without_provenance_mut(start), end - start, advice) == 0 }
}

/// Bytes of this process that lie on huge pages, as the kernel counts them.
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
        let engine = Engine::new(Capacity { orders: 1 << 16, leaves: 1 << 12, markets: 64 });
        let bytes: usize = engine.extents().map(|extent| extent.bytes).sum();
        assert!((1 << 16) * 64 <= bytes, "{bytes} bytes are less than the orders alone");
        for extent in engine.extents() {
            assert!(advise(&extent, libc::MADV_POPULATE_WRITE), "{} at {:#x}", extent.name, extent.address);
        }
        // Every page is there now, and holds what it held: nothing.
        assert!(engine.pool().orders.is_empty() && engine.verify().is_ok());
    }
}
