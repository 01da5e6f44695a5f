//! The operands of one step: bytes that choose from lists, and numbers that lie at the ends of their types.
//!
//! Invariant: every byte has a meaning, so that a mutation of an input is never refused for its form.

/// Numbers that no power of two is close to: round amounts, and parts of the largest one.
const ROUND: [u64; 12] = [
    10,
    100,
    5_000,
    1_000_000,
    100_000_000,
    10_000_000_000,
    92_000_000_000,
    4_600_000_000_000_000_000,
    9_200_000_000_000_000_000,
    i64::MAX as u64 / 2,
    i64::MAX as u64 / 3,
    i64::MAX as u64 / 8,
];

/// From this byte on a number is one that the caller offers.
const NEAR_FROM: u8 = 192;

/// What is left of a step's bytes; zeros follow its end.
pub(super) struct Operands<'a> {
    rest: &'a [u8],
}

impl<'a> Operands<'a> {
    pub(super) fn of(step: &'a [u8]) -> Self {
        Self { rest: step }
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// One of `0..=last`.
    pub(super) fn upto(&mut self, last: usize) -> u32 {
        (usize::from(self.byte()) % (last + 1)) as u32
    }

    /// Zero, a power of two or a round number, and some more or less: two bytes reach both ends of every type.
    pub(super) fn number(&mut self) -> u64 {
        self.number_near(&[])
    }

    /// The same, or one of these and some more or less.
    pub(super) fn number_near(&mut self, near: &[u64]) -> u64 {
        let base = match self.byte() {
            0 => 0,
            bits @ 1..=64 => 1 << (bits - 1),
            other @ NEAR_FROM.. if !near.is_empty() => near[usize::from(other - NEAR_FROM) % near.len()],
            other => ROUND[usize::from(other) % ROUND.len()],
        };
        base.wrapping_add_signed(i64::from(self.byte() as i8))
    }
}
