//! The outbound streams of all binary sessions: the messages of each, numbered from 1, and in a later life from a
//! number that no earlier life had.
//!
//! Invariant: numbers are assigned in the order of the log, so a stream that is rebuilt from the log is the same, byte
//! for byte. Memory holds the newest messages of each session; older ones are in the history.

use crate::replica::stream_positions::{StreamPositions, first_of_life};
use api::binary::stream::{SessionSeq, Stream};
use book::ids::SessionId;

/// Memory reserved per message; answers are 48 to 120 bytes long.
const MESSAGE_BYTES: usize = 120;

/// One stream per session, created with the session's first message.
#[derive(Debug)]
pub struct SessionStreams {
    /// By session. The memory of a stream is reserved at once, but its pages are allocated only as messages fill them.
    streams: Vec<Option<Stream>>,
    /// By session: the number of the next message when the stream is created; `first` for sessions beyond the end.
    begins: Vec<SessionSeq>,
    /// The first number of every stream in its present life.
    first: SessionSeq,
    messages_max: usize,
}

impl SessionStreams {
    /// Each stream keeps its newest `messages_max` messages.
    pub fn new(messages_max: usize) -> Self {
        Self::resume(&StreamPositions::default(), messages_max)
    }

    /// Continues at these positions. Older messages are not in memory.
    pub fn resume(positions: &StreamPositions, messages_max: usize) -> Self {
        let (begins, first) = (positions.sessions().to_vec(), positions.first());
        Self { streams: Vec::new(), begins, first, messages_max }
    }

    /// The first number of every stream in its present life. Lower ones belong to streams that have ended.
    pub fn first(&self) -> SessionSeq {
        self.first
    }

    /// Begins a new life of all streams, which leaves so many numbers out. What they held is no longer sent.
    pub fn begin_life(&mut self, skipped: u64) {
        let of_streams = self.streams.iter().flatten().map(Stream::next_seq);
        self.first = first_of_life(of_streams.chain(self.begins.iter().copied()), self.first, skipped);
        self.streams.clear();
        self.begins.clear();
    }

    #[inline]
    pub fn push(&mut self, session: SessionId, bytes: &[u8]) -> SessionSeq {
        self.stream_mut(session).push(bytes)
    }

    /// The stream of a session that exists.
    pub fn stream_mut(&mut self, session: SessionId) -> &mut Stream {
        assert!(!session.is_none(), "every message is addressed to a session");
        let idx = session.0 as usize - 1;
        if idx >= self.streams.len() {
            self.streams.resize_with(idx + 1, || None);
        }
        let Self { begins, first, messages_max, .. } = self;
        let begin = begins.get(idx).copied().unwrap_or(*first);
        self.streams[idx].get_or_insert_with(|| Stream::new(begin, *messages_max * MESSAGE_BYTES, *messages_max))
    }
}
