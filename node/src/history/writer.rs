//! Gathers what happened into rows and writes them in batches.

use super::WATERMARK_KEY;
use super::rows::{Kind, ROW_BYTES_MAX, pack, push_entry, stream_key, timed_key};
use crate::mutation::{self, Mutation};
use crate::replica::Listener;
use api::stream::SessionSeq;
use book::codec;
use book::event::{Event, LedgerAccount};
use book::ids::{AccountId, SessionId};
use book::units::{Seq, Stamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use wal::error::{Result, WalError};
use wal::store::{Rows, Store};

/// A batch is written when it holds so much, long before one row could be too long.
pub const BATCH_BYTES: usize = 2 << 20;
/// What one command can add: every event as an entry of two accounts, and every answer.
const COMMAND_BYTES_MAX: usize = book::engine::EVENTS_PER_COMMAND_MAX * 2 * 160;
const _: () = assert!(BATCH_BYTES + COMMAND_BYTES_MAX <= ROW_BYTES_MAX);

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
            raw_bytes: 0,
            event_bytes: Vec::new(),
        })
    }

    pub fn watermark(&self) -> Seq {
        self.watermark
    }

    /// Whether anything waits to be written.
    pub fn is_behind(&self) -> bool {
        self.watermark < self.gathered
    }

    pub fn is_full(&self) -> bool {
        BATCH_BYTES <= self.raw_bytes
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
        let chunk = self.chunks.entry((kind, owner)).or_insert_with(|| Chunk { key: key(owner), raw: Vec::new() });
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
        for chunk in std::mem::take(&mut self.chunks).into_values() {
            rows.put_history(chunk.key, pack(&chunk.raw));
        }
        if mutation::is(Mutation::CursorApart) {
            let mut cursor = Rows::new();
            cursor.put_meta(WATERMARK_KEY, self.gathered.0.to_le_bytes());
            self.store.commit(cursor)?;
        }
        rows.put_meta(WATERMARK_KEY, self.gathered.0.to_le_bytes());
        self.store.commit(rows)?;
        self.watermark = self.gathered;
        self.raw_bytes = 0;
        Ok(())
    }
}

/// How far the history of a store goes.
pub fn read_watermark(store: &Store) -> Result<Seq> {
    let Some(value) = store.meta(WATERMARK_KEY)? else { return Ok(Seq(store.origin().seq_base.0)) };
    let bytes: [u8; 8] = value.try_into().map_err(|_| {
        let damage = wal::error::Damage::Malformed("the history's watermark has another length");
        WalError::damaged(store.path(), 0, wal::units::Seq::ZERO, damage)
    })?;
    Ok(Seq(u64::from_le_bytes(bytes)))
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
