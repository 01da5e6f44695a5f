//! The unit of a disk write: 4096 bytes, aligned to 4096, because O_DIRECT requires both.
//!
//! Invariant: a `Block` contains no padding, so a slice of blocks is a slice of bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Offset and length of every write to the head are multiples of this.
pub const BLOCK_BYTES: usize = 4096;

/// The unit that a power cut never tears: after one, a header that fits in a sector is either the old or the new one.
pub const SECTOR_BYTES: usize = 512;

/// One aligned block. The bytes of a slice of them can be given to an O_DIRECT write without a copy.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C, align(4096))]
pub struct Block(pub [u8; BLOCK_BYTES]);

const _: () = assert!(size_of::<Block>() == BLOCK_BYTES && align_of::<Block>() == BLOCK_BYTES);
const _: () = assert!(BLOCK_BYTES.is_multiple_of(SECTOR_BYTES));

impl Block {
    pub const ZERO: Block = Block([0; BLOCK_BYTES]);
}

/// A zeroed buffer of the fewest blocks that hold `bytes`.
pub fn blocks(bytes: usize) -> Box<[Block]> {
    vec![Block::ZERO; bytes.div_ceil(BLOCK_BYTES)].into_boxed_slice()
}

/// `bytes` rounded up to a multiple of a block.
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
