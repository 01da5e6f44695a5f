//! Records that whoever applies the log must leave out, by an operator's decision: a small text beside the log.
//!
//! ```text
//! format 1
//! seq 4711 until 4720 time_ns 1790000000000000000 reason overflows the fee table, ticket 12
//! crc32c 1a2b3c4d          of all lines above
//! ```
//! The log itself never changes. Invariant: the file is whole or absent; entries are only ever added, so that everybody
//! who applies the log, now or later, here or from a copy, leaves out the same.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::error::{Action, Damage, Result, WalError};
use crate::segment::sync_dir;
use crate::units::Lsn;

pub const QUARANTINE_FILE: &str = "QUARANTINE";
const FORMAT: u32 = 1;
/// More would not be an exception any more.
pub const QUARANTINED_MAX: usize = 1_000;
pub const REASON_BYTES_MAX: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Where the log ended when it was decided. What the log says of the state up to there was said with the record.
    pub until: Lsn,
    /// When it was decided.
    pub time_ns: u64,
    /// Why, in one line.
    pub reason: String,
}

/// All records that are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quarantine(BTreeMap<Lsn, Quarantined>);

impl Quarantine {
    /// What a directory says; without the file, nothing is left out.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(QUARANTINE_FILE);
        let text = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(WalError::io(Action::Read, &path, 0, source)),
        };
        let parsed = std::str::from_utf8(&text).ok().and_then(Self::parse);
        parsed.ok_or_else(|| WalError::damaged(&path, 0, Lsn::ZERO, Damage::Malformed("the list of left-out records")))
    }

    #[inline]
    pub fn contains(&self, seq: Lsn) -> bool {
        !self.0.is_empty() && self.0.contains_key(&seq)
    }

    /// Whether this record was written by somebody who had applied a record that is left out now.
    pub fn is_overtaken(&self, seq: Lsn) -> bool {
        self.0.iter().any(|(left_out, entry)| *left_out < seq && seq <= entry.until)
    }

    pub fn entries(&self) -> impl Iterator<Item = (Lsn, &Quarantined)> {
        self.0.iter().map(|(seq, entry)| (*seq, entry))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds an entry; false when the record is left out already or the list is full.
    pub fn add(&mut self, seq: Lsn, entry: Quarantined) -> bool {
        assert!(is_reason(&entry.reason), "one line");
        if self.0.len() == QUARANTINED_MAX || self.0.contains_key(&seq) {
            return false;
        }
        self.0.insert(seq, entry);
        true
    }

    /// Replaces the file. Durable when this returns.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(QUARANTINE_FILE);
        let unfinished = path.with_extension("tmp");
        let io = |action| move |source| WalError::io(action, &directory.join(QUARANTINE_FILE), 0, source);
        let mut file = fs::File::create(&unfinished).map_err(io(Action::Create))?;
        file.write_all(self.to_text().as_bytes()).map_err(io(Action::Write))?;
        file.sync_all().map_err(io(Action::Sync))?;
        fs::rename(&unfinished, &path).map_err(io(Action::Rename))?;
        sync_dir(directory)
    }

    /// The file's whole content.
    pub fn to_text(&self) -> String {
        let mut text = format!("format {FORMAT}\n");
        for (seq, entry) in &self.0 {
            text +=
                &format!("seq {} until {} time_ns {} reason {}\n", seq.0, entry.until.0, entry.time_ns, entry.reason);
        }
        let crc = crc32c::crc32c(text.as_bytes());
        text + &format!("crc32c {crc:08x}\n")
    }

    /// Reads what [`Quarantine::to_text`] gives; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (body, crc_line) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let body = format!("{body}\n");
        let crc = u32::from_str_radix(crc_line.strip_prefix("crc32c ")?, 16).ok()?;
        if crc != crc32c::crc32c(body.as_bytes()) {
            return None;
        }
        let entries = body.strip_prefix(&format!("format {FORMAT}\n"))?;
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

    /// Its checksum is right: somebody else wrote it, or an editor did.
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
