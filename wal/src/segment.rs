//! The head's files: preallocated, zeroed and synced once, then only overwritten in place.
//!
//! ```text
//! block 0             block 1 ...
//! | segment header ... | frame | frame    | frame | frames of an earlier use ... |
//! 0    4    6    8      12      16     24        40   44
//! |mag |ver |len |timel |ordinal|bytes | node id |count|crc |
//! ```
//!
//! Invariants: the header block is written at creation and never again, so no power cut can tear it; length and extents
//! never change after creation, so fdatasync has no metadata to write. To which use of the segment a frame belongs
//! follows from its sequence and its link alone.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::{BLOCK_BYTES, Block, SECTOR_BYTES, blocks};
use crate::durable_file::{append, append_zeros, create, sync, sync_dir_on};
use crate::error::{Action, ConfigFault, Damage, Result, WalError};
use crate::medium::{Access, Existing, FileSystem, Medium, MediumFile};
use crate::mutation::planted;
use crate::units::{Lsn, NodeId, Place, SegmentIdx, Timeline};

pub const SEGMENT_MAGIC: u32 = u32::from_le_bytes(*b"WSEG");
pub const SEGMENT_VERSION: u16 = 1;

/// Where the first frame of a segment goes.
pub const SEGMENT_DATA_OFFSET: u64 = BLOCK_BYTES as u64;

/// Where the first frame of an empty head goes.
pub const FIRST_PLACE: Place = Place { segment: SegmentIdx(0), offset: SEGMENT_DATA_OFFSET };

/// Files in `head/`. Their names have three digits, and a start reads all of them.
pub const SEGMENTS_MAX: u32 = 256;
const _: () = assert!(2 <= SEGMENTS_MAX && SEGMENTS_MAX <= 1000);

/// Number and length of the segments. Fixed when the directory is made; `IDENTITY` and every segment header hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub segment_count: u32,
    pub segment_bytes: u64,
}

impl Geometry {
    pub fn validate(self) -> std::result::Result<(), ConfigFault> {
        if !(2..=SEGMENTS_MAX).contains(&self.segment_count) {
            return Err(ConfigFault::SegmentCount { max: SEGMENTS_MAX });
        }
        let aligned = self.segment_bytes.is_multiple_of(BLOCK_BYTES as u64);
        if !aligned || self.segment_bytes < SEGMENT_DATA_OFFSET + BLOCK_BYTES as u64 {
            return Err(ConfigFault::SegmentBytes);
        }
        Ok(())
    }

    /// The segment that is written after `idx`: the segments are used in a ring.
    pub fn next(self, idx: SegmentIdx) -> SegmentIdx {
        assert!(idx.0 < self.segment_count, "a segment's index is below their count");
        SegmentIdx((idx.0 + 1) % self.segment_count)
    }

    /// Whether `bytes` at `place` lie after the header block and before the end of their segment.
    pub fn holds(self, place: Place, bytes: usize) -> bool {
        place.segment.0 < self.segment_count
            && SEGMENT_DATA_OFFSET <= place.offset
            && place.offset + bytes as u64 <= self.segment_bytes
    }
}

/// The data directory that a head belongs to. The header of every segment holds it, so a foreign segment is detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentOwner {
    pub node_id: NodeId,
    pub timeline: Timeline,
    pub geometry: Geometry,
}

/// The first bytes of a segment, as they lie on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct SegmentHeader {
    pub magic: U32,
    pub version: U16,
    pub header_bytes: U16,
    pub timeline: U32,
    pub ordinal: U32,
    pub segment_bytes: U64,
    pub node_id: [u8; 16],
    pub segment_count: U32,
    /// Over the fields before it.
    pub crc32c: U32,
}

pub const SEGMENT_HEADER_BYTES: usize = size_of::<SegmentHeader>();
const CRC_OFFSET: usize = std::mem::offset_of!(SegmentHeader, crc32c);
const _: () = assert!(SEGMENT_HEADER_BYTES == 48 && SEGMENT_HEADER_BYTES <= SECTOR_BYTES);
const _: () = assert!(CRC_OFFSET + 4 == SEGMENT_HEADER_BYTES && SEGMENT_HEADER_BYTES <= SEGMENT_DATA_OFFSET as usize);

