//! How far every outbound stream is numbered: what a snapshot holds about streams, beside the state.
//!
//! The messages themselves are in memory and in the history; a replica only needs the number of the next one.
//! Invariant: numbers depend on the log alone.

use crate::rings::feed_items::FeedItem;
use api::binary::feed::FeedEncoder;
use api::binary::stream::SessionSeq;
use api::instruments::Instruments;
use book::event::Event;
use book::ids::SessionId;
use book::units::{Seq, Stamp, TsNs};
use std::collections::BTreeMap;

/// Tags of a snapshot's pieces. The engine's own sections have smaller ones.
const TAG_SESSIONS: u8 = 64;
const TAG_FEED: u8 = 65;
/// Only where there is more than one life.
const TAG_LIFE: u8 = 66;
/// Only where a session has begun a life by itself: pairs of a session and a first number.
const TAG_SESSION_LIVES: u8 = 67;

const NUMBER_BYTES: usize = 8;
/// The most numbers in one piece.
const NUMBERS_PER_PIECE: usize = 1 << 16;
const _: () = assert!(
    NUMBERS_PER_PIECE * NUMBER_BYTES + wal::snapshot::SNAPSHOT_PREFIX_BYTES_MAX
        <= wal::snapshot::SNAPSHOT_PIECE_BYTES_MAX
);
/// Numbers before the `rptSeq`s in the feed's piece: the live stream's next number, sequence and time of the last
/// public event, and the log's bytes.
const FEED_HEAD: usize = 4;

/// The next number of every stream.
#[derive(Clone, Debug)]
pub struct StreamPositions {
    /// By session, from id 1: the number of its next message.
    sessions: Vec<SessionSeq>,
    /// The first number of every session's stream in its present life.
    first: SessionSeq,
    /// The first numbers of sessions that have begun a life by themselves since.
    own_firsts: BTreeMap<SessionId, SessionSeq>,
    encoder: FeedEncoder,
    live: SessionSeq,
    feed_stamp: Stamp,
    log_bytes: u64,
}

impl Default for StreamPositions {
    fn default() -> Self {
        let (encoder, feed_stamp) = (FeedEncoder::default(), Stamp::default());
        let (first, live) = (SessionSeq::FIRST, SessionSeq::FIRST);
        let own_firsts = BTreeMap::new();
        Self { sessions: Vec::new(), first, own_firsts, encoder, live, feed_stamp, log_bytes: 0 }
    }
}

impl StreamPositions {
    /// Assigns a number to the session's next message.
    #[inline]
    pub fn assign(&mut self, session: SessionId) -> SessionSeq {
        let idx = session.0 as usize - 1;
        if idx >= self.sessions.len() {
            self.sessions.resize(idx + 1, self.first);
        }
        let number = self.sessions[idx];
        self.sessions[idx] = number.next();
        number
    }

    /// By session, from id 1: the number of its next message. Sessions beyond the end have no messages yet.
    pub fn sessions(&self) -> &[SessionSeq] {
        &self.sessions
    }

    /// The first number of every session's stream in its present life; that of the next message of a session that has
    /// none yet.
    pub fn first(&self) -> SessionSeq {
        self.first
    }

    /// The first numbers of sessions that have begun a life by themselves.
    pub fn own_firsts(&self) -> &BTreeMap<SessionId, SessionSeq> {
        &self.own_firsts
    }

    /// Begins a new life of one stream, which leaves so many numbers out.
    pub fn begin_session_life(&mut self, session: SessionId, skipped: u64) {
        let idx = session.0 as usize - 1;
        if idx >= self.sessions.len() {
            self.sessions.resize(idx + 1, self.first);
        }
        let first = first_of_life(std::iter::once(self.sessions[idx]), self.first, skipped);
        self.sessions[idx] = first;
        self.own_firsts.insert(session, first);
    }

    /// Begins a new life of all streams, which leaves so many numbers out.
    fn begin_life(&mut self, skipped: u64) {
        self.first = first_of_life(self.sessions.iter().copied(), self.first, skipped);
        self.sessions.fill(self.first);
        self.own_firsts.clear();
        self.live = SessionSeq(self.live.0 + skipped);
    }

