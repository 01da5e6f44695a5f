//! The names of things in the log: a record's sequence, a timeline, a node, a link of the chain.
//!
//! Invariant: sequence 0 is never a record's; it means "before the first".

use std::fmt;

/// A record's place in the log, counted from 1 without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first record.
    pub const ZERO: Lsn = Lsn(0);

    /// The sequence that follows.
    pub fn next(self) -> Lsn {
        self.advance(1)
    }

    /// The sequence `count` records later.
    pub fn advance(self, count: u64) -> Lsn {
        Lsn(self.0.checked_add(count).expect("a log of 2^64 records outlives the hardware"))
    }

    /// The sequence before this one.
    pub fn prev(self) -> Lsn {
        Lsn(self.0.checked_sub(1).expect("only a record's sequence has one before it"))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One unbroken life of a log. A restore to an earlier sequence starts the next; nothing of an older one is accepted after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who wrote a log: drawn when a data directory is made, also by a restore, so that files of two directories never pass
/// for each other (`lineage` tells who descends from whom).
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

/// BLAKE3 of a frame (header and payload). Each frame carries its predecessor's, so the last one vouches for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// What the first frame of a timeline links to: no other node and no other timeline begins with the same value.
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

/// The end of a proven run of frames: what the next frame must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    pub seq: Lsn,
    pub chain: ChainHash,
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
