//! The bytes of the history's rows: keys that sort by owner and time, values that are packed entries.

use book::units::{Seq, Stamp, TsNs};
use std::cell::RefCell;

/// Limit of one row's bytes before compression; a batch ends before any row reaches it.
pub const ROW_BYTES_MAX: usize = 16 << 20;
/// Shorter rows are stored uncompressed.
const COMPRESS_BYTES_MIN: usize = 256;
/// The compression level of zstd: the fastest one.
const LEVEL: i32 = 1;

const CODING_PLAIN: u8 = 0;
const CODING_ZSTD: u8 = 1;
const VALUE_HEAD_BYTES: usize = 5;
const ENTRY_HEAD_BYTES: usize = 18;

/// The kind of entries in a row; each kind is keyed separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    Orders = b'o',
    Fills = b'f',
    Ledger = b'l',
    Stream = b's',
    /// The live stream of market data, which has no owner.
    Live = b'p',
}

/// One event of an account, or one message of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub stamp: Stamp,
    pub bytes: &'a [u8],
}

/// `kind | owner`: the prefix of every key of that owner.
pub fn prefix(kind: Kind, owner: u32) -> Vec<u8> {
    let mut key = vec![kind as u8];
    key.extend_from_slice(&owner.to_be_bytes());
    key
}

/// The key of a row of an account whose first entry has this stamp.
pub fn timed_key(kind: Kind, owner: u32, stamp: Stamp) -> Vec<u8> {
    let mut key = prefix(kind, owner);
    key.extend_from_slice(&stamp.ts.0.to_be_bytes());
    key.extend_from_slice(&stamp.seq.0.to_be_bytes());
    key
}

/// The key of a row of a stream whose first message has this number.
pub fn stream_key(owner: u32, number: u64) -> Vec<u8> {
    let mut key = prefix(Kind::Stream, owner);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The key of a row of the live stream whose first message has this number.
pub fn live_key(number: u64) -> Vec<u8> {
    let mut key = prefix(Kind::Live, 0);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The message number in a stream's key; `None` if the key is no such key.
pub fn number_of(key: &[u8]) -> Option<u64> {
    key.get(5..).and_then(|number| number.try_into().ok()).map(u64::from_be_bytes)
}

pub fn push_entry(raw: &mut Vec<u8>, stamp: Stamp, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).expect("events and messages are some hundred bytes at most");
    raw.extend_from_slice(&stamp.seq.0.to_le_bytes());
    raw.extend_from_slice(&stamp.ts.0.to_le_bytes());
    raw.extend_from_slice(&len.to_le_bytes());
    raw.extend_from_slice(bytes);
}

/// Packs entries into a row's value, compressed if that makes it smaller.
pub fn pack(raw: &[u8]) -> Vec<u8> {
    assert!(raw.len() <= ROW_BYTES_MAX, "a batch ends before its rows get too long");
    let mut value = Vec::with_capacity(VALUE_HEAD_BYTES + raw.len());
    value.push(CODING_PLAIN);
    value.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    if COMPRESS_BYTES_MIN <= raw.len()
        && let Some(packed) = compress(raw)
        && packed.len() < raw.len()
    {
        value[0] = CODING_ZSTD;
        value.extend_from_slice(&packed);
    } else {
        value.extend_from_slice(raw);
    }
    value
}

thread_local! {
    /// A context of zstd is half a megabyte that has to be cleared, which costs more than compressing a short row.
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

fn compress(raw: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let mut compressor = match kept.take() {
            Some(compressor) => compressor,
            None => zstd::bulk::Compressor::new(LEVEL).ok()?,
        };
        let packed = compressor.compress(raw).ok();
        *kept = Some(compressor);
        packed
    })
}

/// The entries of a row's value; `None` if the value is malformed.
pub fn unpack(value: &[u8]) -> Option<Vec<u8>> {
    let (head, body) = value.split_first_chunk::<VALUE_HEAD_BYTES>()?;
    let raw_bytes = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if ROW_BYTES_MAX < raw_bytes {
        return None;
    }
    let raw = match head[0] {
        CODING_PLAIN => body.to_vec(),
        CODING_ZSTD => zstd::bulk::decompress(body, raw_bytes).ok()?,
        _ => return None,
    };
    (raw.len() == raw_bytes).then_some(raw)
}

/// Iterates over entries; a truncated entry gives `None`, and ends the iteration.
pub fn entries(raw: &[u8]) -> impl Iterator<Item = Option<Entry<'_>>> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = split_entry(&mut rest);
        if entry.is_none() {
            rest = &[];
        }
        Some(entry)
    })
}

fn split_entry<'a>(rest: &mut &'a [u8]) -> Option<Entry<'a>> {
    let (head, body) = rest.split_first_chunk::<ENTRY_HEAD_BYTES>()?;
    let (seq, ts, len) = (head.first_chunk::<8>()?, head[8..].first_chunk::<8>()?, head[16..].first_chunk::<2>()?);
    let (bytes, after) = body.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    *rest = after;
    let stamp = Stamp { seq: Seq(u64::from_le_bytes(*seq)), ts: TsNs(u64::from_le_bytes(*ts)) };
    Some(Entry { stamp, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw_of(count: u64) -> Vec<u8> {
        let mut raw = Vec::new();
        for seq in 1..=count {
            push_entry(&mut raw, Stamp { seq: Seq(seq), ts: TsNs(seq * 10) }, &vec![seq as u8; seq as usize % 7]);
        }
        raw
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        for count in [1, 2, 50, 1_000] {
            let raw = raw_of(count);
            assert_eq!(unpack(&pack(&raw)).as_deref(), Some(raw.as_slice()));
            let seqs: Vec<u64> = entries(&raw).map(|entry| entry.expect("an intact entry").stamp.seq.0).collect();
            assert_eq!(seqs, (1..=count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn cut_and_flipped_rows_are_no_rows_or_end_early() {
        let value = pack(&raw_of(40));
        for cut in 0..value.len() {
            assert!(unpack(&value[..cut]).is_none(), "cut at {cut}");
        }
        for at in 0..value.len() {
            let mut flipped = value.clone();
            flipped[at] ^= 1 << (at % 8);
            // Never a panic; what it gives is bounded.
            let _ = unpack(&flipped).map(|raw| entries(&raw).count());
        }
    }

    #[test]
    fn keys_sort_by_owner_and_time() {
        let key = |owner, ts, seq| timed_key(Kind::Fills, owner, Stamp { seq: Seq(seq), ts: TsNs(ts) });
        let sorted = [key(1, 5, 9), key(1, 5, 10), key(1, 256, 11), key(2, 1, 1)];
        assert!(sorted.is_sorted());
        assert_eq!(number_of(&stream_key(3, 77)), Some(77));
    }
}
