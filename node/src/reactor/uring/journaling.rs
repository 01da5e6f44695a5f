//! The journal: each frame is one write and, linked to it, the sync of the segment that it was written to.
//!
//! Invariants: the two are neighbours of one submission, so the kernel starts the sync once every byte of the frame is
//! written, and cancels it where one is not; a frame is reported as synced by the completion of its own sync alone.

use super::{Journal, KIND_SYNC, KIND_WRITE, Reactor, tag};
use crate::faults::mutation::{Mutation, Planted};
use crate::reactor::ports::Journaling;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};
use std::fs::File;
use std::os::fd::AsRawFd;
use wal::head::{FrameTicket, Head, WriteOp};
use wal::poison::Poisoned;

/// The operations that make a frame durable.
#[inline]
pub(super) fn write_then_sync(files: &[File], op: &WriteOp, bytes: &[u8]) -> [squeue::Entry; 2] {
    let segment = op.place.segment.0 as usize;
    let to_sync = segment.planted(Mutation::SyncOfOtherSegment, |segment| (segment + 1) % files.len());
    let link = squeue::Flags::IO_LINK.planted(Mutation::SyncUnlinked, |_| squeue::Flags::empty());
    let write = opcode::Write::new(Fd(files[segment].as_raw_fd()), bytes.as_ptr(), bytes.len() as u32)
        .offset(op.place.offset)
        .build()
        .flags(link)
        .user_data(tag(KIND_WRITE, op.ticket.0));
    let sync = opcode::Fsync::new(Fd(files[to_sync].as_raw_fd()))
        .flags(FsyncFlags::DATASYNC)
        .build()
        .planted(Mutation::SyncMissing, |_| opcode::Nop::new().build())
        .user_data(tag(KIND_SYNC, op.ticket.0));
    [write, sync]
}

impl Reactor {
    pub fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("the reactor of the engine's thread drives the journal")
    }

    /// Computes the chain hash of a closed frame in a cycle without completions, when there is time for it.
    #[inline]
    pub(super) fn link_journal(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.head.hash_closed_frame();
        }
    }

    fn next_journal_entries(&mut self) -> Option<[squeue::Entry; 2]> {
        let journal = self.journal.as_mut()?;
        let op = journal.head.next_write()?;
        Some(write_then_sync(&journal.files, &op, journal.head.bytes(op.ticket)))
    }

    pub(super) fn write_done(&mut self, ticket: FrameTicket, result: i32) {
        let Some(journal) = self.journal.as_mut() else { return };
        let result = journal.fault.on_write(errno_or_len(result));
        let outcome = journal.head.complete_write(ticket, result);
        self.note(outcome);
    }

    pub(super) fn sync_done(&mut self, ticket: FrameTicket, result: i32) {
        let Some(journal) = self.journal.as_mut() else { return };
        // The linked write failed and the kernel cancelled this sync: the write's own completion has the reason.
        if result == -libc::ECANCELED && journal.head.poisoned().is_some() {
            return;
        }
        let result = journal.fault.on_sync(errno_or_len(result).map(|_| ()));
        let outcome = journal.head.complete_sync(ticket, result);
        self.note(outcome);
    }

    fn note(&mut self, outcome: Result<(), Poisoned>) {
        if let Err(poisoned) = outcome
            && self.poisoned.is_none()
        {
            self.poisoned = Some(poisoned);
        }
    }
}

impl Journaling for Reactor {
    #[inline]
    fn head(&self) -> &Head {
        &self.journal().head
    }

    #[inline]
    fn head_mut(&mut self) -> &mut Head {
        &mut self.journal.as_mut().expect("the reactor of the engine's thread drives the journal").head
    }

    #[inline]
    fn write_journal(&mut self) -> usize {
        let mut count = 0;
        while let Some(entries) = self.next_journal_entries() {
            self.asked.journal.push(entries);
            count += 1;
        }
        count
    }

    #[inline]
    fn poisoned(&self) -> Option<&Poisoned> {
        self.poisoned.as_ref()
    }
}

fn errno_or_len(result: i32) -> Result<usize, i32> {
    usize::try_from(result).map_err(|_| -result)
}
