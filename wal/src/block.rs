//! The unit of a disk write: 4096 bytes, aligned to 4096, as O_DIRECT wants both.
//!
//! Invariant: a `Block` has no padding of its own, so a slice of blocks is a slice of bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What every write to the head is a multiple of, in place and in length.
pub const BLOCK_BYTES: usize = 4096;

/// The smallest piece that a power cut leaves whole. A header that fits in one is either the old one or the new one.
pub const SECTOR_BYTES: usize = 512;

/// Bytes that a boxed slice of may be handed to an O_DIRECT write as they stand.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4096))]
pub struct Block(pub [u8; BLOCK_BYTES]);

const _: () = assert!(size_of::<Block>() == BLOCK_BYTES && align_of::<Block>() == BLOCK_BYTES);
const _: () = assert!(BLOCK_BYTES.is_multiple_of(SECTOR_BYTES));

impl Block {
    pub const ZERO: Block = Block([0; BLOCK_BYTES]);
}

/// Zeroed blocks that hold at least `bytes`.
pub fn blocks(bytes: usize) -> Box<[Block]> {
    vec![Block::ZERO; bytes.div_ceil(BLOCK_BYTES)].into_boxed_slice()
}

/// `bytes` rounded up to whole blocks.
pub const fn padded(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK_BYTES) * BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxed_blocks_are_aligned_bytes() {
        let boxed = blocks(BLOCK_BYTES + 1);
        assert_eq!(boxed.as_bytes().len(), 2 * BLOCK_BYTES);
        assert_eq!(boxed.as_bytes().as_ptr().addr() % BLOCK_BYTES, 0);
        assert_eq!((padded(0), padded(1), padded(4096), padded(4097)), (0, 4096, 4096, 8192));
    }
}
