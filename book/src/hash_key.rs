//! The key of every hash table whose keys clients choose.
//!
//! A client that knew the hash could choose ids that all have one place, and each lookup would walk over them. So the
//! hash has a key that only the process knows. It comes with the engine, because nothing is drawn at random in here.
//! Invariant: no outcome depends on it. No table is iterated, and two engines with different keys have the same state.

use crate::mutation::{Mutation, Planted};

/// Odd, with about half of its bits set; the fraction of the golden ratio, and a factor of SplitMix64.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
const MIX: u64 = 0xBF58_476D_1CE4_E5B9;

/// Two numbers that no client knows. The default is for tools and tests, whose input no client chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey(u64, u64);

impl Default for HashKey {
    fn default() -> Self {
        Self::new(0, 1)
    }
}

impl HashKey {
    /// Any two numbers are good: they are mixed here, because a small factor would leave most of a product empty.
    pub fn new(first: u64, second: u64) -> Self {
        Self(fold(first ^ MIX, FACTOR), fold(second ^ MIX, FACTOR) | 1)
    }

    /// The hash of two numbers: one multiplication to 128 bits of both, each hidden by its part of the key, whose
    /// halves are folded together.
    #[inline]
    pub fn hash(self, first: u64, second: u64) -> u64 {
        let Self(hidden, factor) = self.planted(Mutation::HashUnkeyed, |_| Self::default());
        fold(first ^ hidden, second ^ factor)
    }
}

#[inline]
fn fold(number: u64, factor: u64) -> u64 {
    let product = u128::from(number) * u128::from(factor);
    product as u64 ^ (product >> 64) as u64
}
