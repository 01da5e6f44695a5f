//! The names of things in the log: a record's sequence, a timeline, a node, a link of the chain, a place in the head.
//!
//! Invariants: sequence 0 is never a record's and means "before the first"; a frame's place is at a block boundary.

use std::fmt;

use crate::block::BLOCK_BYTES;

/// Log sequence number: a record's place in the log, counted from 1 without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record.
    pub const ZERO: Lsn = Lsn(0);

    /// The next sequence.
    pub fn next(self) -> Lsn {
        self.advance(1)
    }

    /// The sequence `count` records later.
    pub fn advance(self, count: u64) -> Lsn {
        Lsn(self.0.checked_add(count).expect("a log of 2^64 records outlives the hardware"))
    }

    /// The sequence before this one.
    pub fn prev(self) -> Lsn {
        Lsn(self.0.checked_sub(1).expect("a record's sequence is at least 1"))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One unbroken history of a log. A restore begins the next timeline, and no file of an older one is accepted in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a data directory: drawn at random when the directory is made, also by a restore, so that a file of
/// one directory is never accepted in another. Which directory descends from which is recorded by [`crate::lineage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(pub [u8; 16]);

impl NodeId {
    /// Reads 32 lower-case hex digits.
    pub fn parse(text: &str) -> Option<NodeId> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return None;
        }
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(NodeId(id))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// A link of the chain: BLAKE3 of a frame (header and payload). Each frame carries the hash of the frame before it, so
/// the last hash vouches for every byte of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// The link that the first frame of a timeline carries. No other node and no other timeline begins with the same
    /// value.
    pub fn genesis(node_id: NodeId, timeline: Timeline) -> ChainHash {
        let mut hasher = blake3::Hasher::new_derive_key("wal 2026 chain genesis: node id, timeline");
        hasher.update(&node_id.0);
        hasher.update(&timeline.0.to_le_bytes());
        ChainHash(*hasher.finalize().as_bytes())
    }

    /// The link that the frame after `frame` must carry.
    pub fn of(frame: &[u8]) -> ChainHash {
        ChainHash(*blake3::hash(frame).as_bytes())
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

/// The end of a proved run of frames: its last sequence, and the link that the next frame must carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    pub seq: Lsn,
    pub chain: ChainHash,
}

/// Where a timeline's log begins: after which sequence, and on which node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOrigin {
    pub node_id: NodeId,
    pub timeline: Timeline,
    pub seq_base: Lsn,
}

impl LogOrigin {
    /// The tail that the first frame follows.
    pub fn tail(self) -> Tail {
        Tail { seq: self.seq_base, chain: ChainHash::genesis(self.node_id, self.timeline) }
    }
}

/// A segment file of the head, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentIdx(pub u32);

impl SegmentIdx {
    /// `head-000.seg`, ...
    pub fn file_name(self) -> String {
        format!("head-{:03}.seg", self.0)
    }
}

/// A place in the head: a byte offset in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub segment: SegmentIdx,
    pub offset: u64,
}

impl Place {
    /// The place `bytes` later in the same segment. Both places are at block boundaries.
    pub fn advance(self, bytes: usize) -> Place {
        assert!(self.is_aligned() && bytes.is_multiple_of(BLOCK_BYTES), "a place in the head moves by blocks");
        Place { offset: self.offset + bytes as u64, ..self }
    }

    pub fn is_aligned(self) -> bool {
        self.offset.is_multiple_of(BLOCK_BYTES as u64)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}, offset {}", self.segment.0, self.offset)
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_id_reads_what_it_writes() {
        let id = NodeId([0x0f; 16]);
        assert_eq!(NodeId::parse(&id.to_string()), Some(id));
        assert_eq!(NodeId::parse("0f"), None);
        assert_eq!(NodeId::parse(&"0G".repeat(16)), None);
    }

    #[test]
    fn genesis_differs_by_node_and_by_timeline() {
        let first = ChainHash::genesis(NodeId([1; 16]), Timeline(1));
        assert_ne!(first, ChainHash::genesis(NodeId([2; 16]), Timeline(1)));
        assert_ne!(first, ChainHash::genesis(NodeId([1; 16]), Timeline(2)));
    }
}
