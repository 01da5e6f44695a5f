//! Where a restored directory came from: a small text beside the log, a line for every restore before it, oldest first.
//!
//! ```text
//! format 1
//! node 000102030405060708090a0b0c0d0e0f timeline 1 seq 4711 time_ns 1790000000000000000
//! crc32c 1a2b3c4d          of all lines above
//! ```
//! A restore draws a new node id, so that no file of one directory passes for a file of another. This is what is left of
//! the old one: a consumer that follows a node recognises its descendant by it. Invariants: whole or absent; absent where
//! nothing was restored; never changed once the directory has its name.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::error::{Action, Damage, Result, WalError};
use crate::segment::sync_dir;
use crate::units::{Lsn, NodeId, Timeline};

pub const LINEAGE_FILE: &str = "LINEAGE";
const FORMAT: u32 = 1;

/// A directory that was restored from, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    pub node_id: NodeId,
    pub timeline: Timeline,
    /// The last sequence that was taken over.
    pub seq: Lsn,
    /// When that was done.
    pub time_ns: u64,
}

/// All restores that led here, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(pub Vec<Ancestor>);

impl Lineage {
    /// What a directory says; without the file, it is nobody's descendant.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(LINEAGE_FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(WalError::io(Action::Read, &path, 0, source)),
        };
        Self::parse(&bytes)
            .ok_or_else(|| WalError::damaged(&path, 0, Lsn::ZERO, Damage::Malformed("the list of ancestors")))
    }

    /// Writes the file of a directory that is being made; durable when this returns.
    pub fn write_new(&self, directory: &Path) -> Result<()> {
        let path = directory.join(LINEAGE_FILE);
        let io = |action| move |source| WalError::io(action, &directory.join(LINEAGE_FILE), 0, source);
        let mut file = fs::File::create_new(&path).map_err(io(Action::Create))?;
        file.write_all(self.to_text().as_bytes()).map_err(io(Action::Write))?;
        file.sync_all().map_err(io(Action::Sync))?;
        sync_dir(directory)
    }

    fn to_text(&self) -> String {
        let mut text = format!("format {FORMAT}\n");
        for Ancestor { node_id, timeline, seq, time_ns } in &self.0 {
            text += &format!("node {node_id} timeline {timeline} seq {seq} time_ns {time_ns}\n");
        }
        let crc = crc32c::crc32c(text.as_bytes());
        text + &format!("crc32c {crc:08x}\n")
    }

    /// Reads a file's whole content; `None` for what no writer makes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let lineage = Self::parse_any_form(std::str::from_utf8(bytes).ok()?)?;
        // One form only: this checks the checksum and everything that parsing forgives.
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
        assert_eq!(Lineage::read(dir.path()).expect("whole"), two());
        two().write_new(dir.path()).expect_err("never written over");
        let path = dir.path().join(LINEAGE_FILE);
        let whole = fs::read(&path).expect("there");
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).expect("ours");
            assert!(Lineage::read(dir.path()).is_err(), "byte {at}");
            fs::write(&path, &whole[..at]).expect("ours");
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
