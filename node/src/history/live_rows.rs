//! The newest messages of the live stream of market data as rows: what a start puts back into the memory of the feed.
//!
//! ```text
//!  rows in the store, oldest first                          next number
//!  | deleted | first .. | first .. | ...  | first .. (open) |
//!            `--- at least LIVE_KEPT messages --------------'
//! ```
//! The newest row is written again, longer and under its own key, until it has [`ROW_BYTES`]: so a stream of which
//! little is said in a second has no more rows than one that is always busy. Invariants: rows follow each other by
//! number, without a gap except where a life of the streams begins or the history has a gap of its own; of what the
//! memory of the feed can hold none is deleted; the number of rows is bounded, by `LIVE_KEPT` messages of bounded
//! length.

use super::rows::{Kind, live_key, number_of, pack, prefix, push_entry};
use crate::faults::mutation::{Mutation, Planted};
use crate::replica::public_feed::LIVE_MESSAGES;
use api::binary::stream::SessionSeq;
use book::units::Stamp;
use std::collections::VecDeque;
use wal::error::Result;
use wal::store::{Rows, Store};

/// The newest messages of the stream that stay: as many as the feed keeps in memory.
const LIVE_KEPT: u64 = LIVE_MESSAGES as u64;
/// A row of this many bytes gets no more messages.
const ROW_BYTES: usize = 16 << 10;

/// A row whose bytes are in memory.
#[derive(Clone)]
struct Row {
    first: u64,
    raw: Vec<u8>,
}

/// The rows that are being written, and the numbers at which those in the store begin.
pub(super) struct LiveRows {
    /// The first numbers of the rows in the store, oldest first.
    stored: VecDeque<u64>,
    /// Rows to be written. The first one may be in the store already, with fewer messages.
    gathered: VecDeque<Row>,
    /// Whether the last row has messages that the store does not have.
    has_news: bool,
    /// The number after the last message that was gathered.
    next: u64,
}

impl LiveRows {
    pub(super) fn open(store: &Store) -> Result<Self> {
        let mut stored = VecDeque::new();
        let mut at = live_key(u64::MAX);
        // From the newest row back to the oldest; only keys are looked at.
        while let Some(number) = store.history_floor(&prefix(Kind::Live, 0), &at)?.as_deref().and_then(number_of) {
            stored.push_front(number);
            let Some(before) = number.checked_sub(1) else { break };
            at = live_key(before);
        }
        Ok(Self { stored, gathered: VecDeque::new(), has_news: false, next: 0 })
    }

    /// Appends a message. Returns by how many bytes the gathered rows have grown.
    pub(super) fn push(&mut self, stamp: Stamp, number: SessionSeq, bytes: &[u8]) -> usize {
        let follows = self.next == number.0;
        if self.gathered.back().is_none_or(|row| !follows || ROW_BYTES <= row.raw.len()) {
            self.gathered.push_back(Row { first: number.0, raw: Vec::new() });
        }
        (self.has_news, self.next) = (true, number.next().0);
        let row = self.gathered.back_mut().expect("there is a row for this message");
        let before = row.raw.len();
        push_entry(&mut row.raw, stamp, bytes);
        row.raw.len() - before
    }

    pub(super) fn discard(&mut self) {
        self.gathered.clear();
        self.has_news = false;
    }

    /// Takes the gathered rows, and names those that are no longer needed.
    pub(super) fn take(&mut self) -> LiveBatch {
        if !std::mem::take(&mut self.has_news) {
            return LiveBatch::default();
        }
        for row in &self.gathered {
            if self.stored.back() != Some(&row.first) {
                self.stored.push_back(row.first);
            }
        }
        let open = self.gathered.back().filter(|row| row.raw.len() < ROW_BYTES).cloned();
        let rows = std::mem::take(&mut self.gathered);
        self.gathered.extend(open);
        let kept_from = self.next.saturating_sub(LIVE_KEPT).planted(Mutation::LivePastUnbounded, |_| 0);
        let mut deleted = Vec::new();
        // A row is needed as long as the next one begins after the first message that stays.
        while let (Some(&oldest), Some(&second)) = (self.stored.front(), self.stored.get(1))
            && second <= kept_from
        {
            deleted.push(oldest);
            self.stored.pop_front();
        }
        LiveBatch { rows, deleted }
    }
}

/// What one batch writes and deletes.
#[derive(Default)]
pub(super) struct LiveBatch {
    rows: VecDeque<Row>,
    deleted: Vec<u64>,
}

