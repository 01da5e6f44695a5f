//! How far every stream has been numbered: what a snapshot keeps, beside the state, of what was told.
//!
//! Content of streams is in the history and in memory; a replica that only follows the log needs to know which number
//! the next message gets. Invariant: numbers depend on the log alone.

use crate::rings::feed_items::FeedItem;
use api::binary::feed::FeedEncoder;
use api::binary::stream::SessionSeq;
use api::instruments::Instruments;
use book::ids::SessionId;
use book::units::{Seq, Stamp, TsNs};

/// Pieces of a snapshot that are not the engine's; the engine's sections have smaller numbers.
const TAG_SESSIONS: u8 = 64;
const TAG_FEED: u8 = 65;

const NUMBER_BYTES: usize = 8;
/// Numbers in a piece.
const NUMBERS_PER_PIECE: usize = 1 << 16;
const _: () = assert!(NUMBERS_PER_PIECE * NUMBER_BYTES <= wal::snapshot::SNAPSHOT_PIECE_BYTES_MAX);
/// In front of the `rptSeq`s: the next number of the live stream, the stamp of the last public event, the log's bytes.
const FEED_HEAD: usize = 4;

/// Next numbers of all streams.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// By session, from id 1: what its next message will be.
    sessions: Vec<SessionSeq>,
    encoder: FeedEncoder,
    live: SessionSeq,
    feed_stamp: Stamp,
    log_bytes: u64,
}

impl Default for Numbers {
    fn default() -> Self {
        let (encoder, feed_stamp) = (FeedEncoder::default(), Stamp::default());
        Self { sessions: Vec::new(), encoder, live: SessionSeq::FIRST, feed_stamp, log_bytes: 0 }
    }
}

impl Numbers {
    /// Gives the session's next message its number.
    #[inline]
    pub fn take(&mut self, session: SessionId) -> SessionSeq {
        let idx = session.0 as usize - 1;
        if idx >= self.sessions.len() {
            self.sessions.resize(idx + 1, SessionSeq::FIRST);
        }
        let number = self.sessions[idx];
        self.sessions[idx] = number.next();
        number
    }

    /// By session, from id 1; sessions behind the end were told nothing yet.
    pub fn sessions(&self) -> &[SessionSeq] {
        &self.sessions
    }

    /// Counts what the feed makes of an event.
    pub fn publish(&mut self, item: &FeedItem, instruments: &Instruments) {
        let Self { encoder, live, feed_stamp, .. } = self;
        *feed_stamp = item.stamp;
        let mut count = |_: &[u8]| *live = live.next();
        encoder.push(item.stamp, &item.event, instruments, &mut count);
        if item.last {
            encoder.finish(item.stamp, &mut count);
        }
    }

    /// The number of the live stream's next message.
    pub fn live(&self) -> SessionSeq {
        self.live
    }

    pub fn rpt_seqs(&self) -> &[u64] {
        self.encoder.rpt_seqs()
    }

    pub fn feed_stamp(&self) -> Stamp {
        self.feed_stamp
    }

    /// Counts a frame of the log.
    pub fn frame(&mut self, bytes: usize) {
        self.log_bytes += bytes as u64;
    }

    /// Bytes of all frames so far.
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    pub fn save<E>(&self, put: &mut impl FnMut(u8, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let sessions: Vec<u64> = self.sessions.iter().map(|next| next.0).collect();
        save_numbers(TAG_SESSIONS, &sessions, put)?;
        let mut feed = vec![self.live.0, self.feed_stamp.seq.0, self.feed_stamp.ts.0, self.log_bytes];
        feed.extend_from_slice(self.encoder.rpt_seqs());
        save_numbers(TAG_FEED, &feed, put)
    }
}

fn save_numbers<E>(tag: u8, numbers: &[u64], put: &mut impl FnMut(u8, &[u8]) -> Result<(), E>) -> Result<(), E> {
    for chunk in numbers.chunks(NUMBERS_PER_PIECE) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|number| number.to_le_bytes()).collect();
        put(tag, &bytes)?;
    }
    Ok(())
}

/// Reads them back.
#[derive(Debug, Default)]
pub struct NumbersLoader {
    sessions: Vec<u64>,
    feed: Vec<u64>,
}

impl NumbersLoader {
    /// False when the piece is none of these.
    pub fn take(&mut self, tag: u8, piece: &[u8]) -> bool {
        let into = match tag {
            TAG_SESSIONS => &mut self.sessions,
            TAG_FEED => &mut self.feed,
            _ => return false,
        };
        let (numbers, rest) = piece.as_chunks::<NUMBER_BYTES>();
        into.extend(numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        rest.is_empty()
    }

    /// `None` when a part is missing or no number can be so.
    pub fn finish(self) -> Option<Numbers> {
        let (head, rpt_seqs) = self.feed.split_at_checked(FEED_HEAD)?;
        if head[0] == 0 || self.sessions.contains(&0) {
            return None;
        }
        Some(Numbers {
            sessions: self.sessions.into_iter().map(SessionSeq).collect(),
            encoder: FeedEncoder::resume(rpt_seqs.to_vec()),
            live: SessionSeq(head[0]),
            feed_stamp: Stamp { seq: Seq(head[1]), ts: TsNs(head[2]) },
            log_bytes: head[3],
        })
    }
}
