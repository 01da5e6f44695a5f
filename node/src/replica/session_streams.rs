//! The outbound streams of all binary sessions: the messages of each, numbered from 1.
//!
//! Invariant: numbers are assigned in the order of the log, so a stream that is rebuilt from the log is the same, byte
//! for byte. Memory holds the newest messages of each session; older ones are in the history.

use api::binary::stream::{SessionSeq, Stream};
use book::ids::SessionId;

/// Memory reserved per message; answers are 48 to 120 bytes long.
const MESSAGE_BYTES: usize = 120;

/// One stream per session, created with the session's first message.
#[derive(Debug)]
pub struct SessionStreams {
    /// By session. The memory of a stream is reserved at once, but its pages are allocated only as messages fill them.
    streams: Vec<Option<Stream>>,
    /// By session: the number of the next message when the stream is created; 1 for sessions beyond the end.
    begins: Vec<SessionSeq>,
    messages_max: usize,
}

impl SessionStreams {
    /// Each stream keeps its newest `messages_max` messages.
    pub fn new(messages_max: usize) -> Self {
        Self::resume(&[], messages_max)
    }

    /// Continues with these numbers, by session. Older messages are not in memory.
    pub fn resume(begins: &[SessionSeq], messages_max: usize) -> Self {
        Self { streams: Vec::new(), begins: begins.to_vec(), messages_max }
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
        let Self { begins, messages_max, .. } = self;
        let begin = begins.get(idx).copied().unwrap_or(SessionSeq::FIRST);
        self.streams[idx].get_or_insert_with(|| Stream::new(begin, *messages_max * MESSAGE_BYTES, *messages_max))
    }
}
