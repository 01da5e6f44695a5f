//! `LINEAGE`, the restores that led to a data directory: a short text with a line for each, oldest first.
//!
//! ```text
//! format 1
//! node 000102030405060708090a0b0c0d0e0f timeline 1 seq 4711 time_ns 1790000000000000000
//! crc32c 1a2b3c4d          of all lines above
//! ```
//! A restore draws a new node id, so that no file of one directory is accepted in another. This file keeps the old ids,
//! so that a consumer of the old node's log recognises the new node as its descendant. Invariants: the file is complete
//! or absent; it is absent where nothing was restored; it never changes once the directory has its final name.

use std::path::Path;

use crate::checked_text;
use crate::durable_file::create_file;
use crate::error::{Damage, Result, WalError};
use crate::medium::{FileSystem, Medium};
use crate::units::{Lsn, NodeId, Timeline};

pub const LINEAGE_FILE: &str = "LINEAGE";
const FORMAT: u32 = 1;

/// A directory that was restored from, and up to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    pub node_id: NodeId,
    pub timeline: Timeline,
    /// The last sequence that was restored.
    pub seq: Lsn,
    /// Time of the restore.
    pub time_ns: u64,
}

/// All restores that led to a directory, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(pub Vec<Ancestor>);

impl Lineage {
    /// Reads a directory's file; without one the lineage is empty.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(LINEAGE_FILE);
        let Some(bytes) = checked_text::read(&path)? else { return Ok(Self::default()) };
        Self::parse(&bytes)
            .ok_or_else(|| WalError::damaged(&path, 0, Lsn::ZERO, Damage::Malformed("not a list of ancestors")))
    }

    /// Writes the file into a directory that is being made and has none. Durable when this returns.
    pub fn write_new(&self, directory: &Path) -> Result<()> {
        self.write_new_on(&FileSystem, directory)
    }

    /// The same on `medium`.
    pub fn write_new_on(&self, medium: &dyn Medium, directory: &Path) -> Result<()> {
        let text = self.to_text();
        assert!(Self::parse(text.as_bytes()).as_ref() == Some(self), "what is written can be read");
        create_file(medium, directory, LINEAGE_FILE, text.as_bytes())
    }

    fn to_text(&self) -> String {
        let mut text = format!("format {FORMAT}\n");
        for Ancestor { node_id, timeline, seq, time_ns } in &self.0 {
            text += &format!("node {node_id} timeline {timeline} seq {seq} time_ns {time_ns}\n");
        }
        checked_text::seal(&text)
    }

    /// Parses the contents of a file; `None` for anything that no writer makes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let lineage = Self::parse_any_form(std::str::from_utf8(bytes).ok()?)?;
        // There is only one text for a lineage, so this proves the checksum and everything that parsing tolerates.
        (lineage.to_text().as_bytes() == bytes).then_some(lineage)
    }

    fn parse_any_form(text: &str) -> Option<Self> {
        let lines = text.strip_prefix(&format!("format {FORMAT}\n"))?.lines();
        let ancestors = lines.take_while(|line| !line.starts_with("crc32c ")).map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let ["node", node, "timeline", timeline, "seq", seq, "time_ns", time_ns] = words[..] else { return None };
            Some(Ancestor {
                node_id: NodeId::parse(node)?,
                timeline: Timeline(timeline.parse().ok()?),
                seq: Lsn(seq.parse().ok()?),
                time_ns: time_ns.parse().ok()?,
            })
        });
        ancestors.collect::<Option<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn two() -> Lineage {
        let first = Ancestor { node_id: NodeId([7; 16]), timeline: Timeline(1), seq: Lsn(4_711), time_ns: 17 };
        let second = Ancestor { node_id: NodeId([8; 16]), timeline: Timeline(2), seq: Lsn(5_000), time_ns: 18 };
        Lineage(vec![first, second])
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Lineage::read(dir.path()).expect("absent"), Lineage::default());
        two().write_new(dir.path()).expect("written");
        assert_eq!(Lineage::read(dir.path()).expect("intact"), two());
        two().write_new(dir.path()).expect_err("never written over");
        let path = dir.path().join(LINEAGE_FILE);
        let intact = fs::read(&path).expect("readable");
        for at in 0..intact.len() {
            let mut flipped = intact.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).expect("writable");
            assert!(Lineage::read(dir.path()).is_err(), "byte {at}");
            fs::write(&path, &intact[..at]).expect("writable");
            assert!(Lineage::read(dir.path()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_text_is_pinned() {
        let text = two().to_text();
        let line = "node 07070707070707070707070707070707 timeline 1 seq 4711 time_ns 17\n";
        assert!(
            text.starts_with(&format!("format 1\n{line}"))
                && text.ends_with(&format!("crc32c {:08x}\n", {
                    let (body, _) = text.trim_end().rsplit_once('\n').expect("lines");
                    crc32c::crc32c(format!("{body}\n").as_bytes())
                }))
        );
    }
}
