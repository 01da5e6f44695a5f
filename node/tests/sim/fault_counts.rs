//! How often each kind of fault took effect; one that never does proves nothing.

use crate::options::{FAULTS, Fault};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts([u64; FAULTS.len()]);

impl FaultCounts {
    pub fn note(&mut self, fault: Fault) {
        self.add(fault, 1);
    }

    pub fn add(&mut self, fault: Fault, count: u64) {
        self.0[fault as usize] += count;
    }

    pub fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }

    pub fn counts(&self) -> impl Iterator<Item = (Fault, u64)> + '_ {
        FAULTS.into_iter().map(|fault| (fault, self.0[fault as usize]))
    }
}
