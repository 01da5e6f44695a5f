//! The outbound streams of all binary sessions: the messages of each, numbered from 1, and in a later life from a
//! number that no earlier life had.
//!
//! ```text
//!  session 1   | 3 .. 20 | 21 .. 44 | 45 ..        pieces of memory, the oldest messages first
//!  session 2   | 7 ..
//!  session 3                                       no message since the start, no memory
//! ```
//! Invariants: numbers are assigned in the order of the log, so a stream that is rebuilt from the log is the same, byte
//! for byte. Memory holds the newest messages of each session, `messages_max` at most, and all sessions together have
//! so many pieces: where none is left, the session with the most gives up its oldest one. What memory does not hold is
//! in the history.

use crate::faults::mutation::{Mutation, Planted};
use crate::replica::stream_positions::{StreamPositions, first_of_life};
use api::binary::stream::{SessionSeq, StreamError};
use book::ids::SessionId;
use std::collections::{BTreeMap, VecDeque};

/// Bytes of messages in a piece: about two hundred answers, which are 48 to 120 bytes long.
const PIECE_BYTES: usize = 16 * 1024;
/// Messages in a piece.
const PIECE_MESSAGES: usize = PIECE_BYTES / 48;
/// Memory of a piece: its messages and their ends.
const PIECE_MEMORY: usize = PIECE_BYTES + PIECE_MESSAGES * size_of::<u16>();

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

/// The memory of all pieces, reserved at once: its pages are allocated only as messages fill them, so no push asks the
/// kernel for memory.
struct Memory {
    bytes: Box<[u8]>,
    /// The end of each message within its piece.
    ends: Box<[u16]>,
}

const _: () = assert!(PIECE_BYTES <= u16::MAX as usize);

impl Memory {
    fn of(pieces: usize) -> Self {
        let bytes = vec![0; pieces * PIECE_BYTES].into_boxed_slice();
        Self { bytes, ends: vec![0; pieces * PIECE_MESSAGES].into_boxed_slice() }
    }

    fn end(&self, place: u32, idx: usize) -> usize {
        usize::from(self.ends[place as usize * PIECE_MESSAGES + idx])
    }

    fn message(&self, place: u32, idx: usize) -> &[u8] {
        let start = if idx == 0 { 0 } else { self.end(place, idx - 1) };
        let at = place as usize * PIECE_BYTES;
        &self.bytes[at + start..at + self.end(place, idx)]
    }
}

/// Consecutive messages of one session.
#[derive(Clone, Copy, Debug)]
struct Piece {
    first: SessionSeq,
    /// Its place in the memory.
    place: u32,
    messages: u16,
    bytes: u16,
}

impl Piece {
    fn has_room(&self, len: usize) -> bool {
        usize::from(self.bytes) + len <= PIECE_BYTES && usize::from(self.messages) < PIECE_MESSAGES
    }

    /// The number after its last message.
    fn end(&self) -> SessionSeq {
        SessionSeq(self.first.0 + u64::from(self.messages))
    }

    fn push(&mut self, message: &[u8], memory: &mut Memory) {
        let at = self.place as usize * PIECE_BYTES + usize::from(self.bytes);
        memory.bytes[at..at + message.len()].copy_from_slice(message);
        self.bytes += message.len() as u16;
        memory.ends[self.place as usize * PIECE_MESSAGES + usize::from(self.messages)] = self.bytes;
        self.messages += 1;
    }
}

/// The newest messages of one session, by piece.
#[derive(Debug)]
struct Pieces {
    next: SessionSeq,
    pieces: VecDeque<Piece>,
}

/// A look at the newest messages of one session.
#[derive(Clone, Copy)]
pub struct SessionStream<'a> {
    own: &'a Pieces,
    memory: &'a Memory,
    messages_max: u64,
}

impl<'a> SessionStream<'a> {
    /// Number that the next message will get.
    pub fn next_seq(&self) -> SessionSeq {
        self.own.next
    }

    /// Oldest number in memory; the next one when memory is empty.
    pub fn oldest_seq(&self) -> SessionSeq {
        let first = self.own.pieces.front().map_or(self.own.next, |piece| piece.first);
        first.max(SessionSeq(self.own.next.0.saturating_sub(self.messages_max)))
    }

