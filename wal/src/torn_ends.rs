//! `TORN_ENDS`, the torn ends that starts have cut off the log and that no operator has acknowledged: a short text.
//!
//! ```text
//! format 1
//! seq 31 segment 1 offset 16384 blocks 1 intact 0 found checksum differs
//! crc32c 1a2b3c4d          of all lines above
//! ```
//! A cut leaves zeros where it was, so what was found there is written down before. Invariants: the file is complete or
//! absent; an entry is durable before its end is wiped, so that a power cut between the two loses none; entries leave
//! only when they are acknowledged, or where newer ones need the room.

use std::path::Path;

use crate::checked_text;
use crate::directory::Directory;
use crate::durable_file::replace_file;
use crate::error::{Damage, Result, WalError};
use crate::medium::{FileSystem, Medium};
use crate::mutation::planted;
use crate::units::{Lsn, Place, SegmentIdx};
use crate::verdict::TornTail;

pub const TORN_ENDS_FILE: &str = "TORN_ENDS";
const FORMAT: u32 = 1;
/// Entries in one file. A further one takes the place of the oldest.
pub const TORN_ENDS_MAX: usize = 100;
const FOUND_BYTES_MAX: usize = 200;

/// One torn end, as a start found it before it was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornEnd {
    /// The first sequence that was cut. Later records have it since.
    pub seq: Lsn,
    /// Where its frame was.
    pub place: Place,
    /// Blocks that were wiped.
    pub blocks: usize,
    /// Intact frames after the torn one, which were cut with it.
    pub frames_intact: usize,
    /// What was wrong with the torn frame, one line.
    pub found: String,
}

impl TornEnd {
    fn of(cut: &TornTail) -> Self {
        let mut found = cut.fault.map_or("nothing of the frame is left".to_owned(), |fault| fault.to_string());
        found.truncate(found.floor_char_boundary(FOUND_BYTES_MAX));
        let (blocks, frames_intact) = (cut.wipes.len(), cut.frames_intact);
        Self { seq: cut.seq, place: cut.place, blocks, frames_intact, found }
    }
}

/// All torn ends that wait to be acknowledged, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TornEnds(Vec<TornEnd>);

impl TornEnds {
    /// Reads a directory's file; without one nothing waits.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(TORN_ENDS_FILE);
        let Some(text) = checked_text::read(&path)? else { return Ok(Self::default()) };
        let parsed = std::str::from_utf8(&text).ok().and_then(Self::parse);
        parsed.ok_or_else(|| WalError::damaged(&path, 0, Lsn::ZERO, Damage::Malformed("not a list of torn ends")))
    }

    /// Writes down the torn end that a start is about to wipe. Durable when this returns.
    pub(crate) fn note(directory: &Directory, cut: &TornTail) -> Result<()> {
        planted!(TornEndUnnoted, return Ok(()));
        let mut list = Self::read(directory.path())?;
        list.add(TornEnd::of(cut));
        list.write_on(&**directory.medium(), directory.path())
    }

    pub fn entries(&self) -> &[TornEnd] {
        &self.0
    }

    /// Adds an entry, once: a start that was interrupted finds the same end again.
    fn add(&mut self, entry: TornEnd) {
        self.0.retain(|known| (known.seq, known.place) != (entry.seq, entry.place));
        if self.0.len() == TORN_ENDS_MAX {
            self.0.remove(0);
        }
        self.0.push(entry);
    }

    /// Removes the entries of this sequence; false where there is none.
    pub fn acknowledge(&mut self, seq: Lsn) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.seq != seq);
        self.0.len() < before
    }

    /// Replaces the file. Durable when this returns.
    pub fn write(&self, directory: &Path) -> Result<()> {
        self.write_on(&FileSystem, directory)
    }

    /// The same on `medium`.
    pub fn write_on(&self, medium: &dyn Medium, directory: &Path) -> Result<()> {
        let text = self.to_text();
        assert!(Self::parse(&text).as_ref() == Some(self), "what is written can be read");
        replace_file(medium, directory, TORN_ENDS_FILE, text.as_bytes())
    }

    fn to_text(&self) -> String {
        let mut text = format!("format {FORMAT}\n");
        for TornEnd { seq, place, blocks, frames_intact, found } in &self.0 {
            let (segment, offset) = (place.segment.0, place.offset);
            text += &format!(
                "seq {} segment {segment} offset {offset} blocks {blocks} intact {frames_intact} found {found}\n",
                seq.0
            );
        }
        checked_text::seal(&text)
    }

    fn parse(text: &str) -> Option<Self> {
        let entries = checked_text::unseal(text)?.strip_prefix(&format!("format {FORMAT}\n"))?;
        let list: Option<Vec<TornEnd>> = entries.lines().map(parse_entry).collect();
        list.filter(|list| list.len() <= TORN_ENDS_MAX).map(Self)
    }
}

fn parse_entry(line: &str) -> Option<TornEnd> {
    let (seq, rest) = line.strip_prefix("seq ")?.split_once(" segment ")?;
    let (segment, rest) = rest.split_once(" offset ")?;
    let (offset, rest) = rest.split_once(" blocks ")?;
    let (blocks, rest) = rest.split_once(" intact ")?;
    let (frames_intact, found) = rest.split_once(" found ")?;
    let place = Place { segment: SegmentIdx(segment.parse().ok()?), offset: offset.parse().ok()? };
    (found.len() <= FOUND_BYTES_MAX).then_some(())?;
    Some(TornEnd {
        seq: Lsn(seq.parse().ok()?),
        place,
        blocks: blocks.parse().ok()?,
        frames_intact: frames_intact.parse().ok()?,
        found: found.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(seq: u64, offset: u64) -> TornEnd {
        let place = Place { segment: SegmentIdx(1), offset };
        TornEnd { seq: Lsn(seq), place, blocks: 3, frames_intact: 1, found: "checksum differs".to_owned() }
    }

    #[test]
    fn entries_are_read_as_they_were_written_until_they_are_acknowledged() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(TornEnds::read(dir.path()).expect("none"), TornEnds::default());
        let mut list = TornEnds::default();
        // The second is the first again, found by a start after one that was interrupted.
        [end(31, 16_384), end(31, 16_384), end(40, 4_096)].into_iter().for_each(|end| list.add(end));
        list.write(dir.path()).expect("written");
        let mut read = TornEnds::read(dir.path()).expect("intact");
        assert_eq!(read.entries(), [end(31, 16_384), end(40, 4_096)]);
        assert!(!read.acknowledge(Lsn(32)) && read.acknowledge(Lsn(31)));
        read.write(dir.path()).expect("written");
        assert_eq!(TornEnds::read(dir.path()).expect("intact").entries(), [end(40, 4_096)]);
    }

    #[test]
    fn the_list_is_bounded_and_a_flipped_byte_is_refused() {
        let mut list = TornEnds::default();
        (1..=150).for_each(|seq| list.add(end(seq, 4_096)));
        assert_eq!((list.entries().len(), list.entries()[0].seq), (TORN_ENDS_MAX, Lsn(51)));
        let text = list.to_text();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(String::from_utf8(bytes).ok().and_then(|text| TornEnds::parse(&text)).is_none(), "at {at}");
        }
    }
}
