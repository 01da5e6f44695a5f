//! Gathers events and messages into rows and writes them in batches, each with the watermark that counts it.

use super::keys::{BEGINS_KEY, WATERMARK_KEY};
use super::live_rows::{LiveBatch, LiveRows};
use super::rows::{Kind, ROW_BYTES_MAX, pack, push_entry, stream_key, timed_key};
use crate::faults::mutation::{self, Mutation, Planted};
use crate::replica::StreamSink;
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

/// A batch is written once this many bytes are gathered.
const BATCH_BYTES: usize = 2 << 20;
/// A row of this length gets no more entries: the owner's next entry begins another row.
const ROW_BYTES: usize = 4 << 20;
// No single command makes a row this long, so two rows of an owner never have the same key.
const _: () = assert!(book::engine::EVENTS_PER_COMMAND_MAX * 160 < ROW_BYTES && 2 * ROW_BYTES <= ROW_BYTES_MAX);

/// A row being gathered.
struct Chunk {
    key: Vec<u8>,
    raw: Vec<u8>,
}

/// The only writer of a history; the shadow owns it.
pub struct HistoryWriter {
    store: Arc<Store>,
    /// The history is written up to and including this sequence.
    watermark: Seq,
    /// The last command whose events are gathered.
    gathered: Seq,
    chunks: BTreeMap<(Kind, u32), Chunk>,
    /// Rows of this batch that have reached `ROW_BYTES`.
    long: Vec<Chunk>,
    raw_bytes: usize,
    live: LiveRows,
    /// Bytes of live messages that are gathered. Apart from the others, because alone they are no reason to write.
    live_bytes: usize,
    event_bytes: Vec<u8>,
    /// Rows committed since this writer was opened.
    rows: u64,
}

impl HistoryWriter {
    pub fn open(store: Arc<Store>) -> Result<Self> {
        let (watermark, live) = (read_watermark(&store)?, LiveRows::open(&store)?);
        Ok(Self {
            store,
            watermark,
            gathered: watermark,
            chunks: BTreeMap::new(),
            long: Vec::new(),
            raw_bytes: 0,
            live,
            live_bytes: 0,
            event_bytes: Vec::new(),
            rows: 0,
        })
    }

    pub fn watermark(&self) -> Seq {
        self.watermark
    }

    /// Rows that this writer has committed.
    pub fn rows(&self) -> u64 {
        self.rows.planted(Mutation::RowsUncounted, |_| 0)
    }

    /// Continues after `seq`. The commands between the watermark and `seq` are no longer in the log, and from now on
    /// the history records that it is complete only after `seq`.
    pub fn begin_after(&mut self, seq: Seq) -> Result<()> {
        assert!(!self.has_pending() && self.watermark < seq, "a gap begins after the watermark, with nothing gathered");
        let mut rows = Rows::new();
        rows.put_meta(BEGINS_KEY, seq.0.to_le_bytes());
        rows.put_meta(WATERMARK_KEY, seq.0.to_le_bytes());
        self.store.commit(rows)?;
        (self.watermark, self.gathered) = (seq, seq);
        Ok(())
    }

    /// Whether commands are gathered and not yet written, with or without rows.
    pub fn has_pending(&self) -> bool {
        self.watermark < self.gathered
    }

    /// Whether a batch would contain rows of accounts or sessions, not only the watermark.
    pub fn has_rows(&self) -> bool {
        self.raw_bytes > 0
    }

    pub fn is_full(&self) -> bool {
        BATCH_BYTES <= self.bytes_held()
    }

    /// Bytes that are gathered and not yet written.
    pub fn bytes_held(&self) -> usize {
        self.raw_bytes + self.live_bytes
    }

    /// Drops what was gathered, because it must not be kept. The writer must not be used afterwards; the next start
    /// gathers the same commands again.
    pub fn discard(&mut self) {
        self.chunks.clear();
        self.long.clear();
        self.live.discard();
        (self.raw_bytes, self.live_bytes) = (0, 0);
        self.gathered = self.watermark;
    }

    /// Gathers the events of a command. Its messages to sessions are gathered through
    /// [`stream_rows`](Self::stream_rows).
    pub fn gather(&mut self, stamp: Stamp, events: &[Event]) {
        self.gathered = self.gathered.max(stamp.seq);
        if stamp.seq <= self.watermark {
            return;
        }
        for event in events {
            let Some((kind, owners)) = owners(event) else { continue };
            self.event_bytes.clear();
            codec::encode_event(event, &mut self.event_bytes);
            let bytes = std::mem::take(&mut self.event_bytes);
            for owner in owners.into_iter().flatten() {
                self.push(kind, owner.0, stamp, &bytes, |owner| timed_key(kind, owner, stamp));
            }
            self.event_bytes = bytes;
        }
    }

    /// Gathers the messages that the command with this stamp sends to sessions.
    pub fn stream_rows(&mut self, stamp: Stamp) -> StreamRows<'_> {
        StreamRows { writer: self, stamp }
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

    /// Writes the gathered rows and the watermark in one batch. Durable with the store's next flush.
    pub fn commit(&mut self) -> Result<()> {
        if !self.has_pending() {
            return Ok(());
        }
        let gathered = self.gathered_rows();
        mutation::when(Mutation::CursorApart, || self.commit_cursor_alone());
        self.rows += gathered.write(&self.store)?;
        self.watermark = self.gathered;
        (self.raw_bytes, self.live_bytes) = (0, 0);
        Ok(())
    }

