//! The high-water mark: the highest sequence known to have been acknowledged, kept outside of the log that it guards.
//!
//! ```text
//! 0            4096         8192      slot:  0    4    6    8      12     16       24    32
//! | slot 0 ... | slot 1 ... |                |mag |ver |len |timel |crc   |counter |seq  |
//! ```
//!
//! A log cannot show that its end was cut off, or that it is an old copy; this file can. Invariants: the slots are
//! written in turn, even counters in slot 0, so a torn write leaves the other slot intact; the mark never falls.

use std::path::{Path, PathBuf};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::{BLOCK_BYTES, SECTOR_BYTES};
use crate::durable_file::{append, append_zeros, create, sync};
use crate::error::{Action, Damage, Result, WalError};
use crate::medium::{Access, Existing, FileSystem, Medium, MediumFile};
use crate::mutation::planted;
use crate::units::{Lsn, Timeline};

pub const MARK_MAGIC: u32 = u32::from_le_bytes(*b"WMRK");
pub const MARK_VERSION: u16 = 1;
pub const MARK_SLOTS: u64 = 2;
/// A block, so that a drive never rewrites both slots for one write.
pub const MARK_SLOT_STRIDE_BYTES: u64 = BLOCK_BYTES as u64;
const _: () = assert!(MARK_SLOTS == 2 && size_of::<MarkSlot>() as u64 <= MARK_SLOT_STRIDE_BYTES);

/// One slot, as it lies on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MarkSlot {
    pub magic: U32,
    pub version: U16,
    pub slot_bytes: U16,
    pub timeline: U32,
    /// Over the slot with this field as zero.
    pub crc32c: U32,
    pub counter: U64,
    pub seq: U64,
}

const _: () = assert!(size_of::<MarkSlot>() == 32 && size_of::<MarkSlot>() <= SECTOR_BYTES);

impl MarkSlot {
    pub fn new(timeline: Timeline, counter: u64, seq: Lsn) -> MarkSlot {
        let mut slot = MarkSlot {
            magic: MARK_MAGIC.into(),
            version: MARK_VERSION.into(),
            slot_bytes: (size_of::<MarkSlot>() as u16).into(),
            timeline: timeline.0.into(),
            crc32c: 0.into(),
            counter: counter.into(),
            seq: seq.0.into(),
        };
        slot.crc32c = slot.checksum().into();
        slot
    }

    /// The slot that a counter is written to.
    fn idx(counter: u64) -> u64 {
        counter % MARK_SLOTS
    }

    fn checksum(&self) -> u32 {
        let bare = MarkSlot { crc32c: 0.into(), ..*self };
        crc32c::crc32c(bare.as_bytes())
    }

    /// Whether the slot is intact and in its own place. A slot in the other's place does not count: the next write
    /// would overwrite it, and a torn one would then leave no mark at all.
    fn proved(&self, slot_idx: u64) -> bool {
        let in_place = MarkSlot::idx(self.counter.get()) == slot_idx;
        self.magic.get() == MARK_MAGIC && self.crc32c.get() == self.checksum() && in_place
    }
}

/// The file `MARK`, open for writing. It is off the acknowledgement path: a mark that lags guards less, and never
/// wrongly.
#[derive(Debug)]
pub struct Mark {
    file: Box<dyn MediumFile>,
    path: PathBuf,
    timeline: Timeline,
    counter: u64,
    seq: Lsn,
    failed: bool,
}

impl Mark {
    /// Makes the file with both slots at `seq` and syncs it. The caller syncs the directory.
    pub fn create(path: &Path, timeline: Timeline, seq: Lsn) -> Result<()> {
        Mark::create_on(&FileSystem, path, timeline, seq)
    }

    /// The same on `medium`.
    pub fn create_on(medium: &dyn Medium, path: &Path, timeline: Timeline, seq: Lsn) -> Result<()> {
        let mut file = create(medium, path, Existing::Refused)?;
        // The first counters are the indices of their slots.
        for counter in 0..MARK_SLOTS {
            let slot = MarkSlot::new(timeline, counter, seq);
            assert!(slot.proved(counter), "a slot is sealed before it is written");
            append(&mut *file, path, slot.as_bytes())?;
            append_zeros(&mut *file, path, MARK_SLOT_STRIDE_BYTES - size_of::<MarkSlot>() as u64)?;
        }
        planted!(MarkUnsynced, return Ok(()));
        sync(&mut *file, path)
    }

