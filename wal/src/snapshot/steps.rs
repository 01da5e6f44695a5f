//! Writes that reach the device in small steps.
//!
//! A file written in one go lies in the page cache until its sync, and then every other sync on that device waits behind
//! all of it: the journal's too. So each step is pushed to the device as soon as it is written, and the one before it has
//! arrived there before the next begins; the writer makes its next bytes meanwhile.
//!
//! `unsafe`: one system call that no safe wrapper offers; it reads nothing of ours and changes no memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

/// What one other sync may find in front of it: two of these.
pub(crate) const STEP_BYTES: usize = 256 << 10;

/// Appends all of it. On return all but the last step has left the page cache for the device, though not yet for good.
pub(crate) fn write_in_steps(file: &mut File, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut at = at;
    for step in bytes.chunks(STEP_BYTES) {
        file.write_all(step)?;
        push(file, at, step.len() as u64, libc::SYNC_FILE_RANGE_WRITE)?;
        let before = at.saturating_sub(STEP_BYTES as u64);
        if before < at {
            push(file, before, at - before, WAIT)?;
        }
        at += step.len() as u64;
    }
    Ok(())
}

const WAIT: u32 = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;

fn push(file: &File, at: u64, bytes: u64, flags: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` lives, and the call takes no pointer.
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), at as i64, bytes as i64, flags) };
    match (done, io::Error::last_os_error()) {
        (0, _) => Ok(()),
        // File systems that have no such thing, a tmpfs for one, have no device to keep free either.
        (_, error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE)) => Ok(()),
        (_, error) => Err(error),
    }
}
