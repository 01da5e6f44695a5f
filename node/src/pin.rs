//! Gives the calling thread a core of its own, as far as the machine has one.

use core_affinity::CoreId;

/// Whether the thread now runs on this core only.
pub fn pin_to(core: usize) -> bool {
    let exists = core_affinity::get_core_ids().is_some_and(|ids| ids.contains(&CoreId { id: core }));
    exists && core_affinity::set_for_current(CoreId { id: core })
}
