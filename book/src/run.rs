//! The runs of the node, as far as they are state: which directory the log is in, whether a run may lose what it
//! answered, and the life of the streams.
//!
//! After a restore to an earlier sequence, a quarantine, or the end of a run that could lose answers, clients have seen
//! numbers that the log no longer has. Then a new life begins: streams get other names, and every number that clients
//! see (order ids, trade ids, execution ids, numbers of streams) goes on far after the last one. Invariant: no number
//! of an earlier life is given again before order numbers start again after the largest.

use crate::ids::ORDER_NUMBER_MAX;
use bincode::{Decode, Encode};

/// The tag of a life: drawn by the node, so that two restores of one state have different names and numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct LifeTag(pub u32);

/// Tags are below this.
pub const LIFE_TAGS: u32 = 1 << 20;
/// More lives are refused: order numbers would start again with each of them.
pub const LIVES_MAX: u32 = 1 << 12;
/// At least so many numbers are skipped: at a hundred thousand a second those of two days.
const NUMBERS_SKIPPED_MIN: u64 = 1 << 34;

impl LifeTag {
    /// How many numbers a life with this tag skips: up to twice the minimum, so that two tags are apart.
    pub fn numbers_skipped(self) -> u64 {
        NUMBERS_SKIPPED_MIN + (u64::from(self.0) << 14)
    }
}

const _: () = assert!((LIFE_TAGS as u64) << 14 <= NUMBERS_SKIPPED_MIN);
const _: () = assert!(2 * NUMBERS_SKIPPED_MIN < ORDER_NUMBER_MAX);

/// What a start records about its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RunSpec {
    /// Stands for the directory and what is skipped in it: another number where either is another one.
    pub directory: u64,
    /// Whether the run answers before it is durable.
    pub may_lose: bool,
    /// Begins a new life.
    pub life: Option<LifeTag>,
}

/// The present run and life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub directory: u64,
    pub may_lose: bool,
    /// Counted from 0, the life of a log that never lost a number.
    pub life: u32,
    pub tag: LifeTag,
    /// Numbers skipped by all lives so far.
    pub skipped: u64,
}

impl Run {
    /// What a run is once it has begun like this.
    pub fn begin(&mut self, spec: &RunSpec) {
        (self.directory, self.may_lose) = (spec.directory, spec.may_lose);
        if let Some(tag) = spec.life {
            self.life += 1;
            self.tag = tag;
            self.skipped += tag.numbers_skipped();
        }
    }

    /// Whether a run may begin like this after the present one.
    pub(crate) fn admits(&self, spec: &RunSpec) -> bool {
        spec.life.is_none_or(|tag| tag.0 < LIFE_TAGS && tag != self.tag && self.life < LIVES_MAX)
    }
}
