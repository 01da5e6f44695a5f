//! Writes that leave the page cache for the device in small steps.
//!
//! A large file that is written at once stays in the page cache until its sync. Every other sync on that device then
//! waits for all of it, the journal's too. So writeback of each step starts as soon as the step is written, and waits
//! for the step before: at most two steps are ever between another sync and the device.
//!
//! `unsafe`: one system call that has no safe wrapper. It takes a file descriptor and numbers, and no pointer.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

/// Bytes of one step. Another sync waits for at most two.
pub(crate) const STEP_BYTES: usize = 256 << 10;

/// Appends all of `bytes` at `at`, the end of `file`. On return all steps but the last have been written to the device;
/// only a sync makes them durable.
pub(crate) fn write_in_steps(file: &mut File, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut at = at;
    for step in bytes.chunks(STEP_BYTES) {
        file.write_all(step)?;
        sync_range(file, at, step.len() as u64, libc::SYNC_FILE_RANGE_WRITE)?;
        let before = at.saturating_sub(STEP_BYTES as u64);
        if before < at {
            sync_range(file, before, at - before, WAIT)?;
        }
        at += step.len() as u64;
    }
    Ok(())
}

const WAIT: u32 = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;

fn sync_range(file: &File, at: u64, bytes: u64, flags: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` lives, and the call takes no pointer.
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), at as i64, bytes as i64, flags) };
    match (done, io::Error::last_os_error()) {
        (0, _) => Ok(()),
        // A file system without this call, tmpfs for one, has no device that could be kept busy either.
        (_, error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE)) => Ok(()),
        (_, error) => Err(error),
    }
}
