//! Gathers what happened into rows and writes them in batches.

use super::rows::{Kind, ROW_BYTES_MAX, pack, push_entry, stream_key, timed_key};
use super::{BEGINS_KEY, WATERMARK_KEY};
use crate::faults::mutation::{self, Mutation};
use crate::replica::Listener;
use api::binary::stream::SessionSeq;
use book::codec;
use book::event::{Event, LedgerAccount};
use book::ids::{AccountId, SessionId};
use book::units::{Seq, Stamp};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use wal::error::{Result, WalError};
use wal::store::{Rows, Store};

/// Gathered bytes behind which a batch is worth writing.
const BATCH_BYTES: usize = 2 << 20;
/// A row that is so long gets no more entries: its owner's next one begins another row.
const ROW_BYTES: usize = 4 << 20;
/// No command alone makes a row so long, so no two rows of an owner have one key.
const _: () = assert!(book::engine::EVENTS_PER_COMMAND_MAX * 160 < ROW_BYTES && 2 * ROW_BYTES <= ROW_BYTES_MAX);

/// A row being gathered.
struct Chunk {
    key: Vec<u8>,
    raw: Vec<u8>,
}

/// The writing end; the shadow owns it.
pub struct HistoryWriter {
    store: Arc<Store>,
    /// Everything up to here is written.
    watermark: Seq,
    /// The newest command gathered.
    gathered: Seq,
    chunks: BTreeMap<(Kind, u32), Chunk>,
    /// Rows that are long enough.
    long: Vec<Chunk>,
    raw_bytes: usize,
    event_bytes: Vec<u8>,
}

impl HistoryWriter {
    pub fn open(store: Arc<Store>) -> Result<Self> {
        let watermark = read_watermark(&store)?;
        Ok(Self {
            store,
            watermark,
            gathered: watermark,
            chunks: BTreeMap::new(),
            long: Vec::new(),
            raw_bytes: 0,
            event_bytes: Vec::new(),
        })
    }

    pub fn watermark(&self) -> Seq {
        self.watermark
    }

    /// Goes on behind `seq`: what lies between is not to be had any more, and the history says so from now on.
    pub fn begin_behind(&mut self, seq: Seq) -> Result<()> {
        assert!(!self.is_behind() && self.watermark < seq, "a gap lies between what is written and what comes");
        let mut rows = Rows::new();
        rows.put_meta(BEGINS_KEY, seq.0.to_le_bytes());
        rows.put_meta(WATERMARK_KEY, seq.0.to_le_bytes());
        self.store.commit(rows)?;
        (self.watermark, self.gathered) = (seq, seq);
        Ok(())
    }

    /// Whether anything waits to be written.
    pub fn is_behind(&self) -> bool {
        self.watermark < self.gathered
    }

    /// Whether anything but the watermark would be written.
    pub fn has_rows(&self) -> bool {
        self.raw_bytes > 0
    }

    pub fn is_full(&self) -> bool {
        BATCH_BYTES <= self.raw_bytes
    }

    /// Bytes that are gathered and not written.
    pub fn bytes_held(&self) -> usize {
        self.raw_bytes
    }

    /// Forgets what was gathered. The writer is of no use afterwards: a later start gathers it again.
    pub fn discard(&mut self) {
        self.chunks.clear();
        self.long.clear();
        self.raw_bytes = 0;
        self.gathered = self.watermark;
    }

    /// Takes in what a command did. Its answers come through `listening`.
    pub fn gather(&mut self, stamp: Stamp, events: &[Event]) {
        self.gathered = self.gathered.max(stamp.seq);
        if stamp.seq <= self.watermark {
            return;
        }
        for event in events {
            let Some((kind, [first, second])) = owners(event) else { continue };
            self.event_bytes.clear();
            codec::encode_event(event, &mut self.event_bytes);
            let bytes = std::mem::take(&mut self.event_bytes);
            for owner in [first, second].into_iter().filter(|owner| !owner.is_none()) {
                self.push(kind, owner.0, stamp, &bytes, |owner| timed_key(kind, owner, stamp));
            }
            self.event_bytes = bytes;
        }
    }

