//! The claim: a small text that names the node that a backup belongs to, stored before everything else.
//!
//! ```text
//! pinion backup format 1
//! node 000102030405060708090a0b0c0d0e0f
//! crc32c 1a2b3c4d          of all lines above
//! ```
//! Invariant: a claim is never changed, so a place never passes from one node to another.

use super::destination::Destination;
use super::error::{BackupError, Result};
use super::key::{CLAIM, Key};
use wal::error::WalError;
use wal::units::NodeId;

pub const BACKUP_FORMAT: u32 = 1;
const FORMAT_LINE: &str = "pinion backup format ";

/// The node that the place belongs to.
pub fn read(destination: &Destination) -> Result<NodeId> {
    let found = destination.find(Key::Claim)?;
    let bytes = found.ok_or_else(|| BackupError::NoBackup { place: destination.to_string(), missing: CLAIM })?;
    parse(&destination.name_of(Key::Claim), &bytes)
}

/// The node that the claim's bytes name. `object` is the name of the claim in errors.
pub fn parse(object: &str, bytes: &[u8]) -> Result<NodeId> {
    let damaged = |why| BackupError::Damaged { object: object.to_owned(), why };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
    let version = text.lines().next().and_then(|line| line.strip_prefix(FORMAT_LINE));
    let version: u32 = version.and_then(|text| text.parse().ok()).ok_or_else(|| damaged("no line with the format"))?;
    if version != BACKUP_FORMAT {
        let source = WalError::UnknownFormat { path: object.into(), found: version, known: BACKUP_FORMAT };
        return Err(BackupError::Wal(source));
    }
    let node = text.lines().nth(1).and_then(|line| line.strip_prefix("node ")).and_then(NodeId::parse);
    let node = node.ok_or_else(|| damaged("no line with the node"))?;
    // The text has one form only, so comparing it verifies the checksum too.
    if to_text(node) == text { Ok(node) } else { Err(damaged("the checksum differs")) }
}

/// Claims the place for `node`. Fails where it belongs to another node.
pub fn write(destination: &Destination, node: NodeId) -> Result<()> {
    destination.put_new(Key::Claim, to_text(node).into_bytes())?;
    let found = read(destination)?;
    if found != node {
        return Err(BackupError::OtherNode { place: destination.to_string(), have: node, found });
    }
    Ok(())
}

/// The claim's text, in its one form.
pub fn to_text(node: NodeId) -> String {
    let body = format!("{FORMAT_LINE}{BACKUP_FORMAT}\nnode {node}\n");
    let crc = crc32c::crc32c(body.as_bytes());
    format!("{body}crc32c {crc:08x}\n")
}