impl SegmentHeader {
    pub fn new(owner: SegmentOwner, idx: SegmentIdx) -> SegmentHeader {
        assert!(idx.0 < owner.geometry.segment_count, "a segment's index is below their count");
        let mut header = SegmentHeader {
            magic: SEGMENT_MAGIC.into(),
            version: SEGMENT_VERSION.into(),
            header_bytes: (SEGMENT_HEADER_BYTES as u16).into(),
            timeline: owner.timeline.0.into(),
            ordinal: idx.0.into(),
            segment_bytes: owner.geometry.segment_bytes.into(),
            node_id: owner.node_id.0,
            segment_count: owner.geometry.segment_count.into(),
            crc32c: 0.into(),
        };
        header.crc32c = header.checksum().into();
        header
    }

    fn checksum(&self) -> u32 {
        crc32c::crc32c(&self.as_bytes()[..CRC_OFFSET])
    }
}

/// All segment files of a head, open. Each has a header that names this head and this segment.
#[derive(Debug)]
pub struct Segments {
    dir: PathBuf,
    geometry: Geometry,
    files: Vec<Box<dyn MediumFile>>,
}

impl Segments {
    /// Makes the files: each gets its header, is filled with zeros and synced; then the directory is synced.
    pub fn create(dir: &Path, owner: SegmentOwner) -> Result<()> {
        Segments::create_on(&FileSystem, dir, owner)
    }

    /// The same on `medium`.
    pub fn create_on(medium: &dyn Medium, dir: &Path, owner: SegmentOwner) -> Result<()> {
        owner.geometry.validate()?;
        for ordinal in 0..owner.geometry.segment_count {
            create_segment(medium, dir, owner, SegmentIdx(ordinal))?;
        }
        planted!(SegmentNamesUnsynced, return Ok(()));
        sync_dir_on(medium, dir)
    }

    /// Opens the files and compares each header with `owner`. Writes nothing.
    pub fn open(dir: &Path, owner: SegmentOwner, access: Access) -> Result<Segments> {
        Segments::open_on(&FileSystem, dir, owner, access)
    }

    /// The same for files on `medium`.
    pub fn open_on(medium: &dyn Medium, dir: &Path, owner: SegmentOwner, access: Access) -> Result<Segments> {
        owner.geometry.validate()?;
        let files = (0..owner.geometry.segment_count)
            .map(|ordinal| open_segment(medium, dir, owner, SegmentIdx(ordinal), access))
            .collect::<Result<Vec<_>>>()?;
        assert!(files.len() == owner.geometry.segment_count as usize, "every segment is open or the head is refused");
        Ok(Segments { dir: dir.to_owned(), geometry: owner.geometry, files })
    }

    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub fn path(&self, idx: SegmentIdx) -> PathBuf {
        self.dir.join(idx.file_name())
    }

    pub fn file(&self, idx: SegmentIdx) -> &dyn MediumFile {
        &*self.files[idx.0 as usize]
    }

    /// The files in the order of their index, for a driver that does its own I/O. Only on the file system.
    pub fn into_files(self) -> Vec<File> {
        let file =
            |file: Box<dyn MediumFile>| file.into_file().expect("a driver of its own I/O runs on the file system");
        self.files.into_iter().map(file).collect()
    }

    /// Fills `bytes` from `place`.
    pub fn read(&self, place: Place, bytes: &mut [u8]) -> Result<()> {
        assert!(place.offset + bytes.len() as u64 <= self.geometry.segment_bytes, "a read ends in its segment");
        self.file(place.segment)
            .read_exact_at(bytes, place.offset)
            .map_err(|source| WalError::io(Action::Read, &self.path(place.segment), place.offset, source))
    }

    /// Makes everything written to the files so far durable, also by another process. A read-only handle may do it.
    pub fn sync(&self) -> Result<()> {
        for (ordinal, file) in (0..self.geometry.segment_count).zip(&self.files) {
            file.sync().map_err(|source| WalError::io(Action::Sync, &self.path(SegmentIdx(ordinal)), 0, source))?;
        }
        Ok(())
    }

