//! The names of a backup's objects. Each object has one spelling; objects with other names are ignored.
//!
//! ```text
//! BACKUP                                      the claim: the node that the backup belongs to
//! 0000000001/IDENTITY                         timeline 1: the data directory's own file
//! 0000000001/LINEAGE                          the directory's own file, where it came from a restore
//! 0000000001/config/0000000001                its configuration, first version
//! 0000000001/quarantine/0000000002            its QUARANTINE when it had two entries
//! 0000000001/snapshots/<sequence>.snap        a snapshot file, unchanged
//! 0000000001/log/<first>-<last>.piece         consecutive frames of the log
//! 0000000001/gaps/<first>-<last>              sequences that the node truncated before they were shipped
//! ```

use std::fmt;
use wal::units::{Lsn, Timeline};

pub const CLAIM: &str = "BACKUP";
const IDENTITY: &str = "IDENTITY";
const LINEAGE: &str = "LINEAGE";
const QUARANTINE: &str = "quarantine";
const CONFIG: &str = "config";
const SNAPSHOTS: &str = "snapshots";
const LOG: &str = "log";
const GAPS: &str = "gaps";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Claim,
    Identity(Timeline),
    Lineage(Timeline),
    Config { timeline: Timeline, version: u32 },
    Quarantine { timeline: Timeline, entry_count: u32 },
    Snapshot { timeline: Timeline, seq: Lsn },
    Piece { timeline: Timeline, seq_first: Lsn, seq_last: Lsn },
    Gap { timeline: Timeline, seq_first: Lsn, seq_last: Lsn },
}

impl Key {
    pub fn parse(text: &str) -> Option<Self> {
        let key = Self::parse_any_spelling(text)?;
        (key.to_string() == text).then_some(key)
    }

    /// The timeline that the object belongs to; none for the claim, which belongs to all.
    pub fn timeline(&self) -> Option<Timeline> {
        match *self {
            Self::Claim => None,
            Self::Identity(timeline)
            | Self::Lineage(timeline)
            | Self::Config { timeline, .. }
            | Self::Quarantine { timeline, .. }
            | Self::Snapshot { timeline, .. }
            | Self::Piece { timeline, .. }
            | Self::Gap { timeline, .. } => Some(timeline),
        }
    }

    fn parse_any_spelling(text: &str) -> Option<Self> {
        if text == CLAIM {
            return Some(Self::Claim);
        }
        let (timeline, rest) = text.split_once('/')?;
        let timeline = Timeline(timeline.parse().ok()?);
        if rest == IDENTITY {
            return Some(Self::Identity(timeline));
        }
        if rest == LINEAGE {
            return Some(Self::Lineage(timeline));
        }
        let (folder, name) = rest.split_once('/')?;
        Some(match folder {
            CONFIG => Self::Config { timeline, version: name.parse().ok()? },
            QUARANTINE => Self::Quarantine { timeline, entry_count: name.parse().ok()? },
            SNAPSHOTS => Self::Snapshot { timeline, seq: Lsn(name.strip_suffix(".snap")?.parse().ok()?) },
            LOG => {
                let (seq_first, seq_last) = parse_range(name.strip_suffix(".piece")?)?;
                Self::Piece { timeline, seq_first, seq_last }
            }
            GAPS => {
                let (seq_first, seq_last) = parse_range(name)?;
                Self::Gap { timeline, seq_first, seq_last }
            }
            _ => return None,
        })
    }
}

fn parse_range(text: &str) -> Option<(Lsn, Lsn)> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (Lsn(first.parse().ok()?), Lsn(last.parse().ok()?));
    (Lsn::ZERO < first && first <= last).then_some((first, last))
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim => f.write_str(CLAIM),
            Self::Identity(timeline) => write!(f, "{:010}/{IDENTITY}", timeline.0),
            Self::Lineage(timeline) => write!(f, "{:010}/{LINEAGE}", timeline.0),
            Self::Config { timeline, version } => write!(f, "{:010}/{CONFIG}/{version:010}", timeline.0),
            Self::Quarantine { timeline, entry_count } => {
                write!(f, "{:010}/{QUARANTINE}/{entry_count:010}", timeline.0)
            }
            Self::Snapshot { timeline, seq } => write!(f, "{:010}/{SNAPSHOTS}/{:020}.snap", timeline.0, seq.0),
            Self::Piece { timeline, seq_first, seq_last } => {
                write!(f, "{:010}/{LOG}/{:020}-{:020}.piece", timeline.0, seq_first.0, seq_last.0)
            }
            Self::Gap { timeline, seq_first, seq_last } => {
                write!(f, "{:010}/{GAPS}/{:020}-{:020}", timeline.0, seq_first.0, seq_last.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_what_it_writes_and_nothing_else() {
        let timeline = Timeline(3);
        let keys = [
            Key::Claim,
            Key::Identity(timeline),
            Key::Lineage(timeline),
            Key::Config { timeline, version: 4 },
            Key::Quarantine { timeline, entry_count: 2 },
            Key::Snapshot { timeline, seq: Lsn(77) },
            Key::Piece { timeline, seq_first: Lsn(1), seq_last: Lsn(500) },
            Key::Gap { timeline, seq_first: Lsn(501), seq_last: Lsn(501) },
        ];
        for key in keys {
            assert_eq!(Key::parse(&key.to_string()), Some(key), "{key}");
            assert_eq!(Key::parse(&format!("{key}#1")), None);
        }
        let others = ["", "3/IDENTITY", "0000000003", "0000000003/log/1-2.piece", "0000000003/other/x"];
        for text in others {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
