//! The scheduler's time slice of a thread that spins: the longest of all, so that io_uring's kernel workers preempt it.
//!
//! `unsafe`: two system calls without a safe wrapper; one returns a number, the other reads a struct of ours.
#![allow(unsafe_code)]

use std::io;

/// A slice longer than any other thread's.
const SLICE_NS: u64 = 100_000_000;

/// Lets the kernel workers of this thread's io_uring run as soon as they wake, even on this thread's core.
///
/// Such a worker performs the sync. A spinning thread never sleeps, so when no other core is idle, the worker waits for
/// the end of a scheduler tick: 4 ms at 250 Hz, 130 times as long as the write and its sync. Since Linux 6.12 a thread
/// that wakes with a shorter slice than the running one preempts it. So this thread requests the longest slice there
/// is, and threads created for it, its workers among them, keep the default (`SCHED_FLAG_RESET_ON_FORK`). An older
/// kernel keeps the default for all.
pub fn own_longest_slice() {
    // SAFETY: no pointer is passed; the call returns a number.
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
        let error = io::Error::last_os_error();
        tracing::info!(%error, "the kernel refused a longer time slice: a journal sync may wait for a scheduler tick");
    }
}
