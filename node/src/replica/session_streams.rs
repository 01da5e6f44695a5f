//! The outbound streams of all binary sessions: the messages of each, numbered from 1, and in a later life from a
//! number that no earlier life had.
//!
//! ```text
//!  session 1   | 3 .. 20 | 21 .. 44 | 45 ..        pieces of memory, the oldest messages first
//!  session 2   | 7 ..
//!  session 3                                       no message since the start, no memory
//! ```
//! Invariants: numbers are assigned in the order of the log, so a stream that is rebuilt from the log is the same, byte
//! for byte. Memory holds the newest messages of each session, `messages_max` at most, and all sessions together have so
//! many pieces: where none is left, the session with the most gives up its oldest one. What memory does not hold is in
//! the history.

use crate::faults::mutation::{Mutation, Planted};
use crate::replica::stream_positions::{StreamPositions, first_of_life};
use api::binary::stream::{SessionSeq, StreamError};
use book::ids::SessionId;
use std::collections::VecDeque;

/// Bytes of messages in a piece: about two hundred answers, which are 48 to 120 bytes long.
const PIECE_BYTES: usize = 16 * 1024;
/// Ends of messages that a piece has room for without another allocation.
const PIECE_MESSAGES: usize = PIECE_BYTES / 48;
/// What a piece takes in all.
const PIECE_BYTES_IN_ALL: usize = PIECE_BYTES + PIECE_MESSAGES * size_of::<u16>() + size_of::<Piece>();

/// Memory of all streams together where the configuration says nothing.
pub const RESEND_BYTES_DEFAULT: usize = 512 << 20;

/// How much of the streams is kept in memory.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// The newest messages of each session.
    pub messages_max: usize,
    /// Of all sessions together.
    pub bytes_max: usize,
}

impl From<usize> for StreamLimits {
    /// So many messages of each session, in memory of the usual size.
    fn from(messages_max: usize) -> Self {
        Self { messages_max, bytes_max: RESEND_BYTES_DEFAULT }
    }
}

/// Consecutive messages of one session.
#[derive(Debug)]
struct Piece {
    first: SessionSeq,
    bytes: Vec<u8>,
    /// The end of each message in `bytes`.
    ends: Vec<u16>,
}

const _: () = assert!(PIECE_BYTES <= u16::MAX as usize);

impl Piece {
    fn new() -> Self {
        let (bytes, ends) = (Vec::with_capacity(PIECE_BYTES), Vec::with_capacity(PIECE_MESSAGES));
        Self { first: SessionSeq::HEAD, bytes, ends }
    }

    fn begin(&mut self, first: SessionSeq) {
        self.first = first;
        self.bytes.clear();
        self.ends.clear();
    }

    fn has_room(&self, len: usize) -> bool {
        self.bytes.len() + len <= PIECE_BYTES
    }

    /// The number after its last message.
    fn end(&self) -> SessionSeq {
        SessionSeq(self.first.0 + self.ends.len() as u64)
    }

    fn get(&self, idx: usize) -> &[u8] {
        let start = if idx == 0 { 0 } else { usize::from(self.ends[idx - 1]) };
        &self.bytes[start..usize::from(self.ends[idx])]
    }
}

/// The newest messages of one session.
#[derive(Debug)]
pub struct SessionStream {
    next: SessionSeq,
    messages_max: u64,
    pieces: VecDeque<Piece>,
}

impl SessionStream {
    fn new(next: SessionSeq, messages_max: usize) -> Self {
        assert!(SessionSeq::FIRST <= next && 0 < messages_max, "numbers start at 1");
        Self { next, messages_max: messages_max as u64, pieces: VecDeque::new() }
    }

    /// Number that the next message will get.
    pub fn next_seq(&self) -> SessionSeq {
        self.next
    }

    /// Oldest number in memory; the next one when memory is empty.
    pub fn oldest_seq(&self) -> SessionSeq {
        let first = self.pieces.front().map_or(self.next, |piece| piece.first);
        first.max(SessionSeq(self.next.0.saturating_sub(self.messages_max)))
    }

    /// The message with this number.
    #[inline]
    pub fn get(&self, seq: SessionSeq) -> Result<&[u8], StreamError> {
        if self.next <= seq {
            return Err(StreamError::Beyond { wanted: seq, next: self.next });
        }
        let oldest = self.oldest_seq();
        if seq < oldest {
            return Err(StreamError::Older { wanted: seq, oldest });
        }
        // Mostly the newest piece.
        let last = self.pieces.back().expect("a stream with messages in memory has pieces");
        let piece = if last.first <= seq {
            last
        } else {
            let after = self.pieces.partition_point(|piece| piece.first <= seq);
            &self.pieces[after - 1]
        };
        Ok(piece.get((seq.0 - piece.first.0) as usize))
    }
}

