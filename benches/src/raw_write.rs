//! The limit of the disk: blocks written past the page cache, each write linked to its own fdatasync, on a ring with
//! the reactor's flags, whose workers have the same priority as the reactor's. Nothing is staged, hashed or decided.
//!
//! The file is filled with zeros and synced first, so that no write allocates. Completions are polled.
//!
//! `unsafe`: the kernel reads the blocks of a write until that write is complete. The blocks are made once and never
//! written to after the first submission, and the ring is dropped, hence closed, before them.
#![allow(unsafe_code)]

use anyhow::{Context, Result, ensure};
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use wal::block::{Block, blocks};
use zerocopy::IntoBytes;

const RING_ENTRIES: u32 = 1024;
const COMPLETION_ENTRIES: u32 = 4096;
const ZEROS_BYTES: usize = 1 << 20;
const ENTER_GETEVENTS: u32 = 1;
const KIND_SYNC: u64 = 1;

/// Writes to one file, one after the other; after the last place the first is written again.
pub struct RawWrites {
    // Dropped first: closing the ring ends every operation, and then the blocks below may be freed.
    ring: IoUring,
    file: File,
    bytes: Box<[Block]>,
    file_bytes: u64,
    at: u64,
    next: u64,
    syncs: u64,
}

impl RawWrites {
    /// Creates `path` with room for `count` writes of `pattern`. Only the calling thread may use the ring.
    pub fn create(path: &Path, pattern: &[u8], count: u64) -> Result<Self> {
        let mut bytes = blocks(pattern.len());
        ensure!(
            bytes.as_bytes().len() == pattern.len() && count > 0,
            "a write is one or more blocks: {} bytes, {count} writes",
            pattern.len()
        );
        bytes.as_mut_bytes().copy_from_slice(pattern);
        let file_bytes = pattern.len() as u64 * count;
        let file = zeroed(path, file_bytes).with_context(|| format!("creating {}", path.display()))?;
        node::host::slice::own_longest_slice();
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(RING_ENTRIES)
            .context("io_uring")?;
        Ok(Self { ring, file, bytes, file_bytes, at: 0, next: 0, syncs: 0 })
    }

    /// Queues the next write and its sync; returns the number that `poll` will report once it is durable.
    pub fn start(&mut self) -> u64 {
        let (number, fd) = (self.next, Fd(self.file.as_raw_fd()));
        let bytes = self.bytes.as_bytes();
        let write = opcode::Write::new(fd, bytes.as_ptr(), bytes.len() as u32)
            .offset(self.at)
            .build()
            .flags(squeue::Flags::IO_LINK)
            .user_data(number << 1);
        let sync = opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build().user_data(number << 1 | KIND_SYNC);
        // SAFETY: `bytes` are never written to and outlive the ring; see the head of this file.
        let pushed = unsafe { self.ring.submission().push_multiple(&[write, sync]) };
        pushed.expect("the ring has more entries than writes are under way at once");
        self.at = (self.at + bytes.len() as u64) % self.file_bytes;
        self.next += 1;
        number
    }

    /// Enters the kernel when there is something to submit or to collect; reports the writes that are durable now.
    pub fn poll(&mut self, done: &mut impl FnMut(u64)) -> Result<()> {
        let (submitter, mut sq, mut cq) = self.ring.split();
        sq.sync();
        cq.sync();
        let pending = sq.len() as u32;
        if pending > 0 || cq.is_empty() && sq.taskrun() {
            drop(sq);
            // SAFETY: flags and arguments are those of a plain submit that also runs deferred completions; no pointer.
            let entered = unsafe { submitter.enter::<libc::sigset_t>(pending, 0, ENTER_GETEVENTS, None) };
            entered.context("io_uring_enter")?;
            cq.sync();
        }
        for entry in cq {
            let (number, is_sync) = (entry.user_data() >> 1, entry.user_data() & KIND_SYNC != 0);
            let expected = if is_sync { 0 } else { self.bytes.as_bytes().len() as i32 };
            ensure!(entry.result() == expected, "write {number}: result {}, expected {expected}", entry.result());
            if is_sync {
                self.syncs += 1;
                done(number);
            }
        }
        Ok(())
    }

    /// Makes one write and returns when it is durable.
    pub fn write(&mut self) -> Result<()> {
        let number = self.start();
        let mut durable = false;
        while !durable {
            self.poll(&mut |done| durable |= done == number)?;
        }
        Ok(())
    }

    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Reads every block back and fails where one does not hold what was written.
    pub fn check(&self) -> Result<()> {
        let mut found = blocks(self.bytes.as_bytes().len());
        let len = found.as_bytes().len() as u64;
        for number in 0..self.next.min(self.file_bytes / len) {
            self.file.read_exact_at(found.as_mut_bytes(), number * len)?;
            ensure!(found.as_bytes() == self.bytes.as_bytes(), "write {number} is not what was written");
        }
        Ok(())
    }
}

fn zeroed(path: &Path, file_bytes: u64) -> Result<File> {
    let plain = OpenOptions::new().write(true).create_new(true).open(path)?;
    let zeros = blocks(ZEROS_BYTES);
    let mut at = 0;
    while at < file_bytes {
        let len = (file_bytes - at).min(ZEROS_BYTES as u64);
        plain.write_all_at(&zeros.as_bytes()[..len as usize], at)?;
        at += len;
    }
    plain.sync_all()?;
    Ok(OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path)?)
}