    /// Numbers the messages that the feed encodes for an event, and shows each with its number.
    pub fn count_public(
        &mut self,
        item: &FeedItem,
        instruments: &Instruments,
        show: &mut impl FnMut(SessionSeq, &[u8]),
    ) {
        if let Event::RunBegan { skipped, .. } = item.event {
            self.begin_life(skipped);
        }
        let Self { encoder, live, feed_stamp, .. } = self;
        *feed_stamp = item.stamp;
        let mut count = |bytes: &[u8]| {
            show(*live, bytes);
            *live = live.next();
        };
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

    /// Counts the bytes of a frame of the log.
    pub fn count_frame(&mut self, bytes: usize) {
        self.log_bytes += bytes as u64;
    }

    /// Bytes of all frames up to here, since the log began.
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    pub fn save<E>(&self, put: &mut impl FnMut(u8, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let sessions: Vec<u64> = self.sessions.iter().map(|next| next.0).collect();
        save_numbers(TAG_SESSIONS, &sessions, put)?;
        if self.first != SessionSeq::FIRST {
            save_numbers(TAG_LIFE, &[self.first.0], put)?;
        }
        let pairs: Vec<u64> = self.own_firsts.iter().flat_map(|(id, first)| [id.0.into(), first.0]).collect();
        save_numbers(TAG_SESSION_LIVES, &pairs, put)?;
        let mut feed = vec![self.live.0, self.feed_stamp.seq.0, self.feed_stamp.ts.0, self.log_bytes];
        feed.extend_from_slice(self.encoder.rpt_seqs());
        save_numbers(TAG_FEED, &feed, put)
    }
}

/// The first number of every session's stream in a new life that leaves so many numbers out: further on than any of
/// these next numbers, so that all streams have one first number.
pub fn first_of_life(next: impl Iterator<Item = SessionSeq>, first: SessionSeq, skipped: u64) -> SessionSeq {
    SessionSeq(next.fold(first, SessionSeq::max).0 + skipped)
}

fn save_numbers<E>(tag: u8, numbers: &[u64], put: &mut impl FnMut(u8, &[u8]) -> Result<(), E>) -> Result<(), E> {
    for chunk in numbers.chunks(NUMBERS_PER_PIECE) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|number| number.to_le_bytes()).collect();
        put(tag, &bytes)?;
    }
    Ok(())
}

/// Loads positions from the pieces of a snapshot.
#[derive(Debug, Default)]
pub struct StreamPositionsLoader {
    sessions: Vec<u64>,
    life: Vec<u64>,
    session_lives: Vec<u64>,
    feed: Vec<u64>,
}

impl StreamPositionsLoader {
    /// Loads one piece; false if it does not hold positions.
    pub fn take(&mut self, tag: u8, piece: &[u8]) -> bool {
        let into = match tag {
            TAG_SESSIONS => &mut self.sessions,
            TAG_FEED => &mut self.feed,
            TAG_LIFE => &mut self.life,
            TAG_SESSION_LIVES => &mut self.session_lives,
            _ => return false,
        };
        let (numbers, rest) = piece.as_chunks::<NUMBER_BYTES>();
        into.extend(numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        rest.is_empty()
    }

    /// `None` if a part is missing or a number is impossible.
    pub fn finish(self) -> Option<StreamPositions> {
        let (head, rpt_seqs) = self.feed.split_at_checked(FEED_HEAD)?;
        let first = match self.life[..] {
            [] => SessionSeq::FIRST,
            [first] if SessionSeq::FIRST.0 < first => SessionSeq(first),
            _ => return None,
        };
        if head[0] == 0 || self.sessions.iter().any(|next| *next < first.0) {
            return None;
        }
        let (pairs, rest) = self.session_lives.as_chunks::<2>();
        let own_first = |pair: &[u64; 2]| {
            let [session, own_first] = *pair;
            let next = *self.sessions.get(usize::try_from(session.checked_sub(1)?).ok()?)?;
            let fits = first.0 < own_first && own_first <= next;
            fits.then(|| Some((SessionId(u32::try_from(session).ok()?), SessionSeq(own_first))))?
        };
        let own_firsts = pairs.iter().map(own_first).collect::<Option<BTreeMap<SessionId, SessionSeq>>>()?;
        if !rest.is_empty() || own_firsts.len() != pairs.len() {
            return None;
        }
        Some(StreamPositions {
            own_firsts,
            sessions: self.sessions.into_iter().map(SessionSeq).collect(),
            first,
            encoder: FeedEncoder::resume(rpt_seqs.to_vec()),
            live: SessionSeq(head[0]),
            feed_stamp: Stamp { seq: Seq(head[1]), ts: TsNs(head[2]) },
            log_bytes: head[3],
        })
    }
}