    /// Takes in what sessions are told by the command with this stamp.
    pub fn listening(&mut self, stamp: Stamp) -> Listening<'_> {
        Listening { writer: self, stamp }
    }

    fn push(&mut self, kind: Kind, owner: u32, stamp: Stamp, bytes: &[u8], key: impl FnOnce(u32) -> Vec<u8>) {
        let chunk = match self.chunks.entry((kind, owner)) {
            Entry::Vacant(place) => place.insert(Chunk { key: key(owner), raw: Vec::new() }),
            Entry::Occupied(place) if ROW_BYTES <= place.get().raw.len() => {
                let place = place.into_mut();
                self.long.push(std::mem::replace(place, Chunk { key: key(owner), raw: Vec::new() }));
                place
            }
            Entry::Occupied(place) => place.into_mut(),
        };
        let before = chunk.raw.len();
        push_entry(&mut chunk.raw, stamp, bytes);
        self.raw_bytes += chunk.raw.len() - before;
    }

    /// Writes what was gathered, and how far that is, as one. Durable with the store's next flush.
    pub fn commit(&mut self) -> Result<()> {
        if !self.is_behind() {
            return Ok(());
        }
        let mut rows = Rows::new();
        let long = std::mem::take(&mut self.long);
        for chunk in long.into_iter().chain(std::mem::take(&mut self.chunks).into_values()) {
            rows.put_history(chunk.key, pack(&chunk.raw));
        }
        mutation::when(Mutation::CursorApart, || self.commit_cursor_alone());
        rows.put_meta(WATERMARK_KEY, self.gathered.0.to_le_bytes());
        self.store.commit(rows)?;
        self.watermark = self.gathered;
        self.raw_bytes = 0;
        Ok(())
    }

    /// What the planted fault `CursorApart` does.
    fn commit_cursor_alone(&self) {
        let mut cursor = Rows::new();
        cursor.put_meta(WATERMARK_KEY, self.gathered.0.to_le_bytes());
        // The fault: the rows may fail where this succeeded, and the reverse.
        let _ = self.store.commit(cursor);
    }
}

/// How far the history of a store goes.
pub fn read_watermark(store: &Store) -> Result<Seq> {
    Ok(read_seq(store, WATERMARK_KEY)?.unwrap_or(Seq(store.origin().seq_base.0)))
}

/// Behind which sequence it is whole.
pub fn read_begins(store: &Store) -> Result<Seq> {
    Ok(read_seq(store, BEGINS_KEY)?.unwrap_or(Seq(0)))
}

fn read_seq(store: &Store, key: &[u8]) -> Result<Option<Seq>> {
    let Some(value) = store.meta(key)? else { return Ok(None) };
    let bytes: [u8; 8] = value.try_into().map_err(|_| {
        let damage = wal::error::Damage::Malformed("a sequence of the history has another length");
        WalError::damaged(store.path(), 0, wal::units::Lsn::ZERO, damage)
    })?;
    Ok(Some(Seq(u64::from_le_bytes(bytes))))
}

pub struct Listening<'a> {
    writer: &'a mut HistoryWriter,
    stamp: Stamp,
}

impl Listener for Listening<'_> {
    fn told(&mut self, session: SessionId, number: SessionSeq, bytes: &[u8]) {
        if self.writer.watermark < self.stamp.seq {
            self.writer.push(Kind::Stream, session.0, self.stamp, bytes, |owner| stream_key(owner, number.0));
        }
    }
}

/// Whose history an event belongs to, and to which part of it.
fn owners(event: &Event) -> Option<(Kind, [AccountId; 2])> {
    let one = |account| Some((Kind::Orders, [account, AccountId::NONE]));
    match event {
        Event::Accepted(e) => one(e.account),
        Event::Rejected(e) => one(e.account),
        Event::Reduced(e) => one(e.account),
        Event::Amended(e) => one(e.account),
        Event::Canceled(e) => one(e.account),
        Event::CancelRejected(e) => one(e.account),
        Event::MassCanceled(e) => one(e.account),
        Event::Repeated(e) => one(e.account),
        Event::Fill(e) => Some((Kind::Fills, pair(e.maker.account, e.taker.account))),
        Event::Transfer(e) => Some((Kind::Ledger, pair(client(e.debit), client(e.credit)))),
        _ => None,
    }
}

fn pair(first: AccountId, second: AccountId) -> [AccountId; 2] {
    [first, if second == first { AccountId::NONE } else { second }]
}

fn client(place: LedgerAccount) -> AccountId {
    match place {
        LedgerAccount::Available(account) | LedgerAccount::Held(account) => account,
        LedgerAccount::Custody | LedgerAccount::Fees => AccountId::NONE,
    }
}