    /// The message with this number.
    #[inline]
    pub fn get(&self, seq: SessionSeq) -> Result<&'a [u8], StreamError> {
        let Pieces { next, pieces } = self.own;
        if *next <= seq {
            return Err(StreamError::Beyond { wanted: seq, next: *next });
        }
        let oldest = self.oldest_seq();
        if seq < oldest {
            return Err(StreamError::Older { wanted: seq, oldest });
        }
        // Mostly the newest piece.
        let last = pieces.back().expect("a stream with messages in memory has pieces");
        let piece = if last.first <= seq {
            last
        } else {
            let after = pieces.partition_point(|piece| piece.first <= seq);
            &pieces[after - 1]
        };
        Ok(self.memory.message(piece.place, (seq.0 - piece.first.0) as usize))
    }
}

/// One stream per session, and the memory that they share.
pub struct SessionStreams {
    memory: Memory,
    /// By session.
    streams: Vec<Pieces>,
    /// By session: how many pieces it has. Apart, so that the one with the most is found quickly.
    counts: Vec<u32>,
    /// By session: the number of the next message when the stream is created; `first` for sessions beyond the end.
    begins: Vec<SessionSeq>,
    /// The first number of every stream in its present life.
    first: SessionSeq,
    /// The first numbers of sessions that have begun a life by themselves since.
    own_firsts: BTreeMap<SessionId, SessionSeq>,
    /// Places of pieces that had messages and have none now.
    free: Vec<u32>,
    /// Places that were in use at some time.
    used: u32,
    pieces_max: u32,
    messages_max: usize,
}

impl SessionStreams {
    pub fn new(limits: impl Into<StreamLimits>) -> Self {
        Self::resume(&StreamPositions::default(), limits)
    }

    /// Continues at these positions. Older messages are not in memory.
    pub fn resume(positions: &StreamPositions, limits: impl Into<StreamLimits>) -> Self {
        let StreamLimits { messages_max, bytes_max } = limits.into();
        assert!(0 < messages_max, "memory keeps some messages");
        let pieces_max = (bytes_max / PIECE_MEMORY).clamp(2, u32::MAX as usize);
        Self {
            memory: Memory::of(pieces_max),
            streams: Vec::new(),
            counts: Vec::new(),
            begins: positions.sessions().to_vec(),
            first: positions.first(),
            own_firsts: positions.own_firsts().clone(),
            free: Vec::with_capacity(pieces_max),
            used: 0,
            pieces_max: pieces_max as u32,
            messages_max,
        }
    }

    /// The first number of the session's stream in its present life. Lower ones belong to streams that have ended.
    pub fn first_of(&self, session: SessionId) -> SessionSeq {
        self.own_firsts.get(&session).copied().unwrap_or(self.first)
    }

    /// Begins a new life of one stream, which leaves so many numbers out. What it held is no longer sent.
    pub fn begin_session_life(&mut self, session: SessionId, skipped: u64) {
        let idx = self.idx_of(session);
        while 0 < self.counts[idx] {
            self.take_oldest(idx);
        }
        let first = first_of_life(std::iter::once(self.streams[idx].next), self.first, skipped);
        self.streams[idx].next = first;
        self.own_firsts.insert(session, first);
    }

    /// Begins a new life of all streams, which leaves so many numbers out. What they held is no longer sent.
    pub fn begin_life(&mut self, skipped: u64) {
        let of_streams = self.streams.iter().map(|stream| stream.next);
        self.first = first_of_life(of_streams.chain(self.begins.iter().copied()), self.first, skipped);
        for idx in 0..self.streams.len() {
            while 0 < self.counts[idx] {
                self.take_oldest(idx);
            }
        }
        self.own_firsts.clear();
        self.streams.clear();
        self.counts.clear();
        self.begins.clear();
    }

    /// Appends a message to the session's stream, and returns its number.
    #[inline]
    pub fn push(&mut self, session: SessionId, message: &[u8]) -> SessionSeq {
        assert!(!message.is_empty() && message.len() <= PIECE_BYTES, "a piece has room for any single message");
        let idx = self.idx_of(session);
        let has_room = self.streams[idx].pieces.back().is_some_and(|piece| piece.has_room(message.len()));
        if !has_room {
            self.extend(idx);
        }
        let own = &mut self.streams[idx];
        let seq = own.next;
        let piece = own.pieces.back_mut().expect("it has one with room");
        assert!(piece.end() == seq, "messages of a stream are consecutive");
        piece.push(message, &mut self.memory);
        own.next = seq.next();
        assert!(seq < own.next, "a number is given once");
        seq
    }

