//! One decoder under test: where its inputs start from, what is repaired in them, what must hold for each.

/// How far an input came. Both must happen in a round, or its inputs test only one side of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The decoder said no, in the way in which it promises to say no.
    Refused,
    /// Something was decoded, and all that was checked of it held.
    Decoded,
}

/// A decoder and what it must keep. A check that fails panics: libFuzzer and a round both take that as a finding.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Valid inputs, which mutations start from. Every one must come out as `Outcome::Decoded`.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Sets right what would refuse every mutated input at the door: checksums, counts, hashes. Never the length.
    pub mend: fn(&mut [u8]),
    pub check: fn(&[u8]) -> Outcome,
    /// The longest input that is worth its time.
    pub bytes_max: usize,
    /// Inputs of the round that every build runs; chosen so that it takes well under a second.
    pub round_inputs: u32,
}

impl Target {
    /// Finds a target by its name.
    pub fn find(name: &str) -> Option<&'static Target> {
        crate::targets::ALL.iter().find(|target| target.name == name)
    }
}

/// For inputs without a checksum.
pub fn mend_nothing(_: &mut [u8]) {}
