//! The rules version: which behaviour the log's commands have.
//!
//! Behaviour is a function of the log and of this number, which is part of the state and which only the sequenced act
//! `Admin::SetRules` raises. A build that changes an outcome does so under a new number, and keeps the old outcome
//! under the old one: so every log replays to the hashes that were recorded in it. Invariant: the number never falls.

use bincode::{Decode, Encode};
use std::fmt;

/// A version that this build knows. An outcome that differs between two of them asks for it, on that path only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Rules {
    /// The first version, under which every log begins.
    #[default]
    One = 1,
    /// What people do is recorded with who did it (`Acted`), and the engine checks that they may. Amendments, halts,
    /// ids, blocks, status requests and mass cancels have other outcomes: the table "What rules 2 change" in
    /// docs/OPERATIONS.md lists them.
    Two = 2,
}

/// The number of a version as the log has it. A log of a later build may have one that this build does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RulesVersion(pub u16);

impl Rules {
    pub const NEWEST: Self = Self::Two;
    pub const ALL: [Self; 2] = [Self::One, Self::Two];

    /// The version with this number; `None` when only a later build knows it.
    pub fn of(version: RulesVersion) -> Option<Self> {
        Self::ALL.into_iter().find(|rules| rules.version() == version)
    }

    pub fn version(self) -> RulesVersion {
        RulesVersion(self as u16)
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", *self as u16)
    }
}

impl fmt::Display for RulesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
