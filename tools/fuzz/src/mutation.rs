//! Changes valid inputs: bit flips, numbers at the edge of a type, cuts, insertions, pieces of other inputs.

use book::testing::workload::rng::Rng;

const EDITS_MAX: u32 = 4;
const RUN_BYTES_MAX: u32 = 64;

/// Numbers at which decoders take another branch.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
];

const LETTERS: &[u8] = b"0019-+.,:;eE\"'\\{}[]= \n#_azAZ%";

/// Changes `input` in one to four places, with pieces of `others`. The result has at most `bytes_max` bytes.
pub fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], bytes_max: usize, rng: &mut Rng) {
    for _ in 0..=rng.below(EDITS_MAX) {
        match rng.below(10) {
            0 => flip_bit(input, rng),
            1 => set_byte(input, rng),
            2 => set_number(input, rng),
            3 => cut_out(input, rng),
            4 => insert_noise(input, rng),
            5 => repeat_run(input, rng),
            6 => cut_tail(input, rng),
            7 => set_letter(input, rng),
            8 => overwrite_from(input, others, rng),
            _ => splice(input, others, rng),
        }
    }
    input.truncate(bytes_max);
}

/// Random bytes.
pub fn noise(bytes_max: usize, rng: &mut Rng) -> Vec<u8> {
    let len = place(bytes_max.min(512) + 1, rng);
    (0..len).map(|_| rng.below(256) as u8).collect()
}

/// A number from 0 to `bound - 1`; 0 where `bound` is 0.
fn place(bound: usize, rng: &mut Rng) -> usize {
    rng.below(u32::try_from(bound).unwrap_or(u32::MAX)) as usize
}

/// A random range within `len` bytes.
fn run(len: usize, rng: &mut Rng) -> std::ops::Range<usize> {
    let start = place(len + 1, rng);
    let run_len = rng.below(RUN_BYTES_MAX) as usize + 1;
    start..(start + run_len).min(len)
}

fn flip_bit(input: &mut [u8], rng: &mut Rng) {
    let at = place(input.len(), rng);
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << rng.below(8);
    }
}

fn set_byte(input: &mut [u8], rng: &mut Rng) {
    let at = place(input.len(), rng);
    if let Some(byte) = input.get_mut(at) {
        *byte = if rng.one_in(2) { rng.below(256) as u8 } else { rng.pick(&EDGES) as u8 };
    }
}

/// Writes a number at or one step from an edge, or from the number that is there, in either byte order.
fn set_number(input: &mut [u8], rng: &mut Rng) {
    let width = rng.pick(&[2, 4, 8]);
    let at = place(input.len(), rng);
    let Some(bytes) = input.get_mut(at..at + width) else { return };
    let mut there = [0; 8];
    there[..width].copy_from_slice(bytes);
    let base = if rng.one_in(3) { u64::from_le_bytes(there) } else { rng.pick(&EDGES) };
    let number = base.wrapping_add(u64::from(rng.below(3))).wrapping_sub(1).to_le_bytes();
    bytes.copy_from_slice(&number[..width]);
    if rng.one_in(2) {
        bytes.reverse();
    }
}

/// Writes a printable character, so that text stays text.
fn set_letter(input: &mut [u8], rng: &mut Rng) {
    let at = place(input.len(), rng);
    if let Some(byte) = input.get_mut(at) {
        *byte = rng.pick(LETTERS);
    }
}

/// Cuts a few bytes mostly, and at times any number.
fn cut_tail(input: &mut Vec<u8>, rng: &mut Rng) {
    let cut = if rng.one_in(4) { place(input.len() + 1, rng) } else { run(input.len(), rng).len() };
    input.truncate(input.len() - cut);
}

fn cut_out(input: &mut Vec<u8>, rng: &mut Rng) {
    let range = run(input.len(), rng);
    input.drain(range);
}

fn insert_noise(input: &mut Vec<u8>, rng: &mut Rng) {
    let at = place(input.len() + 1, rng);
    let noise: Vec<u8> = (0..=rng.below(8)).map(|_| rng.below(256) as u8).collect();
    input.splice(at..at, noise);
}

fn repeat_run(input: &mut Vec<u8>, rng: &mut Rng) {
    let range = run(input.len(), rng);
    let (at, copy) = (range.end, input[range].to_vec());
    input.splice(at..at, copy);
}

fn overwrite_from(input: &mut [u8], others: &[Vec<u8>], rng: &mut Rng) {
    let Some(other) = others.get(place(others.len(), rng)) else { return };
    let piece = &other[run(other.len(), rng)];
    let at = place(input.len(), rng);
    let len = piece.len().min(input.len() - at);
    input[at..at + len].copy_from_slice(&piece[..len]);
}

/// The front of this input and the back of another, cut anywhere.
fn splice(input: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    let Some(other) = others.get(place(others.len(), rng)) else { return };
    input.truncate(place(input.len() + 1, rng));
    input.extend_from_slice(&other[place(other.len() + 1, rng)..]);
}
