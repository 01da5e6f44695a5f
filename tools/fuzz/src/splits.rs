//! Splits an input into chunks, as a socket may deliver it. The same bytes are always split the same way.

use book::testing::workload::rng::Rng;

/// Cuts `bytes` anywhere, mostly into small chunks, some of them empty.
pub fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rng = Rng::new(u64::from(crc32c::crc32c(bytes)));
    let chunk_bytes_max = rng.pick(&[1, 2, 5, 40, 400]);
    let mut chunks = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((rng.below(chunk_bytes_max + 1) as usize).min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    chunks
}
