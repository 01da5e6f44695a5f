//! The time slice of a thread that spins: longest of all, so that the kernel's own workers run before it.
//!
//! `unsafe`: two system calls that have no safe wrapper; one reads a number, the other reads a struct of ours.
#![allow(unsafe_code)]

use std::io;

/// A slice longer than any other thread's.
const SLICE_NS: u64 = 100_000_000;

/// Lets the kernel's workers for this thread's ring run as soon as they wake, also on this thread's core.
///
/// A sync is done by such a worker. A thread that spins never sleeps, and where no other core is idle the worker waits for
/// the end of a tick: 4 ms on a kernel of 250 Hz, 130 times as long as the write and its sync. A thread that wakes with a
/// shorter slice than the running one goes first (Linux 6.12 and later), so this thread takes the longest slice there is,
/// and threads made for it, its workers among them, start with the usual one. An older kernel keeps the usual slice.
pub fn own_longest_slice() {
    // SAFETY: asks for a number.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: libc::SCHED_FLAG_RESET_ON_FORK as u64,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads `size` bytes of a struct that lives through the call; 0 is the calling thread.
    let refused = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } != 0;
    if refused {
        tracing::info!(error = %io::Error::last_os_error(), "the kernel keeps the usual time slice: a sync may wait for a tick");
    }
}