    /// Opens the file to advance the mark.
    pub fn open(path: &Path, timeline: Timeline) -> Result<Mark> {
        Mark::open_on(&FileSystem, path, timeline)
    }

    /// The same on `medium`.
    pub fn open_on(medium: &dyn Medium, path: &Path, timeline: Timeline) -> Result<Mark> {
        let file = open_mark(medium, path, Access::ReadWrite)?;
        let newest = read_newest(&*file, path, timeline)?;
        let (counter, seq) = (newest.counter.get(), Lsn(newest.seq.get()));
        Ok(Mark { file, path: path.to_owned(), timeline, counter, seq, failed: false })
    }

    /// Reads the mark; the file is not opened for writing.
    pub fn read(path: &Path, timeline: Timeline) -> Result<Lsn> {
        Mark::read_on(&FileSystem, path, timeline)
    }

    /// The same on `medium`.
    pub fn read_on(medium: &dyn Medium, path: &Path, timeline: Timeline) -> Result<Lsn> {
        let file = open_mark(medium, path, Access::Read)?;
        Ok(Lsn(read_newest(&*file, path, timeline)?.seq.get()))
    }

    pub fn seq(&self) -> Lsn {
        self.seq
    }

    /// States that everything up to `seq` has been acknowledged. Durable when this returns; blocks on the disk.
    pub fn advance(&mut self, seq: Lsn) -> Result<()> {
        assert!(self.seq <= seq, "a mark never falls");
        if self.failed {
            return Err(WalError::FailedEarlier { path: self.path.clone() });
        }
        if seq == self.seq {
            return Ok(());
        }
        // No writer counts that far, so the file is damaged.
        let counter = self.counter.checked_add(1).ok_or_else(|| {
            WalError::damaged(&self.path, 0, seq, Damage::Malformed("the counter is the largest number"))
        })?;
        assert!(
            MarkSlot::idx(counter) != MarkSlot::idx(self.counter),
            "the slot that holds the mark is not overwritten"
        );
        let slot = MarkSlot::new(self.timeline, counter, seq);
        let written = write_slot(&*self.file, &self.path, slot)
            .and_then(|()| self.file.sync().map_err(|source| WalError::io(Action::Sync, &self.path, 0, source)));
        self.failed = written.is_err();
        written?;
        (self.counter, self.seq) = (counter, seq);
        Ok(())
    }
}

fn open_mark(medium: &dyn Medium, path: &Path, access: Access) -> Result<Box<dyn MediumFile>> {
    medium.open_file(path, access).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => WalError::damaged(path, 0, Lsn::ZERO, Damage::FileMissing),
        _ => WalError::io(Action::Open, path, 0, source),
    })
}

fn write_slot(file: &dyn MediumFile, path: &Path, slot: MarkSlot) -> Result<()> {
    let slot_idx = MarkSlot::idx(slot.counter.get());
    assert!(slot.proved(slot_idx), "a slot is sealed before it is written");
    let offset = slot_idx * MARK_SLOT_STRIDE_BYTES;
    file.write_all_at(slot.as_bytes(), offset).map_err(|source| WalError::io(Action::Write, path, offset, source))
}

fn read_newest(file: &dyn MediumFile, path: &Path, timeline: Timeline) -> Result<MarkSlot> {
    let mut newest: Option<MarkSlot> = None;
    for slot_idx in 0..MARK_SLOTS {
        let mut bytes = [0; size_of::<MarkSlot>()];
        // A slot that cannot be read counts as torn. With both torn, the file is damaged.
        let read = file.read_exact_at(&mut bytes, slot_idx * MARK_SLOT_STRIDE_BYTES).is_ok();
        let slot = MarkSlot::read_from_bytes(&bytes).expect("the array has the slot's length");
        let newer = newest.is_none_or(|known| known.counter.get() < slot.counter.get());
        if read && slot.proved(slot_idx) && newer {
            newest = Some(slot);
        }
    }
    let newest = newest.ok_or_else(|| WalError::damaged(path, 0, Lsn::ZERO, Damage::Checksum))?;
    if newest.version.get() != MARK_VERSION {
        let (found, known) = (u32::from(newest.version.get()), u32::from(MARK_VERSION));
        return Err(WalError::UnknownFormat { path: path.to_owned(), found, known });
    }
    if newest.timeline.get() != timeline.0 {
        let found = Timeline(newest.timeline.get());
        return Err(WalError::TimelineDiffers { path: path.to_owned(), have: timeline, found });
    }
    Ok(newest)
}
