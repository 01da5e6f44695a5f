//! How often each kind of fault took effect; one that never does proves nothing.

use crate::options::{FAULTS, Fault};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FaultCounts([u64; FAULTS.len()]);

impl FaultCounts {
    pub(crate) fn note(&mut self, fault: Fault) {
        self.add(fault, 1);
    }

    pub(crate) fn add(&mut self, fault: Fault, count: u64) {
        self.0[fault as usize] += count;
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }

    pub(crate) fn counts(&self) -> impl Iterator<Item = (Fault, u64)> + '_ {
        FAULTS.into_iter().map(|fault| (fault, self.0[fault as usize]))
    }
}
