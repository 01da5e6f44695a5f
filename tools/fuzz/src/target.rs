//! A decoder under test: its valid inputs, the repair of changed inputs, and the check of each.

/// The outcome for one input. Both must happen in a round, or its inputs test only one side of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The decoder refused the input, with the error that it promises.
    Refused,
    /// The input was decoded, and every assertion about the result held.
    Decoded,
}

/// A decoder and its invariants. A check that fails panics, which libFuzzer and a round both report as a finding.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Valid inputs, which mutations start from. The outcome of each must be `Outcome::Decoded`.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Repairs what would refuse every mutated input at once: checksums, counts, hashes. Never the length.
    pub repair: fn(&mut [u8]),
    pub check: fn(&[u8]) -> Outcome,
    /// The longest input that is tested.
    pub bytes_max: usize,
    /// The number of inputs of the round that every build runs; chosen so that it takes well under a second.
    pub round_inputs: u32,
}

/// For inputs without a checksum.
pub fn repair_nothing(_: &mut [u8]) {}