    /// The stream of a session that exists.
    pub fn stream(&mut self, session: SessionId) -> SessionStream<'_> {
        let idx = self.idx_of(session);
        SessionStream { own: &self.streams[idx], memory: &self.memory, messages_max: self.messages_max as u64 }
    }

    /// Bytes of memory that the streams have filled at some time.
    pub fn bytes(&self) -> usize {
        self.used as usize * PIECE_MEMORY
    }

    fn idx_of(&mut self, session: SessionId) -> usize {
        assert!(!session.is_none(), "every message is addressed to a session");
        let idx = session.0 as usize - 1;
        while self.streams.len() <= idx {
            let begin = self.begins.get(self.streams.len()).copied().unwrap_or(self.first);
            assert!(SessionSeq::FIRST <= begin, "numbers start at 1");
            self.streams.push(Pieces { next: begin, pieces: VecDeque::new() });
            self.counts.push(0);
        }
        idx
    }

    /// Gives the stream one more piece, and takes those whose messages it no longer keeps.
    fn extend(&mut self, idx: usize) {
        // The message that comes next is one of those that are kept.
        let kept_from = (self.streams[idx].next.0 + 1).saturating_sub(self.messages_max as u64);
        while self.streams[idx].pieces.front().is_some_and(|piece| piece.end().0 <= kept_from) {
            self.take_oldest(idx);
        }
        let place = self.find_place();
        let own = &mut self.streams[idx];
        own.pieces.push_back(Piece { first: own.next, place, messages: 0, bytes: 0 });
        self.counts[idx] += 1;
    }

    fn find_place(&mut self) -> u32 {
        if self.free.is_empty() && self.used == self.pieces_max {
            // Scanned, because that is rarer than every hundredth message, and the counts of ten thousand are small.
            let weight = |count: u32| count.planted(Mutation::QuietSessionsGiveWay, |count| u32::from(0 < count));
            let most = self.counts.iter().enumerate().max_by_key(|(_, count)| weight(**count));
            let (idx, _) = most.expect("all pieces are in use, so some session has them");
            self.take_oldest(idx);
        }
        self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        })
    }

    /// Takes the oldest piece of a stream.
    fn take_oldest(&mut self, idx: usize) {
        let piece = self.streams[idx].pieces.pop_front().expect("it has pieces");
        self.counts[idx] -= 1;
        self.free.push(piece.place);
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
        assert!(streams.bytes() < 10 * PIECE_MEMORY, "{} bytes", streams.bytes());
    }

    /// Five sessions, of which one has most messages, in memory of twenty pieces.
    fn house_with_a_bound() {
        let limits = StreamLimits { messages_max: 1 << 20, bytes_max: 20 * PIECE_MEMORY };
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
    fn quiet_sessions_that_give_way_are_noticed() {
        crate::faults::mutation::assert_noticed(Mutation::QuietSessionsGiveWay, house_with_a_bound);
    }

    /// The twin keeps every message; those that the streams still have must have the same bytes.
    #[test]
    fn messages_in_memory_are_the_newest_ones_pushed() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let pieces = 2 + rng.below(4) as usize;
            let messages_max = 1 + rng.below(500) as usize;
            let mut streams = SessionStreams::new(StreamLimits { messages_max, bytes_max: pieces * PIECE_MEMORY });
            let mut all = [const { Vec::new() }; 3];
            for n in 0..rng.below(300) {
                let session = 1 + rng.below(3);
                let message = vec![n as u8; 1 + rng.below(2_000) as usize];
                let twin: &mut Vec<Vec<u8>> = &mut all[session as usize - 1];
                twin.push(message.clone());
                assert_eq!(streams.push(SessionId(session), &message), SessionSeq(twin.len() as u64), "seed {seed}");
            }
            assert!(streams.used as usize <= pieces, "seed {seed}");
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
