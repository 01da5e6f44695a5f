//! The journal's head over the simulated disk: writes and syncs that complete at the seed's choice, or fail.

use crate::disk::Disk;
use crate::options::Fault;
use node::reactor::ports::Journaling;
use std::collections::VecDeque;
use std::path::PathBuf;
use wal::frame::Frame;
use wal::head::{FrameTicket, Head, WriteOp};
use wal::poison::Poisoned;
use wal::units::SegmentIdx;

pub(crate) fn segment_path(idx: SegmentIdx) -> PathBuf {
    PathBuf::from(crate::exchange::DATA_DIR).join("head").join(idx.file_name())
}

/// Faults of the next write and of the next sync; each is used once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskFaults {
    pub write: Option<WriteFault>,
    pub sync: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteFault {
    Fail(i32),
    /// Half of the bytes are written.
    Short,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asked,
    Written,
}

struct Flight {
    op: WriteOp,
    bytes: Vec<u8>,
    stage: Stage,
}

/// A frame that was submitted to the disk, and whether a power cut can still lose it.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub op: WriteOp,
    /// The durable sequence that its header states.
    pub seq_known_durable: u64,
    /// Length without padding.
    pub frame_bytes: usize,
    written: bool,
    /// A sync of it has failed; no later sync makes it durable.
    lost: bool,
    pub synced: bool,
}

enum Completion {
    Write(FrameTicket, Result<usize, i32>),
    Sync(FrameTicket, Result<(), i32>),
}

pub(crate) struct Journal {
    head: Head,
    disk: Disk,
    flights: Vec<Flight>,
    /// Completions that were not reported to the head yet.
    completions: VecDeque<Completion>,
    poisoned: Option<Poisoned>,
    /// A write or a sync has failed.
    pub failed: bool,
    /// Frames of this process, in order.
    pub issued: Vec<Issued>,
    /// Number of frames, from the first on, that are synced.
    synced_count: usize,
    seq_truly_durable: u64,
    /// Records submitted since the oracle last read them.
    pub records: Vec<(u64, Vec<u8>)>,
}

impl Journal {
    pub(crate) fn new(head: Head, disk: Disk) -> Self {
        Self {
            seq_truly_durable: head.seq_durable().0,
            synced_count: 0,
            head,
            disk,
            flights: Vec::new(),
            completions: VecDeque::new(),
            poisoned: None,
            failed: false,
            issued: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Reports completions to the head.
    pub(crate) fn poll(&mut self) {
        while let Some(completion) = self.completions.pop_front() {
            let outcome = match completion {
                Completion::Write(ticket, result) => self.head.complete_write(ticket, result),
                Completion::Sync(ticket, result) => self.head.complete_sync(ticket, result),
            };
            if let Err(poisoned) = outcome {
                self.poisoned.get_or_insert(poisoned);
            }
        }
        self.head.hash_closed_frame();
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    /// Whether frames are under way.
    pub(crate) fn is_busy(&self) -> bool {
        !self.flights.is_empty()
    }

    /// Advances one frame, chosen by `pick`, by one stage; returns the fault that it met.
    pub(crate) fn advance(&mut self, pick: u32, disk_faults: &mut DiskFaults) -> Option<Fault> {
        if self.flights.is_empty() {
            return None;
        }
        let idx = pick as usize % self.flights.len();
        match self.flights[idx].stage {
            Stage::Asked => {
                let fault = disk_faults.write.take();
                self.write(idx, fault);
                fault.map(|fault| if fault == WriteFault::Short { Fault::ShortWrite } else { Fault::WriteFails })
            }
            Stage::Written => {
                let fault = disk_faults.sync.take();
                self.sync(idx, fault);
                fault.map(|_| Fault::SyncFails)
            }
        }
    }

    fn write(&mut self, idx: usize, fault: Option<WriteFault>) {
        let Flight { op, bytes, stage } = &mut self.flights[idx];
        let len = if fault.is_some() { bytes.len() / 2 } else { bytes.len() };
        self.disk.write(&segment_path(op.place.segment), op.place.offset as usize, &bytes[..len]);
        let result = if let Some(WriteFault::Fail(errno)) = fault { Err(errno) } else { Ok(len) };
        self.completions.push_back(Completion::Write(op.ticket, result));
        *stage = Stage::Written;
        let (ticket, is_complete) = (op.ticket, len == bytes.len());
        if !is_complete {
            self.failed = true;
            // The sync that is linked to a failed write is not made.
            self.flights.remove(idx);
        }
        let issued = self.issued.iter_mut().rev().find(|issued| issued.op.ticket == ticket);
        issued.expect("every flight was submitted").written = is_complete;
    }

    fn sync(&mut self, idx: usize, fault: Option<i32>) {
        let Flight { op, .. } = self.flights.swap_remove(idx);
        let since = self.synced_count;
        let same_file = |issued: &Issued| issued.written && issued.op.place.segment == op.place.segment;
        if let Some(errno) = fault {
            self.failed = true;
            self.disk.fail_to_sync(&segment_path(op.place.segment));
            for issued in self.issued[since..].iter_mut().filter(|issued| same_file(issued)) {
                issued.lost |= !issued.synced;
            }
            self.completions.push_back(Completion::Sync(op.ticket, Err(errno)));
            return;
        }
        self.disk.sync(&segment_path(op.place.segment));
        // A sync makes all earlier writes to the same file durable.
        for issued in self.issued[since..].iter_mut().filter(|issued| same_file(issued)) {
            issued.synced |= !issued.lost;
        }
        while let Some(issued) = self.issued.get(self.synced_count).filter(|issued| issued.synced) {
            self.seq_truly_durable = issued.op.seq_last.0;
            self.synced_count += 1;
        }
        self.completions.push_back(Completion::Sync(op.ticket, Ok(())));
    }

    /// The last sequence that no power cut can lose.
    pub(crate) fn seq_truly_durable(&self) -> u64 {
        self.seq_truly_durable
    }
}

impl Journaling for Journal {
    fn head(&self) -> &Head {
        &self.head
    }

    fn head_mut(&mut self) -> &mut Head {
        &mut self.head
    }

    fn write_journal(&mut self) -> usize {
        let mut count = 0;
        while let Some(op) = self.head.next_write() {
            let bytes = self.head.bytes(op.ticket).to_vec();
            let frame =
                Frame::decode(&bytes).unwrap_or_else(|fault| panic!("the head wrote a malformed frame: {fault}"));
            self.records.extend(frame.records().map(|(seq, record)| (seq.0, record.to_vec())));
            let frame_bytes = frame.bytes().len();
            self.issued.push(Issued {
                frame_bytes,
                op,
                seq_known_durable: frame.seq_durable().0,
                written: false,
                lost: false,
                synced: false,
            });
            self.flights.push(Flight { op, bytes, stage: Stage::Asked });
            count += 1;
        }
        count
    }

    fn poisoned(&self) -> Option<&Poisoned> {
        self.poisoned.as_ref()
    }
}
