//! The head over the simulated disk: writes and syncs that finish when the seed says, or fail.

use crate::disk::Disk;
use crate::options::Fault;
use node::reactor::ports::Journaling;
use std::collections::VecDeque;
use std::path::PathBuf;
use wal::frame::Frame;
use wal::head::{FrameTicket, Head, Poisoned, WriteOp};
use wal::segment::SegmentIdx;

pub fn segment_path(idx: SegmentIdx) -> PathBuf {
    PathBuf::from(crate::exchange::DATA_DIR).join("head").join(idx.file_name())
}

/// What the disk does to the next write and to the next sync; each happens once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mishaps {
    pub write: Option<WriteMishap>,
    pub sync: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMishap {
    Fail(i32),
    /// Half of it is written.
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

/// What a frame that was handed to the disk says, and whether a power cut can still take it back.
#[derive(Clone, Debug)]
pub struct Issued {
    pub op: WriteOp,
    /// How far its writer knew the log durable.
    pub seq_known_durable: u64,
    /// Without padding.
    pub frame_bytes: usize,
    written: bool,
    /// A sync of it has failed: no later one makes up for it.
    lost: bool,
    pub synced: bool,
}

enum Completion {
    Write(FrameTicket, Result<usize, i32>),
    Sync(FrameTicket, Result<(), i32>),
}

pub struct Journal {
    head: Head,
    disk: Disk,
    flights: Vec<Flight>,
    /// Done, and not yet reported to the head.
    completions: VecDeque<Completion>,
    poisoned: Option<Poisoned>,
    /// The disk has failed it.
    pub failed: bool,
    /// Frames of this process, in order.
    pub issued: Vec<Issued>,
    /// How many of them, from the first on, are synced.
    synced_count: usize,
    seq_truly_durable: u64,
    /// Records that were issued since somebody looked.
    pub records: Vec<(u64, Vec<u8>)>,
}

impl Journal {
    pub fn new(head: Head, disk: Disk) -> Self {
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

    /// Tells the head what is done.
    pub fn poll(&mut self) {
        while let Some(completion) = self.completions.pop_front() {
            let outcome = match completion {
                Completion::Write(ticket, result) => self.head.written(ticket, result),
                Completion::Sync(ticket, result) => self.head.synced(ticket, result),
            };
            if let Err(poisoned) = outcome {
                self.poisoned.get_or_insert(poisoned);
            }
        }
        self.head.link_closed();
    }

    pub fn is_poisoned(&self) -> bool {
        self.poisoned.is_some()
    }

    /// Frames are under way.
    pub fn is_busy(&self) -> bool {
        !self.flights.is_empty()
    }

    /// Moves one frame, the `pick`-th of those under way, by one step; gives the fault that hit it.
    pub fn advance(&mut self, pick: u32, mishaps: &mut Mishaps) -> Option<Fault> {
        if self.flights.is_empty() {
            return None;
        }
        let idx = pick as usize % self.flights.len();
        match self.flights[idx].stage {
            Stage::Asked => {
                let mishap = mishaps.write.take();
                self.write(idx, mishap);
                mishap.map(|mishap| if mishap == WriteMishap::Short { Fault::ShortWrite } else { Fault::WriteFails })
            }
            Stage::Written => {
                let mishap = mishaps.sync.take();
                self.sync(idx, mishap);
                mishap.map(|_| Fault::SyncFails)
            }
        }
    }

    fn write(&mut self, idx: usize, mishap: Option<WriteMishap>) {
        let Flight { op, bytes, stage } = &mut self.flights[idx];
        let len = if mishap.is_some() { bytes.len() / 2 } else { bytes.len() };
        self.disk.write(&segment_path(op.place.segment), op.place.offset as usize, &bytes[..len]);
        let result = if let Some(WriteMishap::Fail(errno)) = mishap { Err(errno) } else { Ok(len) };
        self.completions.push_back(Completion::Write(op.ticket, result));
        *stage = Stage::Written;
        let (ticket, whole) = (op.ticket, len == bytes.len());
        if !whole {
            self.failed = true;
            // The sync that was linked to it does not take place.
            self.flights.remove(idx);
        }
        let issued = self.issued.iter_mut().rev().find(|issued| issued.op.ticket == ticket);
        issued.expect("it was issued").written = whole;
    }

    fn sync(&mut self, idx: usize, mishap: Option<i32>) {
        let Flight { op, .. } = self.flights.swap_remove(idx);
        let since = self.synced_count;
        let same_file = |issued: &Issued| issued.written && issued.op.place.segment == op.place.segment;
        if let Some(errno) = mishap {
            self.failed = true;
            self.disk.fail_to_sync(&segment_path(op.place.segment));
            for issued in self.issued[since..].iter_mut().filter(|issued| same_file(issued)) {
                issued.lost |= !issued.synced;
            }
            self.completions.push_back(Completion::Sync(op.ticket, Err(errno)));
            return;
        }
        self.disk.sync(&segment_path(op.place.segment));
        // A sync makes everything durable that was written to the file before it.
        for issued in self.issued[since..].iter_mut().filter(|issued| same_file(issued)) {
            issued.synced |= !issued.lost;
        }
        while let Some(issued) = self.issued.get(self.synced_count).filter(|issued| issued.synced) {
            self.seq_truly_durable = issued.op.seq_last.0;
            self.synced_count += 1;
        }
        self.completions.push_back(Completion::Sync(op.ticket, Ok(())));
    }

    /// The last sequence that no power cut can take back.
    pub fn seq_truly_durable(&self) -> u64 {
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
            let frame = Frame::decode(&bytes).unwrap_or_else(|fault| panic!("the head wrote no frame: {fault}"));
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
