//! `IDENTITY`, the identity of a data directory: a short text with a checksum.
//!
//! ```text
//! format 2
//! node 000102030405060708090a0b0c0d0e0f
//! timeline 1
//! seq_base 0
//! segments 4
//! segment_bytes 67108864
//! crc32c 1a2b3c4d          of all lines above
//! ```
//!
//! Invariants: it is written last when a directory is made, so a directory that has it is complete; it is complete or
//! absent itself; it is written again only to raise its format.

use std::path::Path;

use crate::checked_text;
use crate::durable_file::replace_file;
use crate::error::{Damage, Result, WalError};
use crate::medium::Medium;
use crate::segment::{Geometry, SegmentOwner};
use crate::units::{LogOrigin, Lsn, NodeId, Timeline};

/// The formats of a directory that this build reads and writes: its layout and every format in it. Format 2 differs
/// from format 1 in what the caller puts into records and pieces of snapshots, and in nothing of this crate.
pub const FORMAT_OLDEST: u32 = 1;
pub const FORMAT_NEWEST: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub format: u32,
    pub node_id: NodeId,
    pub timeline: Timeline,
    /// The timeline's log begins after this sequence: 0, or the last one that a restore took from an older timeline.
    pub seq_base: Lsn,
    pub geometry: Geometry,
}

impl Identity {
    pub fn owner(&self) -> SegmentOwner {
        SegmentOwner { node_id: self.node_id, timeline: self.timeline, geometry: self.geometry }
    }

    pub fn origin(&self) -> LogOrigin {
        LogOrigin { node_id: self.node_id, timeline: self.timeline, seq_base: self.seq_base }
    }

    pub fn to_text(&self) -> String {
        checked_text::seal(&format!(
            "format {}\nnode {}\ntimeline {}\nseq_base {}\nsegments {}\nsegment_bytes {}\n",
            self.format,
            self.node_id,
            self.timeline,
            self.seq_base,
            self.geometry.segment_count,
            self.geometry.segment_bytes
        ))
    }

    /// Reads the file; `None` where it is absent. Anything that [`Identity::to_text`] does not write is refused.
    pub fn read(path: &Path) -> Result<Option<Identity>> {
        let Some(text) = checked_text::read(path)? else { return Ok(None) };
        let text = str::from_utf8(&text).map_err(|_| malformed(path, "the file is not UTF-8 text"))?;
        Self::parse(path, text).map(Some)
    }

    /// Parses what [`Identity::to_text`] writes and refuses anything else; `path` is for errors.
    pub fn parse(path: &Path, text: &str) -> Result<Identity> {
        let format = parse_format(path, text)?;
        let identity = parse(format, text).ok_or_else(|| malformed(path, "a line is missing or has a wrong value"))?;
        // There is only one text for an identity, so this proves the checksum and everything that parsing tolerates.
        if identity.to_text() != text {
            return Err(WalError::damaged(path, 0, Lsn::ZERO, Damage::Checksum));
        }
        Ok(identity)
    }

    /// Writes the file so that a power cut leaves all of it or none. Durable when this returns.
    pub fn write(&self, medium: &dyn Medium, dir: &Path, name: &str) -> Result<()> {
        let text = self.to_text();
        assert!(Self::parse(dir, &text).is_ok_and(|read| read == *self), "what is written can be read");
        replace_file(medium, dir, name, text.as_bytes())
    }
}

/// Reads the first line before all others, because a later format may change everything after it.
fn parse_format(path: &Path, text: &str) -> Result<u32> {
    let line = text.lines().next().and_then(|line| line.strip_prefix("format "));
    let found = line
        .and_then(|version| version.parse().ok())
        .ok_or_else(|| malformed(path, "the first line is not a format"))?;
    if !(FORMAT_OLDEST..=FORMAT_NEWEST).contains(&found) {
        return Err(WalError::UnknownFormat { path: path.to_owned(), found, known: FORMAT_NEWEST });
    }
    Ok(found)
}

fn parse(format: u32, text: &str) -> Option<Identity> {
    let mut lines = text.lines().skip(1);
    let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    Some(Identity {
        format,
        node_id: NodeId::parse(value("node")?)?,
        timeline: Timeline(value("timeline")?.parse().ok()?),
        seq_base: Lsn(value("seq_base")?.parse().ok()?),
        geometry: Geometry {
            segment_count: value("segments")?.parse().ok()?,
            segment_bytes: value("segment_bytes")?.parse().ok()?,
        },
    })
}

fn malformed(path: &Path, what: &'static str) -> WalError {
    WalError::damaged(path, 0, Lsn::ZERO, Damage::Malformed(what))
}