    /// Takes what was gathered, for a caller that writes it in another thread, in the order in which it was taken. The
    /// writer goes on as if it were written: after a write that failed it must not be used.
    pub fn take(&mut self) -> Gathered {
        let gathered = self.gathered_rows();
        self.rows += gathered.chunks.len() as u64;
        self.watermark = self.gathered;
        (self.raw_bytes, self.live_bytes) = (0, 0);
        gathered
    }

    fn gathered_rows(&mut self) -> Gathered {
        let long = std::mem::take(&mut self.long);
        let chunks = long.into_iter().chain(std::mem::take(&mut self.chunks).into_values()).collect();
        Gathered { chunks, live: self.live.take(), watermark: self.gathered }
    }

    /// The planted fault `CursorApart`: the watermark in a batch of its own.
    fn commit_cursor_alone(&self) {
        let mut cursor = Rows::new();
        cursor.put_meta(WATERMARK_KEY, self.gathered.0.to_le_bytes());
        // The fault: one of the two batches may succeed where the other fails.
        let _ = self.store.commit(cursor);
    }
}

/// Rows that were gathered, and the watermark that counts them.
pub struct Gathered {
    chunks: Vec<Chunk>,
    live: LiveBatch,
    watermark: Seq,
}

impl Gathered {
    /// Writes rows and watermark in one batch, and returns the number of rows. Durable with the store's next flush.
    pub fn write(self, store: &Store) -> Result<u64> {
        let (mut rows, count) = (Rows::new(), self.chunks.len() as u64);
        for chunk in self.chunks {
            rows.put_history(chunk.key, pack(&chunk.raw));
        }
        self.live.put(&mut rows);
        rows.put_meta(WATERMARK_KEY, self.watermark.0.to_le_bytes());
        store.commit(rows)?;
        Ok(count)
    }
}

/// The history of a store is complete up to and including this sequence.
pub(super) fn read_watermark(store: &Store) -> Result<Seq> {
    Ok(read_seq(store, WATERMARK_KEY)?.unwrap_or(Seq(store.origin().seq_base.0)))
}

/// The history of a store is complete after this sequence; zero if it is complete from the beginning.
pub(super) fn read_begins(store: &Store) -> Result<Seq> {
    Ok(read_seq(store, BEGINS_KEY)?.unwrap_or(Seq(0)))
}

fn read_seq(store: &Store, key: &[u8]) -> Result<Option<Seq>> {
    let Some(value) = store.meta(key)? else { return Ok(None) };
    let bytes: [u8; 8] = value.try_into().map_err(|_| {
        let damage = wal::error::Damage::Malformed("a sequence in the history's metadata is not 8 bytes long");
        WalError::damaged(store.path(), 0, wal::units::Lsn::ZERO, damage)
    })?;
    Ok(Some(Seq(u64::from_le_bytes(bytes))))
}

/// Gathers messages of one command as rows of their streams.
pub struct StreamRows<'a> {
    writer: &'a mut HistoryWriter,
    stamp: Stamp,
}

impl StreamSink for StreamRows<'_> {
    fn message(&mut self, session: SessionId, number: SessionSeq, bytes: &[u8]) {
        if self.writer.watermark < self.stamp.seq {
            self.writer.push(Kind::Stream, session.0, self.stamp, bytes, |owner| stream_key(owner, number.0));
        }
    }

    /// The messages of one row are consecutive.
    fn life_began(&mut self, session: SessionId) {
        let chunk = self.writer.chunks.remove(&(Kind::Stream, session.0));
        self.writer.long.extend(chunk);
    }

    fn live(&mut self, number: SessionSeq, bytes: &[u8]) {
        if self.writer.watermark < self.stamp.seq {
            self.writer.live_bytes += self.writer.live.push(self.stamp, number, bytes);
        }
    }
}

/// The kind of history that an event belongs to, and the one or two accounts that it concerns. Postings of the house
/// alone are those of account 0, which no client has.
fn owners(event: &Event) -> Option<(Kind, [Option<AccountId>; 2])> {
    let one = |account: AccountId| Some((Kind::Orders, [Some(account).filter(|account| !account.is_none()), None]));
    match event {
        Event::Accepted(e) => one(e.account),
        Event::Rejected(e) => one(e.account),
        Event::Reduced(e) => one(e.account),
        Event::Amended(e) => one(e.account),
        Event::Canceled(e) => one(e.account),
        Event::CancelRejected(e) => one(e.account),
        Event::MassCanceled(e) => one(e.account),
        Event::Repeated(e) => one(e.account),
        Event::Fill(e) => Some((Kind::Fills, pair(Some(e.maker.account), Some(e.taker.account)))),
        Event::Transfer(e) => {
            let clients = pair(client(e.debit), client(e.credit));
            let is_of_house = clients == [None; 2];
            Some((Kind::Ledger, if is_of_house { [Some(AccountId::NONE), None] } else { clients }))
        }
        _ => None,
    }
}

fn pair(first: Option<AccountId>, second: Option<AccountId>) -> [Option<AccountId>; 2] {
    [first, second.filter(|_| second != first)]
}

fn client(place: LedgerAccount) -> Option<AccountId> {
    match place {
        LedgerAccount::Available(account) | LedgerAccount::Held(account) => Some(account),
        LedgerAccount::Custody | LedgerAccount::Fees => None,
    }
}
