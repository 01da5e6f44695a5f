//! Copies a history up to a sequence into another store, for `pinion restore`.

use super::keys::{BEGINS_KEY, WATERMARK_KEY};
use super::rows::{entries, pack, push_entry, unpack};
use super::writer::{read_begins, read_watermark};
use book::units::Seq;
use std::ops::ControlFlow;
use wal::error::{Damage, WalError};
use wal::store::{Rows, Store};

/// Bytes of rows written as one batch.
const BATCH_BYTES: usize = 4 << 20;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub rows: u64,
    /// Rows of which only a part was copied, because they also had entries after the sequence.
    pub rows_cut: u64,
    pub bytes: u64,
    /// The copy is complete up to and including this sequence.
    pub watermark: Seq,
}

/// Copies every entry of `from` with a sequence up to and including `until`, and the watermark that goes with them.
/// `going_on` is called after every batch; its error ends the copy. Durable with the next flush of `into`.
pub fn copy_until<E: From<WalError>>(
    from: &Store,
    into: &Store,
    until: Seq,
    mut going_on: impl FnMut(&Copied) -> Result<(), E>,
) -> Result<Copied, E> {
    let watermark = read_watermark(from)?.min(until);
    let mut copied = Copied { watermark, ..Copied::default() };
    let (mut rows, mut batch_bytes) = (Rows::new(), 0);
    let mut outcome: Result<(), E> = Ok(());
    from.history_scan(&[], &[], |key, value| {
        let kept = match kept_of(value, watermark) {
            Some(kept) => kept,
            None => {
                let damage = Damage::Malformed("a row of the history");
                outcome = Err(WalError::damaged(from.path(), 0, wal::units::Lsn::ZERO, damage).into());
                return ControlFlow::Break(());
            }
        };
        let value = match &kept {
            Kept::All => value,
            Kept::Part(value) => {
                copied.rows_cut += 1;
                value
            }
            Kept::Nothing => return ControlFlow::Continue(()),
        };
        rows.put_history(key, value);
        copied.rows += 1;
        copied.bytes += value.len() as u64;
        batch_bytes += key.len() + value.len();
        if batch_bytes < BATCH_BYTES {
            return ControlFlow::Continue(());
        }
        batch_bytes = 0;
        let committed = into.commit(std::mem::take(&mut rows)).map_err(E::from);
        outcome = committed.and_then(|()| going_on(&copied));
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome?;
    // Last, after all rows: the store keeps a prefix of its batches, so the watermark never covers a row that is
    // missing.
    rows.put_meta(WATERMARK_KEY, watermark.0.to_le_bytes());
    let begins = read_begins(from)?.min(watermark);
    if begins.0 > 0 {
        rows.put_meta(BEGINS_KEY, begins.0.to_le_bytes());
    }
    into.commit(rows)?;
    Ok(copied)
}

enum Kept {
    All,
    Part(Vec<u8>),
    Nothing,
}

/// The entries of a row with sequences up to and including `until`; `None` if the row cannot be read. The entries of a
/// row are in the order of their sequences.
fn kept_of(value: &[u8], until: Seq) -> Option<Kept> {
    let raw = unpack(value)?;
    let mut kept = Vec::new();
    let mut is_cut = false;
    for entry in entries(&raw) {
        let entry = entry?;
        if until < entry.stamp.seq {
            is_cut = true;
            break;
        }
        push_entry(&mut kept, entry.stamp, entry.bytes);
    }
    Some(match (is_cut, kept.is_empty()) {
        (false, _) => Kept::All,
        (true, false) => Kept::Part(pack(&kept)),
        (true, true) => Kept::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::units::{Stamp, TsNs};

    #[test]
    fn a_row_is_cut_between_two_entries() {
        let mut raw = Vec::new();
        for seq in [3, 3, 5, 9] {
            push_entry(&mut raw, Stamp { seq: Seq(seq), ts: TsNs(seq) }, b"bytes");
        }
        let seqs_until = |until| match kept_of(&pack(&raw), Seq(until)).expect("a row that was just packed") {
            Kept::All => 4,
            Kept::Part(value) => entries(&unpack(&value).expect("packed")).count(),
            Kept::Nothing => 0,
        };
        assert_eq!([2, 3, 4, 5, 8, 9, 10].map(seqs_until), [0, 2, 2, 3, 3, 4, 4]);
        assert!(kept_of(b"no row", Seq(1)).is_none());
    }
}