/// One stream per session, and the memory that they share.
#[derive(Debug)]
pub struct SessionStreams {
    /// By session.
    streams: Vec<SessionStream>,
    /// By session: how many pieces it has. Apart, so that the one with the most is found quickly.
    counts: Vec<u32>,
    /// By session: the number of the next message when the stream is created; `first` for sessions beyond the end.
    begins: Vec<SessionSeq>,
    /// The first number of every stream in its present life.
    first: SessionSeq,
    /// Pieces without messages.
    free: Vec<Piece>,
    /// Pieces with and without messages.
    pieces: usize,
    pieces_max: usize,
    messages_max: usize,
}

impl SessionStreams {
    pub fn new(limits: impl Into<StreamLimits>) -> Self {
        Self::resume(&StreamPositions::default(), limits)
    }

    /// Continues at these positions. Older messages are not in memory.
    pub fn resume(positions: &StreamPositions, limits: impl Into<StreamLimits>) -> Self {
        let StreamLimits { messages_max, bytes_max } = limits.into();
        Self {
            streams: Vec::new(),
            counts: Vec::new(),
            begins: positions.sessions().to_vec(),
            first: positions.first(),
            free: Vec::new(),
            pieces: 0,
            pieces_max: (bytes_max / PIECE_BYTES_IN_ALL).max(2),
            messages_max,
        }
    }

    /// The first number of every stream in its present life. Lower ones belong to streams that have ended.
    pub fn first(&self) -> SessionSeq {
        self.first
    }

    /// Begins a new life of all streams, which leaves so many numbers out. What they held is no longer sent.
    pub fn begin_life(&mut self, skipped: u64) {
        let of_streams = self.streams.iter().map(SessionStream::next_seq);
        self.first = first_of_life(of_streams.chain(self.begins.iter().copied()), self.first, skipped);
        for idx in 0..self.streams.len() {
            while 0 < self.counts[idx] {
                self.take_back(idx);
            }
        }
        self.streams.clear();
        self.counts.clear();
        self.begins.clear();
    }

    /// Appends a message to the session's stream, and returns its number.
    #[inline]
    pub fn push(&mut self, session: SessionId, message: &[u8]) -> SessionSeq {
        assert!(!message.is_empty() && message.len() <= PIECE_BYTES, "a piece has room for any single message");
        let idx = self.place(session);
        let has_room = self.streams[idx].pieces.back().is_some_and(|piece| piece.has_room(message.len()));
        if !has_room {
            self.extend(idx);
        }
        let stream = &mut self.streams[idx];
        let seq = stream.next;
        let piece = stream.pieces.back_mut().expect("it has one with room");
        assert!(piece.end() == seq, "messages of a stream are consecutive");
        piece.bytes.extend_from_slice(message);
        piece.ends.push(piece.bytes.len() as u16);
        stream.next = seq.next();
        assert!(seq < stream.next, "a number is given once");
        seq
    }

    /// The stream of a session that exists.
    pub fn stream(&mut self, session: SessionId) -> &SessionStream {
        let idx = self.place(session);
        &self.streams[idx]
    }

    /// Bytes of memory that the streams have taken.
    pub fn bytes(&self) -> usize {
        self.pieces * PIECE_BYTES_IN_ALL
    }

    fn place(&mut self, session: SessionId) -> usize {
        assert!(!session.is_none(), "every message is addressed to a session");
        let idx = session.0 as usize - 1;
        while self.streams.len() <= idx {
            let begin = self.begins.get(self.streams.len()).copied().unwrap_or(self.first);
            self.streams.push(SessionStream::new(begin, self.messages_max));
            self.counts.push(0);
        }
        idx
    }

    /// Gives the stream one more piece, and takes back those whose messages it no longer keeps.
    fn extend(&mut self, idx: usize) {
        // The message that comes next is one of those that are kept.
        let kept_from = (self.streams[idx].next.0 + 1).saturating_sub(self.streams[idx].messages_max);
        while self.streams[idx].pieces.front().is_some_and(|piece| piece.end().0 <= kept_from) {
            self.take_back(idx);
        }
        let mut piece = self.find_piece();
        let stream = &mut self.streams[idx];
        piece.begin(stream.next);
        stream.pieces.push_back(piece);
        self.counts[idx] += 1;
        assert!(self.pieces <= self.pieces_max, "the streams keep their bound");
    }

    fn find_piece(&mut self) -> Piece {
        if self.free.is_empty() && self.pieces.planted(Mutation::StreamsWithoutBound, |_| 0) == self.pieces_max {
            // Scanned, because that is rarer than every hundredth message, and the counts of ten thousand are small.
            let most = self.counts.iter().enumerate().max_by_key(|(_, count)| **count);
            let (idx, _) = most.expect("all pieces are in use, so some session has them");
            self.take_back(idx);
        }
        self.free.pop().unwrap_or_else(|| {
            self.pieces += 1;
            Piece::new()
        })
    }