impl LiveBatch {
    pub(super) fn put(self, rows: &mut Rows) {
        for row in self.rows {
            rows.put_history(live_key(row.first), pack(&row.raw));
        }
        for first in self.deleted {
            rows.delete_history(live_key(first));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{History, HistoryWriter};
    use book::units::{Seq, TsNs};
    use std::sync::Arc;
    use wal::directory::Directory;
    use wal::identity::{FORMAT_NEWEST, Identity};
    use wal::segment::Geometry;
    use wal::units::{Lsn, NodeId, Timeline};

    fn store(dir: &std::path::Path) -> Arc<Store> {
        let path = dir.join("data");
        let geometry = Geometry { segment_count: 2, segment_bytes: 8 * 4096 };
        let (node_id, timeline) = (NodeId([1; 16]), Timeline(1));
        let identity = Identity { format: FORMAT_NEWEST, node_id, timeline, seq_base: Lsn::ZERO, geometry };
        Directory::create(&path, &identity, 0).expect("made");
        Arc::new(Directory::open(&path).expect("intact").store().expect("intact"))
    }

    /// The message with a number, as these tests write it.
    fn message(number: u64) -> Vec<u8> {
        number.to_le_bytes().repeat(1 + number as usize % 9)
    }

    /// Gathers messages with these numbers as those of one command, and writes them.
    fn write(history: &mut HistoryWriter, seq: u64, numbers: std::ops::Range<u64>) {
        let stamp = Stamp { seq: Seq(seq), ts: TsNs(seq) };
        history.gather(stamp, &[]);
        for number in numbers {
            crate::replica::StreamSink::live(&mut history.stream_rows(stamp), SessionSeq(number), &message(number));
        }
        history.commit().expect("written");
    }

    /// The numbers of the messages from `from` on, each of which must have its own bytes.
    fn read(store: &Store, from: u64) -> Vec<u64> {
        let mut seen = Vec::new();
        let range = SessionSeq(from)..SessionSeq(u64::MAX);
        let shown = History::of(store).live(range, &mut |number, bytes| {
            assert_eq!(bytes, message(number.0));
            seen.push(number.0);
            Ok(())
        });
        shown.expect("every row can be read");
        seen
    }

    fn rows(store: &Store) -> usize {
        LiveRows::open(store).expect("readable").stored.len()
    }

    #[test]
    fn messages_are_read_as_they_were_written_and_short_rows_grow() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(dir.path());
        let mut history = HistoryWriter::open(Arc::clone(&store)).expect("empty");
        for number in 1..=2_000 {
            write(&mut history, number, number..number + 1);
        }
        assert_eq!(read(&store, 1), (1..=2_000).collect::<Vec<_>>());
        assert_eq!(read(&store, 1_234), (1_234..=2_000).collect::<Vec<_>>());
        assert!(rows(&store) <= 8, "{} rows for 2,000 messages of 56 bytes on average", rows(&store));
        // Another writer goes on in a row of its own.
        let mut history = HistoryWriter::open(Arc::clone(&store)).expect("intact");
        write(&mut history, 2_001, 2_001..2_005);
        assert_eq!(read(&store, 1_990), (1_990..2_005).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_longer_needed_is_deleted_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(dir.path());
        let mut history = HistoryWriter::open(Arc::clone(&store)).expect("empty");
        let batch = 1 << 15;
        for seq in 1..=40 {
            let first = (seq - 1) * batch + 1;
            write(&mut history, seq, first..first + batch);
        }
        let next = 40 * batch + 1;
        let kept = read(&store, 1);
        assert!(kept[0] <= next - LIVE_KEPT && next - LIVE_KEPT - kept[0] < 1_000, "the oldest is {}", kept[0]);
        assert_eq!(kept, (kept[0]..next).collect::<Vec<_>>());
        // Numbers that a new life has skipped leave nothing of the earlier one.
        write(&mut history, 41, 1 << 40..(1 << 40) + 10);
        write(&mut history, 42, (1 << 40) + 10..(1 << 40) + 20);
        assert_eq!(read(&store, next), (1 << 40..(1 << 40) + 20).collect::<Vec<_>>());
        assert!(rows(&store) <= 2, "{} rows", rows(&store));
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn a_past_that_only_grows_is_noticed() {
        crate::faults::mutation::assert_noticed(
            Mutation::LivePastUnbounded,
            what_is_no_longer_needed_is_deleted_and_nothing_else,
        );
    }
}
