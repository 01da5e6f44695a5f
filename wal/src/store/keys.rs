//! Keys and values that the store itself defines in the families `log` and `meta`.

use crate::units::{ChainHash, Lsn, Tail, Timeline};

/// First byte of a `meta` key: the crate's own rows, and the caller's.
const META_OWN: u8 = 0;
const META_CALLER: u8 = 1;

/// The tail that the first retained frame follows.
pub(super) const META_BASE: &[u8] = &[META_OWN, b'b', b'a', b's', b'e'];
const BASE_BYTES: usize = 40;

/// Bytes of a key in `log`.
pub const LOG_KEY_BYTES: usize = 12;

/// The key of a frame. Big-endian, so that byte order is sequence order.
pub fn log_key(timeline: Timeline, seq_first: Lsn) -> [u8; LOG_KEY_BYTES] {
    let mut key = [0; LOG_KEY_BYTES];
    key[..4].copy_from_slice(&timeline.0.to_be_bytes());
    key[4..].copy_from_slice(&seq_first.0.to_be_bytes());
    debug_assert!(split_log_key(&key) == Some((timeline, seq_first)));
    key
}

/// The timeline and first sequence in a key of `log`; `None` where it has another length.
pub(super) fn split_log_key(key: &[u8]) -> Option<(Timeline, Lsn)> {
    let (timeline, seq) = key.split_first_chunk::<4>()?;
    let seq: [u8; 8] = seq.try_into().ok()?;
    Some((Timeline(u32::from_be_bytes(*timeline)), Lsn(u64::from_be_bytes(seq))))
}

pub(super) fn base_value(base: Tail) -> [u8; BASE_BYTES] {
    let mut value = [0; BASE_BYTES];
    value[..8].copy_from_slice(&base.seq.0.to_le_bytes());
    value[8..].copy_from_slice(&base.chain.0);
    debug_assert!(parse_base(&value) == Some(base));
    value
}

/// The tail in a value of [`META_BASE`]; `None` where it has another length.
pub(super) fn parse_base(value: &[u8]) -> Option<Tail> {
    let (seq, chain) = value.split_first_chunk::<8>()?;
    let chain: [u8; 32] = chain.try_into().ok()?;
    Some(Tail { seq: Lsn(u64::from_le_bytes(*seq)), chain: ChainHash(chain) })
}

/// The key in `meta` under which a caller's row is stored.
pub(super) fn caller_key(key: &[u8]) -> Vec<u8> {
    [&[META_CALLER], key].concat()
}