    /// Takes the oldest piece of a stream.
    fn take_back(&mut self, idx: usize) {
        let piece = self.streams[idx].pieces.pop_front().expect("it has pieces");
        self.counts[idx] -= 1;
        self.free.push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::testing::workload::rng::Rng;

    fn pushed(streams: &mut SessionStreams, session: u32, messages: u64) {
        for _ in 0..messages {
            streams.push(SessionId(session), &[session as u8; 100]);
        }
    }

    #[test]
    fn a_session_without_messages_has_no_memory() {
        let mut streams = SessionStreams::new(65_536);
        for session in 1..=10_000 {
            assert_eq!(streams.stream(SessionId(session)).next_seq(), SessionSeq::FIRST);
        }
        assert_eq!(streams.bytes(), 0);
        pushed(&mut streams, 7, 1);
        assert!(streams.bytes() < 32 << 10, "one message takes {} bytes", streams.bytes());
    }

    #[test]
    fn memory_keeps_the_newest_messages_of_a_session() {
        let mut streams = SessionStreams::resume(&StreamPositions::default(), 1_000);
        pushed(&mut streams, 1, 10_000);
        let stream = streams.stream(SessionId(1));
        assert_eq!((stream.oldest_seq(), stream.next_seq()), (SessionSeq(9_001), SessionSeq(10_001)));
        let older = StreamError::Older { wanted: SessionSeq(9_000), oldest: SessionSeq(9_001) };
        assert_eq!(stream.get(SessionSeq(9_000)), Err(older));
        assert!(stream.get(SessionSeq(9_001)).is_ok() && stream.get(SessionSeq(10_000)).is_ok());
        assert!(streams.bytes() < 10 * PIECE_BYTES_IN_ALL, "{} bytes", streams.bytes());
    }

    /// Five sessions, of which one has most messages, in memory of twenty pieces.
    fn house_with_a_bound() {
        let limits = StreamLimits { messages_max: 1 << 20, bytes_max: 20 * PIECE_BYTES_IN_ALL };
        let mut streams = SessionStreams::new(limits);
        pushed(&mut streams, 1, 10_000);
        for session in 2..=5 {
            pushed(&mut streams, session, 300);
        }
        pushed(&mut streams, 1, 100);
        assert!(streams.bytes() <= limits.bytes_max, "{} bytes", streams.bytes());
        for session in 2..=5 {
            let stream = streams.stream(SessionId(session));
            assert_eq!(stream.oldest_seq(), SessionSeq::FIRST, "a busy session takes the memory of a quiet one");
        }
        let stream = streams.stream(SessionId(1));
        assert!(1_000 < stream.next_seq().0 - stream.oldest_seq().0);
    }

    #[test]
    fn all_streams_together_keep_their_bound_and_the_longest_gives_way() {
        house_with_a_bound();
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn streams_without_a_bound_are_noticed() {
        crate::faults::mutation::plant(Some(Mutation::StreamsWithoutBound));
        let outcome = std::panic::catch_unwind(house_with_a_bound);
        crate::faults::mutation::plant(None);
        assert!(outcome.is_err());
    }

    /// The twin keeps every message; those that the streams still have must have the same bytes.
    #[test]
    fn messages_in_memory_are_the_newest_ones_pushed() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let pieces = 2 + rng.below(4) as usize;
            let messages_max = 1 + rng.below(500) as usize;
            let mut streams =
                SessionStreams::new(StreamLimits { messages_max, bytes_max: pieces * PIECE_BYTES_IN_ALL });
            let mut all = [const { Vec::new() }; 3];
            for n in 0..rng.below(300) {
                let session = 1 + rng.below(3);
                let message = vec![n as u8; 1 + rng.below(2_000) as usize];
                let twin: &mut Vec<Vec<u8>> = &mut all[session as usize - 1];
                twin.push(message.clone());
                assert_eq!(streams.push(SessionId(session), &message), SessionSeq(twin.len() as u64), "seed {seed}");
            }
            assert!(streams.pieces <= pieces, "seed {seed}");
            for (session, twin) in (1..).zip(&all) {
                let stream = streams.stream(SessionId(session));
                let (oldest, next) = (stream.oldest_seq(), stream.next_seq());
                assert_eq!(next.0, twin.len() as u64 + 1, "seed {seed}");
                assert!(next.0 - oldest.0 <= messages_max as u64, "seed {seed}");
                for seq in oldest.0..next.0 {
                    assert_eq!(stream.get(SessionSeq(seq)), Ok(&twin[seq as usize - 1][..]), "seed {seed}");
                }
                assert!(oldest.0 == 1 || stream.get(SessionSeq(oldest.0 - 1)).is_err(), "seed {seed}");
            }
        }
    }
}