    /// Overwrites one block at each place with zeros and syncs, so that no later start can read a frame there.
    pub fn wipe(&self, places: &[Place]) -> Result<()> {
        for place in places {
            assert!(place.is_aligned(), "blocks are wiped, never a part of one");
            assert!(self.geometry.holds(*place, BLOCK_BYTES), "the header block is never written again");
            self.file(place.segment)
                .write_all_at(Block::ZERO.as_bytes(), place.offset)
                .map_err(|source| WalError::io(Action::Write, &self.path(place.segment), place.offset, source))?;
        }
        let mut touched: Vec<SegmentIdx> = places.iter().map(|place| place.segment).collect();
        touched.sort_unstable();
        touched.dedup();
        for segment in touched {
            self.file(segment).sync().map_err(|source| WalError::io(Action::Sync, &self.path(segment), 0, source))?;
        }
        Ok(())
    }
}

fn create_segment(medium: &dyn Medium, dir: &Path, owner: SegmentOwner, idx: SegmentIdx) -> Result<()> {
    let path = dir.join(idx.file_name());
    let mut file = create(medium, &path, Existing::Refused)?;
    append(&mut *file, &path, SegmentHeader::new(owner, idx).as_bytes())?;
    append_zeros(&mut *file, &path, owner.geometry.segment_bytes - SEGMENT_HEADER_BYTES as u64)?;
    planted!(SegmentUnsynced, return Ok(()));
    sync(&mut *file, &path)
}

fn open_segment(
    medium: &dyn Medium,
    dir: &Path,
    owner: SegmentOwner,
    idx: SegmentIdx,
    access: Access,
) -> Result<Box<dyn MediumFile>> {
    let path = dir.join(idx.file_name());
    let file = open_file(medium, &path, access)?;
    let found = file.bytes_len().map_err(|source| WalError::io(Action::Open, &path, 0, source))?;
    let expected = owner.geometry.segment_bytes;
    if found != expected {
        return Err(WalError::damaged(&path, 0, Lsn::ZERO, Damage::LengthDiffers { expected, found }));
    }
    let mut block = blocks(BLOCK_BYTES);
    file.read_exact_at(block.as_mut_bytes(), 0).map_err(|source| match source.raw_os_error() {
        Some(libc::EINVAL) if access == Access::Direct => WalError::DirectRefused { path: path.clone(), source },
        _ => WalError::io(Action::Read, &path, 0, source),
    })?;
    check_header(&path, owner, idx, block.as_bytes())?;
    Ok(file)
}

fn open_file(medium: &dyn Medium, path: &Path, access: Access) -> Result<Box<dyn MediumFile>> {
    medium.open_file(path, access).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => WalError::damaged(path, 0, Lsn::ZERO, Damage::FileMissing),
        _ if access == Access::Direct && source.raw_os_error() == Some(libc::EINVAL) => {
            WalError::DirectRefused { path: path.to_owned(), source }
        }
        _ => WalError::io(Action::Open, path, 0, source),
    })
}

fn check_header(path: &Path, owner: SegmentOwner, idx: SegmentIdx, block: &[u8]) -> Result<()> {
    let damaged = |damage| Err(WalError::damaged(path, 0, Lsn::ZERO, damage));
    let (header, _) = SegmentHeader::read_from_prefix(block).expect("a block holds a header");
    if header.magic.get() != SEGMENT_MAGIC {
        return damaged(Damage::Malformed("the file does not begin with the magic of a segment"));
    }
    // Checked before the checksum, which another version may compute in another way.
    let version = header.version.get();
    if version != SEGMENT_VERSION {
        let (found, known) = (u32::from(version), u32::from(SEGMENT_VERSION));
        return Err(WalError::UnknownFormat { path: path.to_owned(), found, known });
    }
    if header.crc32c.get() != header.checksum() {
        return damaged(Damage::Checksum);
    }
    if header.node_id != owner.node_id.0 {
        return damaged(Damage::ForeignNode { expected: owner.node_id, found: NodeId(header.node_id) });
    }
    if header.timeline.get() != owner.timeline.0 {
        let (have, found) = (owner.timeline, Timeline(header.timeline.get()));
        return Err(WalError::TimelineDiffers { path: path.to_owned(), have, found });
    }
    if header.ordinal.get() != idx.0 {
        return damaged(Damage::OrdinalDiffers { expected: idx.0, found: header.ordinal.get() });
    }
    let expected = SegmentHeader::new(owner, idx);
    if header.as_bytes() != expected.as_bytes() {
        return damaged(Damage::Malformed("number or length of the segments differs from IDENTITY"));
    }
    Ok(())
}
