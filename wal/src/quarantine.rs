//! `QUARANTINE`, the records that are skipped when the log is applied, by an operator's decision: a short text.
//!
//! ```text
//! format 1
//! seq 4711 until 4720 time_ns 1790000000000000000 reason overflows the fee table, ticket 12
//! crc32c 1a2b3c4d          of all lines above
//! ```
//! The log itself never changes. Invariants: the file is complete or absent; entries are only ever added, so that every
//! replay, now or later, of this directory or of a copy, skips the same records.

use std::collections::BTreeMap;
use std::path::Path;

use crate::checked_text;
use crate::durable_file::replace_file;
use crate::error::{Damage, Result, WalError};
use crate::medium::{FileSystem, Medium};
use crate::units::Lsn;

pub const QUARANTINE_FILE: &str = "QUARANTINE";
const FORMAT: u32 = 1;
/// Entries in one file; a further one is refused. More would show a fault that skipping records cannot mend.
pub const QUARANTINED_MAX: usize = 1_000;
pub const REASON_BYTES_MAX: usize = 200;

/// The decision to skip one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The log's last sequence at the time of the decision. Up to there the log was written by a node that had applied
    /// the record, so state hashes recorded there do not hold without it.
    pub until: Lsn,
    /// Time of the decision.
    pub time_ns: u64,
    /// The operator's reason, one line.
    pub reason: String,
}

/// All records that are skipped. Ordered by sequence, as the file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantine(BTreeMap<Lsn, Quarantined>);

impl Quarantine {
    /// Reads a directory's file; without one no record is skipped.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(QUARANTINE_FILE);
        let Some(text) = checked_text::read(&path)? else { return Ok(Self::default()) };
        let parsed = std::str::from_utf8(&text).ok().and_then(Self::parse);
        parsed.ok_or_else(|| WalError::damaged(&path, 0, Lsn::ZERO, Damage::Malformed("not a list of skipped records")))
    }

    #[inline]
    pub fn contains(&self, seq: Lsn) -> bool {
        !self.0.is_empty() && self.0.contains_key(&seq)
    }

    /// Whether the node that wrote this record had applied a record that is skipped now.
    pub fn is_overtaken(&self, seq: Lsn) -> bool {
        self.0.iter().any(|(skipped, entry)| *skipped < seq && seq <= entry.until)
    }

    pub fn entries(&self) -> impl Iterator<Item = (Lsn, &Quarantined)> {
        self.0.iter().map(|(seq, entry)| (*seq, entry))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an entry; false where the record is skipped already, or the list is full.
    pub fn add(&mut self, seq: Lsn, entry: Quarantined) -> bool {
        assert!(is_reason(&entry.reason), "a reason is one line of limited length");
        if self.0.len() == QUARANTINED_MAX || self.0.contains_key(&seq) {
            return false;
        }
        self.0.insert(seq, entry);
        true
    }

    /// Replaces the file. Durable when this returns.
    pub fn write(&self, directory: &Path) -> Result<()> {
        self.write_on(&FileSystem, directory)
    }

    /// The same on `medium`.
    pub fn write_on(&self, medium: &dyn Medium, directory: &Path) -> Result<()> {
        let text = self.to_text();
        assert!(Self::parse(&text).as_ref() == Some(self), "what is written can be read");
        replace_file(medium, directory, QUARANTINE_FILE, text.as_bytes())
    }

    /// The contents of the file.
    pub fn to_text(&self) -> String {
        let mut text = format!("format {FORMAT}\n");
        for (seq, entry) in &self.0 {
            text +=
                &format!("seq {} until {} time_ns {} reason {}\n", seq.0, entry.until.0, entry.time_ns, entry.reason);
        }
        checked_text::seal(&text)
    }

    /// Parses what [`Quarantine::to_text`] writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let entries = checked_text::unseal(text)?.strip_prefix(&format!("format {FORMAT}\n"))?;
        let mut list = Self::default();
        for line in entries.lines() {
            let (seq, rest) = line.strip_prefix("seq ")?.split_once(" until ")?;
            let (until, rest) = rest.split_once(" time_ns ")?;
            let (time_ns, reason) = rest.split_once(" reason ")?;
            let (until, time_ns) = (Lsn(until.parse().ok()?), time_ns.parse().ok()?);
            let entry = Quarantined { until, time_ns, reason: reason.to_owned() };
            if !is_reason(reason) || !list.add(Lsn(seq.parse().ok()?), entry) {
                return None;
            }
        }
        Some(list)
    }
}

fn is_reason(text: &str) -> bool {
    text.len() <= REASON_BYTES_MAX && !text.contains(['\n', '\r'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Their checksums are right, as an operator's script might write them.
    #[test]
    fn a_reason_of_two_lines_is_refused_and_not_a_panic() {
        let text = |reason: &str| {
            let body = format!("format 1\nseq 7 until 9 time_ns 1 reason {reason}\n");
            format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes()))
        };
        assert!(Quarantine::parse(&text("ticket 12")).is_some_and(|list| list.contains(Lsn(7))));
        assert_eq!(Quarantine::parse(&text("ticket\r12")), None);
        assert_eq!(Quarantine::parse(&text(&"x".repeat(REASON_BYTES_MAX + 1))), None);
    }
}
